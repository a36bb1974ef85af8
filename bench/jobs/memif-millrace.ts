/** Frames go round between two Millrace processes. With a path as its argument it is the other side. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { finish, jobArguments } from './job.ts';
import { bounceFor, measureBounce, openPort, otherCpu, socketPath } from './memif.ts';

const NAME = 'millrace - millrace';
/** Beyond warm-up and measured time, until the other side ends by itself, s. */
const GRACE = 20;

const [path, duration] = process.argv.slice(2);
if (path !== undefined && !path.startsWith('--')) {
  const port = openPort(path, 'client');
  bounceFor(port, Number(duration));
  port.close();
} else {
  const args = jobArguments();
  const cpu = otherCpu(NAME);
  const socket = socketPath();
  const port = openPort(socket, 'server');
  const own = [process.execPath, fileURLToPath(import.meta.url), socket];
  const other = spawn('taskset', ['-c', String(cpu), ...own, String(args.warmup + args.seconds + GRACE)], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  process.on('exit', () => other.kill('SIGKILL'));
  finish(await measureBounce(NAME, port, args));
}

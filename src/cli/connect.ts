/** `millrace connect`: standard input and output over one connection, as nc does. */
import { pipeline } from 'node:stream/promises';
import { Command } from 'commander';
import type { Socket } from '../api/net.ts';
import { integer } from './arguments.ts';
import { say } from './output.ts';
import { interrupted } from './signals.ts';
import { type DeviceOptions, openDevice, withDevice } from './stack.ts';

export const connectCommand = withDevice(
  new Command('connect')
    .description('connect to a TCP port; standard input goes there, what comes back goes to standard output')
    .argument('<host>', 'address or name')
    .argument('<port>', 'TCP port', integer(1, 65_535)),
  'tun:mr0',
)
  .option('-v, --verbose', 'tell how the connection went')
  .addHelpText(
    'after',
    `
The end of standard input closes our direction; the command ends when the peer closes the other. To reach a server
of this machine, bind it to an address that the host has, such as its end of the device (10.77.0.1).`,
  )
  .action(connect);

async function connect(
  host: string,
  port: number,
  options: DeviceOptions & { verbose?: boolean },
): Promise<void> {
  if (options.device === 'cable')
    throw new Error('a cable leads nowhere outside this process: --device tun:NAME or tap:NAME');
  const opened = await openDevice(options);
  try {
    const socket = opened.stack.net.connect({ host, port, allowHalfOpen: true });
    await new Promise<void>((connected, failed) => {
      socket.once('connect', connected);
      socket.once('error', failed);
    });
    if (options.verbose) say(`connected from ${socket.localAddress} port ${socket.localPort}`);
    let over = false;
    const input = pipeline(process.stdin, socket).catch((error: unknown) => {
      if (!over) throw error;
    });
    // Our input may outlast the peer, and its end isn't the end of what comes back.
    await Promise.race([output(socket), input.then(() => new Promise<never>(() => {})), interrupted()]);
    over = true;
    const info = socket.info();
    if (options.verbose && info !== null)
      say(`rtt ${info.rtt_ms.toFixed(3)} ms, ${info.bytesSent} B sent, ${info.bytesReceived} B received`);
  } finally {
    await opened.close();
    process.stdin.destroy();
  }
}

/** What comes back, until the peer ends or nobody reads any more, as behind `| head`. */
async function output(socket: Socket): Promise<void> {
  try {
    await pipeline(socket, process.stdout, { end: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}

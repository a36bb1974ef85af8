import { spawnSync } from 'node:child_process';

const PROGRAMS = ['ip', 'unshare', 'curl', 'wrk', 'nginx', 'redis-server', 'chromium'];

/** Before all client tests: what they drive must be there. Asked for by name, they fail rather than skip. */
export function setup(): void {
  // Where Debian puts daemons, and a user's PATH may lack. The test processes inherit it.
  process.env.PATH = `${process.env.PATH}:/usr/local/sbin:/usr/sbin:/sbin`;
  const missing = PROGRAMS.filter((name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0);
  if (missing.length > 0) {
    throw new Error(`not installed: ${missing.join(', ')}. Run scripts/setup-clients.sh first.`);
  }
}

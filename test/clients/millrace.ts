/** Runs our CLI in a namespace, as a user would. */
import { fileURLToPath } from 'node:url';
import type { Child } from '../child.ts';
import type { Namespace } from '../netns.ts';

/** MILLRACE_CLI runs another build of it, such as dist/cli/main.js. */
const CLI = process.env.MILLRACE_CLI ?? fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** Ours is .2 on the TUN; the CLI gives the kernel's side .1. */
export const OUR_IPV4 = '10.77.0.2';
export const OUR_IPV6 = 'fd77::2';
export const HOST_IPV4 = '10.77.0.1';
export const HOST_IPV6 = 'fd77::1';

export const DEVICE = 'millrace0';

const STACK = ['--device', `tun:${DEVICE}`, '--address', `${OUR_IPV4}/24`, '--address', `${OUR_IPV6}/64`];

export const URL_IPV4 = `http://${OUR_IPV4}`;
export const URL_IPV6 = `http://[${OUR_IPV6}]`;

/** Serves a directory on port 80 of both addresses; resolves when it says that it is ready. */
export async function startServe(ns: Namespace, directory: string): Promise<Child> {
  const server = ns.spawn('node', [CLI, 'serve', directory, ...STACK, '--port', '80']);
  await server.waitFor(/^http:\/\/\S+/m);
  return server;
}

/**
 * `connect HOST PORT`, its stdout going to a file as it may be binary. Its stdin stays open: the connection's
 * end is the server's to make.
 */
export function startConnect(ns: Namespace, host: string, port: number, output: string): Child {
  const command = ['node', CLI, 'connect', host, String(port), ...STACK];
  return ns.spawn('sh', ['-c', 'out=$1; shift; exec "$@" >"$out"', 'sh', output, ...command]);
}

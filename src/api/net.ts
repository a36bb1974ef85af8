/**
 * `millrace/net`: `node:net` over a stack of one's own. Names, events and errors are Node's; each function takes
 * the stack from `options.stack`, or else uses the one opened last. What differs:
 *
 * - no IPC: `path`, `fd` and handles are refused with ERR_INVALID_ARG_VALUE, and so is `onread`;
 * - a server for all addresses names an IPv4 peer as such (`10.0.0.1`, not `::ffff:10.0.0.1`);
 * - there is no loopback: a stack can't connect to itself.
 */
import { isIP, isIPv4, isIPv6 } from 'node:net';
import { normalizeArguments } from './arguments.ts';
import { Server, type ServerOptions } from './server.ts';
import { type ConnectOptions, Socket, type SocketOptions } from './socket.ts';
import type { SocketStack } from './stacks.ts';

export {
  BlockList,
  getDefaultAutoSelectFamily,
  getDefaultAutoSelectFamilyAttemptTimeout,
  isIP,
  isIPv4,
  isIPv6,
  SocketAddress,
  setDefaultAutoSelectFamily,
  setDefaultAutoSelectFamilyAttemptTimeout,
} from 'node:net';
export type { DropInfo, ListenOptions, ServerOptions } from './server.ts';
export type { ConnectOptions, KeepAliveOptions, SocketOptions } from './socket.ts';
export { Server, Socket };

export function createServer(options: ServerOptions, listener?: (socket: Socket) => void): Server;
export function createServer(listener?: (socket: Socket) => void): Server;
export function createServer(
  options?: ServerOptions | ((socket: Socket) => void),
  listener?: (socket: Socket) => void,
): Server {
  return new Server(options, listener);
}

/** A new socket, connecting; `listener` is called on 'connect'. */
export function connect(options: ConnectOptions, listener?: () => void): Socket;
export function connect(port: number | string, host: string, listener?: () => void): Socket;
export function connect(port: number | string, listener?: () => void): Socket;
export function connect(...args: unknown[]): Socket {
  const [options, listener] = normalizeArguments<ConnectOptions>(args);
  const socket = new Socket(options);
  if (options.timeout) socket.setTimeout(options.timeout);
  return socket.connect(options as ConnectOptions, listener as (() => void) | undefined);
}

export const createConnection = connect;

/** What `stack.net` is: the same, on that stack. */
export interface StackNet {
  readonly Server: typeof Server;
  readonly Socket: typeof Socket;
  readonly connect: typeof connect;
  readonly createConnection: typeof connect;
  readonly createServer: typeof createServer;
  readonly isIP: typeof isIP;
  readonly isIPv4: typeof isIPv4;
  readonly isIPv6: typeof isIPv6;
}

export function bindNet(stack: SocketStack): StackNet {
  class StackSocket extends Socket {
    constructor(options: SocketOptions = {}) {
      super({ stack, ...options });
    }
  }
  class StackServer extends Server {
    constructor(options?: ServerOptions | ((socket: Socket) => void), listener?: (socket: Socket) => void) {
      if (typeof options === 'function') super({ stack }, options);
      else super({ stack, ...options }, listener);
    }
  }
  const stackConnect = (...args: unknown[]): Socket => {
    const [options, listener] = normalizeArguments<ConnectOptions>(args);
    return connect({ stack, ...options } as ConnectOptions, listener as (() => void) | undefined);
  };
  return {
    Server: StackServer,
    Socket: StackSocket,
    connect: stackConnect,
    createConnection: stackConnect,
    createServer: (
      options?: ServerOptions | ((socket: Socket) => void),
      listener?: (socket: Socket) => void,
    ) => new StackServer(options, listener),
    isIP,
    isIPv4,
    isIPv6,
  };
}

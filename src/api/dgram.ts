/**
 * `millrace/dgram`: `node:dgram` over a stack of one's own. Names, events and errors are Node's; each socket takes the
 * stack from `options.stack`, or else uses the one opened last. What differs:
 *
 * - a stack doesn't hear what it sends: not to its own addresses, nor to groups that it is in (`setMulticastLoopback`
 *   has no effect);
 * - groups are joined for any source: `addSourceSpecificMembership` fails with ENOTSUP;
 * - an interface is named by one of its addresses, for IPv6 too;
 * - `fd` is refused with ERR_INVALID_ARG_VALUE.
 */
import { type RemoteInfo, Socket, type SocketOptions, type SocketType } from './dgram-socket.ts';
import type { SocketStack } from './stacks.ts';

export type { BindOptions, RemoteInfo, SocketOptions, SocketType } from './dgram-socket.ts';
export { Socket };

type Listener = (message: Buffer, remote: RemoteInfo) => void;

export function createSocket(options: SocketType | SocketOptions, listener?: Listener): Socket {
  return new Socket(options, listener);
}

/** What `stack.dgram` is: the same, on that stack. */
export interface StackDgram {
  readonly Socket: typeof Socket;
  readonly createSocket: typeof createSocket;
}

export function bindDgram(stack: SocketStack): StackDgram {
  const on = (options: SocketType | SocketOptions): SocketOptions =>
    typeof options === 'object' && options !== null ? { stack, ...options } : { stack, type: options };
  class StackSocket extends Socket {
    constructor(options: SocketType | SocketOptions, listener?: Listener) {
      super(on(options), listener);
    }
  }
  return {
    Socket: StackSocket,
    createSocket: (options, listener) => new StackSocket(options, listener),
  };
}

/**
 * Millrace: a TCP/IP stack in user space.
 *
 *     import { Stack } from 'millrace';
 *
 *     await using stack = await Stack.open({ device: 'tun:mr0', addresses: ['10.77.0.2/24'] });
 *     stack.net.createServer((socket) => socket.pipe(socket)).listen(7);
 *
 * `stack.net` and `stack.dgram` have the names, events and errors of `node:net` and `node:dgram`; `stack.engine` is the
 * batch API under them. In-memory devices need no privileges: `createCable` of `millrace/device` makes two ends in one arena,
 * which their stacks share.
 */
export type { StackDgram } from './api/dgram.ts';
export { StackOptionsError } from './api/errors.ts';
export type { StackNet } from './api/net.ts';
export type { StackOptions } from './api/options.ts';
export type { Idle } from './api/run.ts';
export { type CloseOptions, Stack, type StackCounters } from './api/stack.ts';
export { type Publication, publishCounters } from './control/publish.ts';
export { type Capabilities, type Link, type Port, type PortCounters, PortError } from './device/port.ts';
export {
  type BindOptions,
  type DatagramHandlers,
  type DatagramOptions,
  type Datagrams,
  Destination,
  type Origin,
  type Sock,
} from './engine/datagrams.ts';
export type {
  BufferOptions,
  CongestionOptions,
  ConnectOptions,
  Endpoint,
  Engine,
  IpFieldOptions,
  ListenOptions,
  MemoryInfo,
  SourceRouteOptions,
} from './engine/engine.ts';
export { EngineError } from './engine/errors.ts';
export type { Conn, Handlers } from './engine/handlers.ts';
export { LIMITS_DEFAULT, type Limits } from './engine/limits.ts';
export { type Arena, ArenaFullError } from './memory/arena.ts';
export { COLD, FLAG, TCB } from './tcp/block.ts';
export { coldOf } from './tcp/cold.ts';
export { AckSample, type CongestionControl } from './tcp/congestion/control.ts';
export type { EcnMode } from './tcp/ecn.ts';
export type { TcpInfo } from './tcp/info.ts';
export {
  CLOSED_ABORTED,
  CLOSED_CLEAN,
  CLOSED_CODES,
  CLOSED_NET_UNREACHABLE,
  CLOSED_NO_ADDRESS,
  CLOSED_PROTOCOL,
  CLOSED_REFUSED,
  CLOSED_RESET,
  CLOSED_TIMEOUT,
  CLOSED_UNREACHABLE,
} from './tcp/reasons.ts';
export { TCP_LIMITS_DEFAULT, type Tcp, type TcpLimits } from './tcp/tcp.ts';
export { UDP_CODES } from './udp/reasons.ts';

/** A stack on Node's main thread: a device, an engine on it, the loop that drives it, and `net` and `dgram` over it. */
import { createHash, randomFillSync } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { openPort, portArenaBytes } from '../device/open.ts';
import type { Port, PortCounters } from '../device/port.ts';
import { Engine } from '../engine/engine.ts';
import type { InterfaceCounters, IpCounters } from '../ip/counters.ts';
import { IpConfigError } from '../ip/errors.ts';
import { addressText } from '../ip/interface.ts';
import { Arena } from '../memory/arena.ts';
import { Poller } from '../os/poll.ts';
import { raiseInliningBudget } from '../os/v8.ts';
import type { TcpCounters } from '../tcp/counters.ts';
import type { UdpCounters } from '../udp/counters.ts';
import { bindDgram, type StackDgram } from './dgram.ts';
import { StackOptionsError } from './errors.ts';
import { bindNet, type StackNet } from './net.ts';
import { arenaBytes, type Settings, type StackOptions, settle } from './options.ts';
import { Runner } from './run.ts';
import { rethrow } from './socket.ts';
import { SocketTable } from './socket-table.ts';
import { type SocketStack, stackClosed, stackOpened } from './stacks.ts';

export interface CloseOptions {
  /** How long open connections may take to deliver what they have and to end in order, ms; 1000 unless told. */
  readonly grace_ms?: number;
}

/** Everything counted since the start, copied. */
export interface StackCounters {
  readonly tcp: TcpCounters;
  readonly udp: UdpCounters;
  readonly ip: IpCounters;
  readonly interface: InterfaceCounters;
  readonly port: PortCounters;
  /** Turns of the engine; calls with a handle whose connection was gone. */
  readonly breaths: number;
  readonly staleHandles: number;
  /** In use now. */
  readonly connections: number;
  readonly miniBlocks: number;
  readonly chunks: number;
}

const GRACE_MS = 1000;
const DRAIN_CHECK_MS = 2;

/**
 * Listening servers and open sockets of `stack.net` keep the process running, as node:net's do, and so do closed
 * ones until the peer has what they sent. A stack without them doesn't; a program that uses `stack.engine` directly
 * says `ref()` if it wants to stay. While nothing keeps the process, a TUN or TAP is looked at each 10 ms.
 */
export class Stack implements SocketStack, AsyncDisposable {
  /** The batch API: `listen`, `connect`, `send` and the rest, with handlers. */
  readonly engine: Engine;
  /** `millrace/net` on this stack. */
  readonly net: StackNet;
  /** `millrace/dgram` on this stack. */
  readonly dgram: StackDgram;
  /** For this package's own use. */
  readonly sockets: SocketTable;
  readonly #port: Port;
  readonly #runner: Runner;
  readonly #onDeviceError: (error: unknown) => void;
  #refed = false;
  #closing: Promise<void> | null = null;

  /**
   * Opens a stack on a device.
   * @throws StackOptionsError ERR_MILLRACE_OPTIONS naming the field; PortError when the device can't be had (EPERM,
   *   EBUSY, …); ArenaFullError when the arena of a port that was given is too small for the limits
   */
  static async open(options: StackOptions): Promise<Stack> {
    const settings = settle(options);
    raiseInliningBudget();
    const device = openDevice(settings);
    try {
      return new Stack(options.wrapPort?.(device) ?? device, settings, options);
    } catch (error) {
      // A port that was given stays its giver's until there is a stack.
      if (device !== settings.device) device.close();
      throw error;
    }
  }

  /** Use `Stack.open`. */
  private constructor(port: Port, settings: Settings, options: StackOptions) {
    const { onHandlerError, onDeviceError, onAddress, autoconfigure = false, addressSecret } = options;
    const { addresses, gateways, limits, mtu, congestionControls } = settings;
    const { arena } = port;
    if (autoconfigure && !port.capabilities.groups) throw deafToRouters(port.name);
    const secret = randomFillSync(new Int32Array(4));
    this.engine = new Engine({
      arena,
      limits,
      congestionControls,
      secret,
      now: performance.now(),
      clock: () => performance.now(),
      ...(addressSecret === undefined ? {} : { addressSecret: wordsOf(addressSecret) }),
    });
    if (onAddress !== undefined) {
      this.engine.onAddress = ({ kind, address }) =>
        void process.nextTick(onAddress, kind, addressText(address));
    }
    const given = { addresses, ...gateways, autoconfigure, ...(mtu === undefined ? {} : { mtu }) };
    addInterface(this.engine, port, given);
    this.engine.onHandlerError = onHandlerError ?? ((error) => void process.nextTick(rethrow, error));
    this.sockets = new SocketTable(this.engine);
    this.net = bindNet(this);
    this.dgram = bindDgram(this);
    this.#port = port;
    const poller = port.fds.length > 0 ? new Poller(port.fds) : null;
    this.#onDeviceError = onDeviceError ?? ((error) => void process.nextTick(rethrow, error));
    this.#runner = new Runner(
      this.engine,
      [port],
      settings.idle,
      poller,
      () => this.sockets.needed,
      (error) => this.#abandon(error),
    );
    this.sockets.onNeed = () => this.#runner.update();
    stackOpened(this);
  }

  /** Those that are ours now. */
  addresses(): string[] {
    const { interfaces } = this.engine.ip;
    return interfaces.flatMap(({ v4, v6 }) => [...v4, ...v6].map(addressText));
  }

  counters(): StackCounters {
    const { tcp, udp, ip, staleHandles } = this.engine;
    return {
      tcp: { ...tcp.counters },
      udp: { ...udp.counters },
      ip: { ...ip.counters },
      interface: { ...ip.interfaces[0].counters },
      port: { ...this.#port.counters },
      breaths: this.#runner.breaths,
      staleHandles,
      connections: tcp.blocks.inUse,
      // One of them is the engine's own.
      miniBlocks: tcp.minis.inUse - 1,
      chunks: tcp.chunks.inUse,
    };
  }

  /** Keeps the process running for the stack's own sake. */
  ref(): this {
    if (!this.#refed) this.sockets.hold();
    this.#refed = true;
    return this;
  }

  unref(): this {
    if (this.#refed) this.sockets.release();
    this.#refed = false;
    return this;
  }

  /**
   * Stops listening, ends every connection in order, and after a grace aborts what is left; then closes the device.
   * Idempotent: later calls wait for the first.
   */
  close(options: CloseOptions = {}): Promise<void> {
    this.#closing ??= this.#close(options.grace_ms ?? GRACE_MS);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The device is gone: nothing can be sent any more, not even that it's over. */
  #abandon(error: unknown): void {
    stackClosed(this);
    this.#closing ??= Promise.resolve();
    for (const server of this.sockets.servers) server.close();
    for (const socket of this.sockets.dgrams.sockets) socket.close();
    for (const socket of this.sockets.sockets) socket.destroy(error as Error);
    this.unref();
    this.#port.close();
    this.#onDeviceError(error);
  }

  async #close(grace_ms: number): Promise<void> {
    stackClosed(this);
    const { engine, sockets } = this;
    for (const server of sockets.servers) server.close();
    for (const socket of sockets.dgrams.sockets) socket.close();
    for (const listener of engine.tcp.listeners) engine.unlisten(listener.id);
    for (const socket of sockets.sockets) {
      if (socket.connecting) socket.destroy();
      else socket.destroySoon();
    }
    for (const conn of engine.connections()) if (sockets.get(conn) === undefined) engine.close(conn);

    const end = performance.now() + grace_ms;
    while (engine.tcp.blocks.inUse > 0 && performance.now() < end) await sleep(DRAIN_CHECK_MS);

    for (const socket of sockets.sockets) socket.resetAndDestroy();
    for (const conn of engine.connections()) engine.abort(conn);
    // The handlers hear of it, and the resets leave.
    engine.breath(performance.now());
    this.unref();
    this.#runner.stop();
    this.#port.close();
  }
}

function openDevice({ device, limits, mtu, queues, offload, hostAddresses, addresses }: Settings): Port {
  if (typeof device !== 'string') return device;
  const settings = {
    ...{ offload, hostAddresses, addresses },
    ...(mtu !== undefined && { mtu }),
    ...(queues !== undefined && { queues }),
  };
  const arena = new Arena(arenaBytes(limits, portArenaBytes(device, settings)));
  return openPort(arena, device, settings);
}

function deafToRouters(name: string): StackOptionsError {
  return new StackOptionsError(
    'autoconfigure',
    `${name} leaves to the host what is sent to groups, as routers' advertisements are, and all addresses but those that it ` +
      'was given: take packet: instead, or give no addresses, and have the whole interface',
  );
}

/** Four words of a text. */
function wordsOf(text: string): Int32Array {
  const bytes = createHash('sha256').update(text).digest();
  return Int32Array.from({ length: 4 }, (_, i) => bytes.readInt32BE(4 * i));
}

/** What IP refuses is a field of the options. */
const FIELDS: Record<string, string> = {
  ERR_IP_ADDRESS: 'addresses',
  ERR_IP_LIMIT: 'addresses',
  ERR_IP_GATEWAY: 'gateway4 or gateway6',
  ERR_IP_ROUTE: 'gateway4 or gateway6',
};

function addInterface(engine: Engine, port: Port, options: Parameters<Engine['addInterface']>[1]): void {
  try {
    engine.addInterface(port, options);
  } catch (error) {
    if (!(error instanceof IpConfigError)) throw error;
    throw new StackOptionsError(FIELDS[error.code] ?? 'device', error.message, { cause: error });
  }
}

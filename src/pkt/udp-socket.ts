/** One UDP socket as a program of POSIX's has it. */
import { type DatagramHandlers, type DatagramOptions, Destination, type Sock } from '../engine/datagrams.ts';
import { EngineError } from '../engine/errors.ts';
import { UDP_CODES, UDP_LATER } from '../udp/reasons.ts';
import { Flow } from './flow.ts';
import type { Host } from './host.ts';
import type { Readiness } from './socket.ts';

export class UdpSocket {
  readonly version: 4 | 6;
  nonBlocking = false;
  references = 1;
  readonly options = new Map<string, number | string>();
  /** Counted for edge-triggered waiting. */
  arrivals = 0;
  rooms = 0;
  bound: { readonly address: string; readonly port: number } | null = null;
  /** How packets of this socket are known; null before any. */
  flow: Flow | null = null;
  readonly #host: Host;
  readonly #local: string;
  readonly #handlers: DatagramHandlers;
  /** Lengths of datagrams that came. */
  readonly #waiting: number[] = [];
  #sock: Sock = 0;
  #error: string | null = null;
  #connected = false;

  constructor(host: Host, version: 4 | 6, local: string) {
    this.#host = host;
    this.version = version;
    this.#local = local;
    this.#handlers = {
      message: (_sock, _at, length) => {
        this.#waiting.push(length);
        this.arrivals++;
      },
      error: (_sock, code) => {
        this.#error = code;
        this.arrivals++;
      },
    };
  }

  /** @returns an error's name, or null */
  bind(port: number): string | null {
    if (this.#sock !== 0) return 'EINVAL';
    const reuseAddress = this.options.get('SO_REUSEADDR') === 1;
    const errno = attempt(() => {
      this.#sock = this.#host.engine.datagrams.bind(
        { port, address: this.#local, reuseAddress },
        this.#handlers,
      );
    });
    if (errno !== null) return errno;
    this.bound = { address: this.#local, port: this.#host.engine.datagrams.local(this.#sock)?.port ?? port };
    this.applyOptions();
    return null;
  }

  connect(address: string, port: number): string | null {
    const errno =
      this.#ensure() ?? attempt(() => this.#host.engine.datagrams.connect(this.#sock, address, port));
    if (errno !== null) return errno;
    this.#connected = true;
    this.follow(address, port);
    return null;
  }

  disconnect(): void {
    this.#host.engine.datagrams.disconnect(this.#sock);
    this.#connected = false;
  }

  get connected(): boolean {
    return this.#connected;
  }

  #ensure(): string | null {
    return this.#sock === 0 ? this.bind(0) : null;
  }

  /** Packets to and from there are this socket's. */
  follow(remote: string, remotePort: number): void {
    const { version, bound } = this;
    if (bound === null) return;
    this.flow = new Flow({ version, local: this.#local, localPort: bound.port, remote, remotePort }, 'udp');
  }

  /** @returns an error's name; null when it is on its way; 'EAGAIN' when it can't go yet */
  send(bytes: number, to: { address: string; port: number } | null): string | null {
    const failed = this.takeError() ?? this.#ensure();
    if (failed !== null) return failed;
    if (to === null && !this.#connected) return 'EDESTADDRREQ';
    const destination = to === null ? undefined : new Destination(to.address, to.port);
    if (to !== null && this.flow === null) this.follow(to.address, to.port);
    const result = this.#host.engine.datagrams.write(this.#sock, new Uint8Array(bytes), destination);
    if (result === UDP_LATER) return 'EAGAIN';
    return result < 0 ? UDP_CODES[-result] : null;
  }

  /** The next datagram's length, or null. */
  get next(): number | null {
    return this.#waiting[0] ?? null;
  }

  take(): void {
    this.#waiting.shift();
  }

  takeError(): string | null {
    const error = this.#error;
    this.#error = null;
    return error;
  }

  readiness(): Readiness {
    return {
      readable: this.#waiting.length > 0 || this.#error !== null,
      writable: true,
      error: this.#error !== null,
      hangUp: false,
      readHangUp: false,
    };
  }

  applyOptions(): void {
    if (this.#sock === 0) return;
    const number = (name: string) => {
      const value = this.options.get(name);
      return value === undefined ? undefined : Number(value);
    };
    const options: { -readonly [K in keyof DatagramOptions]: DatagramOptions[K] } = {};
    const ttl = number('IP_TTL') ?? number('IPV6_UNICAST_HOPS');
    const tos = number('IP_TOS') ?? number('IPV6_TCLASS');
    if (ttl !== undefined && ttl > 0) options.ttl = ttl;
    if (tos !== undefined) options.tos = tos;
    if (this.options.has('SO_BROADCAST')) options.broadcast = number('SO_BROADCAST') !== 0;
    this.#host.engine.datagrams.setOptions(this.#sock, options);
  }

  close(): void {
    if (this.#sock !== 0) this.#host.engine.datagrams.close(this.#sock);
    this.#sock = 0;
  }
}

function attempt(action: () => void): string | null {
  try {
    action();
    return null;
  } catch (error) {
    if (error instanceof EngineError) return error.code === 'EHOSTUNREACH' ? 'ENETUNREACH' : error.code;
    throw error;
  }
}

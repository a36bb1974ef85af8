/** One `connect()` of a socket: looks its host up and tries the addresses in turn, as `node:net` does. */
import { lookup as dnsLookup, type LookupAddress, type LookupOptions } from 'node:dns';
import {
  getDefaultAutoSelectFamily,
  getDefaultAutoSelectFamilyAttemptTimeout,
  isIP,
  type LookupFunction,
} from 'node:net';
import { type ErrorTarget, systemError } from './errors.ts';

export interface DialOptions {
  readonly port: number;
  /** `localhost` unless told, which is no place that a stack can reach. */
  readonly host?: string | undefined;
  readonly localAddress?: string | undefined;
  readonly localPort?: number | undefined;
  /** 4 or 6; either when 0 or left out. */
  readonly family?: number | undefined;
  readonly hints?: number | undefined;
  /** `dns.lookup` unless told. */
  readonly lookup?: LookupFunction | undefined;
  /** Try all of a name's addresses (the default), or only the first. */
  readonly autoSelectFamily?: boolean | undefined;
  /** How long each but the last may take, ms. */
  readonly autoSelectFamilyAttemptTimeout?: number | undefined;
}

/** What a dial has its socket do. */
export interface Dialler {
  /** Begins an attempt. @throws EngineError, AddressError */
  attempt(address: string): void;
  /** Gives up the attempt under way. */
  abandon(): void;
  /** None came through. */
  fail(error: Error): void;
  emit(event: string, ...args: unknown[]): void;
}

export class Dial {
  readonly #options: DialOptions;
  readonly #dialler: Dialler;
  readonly #errors: Error[] = [];
  #addresses: LookupAddress[] = [];
  #next = 0;
  #timer: NodeJS.Timeout | undefined;
  #over = false;

  constructor(options: DialOptions, dialler: Dialler) {
    this.#options = options;
    this.#dialler = dialler;
    const host = options.host ?? 'localhost';
    const family = isIP(host);
    // Not before the caller has put its listeners on.
    if (family !== 0) process.nextTick(() => this.#tryAll([{ address: host, family }]));
    else this.#lookup(host);
  }

  /** The attempt under way is open. */
  succeeded(): void {
    this.cancel();
  }

  /** The attempt under way failed. @param code an errno's name */
  attemptFailed(code: string, cause?: unknown): void {
    clearTimeout(this.#timer);
    const { address, family } = this.#addresses[this.#next - 1];
    const { port } = this.#options;
    const error = systemError(
      code,
      'connect',
      this.#target(address),
      cause === undefined ? undefined : { cause },
    );
    this.#errors.push(error);
    if (this.#addresses.length > 1)
      this.#dialler.emit('connectionAttemptFailed', address, port, family, error);
    this.#tryNext();
  }

  /** Nothing comes of it any more. */
  cancel(): void {
    this.#over = true;
    clearTimeout(this.#timer);
  }

  #lookup(host: string): void {
    const { family = 0, hints = 0, localAddress, lookup = dnsLookup as LookupFunction } = this.#options;
    const several = this.#options.autoSelectFamily ?? getDefaultAutoSelectFamily();
    const options: LookupOptions = { family, hints };
    if (several && family !== 4 && family !== 6 && localAddress === undefined) options.all = true;
    lookup(host, options, (error, found, foundFamily) => {
      if (this.#over) return;
      const list = Array.isArray(found) ? found : [{ address: found, family: foundFamily ?? isIP(found) }];
      for (const { address, family } of error === null ? list : [{ address: undefined, family: undefined }]) {
        this.#dialler.emit('lookup', error, address, family, host);
      }
      // A lookup that answers at once must not fail before the caller has its listeners on either.
      if (error !== null) process.nextTick(() => this.#over || this.#dialler.fail(error));
      else process.nextTick(() => this.#tryAll(list));
    });
  }

  #tryAll(addresses: LookupAddress[]): void {
    this.#addresses = addresses;
    this.#tryNext();
  }

  #tryNext(): void {
    if (this.#over) return;
    if (this.#next === this.#addresses.length) {
      this.#over = true;
      this.#dialler.fail(this.#errors.length === 1 ? this.#errors[0] : aggregate(this.#errors));
      return;
    }
    const { address, family } = this.#addresses[this.#next++];
    const { port } = this.#options;
    this.#dialler.emit('connectionAttempt', address, port, family);
    if (this.#over) return;
    try {
      this.#dialler.attempt(address);
    } catch (error) {
      this.attemptFailed((error as NodeJS.ErrnoException).code ?? 'EINVAL', error);
      return;
    }
    if (this.#next < this.#addresses.length) this.#limitTime(address, family);
  }

  #limitTime(address: string, family: number): void {
    const { port, autoSelectFamilyAttemptTimeout } = this.#options;
    this.#timer = setTimeout(() => {
      this.#dialler.emit('connectionAttemptTimeout', address, port, family);
      this.#dialler.abandon();
      this.attemptFailed('ETIMEDOUT');
    }, autoSelectFamilyAttemptTimeout ?? getDefaultAutoSelectFamilyAttemptTimeout());
  }

  #target(address: string): ErrorTarget {
    const { port, localAddress, localPort } = this.#options;
    if (localAddress === undefined && localPort === undefined) return { address, port };
    return { address, port, local: `${localAddress ?? ''}:${localPort ?? 0}` };
  }
}

function aggregate(errors: Error[]): Error {
  return Object.assign(new AggregateError(errors), { code: (errors[0] as NodeJS.ErrnoException).code });
}

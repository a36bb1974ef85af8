/** Waits until one of several ports has received something, be they descriptors of the kernel's or in memory. */
import { Poller } from '../os/poll.ts';
import type { Port } from './port.ts';

/** `onArrival` of the ports without a descriptor is the waiter's while it is open. */
export class PortWaiter {
  readonly #poller: Poller;
  readonly #ports: readonly Port[];

  constructor(ports: readonly Port[]) {
    this.#ports = ports;
    this.#poller = new Poller(ports.flatMap((port) => port.fds));
    for (const port of ports) port.onArrival = () => this.#poller.wake();
  }

  /**
   * Until rxSync of one of the ports would bring something, `wake` is called, or `timeout_ms` is over; maybe earlier. It
   * holds the process, not the event loop. One at a time. An arrival before the call counts if no rxSync has seen it.
   */
  wait(timeout_ms: number): Promise<void> {
    return this.#poller.wait(timeout_ms);
  }

  wake(): void {
    this.#poller.wake();
  }

  /** To be called before the ports are closed. Idempotent. */
  close(): void {
    for (const port of this.#ports) port.onArrival = () => {};
    this.#poller.close();
  }
}

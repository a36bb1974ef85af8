/**
 * What a script's system is set to: the defaults of Linux or FreeBSD, changed by the script's shell lines, as this
 * stack's limits.
 */
import { TCP_LIMITS_DEFAULT, type TcpLimits } from '../tcp/tcp.ts';
import type { Dialect } from './symbols.ts';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** Linux's tcp_syn_linear_timeouts: SYNs that are sent again before tcp_syn_retries counts. */
export const SYN_LINEAR = 4;

export class Settings {
  readonly dialect: Dialect;
  readonly limits: Mutable<TcpLimits>;
  /** Buffers of a new socket, bytes. What they may grow to is in `limits`; the window scale is offered for that. */
  receiveBuffer: number;
  sendBuffer: number;
  /** Keep-alive of sockets that don't set their own, s. */
  keepIdle_s = 7200;
  keepInterval_s = 75;
  keepCount: number;
  /** FreeBSD: a handshake's time, ms. */
  keepInit_ms = 75_000;
  congestion = 'cubic';
  /** First congestion window, segments. */
  initialWindow = 10;
  /** Linux's bits of tcp_fastopen. */
  fastOpen = 1;
  /** Of Fast Open's cookies; see cookies.ts. */
  fastOpenKey = 'a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4';
  /** AccECN isn't agreed to, whatever the peer offers. */
  classicEcn = true;
  /** Linux's tcp_ecn_fallback: no more ECT where marks get mangled. */
  ecnFallback = true;
  /** Set by the script, and not to be had here: what, with the reason. */
  readonly missing: string[] = [];

  constructor(dialect: Dialect) {
    this.dialect = dialect;
    this.limits = { ...TCP_LIMITS_DEFAULT };
    if (dialect === 'linux') {
      // tcp_rmem, of which half is the program's (tcp_adv_win_scale), and tcp_wmem.
      this.receiveBuffer = 65_536;
      this.limits.receiveBufferMax = 6_291_456;
      this.sendBuffer = 65_536;
      this.limits.sendBufferMax = 4 << 20;
      this.limits.synRetries = 6 + SYN_LINEAR;
      this.keepCount = 9;
      this.limits.habits = 'linux';
    } else {
      // recvspace, sendspace and kern.ipc.maxsockbuf.
      this.receiveBuffer = 65_536;
      this.limits.receiveBufferMax = 2_097_152;
      this.sendBuffer = 32_768;
      this.limits.sendBufferMax = 2_097_152;
      this.keepCount = 8;
      this.limits.rtoMin_ms = 230;
      this.limits.timeWait_ms = 60_000;
      this.limits.habits = 'bsd';
      this.limits.delayedAck_ms = 40;
    }
  }

  /** The script wants what this stack doesn't have; it may pass without. */
  lack(what: string): void {
    if (!this.missing.includes(what)) this.missing.push(what);
  }
}

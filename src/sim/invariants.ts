/**
 * What must hold of an engine's connections after each breath, whatever the network does. The observer judges a host by
 * its segments; here its control blocks are read.
 */
import type { Engine } from '../engine/engine.ts';
import { FLAG, FLAG2, STATE, TCB } from '../tcp/block.ts';
import { inFlight } from '../tcp/records.ts';
import type { Flow } from './observer.ts';
import { type Rule, Violation } from './violation.ts';

/** RFC 1122 4.2.3.2: an ACK is late by less than this, ms. */
const ACK_DELAY_MAX = 500;
/** Segments that may go out beyond cwnd: limited transmit (RFC 3042), probes. */
const CWND_SLACK_SEGMENTS = 2;
/** What a pace may ask to wait at most: two segments at 2 kbit/s, us; or two round trips, of which a window takes one. */
const PAUSE_MAX_US = 10_000_000;
/** Clocks tick in ms where timestamps measure; us. */
const RTT_SLACK_US = 1100;
/** Clocks drift by less. */
const CLOCK_SLACK = 5e-4;

/**
 * @param pathRtt_us What no packet and its answer can be faster than.
 * @param sentNew Whether the connection has sent new data in this breath.
 * @param short Whether the engine has been short of chunks: then windows may stay behind.
 */
export function checkConnection(
  engine: Engine,
  t: number,
  flow: Flow,
  pathRtt_us: number,
  sentNew: boolean,
  short: boolean,
): void {
  const { tcp } = engine;
  const { m } = tcp;
  const state = m[t + TCB.STATE];
  if (state < STATE.SYN_SENT || state > STATE.LAST_ACK) return;
  const flags = m[t + TCB.FLAGS];
  const fail = (rule: Rule, message: string): never => {
    throw new Violation(rule, flow.name, message);
  };
  const timed = (flags & (FLAG.RTX | FLAG.PERSIST)) !== 0 && dueBy(engine, t, m[t + TCB.RTX_AT]);
  if (state === STATE.SYN_SENT || state === STATE.SYN_RECEIVED) {
    if (!timed && (flags & FLAG.LISTED) === 0) fail('no-timer', 'its SYN is out and no timer runs');
    return;
  }
  const una = m[t + TCB.SND_UNA];
  const nxt = m[t + TCB.SND_NXT];
  const outstanding = (nxt - una) | 0;

  if (((una - flow.peerAcked) | 0) > 0)
    fail('una-beyond-acked', `SND.UNA is ${(una - flow.peerAcked) | 0} B beyond what the peer acknowledged`);

  if (outstanding !== 0 && !timed)
    fail('no-timer', `${outstanding} sequence numbers are out and no timer runs`);
  const unsent = m[t + TCB.SNDQ_LENGTH] - outstanding;
  const paced = (m[t + TCB.FLAGS2] & FLAG2.PACE_WAIT) !== 0;
  if (outstanding === 0 && unsent > 0 && (flags & FLAG.LISTED) === 0 && !timed && !paced)
    fail('no-timer', `${unsent} B wait, window ${m[t + TCB.SND_WND]}, and no timer runs`);
  const pause = (m[t + TCB.PACE_AT] - tcp.nowUs) | 0;
  if (paced && pause > Math.max(PAUSE_MAX_US, 2 * (m[t + TCB.SRTT] >> 3)))
    fail('no-timer', `${unsent} B wait for ${pause / 1e6} s, so that the pace is kept`);

  if (m[t + TCB.RCV_NXT] !== m[t + TCB.LAST_ACK] && (flags & FLAG.LISTED) === 0) {
    const delay = (m[t + TCB.DELACK_AT] - tcp.nowMs) | 0;
    if ((flags & FLAG.DELACK) === 0 || delay > ACK_DELAY_MAX || !dueBy(engine, t, m[t + TCB.DELACK_AT])) {
      const bytes = (m[t + TCB.RCV_NXT] - m[t + TCB.LAST_ACK]) | 0;
      fail('ack-overdue', `${bytes} B received are not acknowledged, and no timer sees to it in time`);
    }
  }

  // An ACK that is due soon will tell.
  if (!short && (flags & (FLAG.FIN_RECEIVED | FLAG.LISTED | FLAG.DELACK)) === 0) {
    const told = (m[t + TCB.RCV_ADV] - m[t + TCB.RCV_NXT]) | 0;
    const half = m[t + TCB.RCV_BUF] >> 1;
    const space = m[t + TCB.RCV_BUF] - m[t + TCB.RCVQ_LENGTH];
    if (told < Math.min(half, m[t + TCB.MSS]) && space - told >= Math.max(half, 2 * m[t + TCB.MSS]))
      fail('no-window-update', `the peer knows of ${told} B of window, and ${space} B are free`);
  }

  // A probe of the tail may leave in any case (RFC 8985 7.3), F-RTO's new data too (RFC 5682 2.1), and FIN takes no room.
  // Records that merge for want of room count what is lost or SACKed as in flight again.
  const probing = (m[t + TCB.FLAGS2] & FLAG2.TLP) !== 0;
  const vague = (flags & FLAG.RECOVERY) !== 0 && tcp.counters.recordsExhausted > 0;
  if (sentNew && !probing && !vague && (flags & (FLAG.LOSS | FLAG.FIN_SENT)) === 0) {
    const pipe = inFlight(tcp, t);
    const most = m[t + TCB.CWND] + CWND_SLACK_SEGMENTS * m[t + TCB.MSS];
    if (pipe > most) fail('beyond-cwnd', `${pipe} B in flight, and cwnd is ${m[t + TCB.CWND]}`);
  }

  const least = m[t + TCB.MIN_RTT];
  if (!flow.revived && least !== 0 && least < pathRtt_us - RTT_SLACK_US)
    fail('rtt', `an RTT of ${least} us on a path that takes ${pathRtt_us}`);
}

/**
 * A smoothed RTT moves only towards what could be measured; a segment that was sent twice measures nothing (Karn).
 * @param before, now_us Before and after, us.
 */
export function checkRtt(flow: Flow, before_us: number, now_us: number): void {
  const { min_us, max_us } = flow.sendings;
  flow.sendings.forget();
  if (now_us === before_us) return;
  const slack = RTT_SLACK_US + Math.max(0, max_us) * CLOCK_SLACK;
  const low = before_us === 0 ? min_us - slack : Math.min(before_us, min_us - slack);
  const high = Math.max(before_us, max_us + slack);
  if (now_us >= low && now_us <= high) return;
  const could =
    max_us < min_us ? 'nothing could be measured' : `${min_us | 0} to ${max_us | 0} us could be measured`;
  throw new Violation(
    'rtt',
    flow.name,
    `the smoothed RTT went from ${before_us} to ${now_us} us, and ${could}`,
  );
}

/** Whether the block's entry in the wheel comes no later than a deadline. */
function dueBy(engine: Engine, t: number, deadline: number): boolean {
  const { tcp } = engine;
  return tcp.wheel.isArmed(t) && ((tcp.m[t + TCB.T_AT] - deadline) | 0) <= 0;
}

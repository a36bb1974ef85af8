/**
 * For tests: congestion control alone. Flows with an ideal loss recovery (each segment is known lost when three sent
 * after it have arrived, as QUIC does, or after a timeout) share one link with a rate, a delay, a drop-tail queue and
 * random loss. The control blocks are real; segments are numbers. Virtual time in us, so minutes take seconds.
 */
import { Ip } from '../../ip/ip.ts';
import { Arena } from '../../memory/arena.ts';
import { Prng } from '../../memory/prng.ts';
import { FLAG, FLAG2, STATE, TCB } from '../block.ts';
import { TCP_LIMITS_DEFAULT, Tcp } from '../tcp.ts';
import { rttSample } from '../timers.ts';
import {
  type CongestionControl,
  congestionAcked,
  congestionChoose,
  congestionLoss,
  congestionSampled,
  congestionTimeout,
} from './control.ts';
import { paceAllowance, paceSpend, UNPACED } from './pacing.ts';
import { congestionRound } from './validation.ts';

export const MSS = 1448;
/** What a segment takes on the link, bytes. */
export const WIRE = MSS + 66 + 24;
const REORDER = 3;

export interface PathOptions {
  readonly mbps: number;
  readonly rtt_ms: number;
  /** Drop-tail queue, in bandwidth-delay products; 1 unless told. */
  readonly queue?: number;
  /** Probability that a segment is lost beyond what the queue drops. */
  readonly loss?: number;
  /**
   * Up to so many segments' time is added to each ACK. Flows that share a queue need it: else all drops may befall the
   * same one (Floyd's phase effects).
   */
  readonly noise?: number;
  readonly seed?: number;
  readonly congestions?: readonly CongestionControl[];
}

/** A segment in flight, with the rate sampler's snapshot (draft-ietf-ccwg-bbr 4.1.2.2). */
class Sent {
  /** -1: free, or dealt with. */
  id = -1;
  at = 0;
  delivered = 0;
  deliveredAt = 0;
  firstSentAt = 0;
  inFlight = 0;
  lostBefore = 0;
  limited = false;
}

/** More than any flow has in flight. */
const RING = 1 << 16;

export class Path {
  readonly tcp: Tcp;
  readonly flows: Flow[] = [];
  readonly prng: Prng;
  queueMax: number;
  bytesPerUs: number;
  readonly #queue: number;
  readonly #noise: number;
  readonly oneWay_us: number;
  loss: number;
  /** More delay, us. */
  extra_us = 0;
  now = 1000;
  /** When the link is free again: the queue is what it has until then. */
  #freeAt = 0;
  queuePeak = 0;
  drops = 0;
  /** ACKs under way, in order: when each is due, whose it is, and of which segment. */
  readonly #due = new Float64Array(RING);
  readonly #whose = new Uint8Array(RING);
  readonly #which = new Float64Array(RING);
  #head = 0;
  #tail = 0;
  #lastDue = 0;

  constructor(options: PathOptions) {
    const { mbps, rtt_ms, queue = 1, loss = 0, noise = 0, seed = 1, congestions = [] } = options;
    const arena = new Arena(8 << 20);
    const ip = new Ip(arena, { seed });
    const limits = { ...TCP_LIMITS_DEFAULT, connections: 8, miniBlocks: 8, chunks: 8 };
    this.tcp = new Tcp(arena, ip, limits, Int32Array.of(1, 2, 3, 4), 1, congestions);
    this.prng = new Prng(seed);
    this.oneWay_us = (rtt_ms * 1000) / 2;
    this.#queue = queue;
    this.#noise = noise;
    this.bytesPerUs = mbps / 8;
    this.queueMax = this.#queueBytes();
    this.loss = loss;
    this.#clock();
  }

  add(congestion: string, pacing = false): Flow {
    const flow = new Flow(this, this.flows.length, congestion, pacing);
    this.flows.push(flow);
    return flow;
  }

  /** Bytes in the queue, the segment that is being sent included. */
  get queued(): number {
    return this.#freeAt > this.now ? (this.#freeAt - this.now) * this.bytesPerUs : 0;
  }

  /** A segment enters the link. */
  transmit(flow: Flow, id: number): void {
    if (this.queued + WIRE > this.queueMax + WIRE) {
      this.drops++;
      return;
    }
    this.#freeAt = Math.max(this.#freeAt, this.now) + WIRE / this.bytesPerUs;
    if (this.queued > this.queuePeak) this.queuePeak = this.queued;
    if (this.loss > 0 && this.prng.bool(this.loss)) return;
    const slot = this.#tail++ & (RING - 1);
    if (this.#tail - this.#head > RING) throw new Error('more under way than the test path holds');
    const noise = ((this.prng.below(1024) / 1024) * this.#noise * WIRE) / this.bytesPerUs;
    const due = this.#freeAt + 2 * this.oneWay_us + this.extra_us + noise;
    this.#lastDue = Math.max(this.#lastDue, due);
    this.#due[slot] = this.#lastDue;
    this.#whose[slot] = flow.index;
    this.#which[slot] = id;
  }

  run(ms: number): void {
    const end = this.now + ms * 1000;
    for (const flow of this.flows) flow.output();
    for (;;) {
      let next = end;
      if (this.#head < this.#tail) next = Math.min(next, this.#due[this.#head & (RING - 1)]);
      for (const flow of this.flows) next = Math.min(next, flow.wakeAt);
      this.now = Math.max(this.now, next);
      this.#clock();
      if (this.now >= end) return;
      while (this.#head < this.#tail && this.#due[this.#head & (RING - 1)] <= this.now) {
        const slot = this.#head++ & (RING - 1);
        this.flows[this.#whose[slot]].arrived(this.#which[slot]);
      }
      for (const flow of this.flows) flow.output();
    }
  }

  /** The queue is as long in time as it was. */
  setRate(mbps: number): void {
    const { queued } = this;
    this.bytesPerUs = mbps / 8;
    this.queueMax = this.#queueBytes();
    this.#freeAt = this.now + queued / this.bytesPerUs;
  }

  #queueBytes(): number {
    return this.#queue * this.bytesPerUs * 2 * this.oneWay_us;
  }

  #clock(): void {
    this.tcp.nowUs = Math.floor(this.now) | 0;
    this.tcp.nowMs = Math.floor(this.now / 1000) | 0;
    this.tcp.ip.now_ms = this.tcp.nowMs;
  }
}

export class Flow {
  readonly path: Path;
  readonly index: number;
  readonly t: number;
  /** Segments that the program has to send; without end unless told. */
  backlog = Number.POSITIVE_INFINITY;
  delivered = 0;
  lost = 0;
  losses = 0;
  /** The module is told of round-trip times. */
  timed = true;
  readonly #ring = Array.from({ length: RING }, () => new Sent());
  /** Nothing below is in flight. */
  #oldest = 0;
  #inFlight = 0;
  #next = 0;
  #highest = -1;
  #deliveredAt: number;
  #firstSentAt: number;
  #limitedUntil = 0;
  /** Recovery ends when this id was dealt with. */
  #recover = -1;
  #roundEnd = 0;
  #rtoAt = Number.POSITIVE_INFINITY;
  #paceAt = Number.POSITIVE_INFINITY;
  /** Set to be called after each ACK. */
  onAck: () => void = () => {};

  constructor(path: Path, index: number, congestion: string, pacing: boolean) {
    const { tcp } = path;
    const { m } = tcp;
    this.path = path;
    this.index = index;
    this.t = tcp.blocks.take();
    m[this.t + TCB.FLAGS] = FLAG.SACK;
    m[this.t + TCB.STATE] = STATE.ESTABLISHED;
    m[this.t + TCB.MSS] = MSS;
    m[this.t + TCB.SND_AT] = tcp.nowMs;
    congestionChoose(tcp, this.t, { module: tcp.congestionIndex(congestion), pacing, startWindow: 0 });
    this.#deliveredAt = path.now;
    this.#firstSentAt = path.now;
  }

  get cwnd(): number {
    return this.path.tcp.m[this.t + TCB.CWND];
  }

  get ssthresh(): number {
    return this.path.tcp.m[this.t + TCB.SSTHRESH];
  }

  get wakeAt(): number {
    return Math.min(this.#paceAt, this.#rtoAt);
  }

  get recovering(): boolean {
    return (this.path.tcp.m[this.t + TCB.FLAGS] & (FLAG.RECOVERY | FLAG.LOSS)) !== 0;
  }

  output(): void {
    const { path, t } = this;
    const { tcp } = path;
    const { m } = tcp;
    if (path.now >= this.#rtoAt) this.#timeout();
    this.#paceAt = Number.POSITIVE_INFINITY;
    m[t + TCB.SNDQ_LENGTH] = this.backlog > 0 ? MSS : 0;
    let allowance = (m[t + TCB.FLAGS2] & FLAG2.PACED) === 0 ? UNPACED : paceAllowance(tcp, t);
    while (this.backlog > 0) {
      if (allowance <= 0) {
        this.#paceAt = path.now + Math.max(1, (m[t + TCB.PACE_AT] - tcp.nowUs) | 0);
        return;
      }
      if (this.#inFlight + MSS > m[t + TCB.CWND]) {
        m[t + TCB.LIMITED] = m[t + TCB.SND_NXT];
        return;
      }
      this.#send();
      allowance = paceSpend(tcp, t, allowance, MSS);
    }
    // Out of data while there was room (draft-ietf-ccwg-bbr 4.1.2.4).
    this.#limitedUntil = Math.max(1, this.delivered + this.#inFlight);
  }

  #send(): void {
    const { path, t } = this;
    const { m } = path.tcp;
    if (this.#inFlight === 0) this.#firstSentAt = this.#deliveredAt = path.now;
    this.#inFlight += MSS;
    this.backlog--;
    const sent = this.#ring[this.#next & (RING - 1)];
    if (sent.id >= 0) throw new Error('more in flight than the test flow holds');
    sent.id = this.#next;
    sent.at = path.now;
    sent.delivered = this.delivered;
    sent.deliveredAt = this.#deliveredAt;
    sent.firstSentAt = this.#firstSentAt;
    sent.inFlight = this.#inFlight;
    sent.lostBefore = this.lost;
    sent.limited = this.#limitedUntil !== 0;
    path.transmit(this, this.#next++);
    // Sequence numbers: SND.NXT - SND.UNA is what is in flight, which is all that the modules look at.
    m[t + TCB.SND_NXT] = (m[t + TCB.SND_NXT] + MSS) | 0;
    m[t + TCB.SND_AT] = path.tcp.nowMs;
    if (this.#rtoAt === Number.POSITIVE_INFINITY) this.#armRto();
  }

  #armRto(): void {
    const { m } = this.path.tcp;
    const rto = m[this.t + TCB.SRTT] === 0 ? 1e6 : (m[this.t + TCB.SRTT] >> 3) + m[this.t + TCB.RTTVAR];
    this.#rtoAt = this.#inFlight === 0 ? Number.POSITIVE_INFINITY : this.path.now + Math.max(200_000, rto);
  }

  #timeout(): void {
    const { path, t } = this;
    const { m } = path.tcp;
    congestionTimeout(path.tcp, t);
    this.#loseBefore(this.#next);
    m[t + TCB.FLAGS] = (m[t + TCB.FLAGS] & ~FLAG.RECOVERY) | FLAG.LOSS;
    this.#recover = this.#next - 1;
    this.#armRto();
  }

  /** Segments before `end` that did not arrive are lost, and will be sent anew. @returns bytes */
  #loseBefore(end: number): number {
    const { m } = this.path.tcp;
    const before = this.lost;
    for (; this.#oldest < end; this.#oldest++) {
      const sent = this.#ring[this.#oldest & (RING - 1)];
      if (sent.id !== this.#oldest) continue;
      sent.id = -1;
      this.#inFlight -= MSS;
      this.lost += MSS;
      this.losses++;
      this.backlog++;
      m[this.t + TCB.SND_UNA] = (m[this.t + TCB.SND_UNA] + MSS) | 0;
    }
    return this.lost - before;
  }

  /** The ACK of one segment. */
  arrived(id: number): void {
    const sent = this.#ring[id & (RING - 1)];
    // Thought lost already.
    if (sent.id !== id) return;
    const { path, t } = this;
    const { tcp } = path;
    const { m } = tcp;
    const s = tcp.sample;
    const priorInFlight = this.#inFlight;
    const limited = ((m[t + TCB.LIMITED] - m[t + TCB.SND_UNA]) | 0) >= 0;
    sent.id = -1;
    this.#inFlight -= MSS;
    this.delivered += MSS;
    this.#deliveredAt = path.now;
    m[t + TCB.SND_UNA] = (m[t + TCB.SND_UNA] + MSS) | 0;
    if (this.#limitedUntil !== 0 && this.delivered > this.#limitedUntil) this.#limitedUntil = 0;
    const rtt = Math.max(1, Math.floor(path.now - sent.at));
    rttSample(m, t, rtt);
    s.rtt_us = this.timed ? rtt : -1;
    if (id > this.#highest) this.#highest = id;
    if (id >= this.#roundEnd) {
      this.#roundEnd = this.#next;
      congestionRound(tcp, t);
    }

    s.acked = MSS;
    s.sacked = 0;
    s.lost = 0;
    s.lostTxInFlight = 0;
    const end = this.#highest - REORDER + 1;
    let newest: Sent | null = null;
    for (let i = this.#oldest; i < end; i++) {
      const other = this.#ring[i & (RING - 1)];
      if (other.id === i) newest = other;
    }
    if (newest !== null && !this.recovering) {
      congestionLoss(tcp, t);
      m[t + TCB.FLAGS] |= FLAG.RECOVERY;
      this.#recover = this.#next - 1;
    }
    const loss = newest;
    s.lost = this.#loseBefore(end);
    if (loss !== null) {
      s.lostTxInFlight = loss.inFlight;
      s.lostLostSince = this.lost - loss.lostBefore;
    }
    if (this.recovering && this.#oldest > this.#recover) m[t + TCB.FLAGS] &= ~(FLAG.RECOVERY | FLAG.LOSS);

    const sendElapsed = sent.at - sent.firstSentAt;
    const ackElapsed = path.now - sent.deliveredAt;
    this.#firstSentAt = sent.at;
    const interval = Math.floor(Math.max(sendElapsed, ackElapsed));
    s.priorDelivered = sent.delivered | 0;
    s.delivered = this.delivered - sent.delivered;
    s.interval_us = interval >= m[t + TCB.MIN_RTT] ? interval : 0;
    s.txInFlight = sent.inFlight;
    s.lostSince = this.lost - sent.lostBefore;
    s.appLimited = sent.limited;
    s.priorInFlight = priorInFlight;
    s.inFlight = this.#inFlight;
    const { FLAGS } = TCB;
    if ((m[t + FLAGS] & FLAG.RECOVERY) === 0 && ((m[t + FLAGS] & FLAG.LOSS) !== 0 || limited))
      congestionAcked(tcp, t, MSS);
    if ((m[t + TCB.FLAGS2] & FLAG2.SAMPLED) !== 0) congestionSampled(tcp, t);
    this.#armRto();
    this.onAck();
  }
}

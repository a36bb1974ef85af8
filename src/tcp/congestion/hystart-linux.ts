/**
 * HyStart as Linux has it, which came before HyStart++: slow start ends for good once a round trip's RTTs are longer than
 * the shortest ever, or its ACKs come one upon another for half of that. CUBIC's with `limits.habits: 'linux'`.
 */
import { TCB } from '../block.ts';
import type { Tcp } from '../tcp.ts';
import { slowStart } from './control.ts';
import { delayThreshold, hystartEnd, RTT_SAMPLES } from './hystart.ts';

const { CWND, SSTHRESH, SND_UNA, SND_NXT, MSS, CC_WORDS } = TCB;

/** Smallest RTT of this round and of all, us; 0: none. */
const CURRENT = CC_WORDS;
const LEAST = CC_WORDS + 1;
const SAMPLES = CC_WORDS + 2;
/** The round ends when this is acknowledged, as in HyStart++. */
const WINDOW_END = CC_WORDS + 3;
/** When this round began and when its last ACK came that followed closely, us. */
const ROUND_START = CC_WORDS + 4;
const LAST_ACK_AT = CC_WORDS + 5;

/** No smaller window is looked at, segments. */
const WINDOW_MIN = 16;
/** ACKs follow closely, and pacing delays at most, us. */
const ACK_DELTA = 2000;
const ACK_DELAY = 1000;

export function linuxHystartAcked(tcp: Tcp, t: number, acked: number): void {
  const m = tcp.m;
  const rtt = tcp.sample.rtt_us;
  const now = tcp.nowUs;
  if (((m[t + SND_UNA] - m[t + WINDOW_END]) | 0) > 0) {
    m[t + WINDOW_END] = m[t + SND_NXT];
    m[t + CURRENT] = 0;
    m[t + SAMPLES] = 0;
    m[t + ROUND_START] = m[t + LAST_ACK_AT] = now;
  }
  if (rtt > 0) {
    if (m[t + LEAST] === 0 || rtt < m[t + LEAST]) m[t + LEAST] = rtt;
    if (m[t + CWND] >= WINDOW_MIN * m[t + MSS] && found(m, t, rtt, now)) {
      tcp.counters.hystartExits++;
      m[t + SSTHRESH] = m[t + CWND];
      hystartEnd(m, t);
      return;
    }
  }
  slowStart(tcp, t, acked, 1);
}

function found(m: Int32Array, t: number, rtt: number, now: number): boolean {
  const least = m[t + LEAST];
  if (((now - m[t + LAST_ACK_AT]) | 0) <= ACK_DELTA) {
    m[t + LAST_ACK_AT] = now;
    if (((now - m[t + ROUND_START]) | 0) > (least + ACK_DELAY) >> 1) return true;
  }
  if (m[t + CURRENT] === 0 || rtt < m[t + CURRENT]) m[t + CURRENT] = rtt;
  if (m[t + SAMPLES] < RTT_SAMPLES) {
    m[t + SAMPLES]++;
    return false;
  }
  return m[t + CURRENT] > least + delayThreshold(least);
}

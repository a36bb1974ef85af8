/** Reno (RFC 5681): slow start, one segment per round trip, half on loss; 0.8 on ECN's word (RFC 8511). */
import { TCB } from '../block.ts';
import type { Tcp } from '../tcp.ts';
import { atLeastTwoSegments, type CongestionControl, grow, slowStart } from './control.ts';
import { hystartAcked, hystartBegin, hystartEnd, inFirstSlowStart } from './hystart.ts';

const { CWND, SSTHRESH, MSS, CC_WORDS } = TCB;
const BETA_ECN = 0.8;
/** Bytes acknowledged towards the next increase. */
const COUNTED = CC_WORDS;

/** @param window What to go on with. */
function reduced(tcp: Tcp, t: number, window: number): number {
  hystartEnd(tcp.m, t);
  return atLeastTwoSegments(tcp.m, t, window | 0);
}

export const reno: CongestionControl = {
  name: 'reno',

  start(tcp, t) {
    if (inFirstSlowStart(tcp.m, t)) hystartBegin(tcp.m, t);
  },

  acked(tcp, t, acked) {
    const m = tcp.m;
    if (inFirstSlowStart(m, t)) {
      hystartAcked(tcp, t, acked);
      return;
    }
    if (m[t + CWND] < m[t + SSTHRESH]) {
      slowStart(tcp, t, acked, 1);
      return;
    }
    const counted = m[t + COUNTED] + acked;
    if (counted < m[t + CWND]) {
      m[t + COUNTED] = counted;
      return;
    }
    m[t + COUNTED] = counted - m[t + CWND];
    grow(m, t, m[t + MSS]);
  },

  lost(tcp, t, flight) {
    return reduced(tcp, t, flight / 2);
  },

  timedOut(tcp, t, flight) {
    return reduced(tcp, t, flight / 2);
  },

  marked(tcp, t, flight) {
    return reduced(tcp, t, flight * BETA_ECN);
  },

  undone(tcp, t) {
    if (inFirstSlowStart(tcp.m, t)) hystartBegin(tcp.m, t);
  },
};

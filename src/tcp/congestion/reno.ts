/** Reno (RFC 5681): slow start, one segment per round trip, half on loss. */
import { TCB } from '../block.ts';
import { atLeastTwoSegments, type CongestionControl, slowStart } from './control.ts';

const { CWND, SSTHRESH, MSS, CC_WORDS } = TCB;
/** Bytes acknowledged towards the next increase. */
const COUNTED = CC_WORDS;

export const reno: CongestionControl = {
  name: 'reno',

  acked(tcp, t, acked) {
    const m = tcp.m;
    if (m[t + CWND] < m[t + SSTHRESH]) {
      slowStart(m, t, acked);
      return;
    }
    const counted = m[t + COUNTED] + acked;
    if (counted < m[t + CWND]) {
      m[t + COUNTED] = counted;
      return;
    }
    m[t + COUNTED] = counted - m[t + CWND];
    m[t + CWND] += m[t + MSS];
  },

  lost(tcp, t, flight) {
    tcp.m[t + COUNTED] = 0;
    return atLeastTwoSegments(tcp.m, t, flight >> 1);
  },

  timedOut(tcp, t, flight) {
    tcp.m[t + COUNTED] = 0;
    return atLeastTwoSegments(tcp.m, t, flight >> 1);
  },
};

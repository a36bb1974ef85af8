/** After TCP Vegas (Brakmo and Peterson, 1995): keeps two to four segments of its own in the bottleneck's queue. */
import { type CongestionControl, TCB } from '../../src/index.ts';

const { CWND, SSTHRESH, MSS, SND_UNA, SND_NXT, SRTT, MIN_RTT, CC_WORDS } = TCB;

/** The round trip ends when this is acknowledged. */
const ROUND_END = CC_WORDS;
/** Segments. */
const FEW = 2;
const MANY = 4;

export const vegas: CongestionControl = {
  name: 'vegas',

  start(tcp, t) {
    tcp.m[t + ROUND_END] = tcp.m[t + SND_NXT];
  },

  acked(tcp, t, acked) {
    const m = tcp.m;
    const slowStart = m[t + CWND] < m[t + SSTHRESH];
    if (slowStart) m[t + CWND] += acked;
    // The rest is decided once a round trip.
    if (((m[t + SND_UNA] - m[t + ROUND_END]) | 0) < 0) return;
    m[t + ROUND_END] = m[t + SND_NXT];
    const rtt = tcp.sample.rtt_us > 0 ? tcp.sample.rtt_us : m[t + SRTT] >> 3;
    // What the window holds beyond a round trip at the shortest delay stands in a queue.
    const queued = (m[t + CWND] * (1 - m[t + MIN_RTT] / rtt)) / m[t + MSS];
    if (slowStart) {
      if (queued > MANY) m[t + SSTHRESH] = m[t + CWND] = (m[t + CWND] * m[t + MIN_RTT]) / rtt;
    } else if (queued < FEW) m[t + CWND] += m[t + MSS];
    else if (queued > MANY && m[t + CWND] > 2 * m[t + MSS]) m[t + CWND] -= m[t + MSS];
  },

  lost(tcp, t, flight) {
    return Math.max(flight >> 1, 2 * tcp.m[t + MSS]);
  },

  timedOut(tcp, t, flight) {
    return Math.max(flight >> 1, 2 * tcp.m[t + MSS]);
  },
};

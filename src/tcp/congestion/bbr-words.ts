/**
 * What BBR remembers of a connection. Names are the draft's. Volumes are bytes, rates pacing.ts's (bytes per 16 ms), RTTs
 * us; moments are ms where they matter after seconds, so that none wraps while a program sleeps.
 */
import { TCB } from '../block.ts';

const { CC_WORDS } = TCB;

/** A volume or rate without bound. */
export const INFINITE = 0x7fffffff;

/** Words of the block. */
export const BBR = {
  /** See BIT. */
  BITS: CC_WORDS,
  BW: CC_WORDS + 1,
  /** The maximum of this ProbeBW cycle and of the one before: BIT.CYCLE says which is which. */
  MAX_BW_0: CC_WORDS + 2,
  MAX_BW_1: CC_WORDS + 3,
  /** us; 0: none yet. */
  MIN_RTT: CC_WORDS + 4,
  /** C.delivered as of the last ACK that delivered anything; with BIT.KNOWN. */
  DELIVERED: CC_WORDS + 5,
  NEXT_ROUND_DELIVERED: CC_WORDS + 6,
  ROUND_COUNT: CC_WORDS + 7,
} as const;

/** Words of the cold block's CC_WORDS. */
export const BBR_COLD = {
  BW_SHORTTERM: 0,
  BW_LATEST: 1,
  INFLIGHT_LATEST: 2,
  INFLIGHT_LONGTERM: 3,
  INFLIGHT_SHORTTERM: 4,
  MIN_RTT_STAMP: 5, // ms
  PROBE_RTT_MIN_DELAY: 6,
  PROBE_RTT_MIN_STAMP: 7, // ms
  PROBE_RTT_DONE_STAMP: 8, // ms, with BIT.PROBE_RTT_DRAINED
  PRIOR_CWND: 9,
  FULL_BW: 10,
  ROUNDS_SINCE_PROBE_UP: 11,
  LOSS_ROUND_DELIVERED: 12,
  CYCLE_STAMP: 13, // ms
  BW_PROBE_WAIT: 14, // ms
  BW_PROBE_UP_ACKED: 15,
  BW_PROBE_UP_ROUNDS: 16,
  PROBE_UP_ACKED_PER_INC: 17,
  EXTRA_ACKED_START: 18, // us
  EXTRA_ACKED_DELIVERED: 19,
  EXTRA_ACKED_0: 20,
  EXTRA_ACKED_1: 21,
  EXTRA_ACKED_ROUNDS: 22,
  DRAIN_START_ROUND: 23,
  UNDO_BW_SHORTTERM: 24,
  UNDO_INFLIGHT_SHORTTERM: 25,
  UNDO_INFLIGHT_LONGTERM: 26,
  /** Samples of segments sent before C.delivered was more than this say what ProbeRTT allowed; with BIT.LIMITED. */
  LIMITED_UNTIL: 27,
} as const;

/** Bits 0-2 of BITS. */
export const BBR_STATE = {
  STARTUP: 0,
  DRAIN: 1,
  PROBE_DOWN: 2,
  PROBE_CRUISE: 3,
  PROBE_REFILL: 4,
  PROBE_UP: 5,
  PROBE_RTT: 6,
} as const;
export const STATE_MASK = 7;

/** Bits 3-5: what the ACKs that come now tell of. */
export const ACKS = {
  INIT: 0 << 3,
  REFILLING: 1 << 3,
  PROBE_STARTING: 2 << 3,
  PROBE_FEEDBACK: 3 << 3,
  PROBE_STOPPING: 4 << 3,
} as const;
export const ACKS_MASK = 7 << 3;

export const BIT = {
  FULL_BW_REACHED: 1 << 6,
  FULL_BW_NOW: 1 << 7,
  /** Bits 8 and 9: full_bw_count. */
  FULL_BW_COUNT_ONE: 1 << 8,
  FULL_BW_COUNT_MASK: 3 << 8,
  IDLE_RESTART: 1 << 10,
  BW_PROBE_SAMPLE: 1 << 11,
  PREV_PROBE_TOO_HIGH: 1 << 12,
  PREV_PROBE_PRECAUTIONARY: 1 << 13,
  LOSS_IN_ROUND: 1 << 14,
  PROBE_RTT_EXPIRED: 1 << 15,
  PROBE_RTT_ROUND_DONE: 1 << 16,
  PROBE_RTT_DRAINED: 1 << 17,
  /** In loss recovery at the last ACK. */
  RECOVERING: 1 << 18,
  /** Left because of a loss that may prove spurious. */
  UNDO_STARTUP: 1 << 19,
  UNDO_PROBE_UP: 1 << 20,
  RTT_SEEN: 1 << 21,
  KNOWN: 1 << 22,
  LIMITED: 1 << 23,
  ROUND_START: 1 << 24,
  LOSS_ROUND_START: 1 << 25,
  CYCLE: 1 << 26,
  /** Which EXTRA_ACKED is this window's. */
  EXTRA: 1 << 27,
  /** Bits 28 to 30: ACKs of this round that told of loss, up to 7. */
  LOSS_EVENTS_ONE: 1 << 28,
  LOSS_EVENTS_MASK: 7 << 28,
} as const;

import { QUEUE_LENGTH } from '../memory/byte-queue.ts';

/**
 * The control block (RFC 9293 3.3.1's TCB): int32 words of the arena, named by the word index `t` of word 0.
 *
 *      t-16 ┌──────────────────────────┐
 *           │ rare: links, IPv6 addrs  │ ┐
 *      t    ├──────────────────────────┤ ├ a mini block (128 B): half-open, or in TIME-WAIT
 *           │ line 0: key, in-order rx │ ┘
 *      t+16 ├──────────────────────────┤
 *           │ line 1: sending          │
 *      t+32 ├──────────────────────────┤
 *           │ lines 2 and 3: program   │
 *           │ lines 4 and 5: cold      │
 *      t+96 └──────────────────────────┘   a full block: 448 B
 *
 * An in-order segment and its ACK touch the rare line and lines 0 to 3, in ascending rarity. Sequence numbers, times
 * and addresses are int32 and compared by difference. Byte queues and deadlines are as in memory/byte-queue.ts and memory/timer-wheel.ts.
 *
 * Hot files take local constants out of the object (`const { SND_UNA } = TCB;`): V8 folds those, while an
 * imported binding costs a load at each use (6.6 against 16.5 ns for a function with 24 offsets).
 */
export const TCB = {
  // --- rare, common to full and mini blocks
  /** Timer wheel links. */
  T_NEXT: -16,
  T_PREV: -15,
  /** Flow hash, for removal from the table. */
  HASH: -14,
  /** Index into the interfaces. */
  IFACE: -13,
  /** Neighbour reference of the next hop, see ip/neighbours.ts; 0: to be resolved. */
  NEIGHBOUR: -12,
  /** Added to the clock for the timestamps we send (RFC 7323 5.4). */
  TS_OFFSET: -11,
  /** Listener's id + 1 of a passive open; 0: an active open. */
  LISTENER: -10,
  /** The low half is the MSS option received, bytes; the high half belongs to PATH. */
  PEER_MSS: -9,
  /** The same word: bits that every segment must look at, see PATH_FLAG; none for most connections. */
  PATH: -9,
  /** IPv6: remote and local address, 4 words each in network order. */
  RADDR6: -8,
  LADDR6: -4,

  // --- line 0
  STATE: 0,
  FLAGS: 1,
  /** Remote port << 16 | local port: as they stand in arriving segments. */
  PORTS: 2,
  /** IPv4 address; IPv6: its last word. */
  RADDR: 3,
  LADDR: 4,
  RCV_NXT: 5,
  /** Right edge of the window that the peer was told (RCV.NXT + RCV.WND at that time). */
  RCV_ADV: 6,
  SND_UNA: 7,
  /** Highest sent + 1; never moves back. */
  SND_NXT: 8,
  /** Bytes, scaled. */
  SND_WND: 9,
  TS_RECENT: 10,
  /** RFC 7323's Last.ACK.sent. Mini blocks: when the last challenge ACK was sent, ms. */
  LAST_ACK: 11,
  MINI_CHALLENGE_AT: 11,
  /** When the block's entry in the wheel is due, ms. Meaningful while armed. */
  T_AT: 12,
  /** Deadline of the retransmission or persist timer, ms; see FLAG.RTX. Half-open: SYN-ACKs sent again. TIME-WAIT: see ip-fields.ts. */
  RTX_AT: 13,
  /** Link in an output list. */
  NEXT_OUT: 14,
  /** The handle given to the program; a free block keeps its generation here. */
  HANDLE: 15,

  // --- line 1: sending
  SND_WL1: 16,
  SND_WL2: 17,
  /** Smoothed RTT, us << 3; 0 until measured. */
  SRTT: 18,
  /** us << 2. */
  RTTVAR: 19,
  CWND: 20,
  SSTHRESH: 21,
  /** Payload bytes of a full segment, options deducted. */
  MSS: 22,
  /** A round trip is over when this is acknowledged. */
  ROUND: 23,
  /** When all that is outstanding was sent, us, while RECORDS is 0; or Fast Open's SYN-ACK (0: more than once). */
  SENT_AT: 24,
  /** Byte queue of unacknowledged and unsent data: 6 words. */
  SNDQ: 25,
  SNDQ_LENGTH: 25 + QUEUE_LENGTH,
  /** Received data not acknowledged yet, in bytes, for the every-second-segment rule. */
  ACK_OWED: 31,

  // --- line 2: the program's side, and what recovery has going on
  /** Byte queue of received data that waits for the program: 6 words. */
  RCVQ: 32,
  RCVQ_LENGTH: 32 + QUEUE_LENGTH,
  /** Limits of the two queues, bytes; see receive-window.ts and send.ts for how they move. */
  RCV_BUF: 38,
  SND_BUF: 39,
  /** Index into the handler sets. */
  HANDLERS: 40,
  /** Root of the runs of out-of-order data, or 0; see reassembly.ts. */
  OOO: 41,
  /** The list of transmission records, or 0: all that is outstanding was sent once, at SENT_AT. See records.ts. */
  RECORDS: 42,
  DUPACKS: 43,
  /** Largest window seen, for the sender's silly window avoidance. */
  MAX_WND: 44,
  /** Last segment received, and last data sent, ms. */
  RCV_AT: 45,
  SND_AT: 46,
  /** SND.NXT when output was last stopped by the congestion window (RFC 7661's cwnd-limited). */
  LIMITED: 47,

  // --- line 3: once a round trip
  /** Recovery ends when this is acknowledged. */
  RECOVER: 48,
  /** Expiries of the retransmission or persist timer in a row. */
  BACKOFF: 49,
  /** ACKs still to be sent at once, at the start and after idle. */
  QUICK_ACKS: 50,
  /** Smallest RTT seen, us. */
  MIN_RTT: 51,
  /** Payload bytes, modulo 2^32. */
  BYTES_IN: 52,
  BYTES_OUT: 53,
  RETRANSMITS: 54,
  /** Path MTU in force, bytes. */
  PMTU: 55,
  KEEP_PROBES: 56,
  /** Deadline of the delayed ACK, ms; see FLAG.DELACK. */
  DELACK_AT: 57,
  /** Outstanding bytes that count as lost; that were sent again and are in flight; that the peer SACKed. */
  LOST_BYTES: 58,
  RXT_BYTES: 59,
  SACKED_BYTES: 60,
  /** More bits, see FLAG2. */
  FLAGS2: 61,
  /** Duplicate range to report in the next ACK (RFC 2883); none when both are equal. */
  DSACK_START: 62,
  DSACK_END: 63,

  // --- line 4: congestion control's own words, settings
  CC: 64,
  CC_WORDS: 65, // 8 words
  /** When the retransmission timer first expired in this row, ms, for the user timeout. */
  STALL_AT: 73,
  /** ms; 0: the stack's default. */
  USER_TIMEOUT: 74,
  /** Keep-alive: idle time before the first probe, ms; its deadline (see FLAG.KEEP). */
  KEEP_IDLE: 75,
  KEEP_AT: 76,
  ISS: 77,
  IRS: 78,
  /** Last ICMP error heard: CLOSED_*, and SND.UNA at that time << 8; reported when the connection times out. */
  SOFT_ERROR: 79,

  // --- line 5
  /** The peer's FIN came out of order: 1, and its sequence number. */
  FIN_AHEAD: 80,
  FIN_AHEAD_SEQ: 81,
  /** Last ACK in answer to an unacceptable segment, ms. */
  CHALLENGE_AT: 82,
  /** How many runs there are in OOO. */
  OOO_RUNS: 83,
  OOO_BYTES: 84,
  /** RACK.xmit_ts (us), RACK.end_seq, RACK.rtt (us), RACK.fack (RFC 8985 6.1). */
  RACK_AT: 85,
  RACK_END: 86,
  RACK_RTT: 87,
  RACK_FACK: 88,
  /** SND.NXT after the last tail loss probe (RFC 8985 7.1's TLP.end_seq). */
  TLP_END: 89,
  /** Since when MIN_RTT is the smallest, ms. */
  MIN_RTT_AT: 90,
  /** With FLAG2.PACED: no data before, us; and the module's own rate, see congestion/pacing.ts. */
  PACE_AT: 91,
  PACE_RATE: 92,

  /** Where the program's consumption is measured from: the first byte it hadn't consumed at TUNE_AT, us (0: not yet). */
  TUNE_SEQ: 93,
  TUNE_AT: 94,
  /** RTT as the receiver sees it, us; 0 until measured. */
  RCV_RTT: 95,
} as const;

/**
 * A connection's cold block: words that most connections never touch, so that they cost no memory until then. Named
 * by the index that `coldOf` gives; see cold.ts.
 */
export const COLD = {
  /** The congestion control module's own, 28 words. */
  CC_WORDS: 0,
  /** Congestion window validation, see congestion/validation.ts. */
  PIPE_MARK: 28,
  PIPE_NOW: 29,
  PIPE_BEFORE: 30,
  PIPE_SINCE: 31,
  VALID_AT: 32,
  /** What a spurious loss goes back to; UNDO_CWND 0: nothing. */
  UNDO_CWND: 33,
  UNDO_SSTHRESH: 34,
  /** As the program asked for, bytes; 0: it didn't. */
  START_WINDOW: 35,
  /** Pacing's wheel, see congestion/pacing.ts. */
  PACE_NEXT: 36,
  PACE_PREV: 37,
  PACE_DUE: 38,
  /** With FLAG2.IP_FIELDS: see ip-fields.ts. */
  IP_FIELDS: 39,
  /** Head of the list of transmission records, 9 words, and the record that is always there; see records.ts. */
  RECORD_LIST: 40,
  RECORD_OWN: 80,
  /** See LOSS_FLAG. */
  LOSS_FLAGS: 49,
  /** RACK.reo_wnd_mult less 1, RACK.reo_wnd_persist, RACK.dsack_round (RFC 8985 6.1). */
  REO_MULT: 50,
  REO_PERSIST: 51,
  DSACK_ROUND: 52,
  /** The furthest that data was overtaken, from where it began to the end of what did, bytes. */
  OVERTAKEN: 95,
  /** D-SACKs heard. */
  DSACKS: 53,
  /** Probes of the tail, and reductions undone. */
  PROBES: 54,
  UNDOS: 55,
  /** RFC 9768's r.cep, r.e0b, r.ceb and r.e1b, as they start there. Classic ECN counts CE in the first, from 0. */
  R_CEP: 56,
  R_E0B: 57,
  R_CEB: 58,
  R_E1B: 59,
  /** s.cep and s.ceb. */
  S_CEP: 60,
  S_CEB: 61,
  /** With FLAG2.CE_ROUND: SND.NXT at the last response to CE, which no other may follow before it is acknowledged. */
  CE_RECOVER: 62,
  /** High half: MTU told by ICMP that awaits proof, or 0. Low half: packets that an ACK acknowledges on average, << 3. */
  TOLD_MTU: 63,
  /** Sequence number quoted by that report. */
  TOLD_SEQ: 64,
  /** First sequence number of the MTU probe in flight. */
  PROBE_SEQ: 65,
  /** High half: largest MTU not ruled out; low half: MTU that the probe in flight tests, 0: none. */
  MTU_SEARCH: 66,
  /** When a search that has ended begins anew, ms. */
  MTU_RAISE_AT: 67,
  /** Bytes that the program consumed in the last round trip that was measured. */
  RCV_SPACE: 74,
  /** The send buffer itself while SND_BUF holds a low-water mark; 0: it holds none. */
  SND_FULL: 75,
  /** The runs of OOO that SACK reports, the latest first: 4 words; and how many of them have grown since the last ACK. */
  OOO_RECENT: 76,
  OOO_TOLD_NOT: 100,
  /** Payload bytes that our SYN took along (RFC 7413). */
  SYN_DATA: 68,
  /** With FLAG2.LINGER: how long close() lets data and FIN be on their way, ms. */
  LINGER: 69,
  /** Keep-alive's ms between probes, and how many may go unanswered; 0: the stack's defaults. */
  KEEP_INTERVAL: 70,
  KEEP_COUNT: 71,
  /** With FLAG2.URG_OUT: SND.UP. With FLAG2.URG_IN: RCV.UP (RFC 9293 3.3.1). */
  SND_UP: 72,
  RCV_UP: 73,
  /** While UNDO: SND.UNA at the reduction, bytes sent again since and not reported as duplicates, and the TSval of the first. */
  UNDO_UNA: 96,
  UNDO_RXT: 97,
  UNDO_TS: 98,
  /** With FLAG2.IP_FIELDS: Diffserv field of the last segment received, as a TOS octet without its ECN bits. */
  TOS_IN: 99,
  /** RFC 9937's RecoverFS, prr_delivered, prr_out; bytes. */
  RECOVER_FS: 101,
  PRR_DELIVERED: 102,
  PRR_OUT: 103,
  /** C.delivered, C.delivered_time, C.first_sent_time, C.lost, C.app_limited (draft-ietf-ccwg-bbr 4.1); see rate.ts. */
  DELIVERED: 104,
  DELIVERED_AT: 105,
  FIRST_SENT_AT: 106,
  LOST: 107,
  APP_LIMITED: 108,
  /** C.lost as the module last heard it. */
  LOST_TOLD: 109,
  /** The last rate sample: bytes, us. */
  RATE_DELIVERED: 110,
  RATE_INTERVAL: 111,
} as const;
export const COLD_WORDS = 112;

/** Bits of a cold block's LOSS_FLAGS. */
export const LOSS_FLAG = {
  /** RECORD_OWN is in use. */
  OWN_USED: 1 << 0,
  /** RACK.reordering_seen; RACK.dsack_round is set. */
  REORDERING: 1 << 1,
  DSACK_ROUND: 1 << 2,
  /** The UNDO_ words are of a reduction that may turn out to be without cause. */
  UNDO: 1 << 3,
  /** Something was sent again since that reduction. */
  UNDO_SENT: 1 << 4,
  /** F-RTO (RFC 5682) is asking whether the timeout was spurious; and wants new data sent first. */
  FRTO: 1 << 5,
  FRTO_NEW: 1 << 6,
  /** One retransmission may leave whatever CWND says (RFC 6675 5 step 4.1, RFC 6582 3.2). */
  ANYWAY: 1 << 7,
} as const;

/** Words before word 0. */
export const BLOCK_BEFORE = 16;
export const BLOCK_WORDS = 112;
export const MINI_WORDS = 32;

export const STATE = {
  CLOSED: 0,
  SYN_SENT: 1,
  SYN_RECEIVED: 2,
  ESTABLISHED: 3,
  FIN_WAIT_1: 4,
  FIN_WAIT_2: 5,
  CLOSE_WAIT: 6,
  CLOSING: 7,
  LAST_ACK: 8,
  TIME_WAIT: 9,
  /** Not a state of TCP: released while still on an output list, which gives the block back when it pops it. */
  FREE: 10,
  /** Nor this: finished on the wire, and the program has yet to read what is queued. */
  UNREAD: 11,
} as const;

export const STATE_NAMES = [
  'CLOSED',
  'SYN-SENT',
  'SYN-RECEIVED',
  'ESTABLISHED',
  'FIN-WAIT-1',
  'FIN-WAIT-2',
  'CLOSE-WAIT',
  'CLOSING',
  'LAST-ACK',
  'TIME-WAIT',
  'FREE',
  'UNREAD',
] as const;

/** Bits of FLAGS; bits 0-3 are SND.WND's scale, bits 4-7 RCV.WND's. */
export const FLAG = {
  /** Timestamps, SACK agreed. */
  TS: 1 << 8,
  SACK: 1 << 9,
  V6: 1 << 10,
  /** Nagle's algorithm off. */
  NODELAY: 1 << 11,
  /** An ACK is due now; an ACK may wait for the delayed-ACK timer. */
  ACK_NOW: 1 << 12,
  ACK_DELAYED: 1 << 13,
  /** On an output list of its interface; the list is the lowest set (control, ACK, data). */
  LISTED: 1 << 14,
  /** The program closed its direction: FIN follows the queued data; FIN was sent. */
  FIN_QUEUED: 1 << 15,
  FIN_SENT: 1 << 16,
  /** RTX_AT runs as retransmission timer; as persist timer. */
  RTX: 1 << 17,
  PERSIST: 1 << 18,
  DELACK: 1 << 19,
  KEEP: 1 << 20,
  /** In fast recovery; in recovery after a retransmission timeout. */
  RECOVERY: 1 << 21,
  LOSS: 1 << 22,
  /** RTX_AT is a probe timeout (RFC 8985 7.2), no retransmission timeout yet. */
  PTO: 1 << 23,
  /** The program waits for `writable`; for `drained`. */
  WANT_WRITABLE: 1 << 24,
  WANT_DRAINED: 1 << 25,
  /** The program left data in the receive queue; until resume. */
  PAUSED: 1 << 26,
  /** The peer's FIN was processed; `end` was delivered. */
  FIN_RECEIVED: 1 << 27,
  END_TOLD: 1 << 28,
  /** The program closed both directions: no more events but `close`. */
  DETACHED: 1 << 29,
  /** A mini block. */
  MINI: 1 << 30,
  /** A retransmission or probe was asked for by a timer and waits for a tx slot. */
  PROBE: 1 << 31,
} as const;

/** Bits of FLAGS2. */
export const FLAG2 = {
  /** The cold block is this connection's: zeroed, and perhaps written. */
  COLD_USED: 1 << 0,
  /** RTX_AT is RACK's reordering timer. */
  REO: 1 << 2,
  /** A tail loss probe is out, TLP_END its end; it was a retransmission. */
  TLP: 1 << 3,
  TLP_RXT: 1 << 4,
  /** No RTT was measured since the last probe. */
  TLP_SPENT: 1 << 5,
  /** The probe waits for a tx slot. */
  TLP_DUE: 1 << 6,
  /** Our SYN asks for classic ECN; for AccECN. */
  ECN_ASK: 1 << 8,
  ACCECN_ASK: 1 << 9,
  /** The peer's AccECN options arrive; they were zeroed on the way, and count no more. */
  ACCECN_OPTIONS: 1 << 10,
  ACCECN_OPTIONS_BAD: 1 << 11,
  /** Segments with AccECN options seem to be lost: none is sent. */
  ACCECN_OPTIONS_OFF: 1 << 12,
  /** The peer's feedback means nothing (RFC 9768 table 4, 3.2.2.3), and no response is made to it. */
  CE_IGNORED: 1 << 13,
  /** Data waits for PACE_AT; has had to wait for it, perhaps still in the pacer; the program asked for pacing. */
  PACED: 1 << 14,
  PACE_WAIT: 1 << 15,
  PACED_BY_OPTION: 1 << 16,
  /** The congestion control module has `sampled`: records carry what that needs; see rate.ts. */
  SAMPLED: 1 << 17,
  /** COLD.CE_RECOVER is valid. */
  CE_ROUND: 1 << 22,
  /** An MTU probe of the size that is next was lost once. */
  PROBE_LOST: 1 << 23,
  /** The buffer tunes itself. */
  RCV_AUTO: 1 << 24,
  SND_AUTO: 1 << 25,
  /** All data before the peer's FIN was offered to the program: `end` is due once the receive queue is read. */
  END_DUE: 1 << 26,
  /** Active: asked for Fast Open, and later: the SYN's data was taken. Passive: opened by a cookie. */
  FAST_OPEN: 1 << 18,
  /** close() doesn't wait for ever; see COLD.LINGER. */
  LINGER: 1 << 19,
  /** Urgent data is to be announced to the peer; was announced by it. */
  URG_OUT: 1 << 20,
  URG_IN: 1 << 21,
  /** The program said something of the IP header; see ip-fields.ts. */
  IP_FIELDS: 1 << 27,
} as const;

/** Bits of PATH, above the peer's MSS. Those of ECN are in half-open blocks too. */
export const PATH_FLAG = {
  ANY: ~0xffff,
  /** ECN feedback agreed on: none, RFC 3168's, or RFC 9768's. */
  ECN: 3 << 16,
  ECN_CLASSIC: 1 << 16,
  ECN_ACCURATE: 2 << 16,
  /** IP-ECN codepoint of data sent the first time; 0: Not-ECT, 1: ECT(1), 2: ECT(0). */
  ECT: 3 << 18,
  ECT1: 1 << 18,
  ECT0: 2 << 18,
  /** Classic: ECE is set until CWR comes; CWR is due on the next new data. */
  ECE: 1 << 20,
  CWR: 1 << 21,
  /** AccECN: the low three bits of r.cep. */
  ACE: 7 << 22,
  /** The path MTU is being searched, or may rise; see plpmtud.ts. */
  MTU: 1 << 25,
  /** IP-ECN field of the last segment received. */
  LAST_ECN: 3 << 26,
  /** AccECN: the next segment with room carries the option. */
  OPTION: 1 << 28,
  /** AccECN: CE marks that no ACK has told yet, up to 3. */
  MARKS: 3 << 29,
  /** AccECN: a pure ACK with the handshake encoding is due (RFC 9768 3.2.2.1). */
  HANDSHAKE: 1 << 31,
} as const;

/** A field of PATH is the value shifted by this much. */
export const PATH_SHIFT = { ECT: 18, ACE: 22, LAST_ECN: 26, MARKS: 29 } as const;

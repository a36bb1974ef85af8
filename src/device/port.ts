/**
 * Where an engine's packets come from and go to. The same interface serves a cable in memory, a TUN device,
 * an AF_XDP queue or a middleware that wraps another port: two rings of descriptors over the engine's arena,
 * and a sync for each that exchanges a whole batch. Nothing but a sync may enter the kernel.
 */
import type { Arena } from '../memory/arena.ts';
import type { FramePool } from '../memory/frame-pool.ts';
import type { Ring } from '../memory/ring.ts';
import type { Link } from '../wire/decode.ts';

export type { Link };

export interface Capabilities {
  readonly link: Link;
  /** Largest IP packet on this link, bytes. */
  readonly mtu: number;
  /** The device's own hardware address (6 bytes), for 'ether'. */
  readonly mac: Uint8Array | null;
  /** Takes FRAME_CHECKSUM_FILL on tx. */
  readonly txChecksum: boolean;
  /** May set FRAME_CHECKSUM_GOOD on rx. */
  readonly rxChecksum: boolean;
  /** Largest frame it takes with FRAME_SEGMENT, bytes; 0: none. The buffers of its tx ring are as large. */
  readonly segmentBytesMax: number;
  /** FRAME_SEGMENT may be on UDP, too, both ways: datagrams of DESC_AUX bytes under one header. */
  readonly segmentUdp: boolean;
  /** Takes and gives frames that go on in the next descriptor (FRAME_MORE). */
  readonly multiBuffer: boolean;
  /** `rxTimes` says when frames came. */
  readonly rxTimestamps: boolean;
  /** Gets what is sent to groups and to everybody; not so where only the host's stack does, on a shared interface. */
  readonly groups: boolean;
  /** Queue pairs of the device behind this port; one engine polls them all. */
  readonly queues: number;
}

/** What most ports are: no offload of any kind, all that the link carries, one queue. */
export const PLAIN: Omit<Capabilities, 'link' | 'mtu' | 'mac'> = {
  txChecksum: false,
  rxChecksum: false,
  segmentBytesMax: 0,
  segmentUdp: false,
  multiBuffer: false,
  rxTimestamps: false,
  groups: true,
  queues: 1,
};

/** Why a port won't carry on; `code` is stable. */
export class PortError extends Error {
  override readonly name = 'PortError';
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Counted since the port was opened. Plain numbers, bumped once per batch where possible. */
export interface PortCounters {
  rxFrames: number;
  rxBytes: number;
  /** Frames that the device could not hand over (no slot, too long, malformed device header). */
  rxDropped: number;
  txFrames: number;
  txBytes: number;
  /** Frames that the device refused or lost on the way out. */
  txDropped: number;
  /** Times that the kernel was entered: for rx, tx and wake-ups. */
  syscalls: number;
}

export function portCounters(): PortCounters {
  return { rxFrames: 0, rxBytes: 0, rxDropped: 0, txFrames: 0, txBytes: 0, txDropped: 0, syscalls: 0 };
}

export interface Port {
  /** As the user named it: `tun:mr0`, `cable`. */
  readonly name: string;
  readonly arena: Arena;
  readonly capabilities: Capabilities;
  readonly counters: PortCounters;
  /**
   * Received frames. A slot's DESC_AT points at the frame's first byte. The user may write anywhere in the
   * frame, and gives the buffer back by moving `head`.
   */
  readonly rx: Ring;
  /**
   * Frames to send. A user's slot holds the offset where the frame must start, with room for `frameBytes`;
   * the user writes the frame, sets DESC_LENGTH, DESC_FLAGS and DESC_AUX, and moves `head`.
   */
  readonly tx: Ring;
  /** Room for a frame in each slot's buffer, bytes from DESC_AT. */
  readonly frameBytes: number;
  /**
   * Where the buffers of both rings come from, and go to when the port is closed. Buffers of one pool may be swapped
   * between all ports that have it. null: the port keeps its own to itself, and frames are copied.
   */
  readonly pool: FramePool | null;
  /**
   * When frames came, us since the epoch, by the masked index of their rx slots (`index & (rx.slots - 1)`); null
   * without `rxTimestamps`.
   */
  readonly rxTimes: Float64Array | null;
  /** Gives back the rx slots before `head`, takes what has arrived. @returns rx.available */
  rxSync(): number;
  /** Sends the tx slots before `head`, regains those whose frames are out. @returns tx.available */
  txSync(): number;
  /**
   * Descriptors of which one polls readable when rxSync would bring something; without any, `onArrival` tells. To be
   * waited for by poll(2): for one that is in an epoll the kernel runs a wake-up a packet, whether or not anybody waits.
   */
  readonly fds: readonly number[];
  /** Set by whoever runs the engine; called by in-memory ports, at most once a batch, when rxSync would bring something. */
  onArrival: () => void;
  /** Releases everything. Idempotent. Frames not yet sent are lost. */
  close(): void;
}

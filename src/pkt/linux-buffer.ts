/**
 * How Linux fills a send buffer of a fixed size: a write looks at the limit only before it begins a new chunk (an skb), of
 * as much as a device would segment, and what is in flight is accounted with each chunk's own memory. So more is taken than
 * the buffer has room for; then nothing, until a third of it is free.
 */
import { TCB } from '../tcp/block.ts';
import type { TcpSocket } from './socket.ts';

/** Largest payload that is segmented by a device: 64 KiB with headers. */
const CHUNK_MAX = 65_215;
/** What a chunk takes besides its payload. */
const CHUNK_OVERHEAD = 768;
/** The least that SO_SNDBUF sets. */
export const LINUX_SEND_MIN = 4608;
/** What the engine's own buffer must have more, to hold what is taken beyond the limit. */
export const LINUX_SEND_MORE = 8 * 65_536;

/** Payload of a full chunk: whole segments, and no more than half the largest window that the peer has told. */
function chunkBytes({ engine, block }: TcpSocket): number {
  const { m } = engine.tcp;
  const mss = Math.max(1, m[block + TCB.MSS]);
  const window = m[block + TCB.MAX_WND];
  const most = Math.min(CHUNK_MAX, window > 536 ? window >> 1 : window);
  return Math.max(mss, most - (most % mss));
}

/** Memory that is accounted for, bytes. */
function accounted(socket: TcpSocket): number {
  const queued = socket.unacknowledged;
  return queued + CHUNK_OVERHEAD * Math.ceil(queued / chunkBytes(socket));
}

/** One that tunes itself isn't full before the engine's is. */
function full(socket: TcpSocket): boolean {
  return socket.sendBufferFixed && accounted(socket) >= socket.sendBuffer;
}

export function chunkRoom(socket: TcpSocket): number {
  const { m } = socket.engine.tcp;
  const chunk = chunkBytes(socket);
  const { unsent } = socket;
  // The last chunk that hasn't left is filled up, whatever the limit.
  const last = unsent % chunk;
  if (last > 0) return chunk - last;
  if (full(socket) || unsent >= socket.lowWater) return 0;
  if (unsent > 0) return chunk;
  // Half a congestion window leaves at a time: what is left of a larger chunk is filled up too.
  const window = m[socket.block + TCB.CWND];
  const free = window - (socket.unacknowledged - unsent);
  return chunk > window >> 1 && free > 0 ? chunk + free : chunk;
}

/** Whether poll() tells of room, and a write that waits goes on: not before half of what may be unsent has left. */
export function chunksWritable(socket: TcpSocket): boolean {
  if (2 * socket.unsent > socket.lowWater) return false;
  return !socket.sendBufferFixed || 1.5 * accounted(socket) <= socket.sendBuffer;
}

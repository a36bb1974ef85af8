/**
 * From one port's rx ring to another's tx ring: what bridges, switches and emulators have in common. Between ports of
 * one pool a frame moves by exchanging the buffers of two slots (netmap's zero copy); otherwise it is copied.
 */
import { DESC_AT, DESC_AUX, DESC_FLAGS, DESC_LENGTH } from '../memory/ring.ts';
import type { Port } from './port.ts';

const [AT, LENGTH, FLAGS, AUX] = [DESC_AT, DESC_LENGTH, DESC_FLAGS, DESC_AUX];

/** Whether buffers may be exchanged between two ports of one arena. */
export function mayExchange(a: Port, b: Port): boolean {
  return a.pool !== null && a.pool === b.pool && a.frameBytes <= b.frameBytes;
}

/**
 * Hands the frame in an rx slot over to a tx slot, by exchange; both are the user's. Their ports satisfy `mayExchange`.
 * @param m The arena's words. @param from @param to Word indices of the slots.
 */
export function exchangeFrame(m: Int32Array, from: number, to: number): void {
  const empty = m[to + AT];
  m[to + AT] = m[from + AT];
  m[from + AT] = empty;
  m[to + LENGTH] = m[from + LENGTH];
  m[to + FLAGS] = m[from + FLAGS];
  m[to + AUX] = m[from + AUX];
}

/** The same by copying, between any ports of one arena. The frame must fit: `length <= to's frameBytes`. */
export function copyFrame(port: Port, from: number, to: number): void {
  const m = port.arena.i32;
  port.arena.kernels.copy(m[to + AT], m[from + AT], m[from + LENGTH]);
  m[to + LENGTH] = m[from + LENGTH];
  m[to + FLAGS] = m[from + FLAGS];
  m[to + AUX] = m[from + AUX];
}

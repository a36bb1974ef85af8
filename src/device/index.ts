/**
 * Packets without a stack: the devices that `Stack.open` takes, as ports with rings, and what may stand around and between
 * them.
 *
 *     import { Arena, Bridge, openPort, portArenaBytes, PortWaiter } from 'millrace/device';
 *
 *     const names = ['packet:eth0', 'tap:lan0'];
 *     const arena = new Arena(names.reduce((sum, name) => sum + portArenaBytes(name), 1 << 20));
 *     const [a, b] = names.map((name) => openPort(arena, name));
 *     const bridge = new Bridge(a, b);
 *     const waiter = new PortWaiter([a, b]);
 *     for (;;) if (bridge.turn() === 0) await waiter.wait(1000);
 *
 * What is received stands in `rx` from `head` to `tail` after `rxSync`, and is given back by moving `head`; what is put into
 * `tx` before `head` leaves with `txSync`. A slot's words: DESC_AT, a frame's offset in the arena; DESC_LENGTH; DESC_FLAGS;
 * DESC_AUX. Who owns which slot is netmap's rule: the user those from `head` to `tail`, the device the others.
 */
export { ARENA_BYTES_MAX, Arena, ArenaFullError } from '../memory/arena.ts';
export type { FramePool } from '../memory/frame-pool.ts';
export {
  DESC_AT,
  DESC_AUX,
  DESC_FLAGS,
  DESC_LENGTH,
  DESC_WORDS,
  FRAME_CHECKSUM_FILL,
  FRAME_CHECKSUM_GOOD,
  FRAME_MORE,
  FRAME_OUTGOING,
  FRAME_SEGMENT,
  type Ring,
} from '../memory/ring.ts';
export { type CableOptions, createCable } from './cable.ts';
export { capture } from './capture.ts';
export { type FaultCounters, type FaultOptions, type FaultPort, type Faults, fault } from './fault.ts';
export {
  Bridge,
  copyFrame,
  exchangeFrame,
  type ForwardCounters,
  Forwarder,
  mayExchange,
} from './forward.ts';
export { createFrames, framesArenaBytes, LARGE_ROOM_BYTES, SMALL_ROOM_BYTES } from './frames.ts';
export type { LossOptions } from './loss.ts';
export { GAP_CLASSES, type Meter, type MeteredPort, meter, type Rate, SIZE_CLASSES } from './meter.ts';
export { DEVICE_USAGE, type DeviceSettings, openPort, portArenaBytes } from './open.ts';
export { type Capabilities, type Link, type Port, type PortCounters, PortError } from './port.ts';
export {
  createSwitch,
  type Switch,
  type SwitchCounters,
  type SwitchOptions,
  type SwitchPort,
} from './switch.ts';
export { Trace } from './trace.ts';
export { PortWaiter } from './wait.ts';

/** Traffic that nobody watches: UDP packets at a rate, on and off by turns, into a link and on to nowhere. */
import { ipv4Write } from '../wire/ipv4.ts';
import { PROTOCOL_UDP } from '../wire/protocols.ts';
import type { Link } from './link.ts';
import type { World } from './world.ts';

export interface CrossTraffic {
  readonly rate_bps: number;
  readonly on_ms: number;
  readonly off_ms: number;
  readonly until_ms: number;
}

const PACKET_BYTES = 500;
/** From and to addresses that no node has: the next router drops it. */
const FROM = 0x0a000200;
const TO = 0x0a0002fe;

export function startCrossTraffic(world: World, link: Link, options: CrossTraffic): void {
  const gap_ms = (PACKET_BYTES * 8000) / options.rate_bps;
  const period = options.on_ms + options.off_ms;
  const began = world.now_ms;
  const next = (): void => {
    const elapsed = world.now_ms - began;
    if (elapsed >= options.until_ms) return;
    const within = elapsed % period;
    if (within >= options.on_ms) {
      world.after(period - within, next);
      return;
    }
    const f = world.frames.take(PACKET_BYTES);
    if (f >= 0) {
      ipv4Write(world.arena.view, world.frames.at[f], PACKET_BYTES, PROTOCOL_UDP, FROM, TO, 0, 64, 0, 0);
      link.send(f);
    }
    world.after(gap_ms, next);
  };
  next();
}

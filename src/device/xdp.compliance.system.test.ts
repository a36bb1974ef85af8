import { beforeAll, describe } from 'vitest';
import { Arena } from '../memory/arena.ts';
import type { XdpMode } from '../os/bpf.ts';
import { enterNewNetwork } from '../os/netns.ts';
import { portAsFarEnd, portCompliance, type Rig } from './compliance.testing.ts';
import { createFrames, SMALL_ROOM_BYTES } from './frames.ts';
import { createVeth, ip, openTestXdp, RawSocket } from './xdp.testing.ts';
import { openXdp } from './xdp.ts';

const reason = process.geteuid?.() === 0 ? '' : ' (skipped: needs root)';
const SLOTS = 64;
const OPTIONS = { patience_ms: 5000, inFlight: 48 };

describe.skipIf(reason !== '')(`AF_XDP over a veth${reason}`, () => {
  beforeAll(enterNewNetwork);

  for (const mode of ['native', 'generic'] as const) {
    for (const queues of [1, 2]) {
      portCompliance(
        `${mode} mode, ${queues} queues, a raw socket beyond`,
        () => rawRig(mode, queues),
        OPTIONS,
      );
    }
  }
  portCompliance('an AF_XDP port beyond, of the same pool', sharedRig, OPTIONS);
});

function rawRig(mode: XdpMode, queues: number): Rig {
  createVeth('xdp0', 'far0', queues);
  const port = openTestXdp({ name: 'xdp0', mode, slots: SLOTS });
  const far = new RawSocket('far0');
  return { port, far, close: () => end(() => far[Symbol.dispose]()) };
}

function sharedRig(): Rig {
  createVeth('xdp0', 'far0');
  const arena = new Arena(4 << 20);
  const pool = createFrames(arena, 'frames', 4 * SLOTS, SMALL_ROOM_BYTES);
  const port = openXdp(arena, { name: 'xdp0', slots: SLOTS, pool });
  const far = openXdp(arena, { name: 'far0', slots: SLOTS, pool });
  return { port, far: portAsFarEnd(far), close: () => end(() => far.close()) };
}

function end(close: () => void): void {
  close();
  ip('link', 'delete', 'xdp0');
}

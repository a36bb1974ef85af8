import { beforeAll, describe } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { type ComplianceOptions, portAsFarEnd, portCompliance, type Rig } from './compliance.testing.ts';
import { createFrames, framesArenaBytes, SMALL_ROOM_BYTES } from './frames.ts';
import { hostArenaBytes, openHost } from './host.ts';
import { enterVeth, openTestPacket } from './packet.testing.ts';
import { openPacket, packetArenaBytes } from './packet.ts';

const reason = process.geteuid?.() === 0 ? '' : ' (skipped: needs root, or unshare -Urn)';

/** Of a small veth: what two queues of it hold must not overflow one ring's worth. */
const OPTIONS: ComplianceOptions = { patience_ms: 5000, inFlight: 48, runs: 8 };

describe.skipIf(reason !== '')(`packet ports on both ends of a veth${reason}`, () => {
  beforeAll(enterVeth);

  function rig(offload: boolean, queues = 1): Rig {
    const port = openTestPacket({ name: 'mr0', offload, queues });
    const far = openTestPacket({ name: 'mr1' });
    return { port, far: portAsFarEnd(far), close: () => far.close() };
  }

  portCompliance('packet', () => rig(true), OPTIONS);
  portCompliance('packet without offload', () => rig(false), OPTIONS);
  // The kernel spreads flows, and these frames are all of one, so that they stay in order.
  portCompliance('packet of three queues', () => rig(true, 3), OPTIONS);
  portCompliance(
    'packet of a shared pool',
    () => {
      const options = { name: 'mr0', offload: false };
      const bytes = packetArenaBytes(options) + framesArenaBytes(1024, SMALL_ROOM_BYTES);
      const arena = new Arena(bytes + 256);
      const pool = createFrames(arena, 'frames', 1024, SMALL_ROOM_BYTES);
      const port = openPacket(arena, { ...options, pool });
      const far = openTestPacket({ name: 'mr1' });
      return { port, far: portAsFarEnd(far), close: () => far.close() };
    },
    OPTIONS,
  );
  portCompliance(
    'host',
    () => {
      const options = { name: 'mr0' };
      const port = openHost(new Arena(hostArenaBytes(options) + 128), options);
      const far = openTestPacket({ name: 'mr-mr0' });
      return { port, far: portAsFarEnd(far), close: () => far.close() };
    },
    OPTIONS,
  );
});

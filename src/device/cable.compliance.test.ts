import { Arena } from '../memory/arena.ts';
import { createCable } from './cable.ts';
import { type ComplianceOptions, portAsFarEnd, portCompliance, type Rig } from './compliance.testing.ts';
import { createFrames } from './frames.ts';

function rig(link: 'ether' | 'ip', shared: boolean): Rig {
  const arena = new Arena(8 << 20);
  const pool = shared ? createFrames(arena, 'frames', 1024, 1518) : undefined;
  const [port, far] = createCable(arena, 'c', { link, slots: 64, ...(pool && { pool }) });
  return { port, far: portAsFarEnd(far), close: () => far.close() };
}

const OPTIONS: ComplianceOptions = { lengthMin: 1, inFlight: 64 };
portCompliance('a cable', () => rig('ether', false), OPTIONS);
portCompliance('a cable of a shared pool', () => rig('ip', true), OPTIONS);

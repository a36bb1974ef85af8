import { Arena } from '../memory/arena.ts';
import { createCable } from './cable.ts';
import { portAsFarEnd, portCompliance } from './compliance.testing.ts';
import { type Faults, fault } from './fault.ts';

function rig(faults: { rx?: Faults; tx?: Faults }) {
  const arena = new Arena(1 << 22);
  const [inner, far] = createCable(arena, 'c', { slots: 64 });
  const port = fault(inner, { ...faults, seed: 1, now: () => performance.now() });
  return { port, far: portAsFarEnd(far), close: () => far.close() };
}

portCompliance('a port with a network in front that does nothing', () => rig({ rx: {}, tx: {} }));
portCompliance('a port with a slow line', () => rig({ rx: { rate_bps: 1e10 }, tx: { rate_bps: 1e10 } }), {
  patience_ms: 1000,
});
portCompliance('a port with a delay of what comes', () => rig({ rx: { delay_ms: 0.2 } }), {
  patience_ms: 1000,
});

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { checkFloors, FLOORS } from './floors.ts';

/** What is wrong with one file that imports one thing. */
const check = (path: string, specifier: string): string[] =>
  checkFloors([{ path, text: `import '${specifier}';` }]).map(({ why }) => why);

test('a floor imports exactly from itself and the floors below, but for what the core may not', () => {
  const impure = new Set(['os', 'cores', 'api', 'offload', 'relay', 'serve', 'control', 'cli']);
  const floor = fc.nat(FLOORS.length - 1);
  fc.assert(
    fc.property(floor, floor, (from, to) => {
      const allowed = to <= from && (impure.has(FLOORS[from]) || !impure.has(FLOORS[to]));
      expect(check(`${FLOORS[from]}/a.ts`, `../${FLOORS[to]}/b.ts`)).toHaveLength(allowed ? 0 : 1);
    }),
    { numRuns: 1_000 },
  );
});

test.each([
  ['tcp/congestion/cubic.ts', './reno.ts'],
  ['tcp/congestion/cubic.ts', '../block.ts'],
  ['tcp/congestion/cubic.ts', '../../memory/arena.ts'],
  ['os/libc.ts', 'koffi'],
  ['os/libc.ts', 'node:fs'],
  ['device/tun.ts', '../os/tun.ts'],
  ['device/tun.ts', './port.ts'],
  ['api/net.ts', 'node:stream'],
  ['api/net.ts', '../device/tun.ts'],
  ['index.ts', './api/stack.ts'],
  ['tcp/input.test.ts', '../cli/main.ts'],
  ['tcp/input.test.ts', 'vitest'],
  ['ip/testing.ts', '../engine/engine.ts'],
  ['device/pcapng.testing.ts', 'node:fs'],
  ['device/tun.system.test.ts', '../api/net.ts'],
])('%s may import %s', (path, specifier) => {
  expect(check(path, specifier)).toEqual([]);
});

test.each([
  ['tcp/input.ts', '../engine/engine.ts', 'tcp/ is below engine/'],
  ['wire/tcp.ts', '../os/libc.ts', 'wire/ is below os/'],
  ['device/cable.ts', '../os/libc.ts', 'only the core'],
  ['engine/engine.ts', '../device/tun.ts', 'only the core'],
  ['device/switch.ts', './tun.ts', 'only the core'],
  ['sim/network.ts', '../api/net.ts', 'only the core'],
  ['memory/arena.ts', 'node:fs', 'nothing from outside src/'],
  ['memory/arena.ts', 'fs', 'nothing from outside src/'],
  ['pkt/run.ts', 'zod', 'nothing from outside src/'],
  ['tcp/input.ts', './input.test.ts', 'only tests'],
  ['cli/main.ts', '../ip/testing.ts', 'only tests'],
  ['device/pcapng.ts', './pcapng.testing.ts', 'only tests'],
  ['cli/main.ts', '../../bench/report.ts', 'leads out of src/'],
  ['cli/main.ts', '../index.ts', 'no floor'],
  ['cli/main.ts', '../attic/a.ts', 'no floor'],
  ['attic/a.ts', './b.ts', 'no floor'],
  ['stray.ts', './memory/arena.ts', 'no floor'],
  ['index.ts', './ip/ip.ts', 'imports only from'],
])('%s may not import %s', (path, specifier, why) => {
  expect(check(path, specifier)).toEqual([expect.stringContaining(why)]);
});

test('the core may not hide what it imports', () => {
  const text = 'export const load = (name: string) => import(name);';
  expect(checkFloors([{ path: 'tcp/tcp.ts', text }])).toHaveLength(1);
  expect(checkFloors([{ path: 'api/net.ts', text }])).toEqual([]);
});

test('a violation says where', () => {
  const text = "import './block.ts';\n\nimport { Engine } from '../engine/engine.ts';\n";
  expect(checkFloors([{ path: 'tcp/input.ts', text }])).toMatchObject([{ path: 'tcp/input.ts', line: 3 }]);
});

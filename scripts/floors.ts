/**
 * The rules of the house: a folder of src/ is a floor and imports only from floors below it, and the core is
 * pure, so that it runs the same under a device, in the simulator, in a test with virtual time or in a browser.
 *
 * Every import of a core file has to lead to another core file. By induction nothing that the core reaches,
 * however far, needs Node, the kernel or a package.
 */
import { posix } from 'node:path';
import { importsOf } from './imports.ts';

/** From the ground up. */
// biome-ignore format: reads as one line of thought
export const FLOORS: readonly string[] = [
  'memory', 'wire', 'os', 'device', 'ip', 'udp', 'tcp', 'engine', 'cores', 'api', 'offload', 'relay', 'serve',
  'control', 'sim', 'pkt', 'cli',
];

const CORE_FLOORS: readonly string[] = [
  'memory',
  'wire',
  'device',
  'ip',
  'udp',
  'tcp',
  'engine',
  'sim',
  'pkt',
];

/** Devices of the kernel's, and what opens them: the files on a core floor that are not core. */
const NOT_CORE: readonly string[] = [
  'device/host.ts',
  'device/memif-control.ts',
  'device/index.ts',
  'device/memif.ts',
  'device/open.ts',
  'device/packet-rings.ts',
  'device/packet.ts',
  'device/pcap.ts',
  'device/port-error.ts',
  'device/tun-port.ts',
  'device/tun.ts',
  'device/wait.ts',
  'device/xdp-errors.ts',
  'device/xdp-filter.ts',
  'device/xdp-options.ts',
  'device/xdp-receive.ts',
  'device/xdp-send.ts',
  'device/xdp.ts',
];

/** The package's main entry stands on no floor. */
const ENTRY = 'index.ts';
const ENTRY_IMPORTS: readonly string[] = ['memory', 'device', 'udp', 'tcp', 'engine', 'api', 'control'];

export interface SourceFile {
  /** From src/, with slashes: `tcp/input.ts`. */
  readonly path: string;
  readonly text: string;
}

export interface Violation {
  readonly path: string;
  readonly line: number;
  readonly why: string;
}

export function checkFloors(files: readonly SourceFile[]): Violation[] {
  return files.filter(({ path }) => !isTest(path)).flatMap(checkFile);
}

/** Tests may use anything: they set the scene from above and need Vitest. */
function isTest(path: string): boolean {
  return /(?:\.test|[./]testing)\.ts$/.test(path);
}

function checkFile({ path, text }: SourceFile): Violation[] {
  if (path !== ENTRY && floorOf(path) < 0) {
    return [{ path, line: 1, why: `stands on no floor; the floors are ${FLOORS.join(', ')}` }];
  }
  return importsOf(text).flatMap(({ specifier, line }) => {
    const why = objection(path, specifier);
    return why === null ? [] : [{ path, line, why }];
  });
}

/** Why `path` may not import `specifier`, or null. */
function objection(path: string, specifier: string | null): string | null {
  const core = isCore(path);
  if (specifier === null) return core ? 'the core imports only what is named by a plain string' : null;
  if (!specifier.startsWith('.'))
    return core ? `the core imports nothing from outside src/: ${specifier}` : null;

  const target = posix.join(posix.dirname(path), specifier);
  if (target.startsWith('..')) return `leads out of src/: ${specifier}`;
  if (isTest(target)) return `only tests import what is for tests: ${target}`;
  if (path === ENTRY) {
    return ENTRY_IMPORTS.includes(folderOf(target))
      ? null
      : `${ENTRY} imports only from ${ENTRY_IMPORTS.join(', ')}`;
  }
  if (floorOf(target) < 0) return `leads to no floor: ${target}`;
  if (floorOf(target) > floorOf(path)) return `${folderOf(path)}/ is below ${folderOf(target)}/: ${target}`;
  return core && !isCore(target) ? `the core imports only the core: ${target}` : null;
}

function isCore(path: string): boolean {
  return CORE_FLOORS.includes(folderOf(path)) && !NOT_CORE.includes(path);
}

function folderOf(path: string): string {
  return path.includes('/') ? path.slice(0, path.indexOf('/')) : '';
}

function floorOf(path: string): number {
  return FLOORS.indexOf(folderOf(path));
}

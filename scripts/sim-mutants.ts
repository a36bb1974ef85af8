/**
 * Shows that the simulator finds what it is for: puts known bugs into copies of the source, one at a time, and simulates
 * seeds until a rule is broken. `npm run sim:mutants`; a bug that 1,000 seeds don't show fails it.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { SimResult } from '../src/sim/simulate.ts';

interface Mutant {
  readonly name: string;
  /** Of src/. */
  readonly file: string;
  /** Must be there exactly once. */
  readonly from: string;
  readonly to: string;
}

const MUTANTS: readonly Mutant[] = [
  {
    name: 'no Karn: what was sent twice is measured',
    file: 'tcp/records.ts',
    from: '  if ((m[r + STATE] & S_RXT) === 0) {\n    if (!vague',
    to: '  if (m[r + STATE] !== -1) {\n    if (!vague',
  },
  {
    name: 'the receiver SACKs a byte too many',
    file: 'tcp/reassembly.ts',
    from: 'm[w + SEQ] + m[w + LENGTH], false);\n  }',
    to: 'm[w + SEQ] + m[w + LENGTH] + 1, false);\n  }',
  },
  {
    name: 'the sender takes a SACK for a byte more',
    file: 'tcp/sack.ts',
    from: 'const end = view.getInt32(sackAt + 8 * i + 4, false);',
    to: 'const end = 1 + view.getInt32(sackAt + 8 * i + 4, false);',
  },
  {
    name: 'no window update once the program has read',
    file: 'tcp/receive-window.ts',
    from: '  m[t + FLAGS] |= ACK_NOW;\n  listPush(m, tcp.lists[m[t + IFACE]], L_ACK, t);',
    to: '',
  },
  {
    name: 'no persist timer for a window that is shut',
    file: 'tcp/output.ts',
    from: '      persistStart(tcp, t);',
    to: '      m[t + FLAGS] |= 0;',
  },
  {
    name: 'the window shrinks with the buffer',
    file: 'tcp/receive-window.ts',
    from: '    if (whole > told) window = whole;\n  }',
    to: '  }\n  if (space < window) window = space > 0 ? (space >> shift) << shift : 0;',
  },
  {
    name: 'what is partly old is delivered whole',
    file: 'tcp/input.ts',
    from: '    s.dataAt -= offset;',
    to: '',
  },
  {
    name: 'no timer after the peer has acknowledged a part',
    file: 'tcp/timers.ts',
    from: '  m[t + RTX_AT] = deadline;\n',
    to: '  m[t + RTX_AT] = deadline;\n  if (m[t + SND_UNA] !== m[t + TCB.ISS] && kind === RTX) return;\n',
  },
  {
    name: 'delayed ACKs are forgotten',
    file: 'tcp/output.ts',
    from: '    timerBy(tcp, t, m[t + DELACK_AT]);',
    to: '',
  },
  {
    name: 'options are not deducted from the MSS',
    file: 'tcp/handshake.ts',
    from: '? mss - 12 : mss;',
    to: '? mss : mss;',
  },
  {
    name: 'cwnd is not asked',
    file: 'tcp/output.ts',
    from: 'const byCwnd = m[t + CWND] - pipe;',
    to: 'const byCwnd = 0x3fffffff;',
  },
  {
    name: 'cwnd is not asked in recovery',
    file: 'tcp/output.ts',
    from: 'const byCwnd = m[t + CWND] - pipe;',
    to: 'const byCwnd = (m[t + FLAGS] & RECOVERY) !== 0 ? 0x3fffffff : m[t + CWND] - pipe;',
  },
  {
    name: "the peer's window is not asked",
    file: 'tcp/output.ts',
    from: 'const byWindow = m[t + SND_WND] - outstanding;',
    to: 'const byWindow = m[t + MAX_WND] - outstanding + 1000;',
  },
  {
    name: 'out-of-order data is acknowledged',
    file: 'tcp/input.ts',
    from: '    // RFC 5681 4.2: at once, so that the sender learns of the gap.\n',
    to: '    m[t + RCV_NXT] = (s.seq + s.length) | 0;\n',
  },
  {
    name: 'a control block is kept when its FIN was acknowledged last',
    file: 'tcp/close.ts',
    from: '  detachFromWire(tcp, t);\n  eventPush(tcp, t, EVENT_CLOSE, CLOSED_CLEAN, 0);',
    to: '  detachFromWire(tcp, t);\n  if ((m[t + HASH] & 7) !== 0) eventPush(tcp, t, EVENT_CLOSE, CLOSED_CLEAN, 0);',
  },
];

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SEEDS_MAX = 1000;
/** Simulated at once; the report is as exact. */
const RANGE = 4;
/** A bug may make an engine go round for ever: so long for RANGE seeds says that it does. */
const HANG_MS = 60_000;
const HANGS = 'an engine hangs';

function prepare(mutant: Mutant): string {
  const copy = mkdtempSync(join(tmpdir(), 'sim-mutant-'));
  for (const part of ['src', 'package.json']) cpSync(join(ROOT, part), join(copy, part), { recursive: true });
  cpSync(join(ROOT, 'scripts/sim-worker.ts'), join(copy, 'scripts/sim-worker.ts'));
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  const file = join(copy, 'src', mutant.file);
  const text = readFileSync(file, 'utf8');
  const places = text.split(mutant.from).length - 1;
  if (places !== 1)
    throw new Error(
      `${mutant.name}: ${mutant.file} has the text to replace in ${places} places; adapt the mutant`,
    );
  writeFileSync(
    file,
    text.replace(mutant.from, () => mutant.to),
  );
  return copy;
}

/** A worker with a source of its own. */
class Simulator {
  readonly #worker: Worker;

  constructor(root: string) {
    const url = pathToFileURL(join(root, 'scripts/sim-worker.ts'));
    this.#worker = new Worker(url, { workerData: { filter: null } });
  }

  run(from: number, count: number): Promise<SimResult[]> {
    return new Promise((resolve, reject) => {
      const settle = (how: () => void): void => {
        clearTimeout(hanging);
        this.#worker.off('message', told).off('error', failed);
        how();
      };
      const told = (results: SimResult[]): void => settle(() => resolve(results));
      const failed = (error: Error): void => settle(() => reject(error));
      const hanging = setTimeout(() => settle(() => reject(new Error(HANGS))), HANG_MS);
      this.#worker.on('message', told).on('error', failed);
      this.#worker.postMessage({ from, count });
    });
  }

  end(): Promise<number> {
    return this.#worker.terminate();
  }
}

/** The first seed that breaks a rule with the bug and none without; null: none of them does. */
async function hunt(mutant: Mutant, sound: Simulator): Promise<SimResult | null> {
  const copy = prepare(mutant);
  const mutated = new Simulator(copy);
  try {
    for (let from = 1; from <= SEEDS_MAX; from += RANGE) {
      for (const result of await mutated.run(from, RANGE)) {
        if (result.violation === null) continue;
        const [without] = await sound.run(result.seed, 1);
        if (without.violation === null) return result;
      }
    }
    return null;
  } finally {
    await mutated.end();
    rmSync(copy, { recursive: true, force: true });
  }
}

async function outcome(mutant: Mutant, sound: Simulator): Promise<string> {
  try {
    const caught = await hunt(mutant, sound);
    if (caught !== null) return `caught by ${caught.violation?.rule} at seed ${caught.seed} (${caught.name})`;
    missed++;
    return `NOT CAUGHT by ${SEEDS_MAX} seeds`;
  } catch (error) {
    if (error instanceof Error && error.message === HANGS) return `caught: ${HANGS}`;
    throw error;
  }
}

const waiting = [...MUTANTS];
let missed = 0;
await Promise.all(
  Array.from({ length: availableParallelism() }, async () => {
    const sound = new Simulator(ROOT);
    for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
      process.stdout.write(`${mutant.name}: ${await outcome(mutant, sound)}\n`);
    }
    await sound.end();
  }),
);
process.stdout.write(`${MUTANTS.length - missed} of ${MUTANTS.length} bugs were caught\n`);
process.exitCode = missed > 0 ? 1 : 0;

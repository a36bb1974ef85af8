/** A thread that simulates seeds: takes ranges of them, and answers each with its results. */
import { parentPort, workerData } from 'node:worker_threads';
import { Arena } from '../src/memory/arena.ts';
import { raiseInliningBudget } from '../src/os/v8.ts';
import { scenarioName } from '../src/sim/scenario.ts';
import { SIM_ARENA_BYTES, type SimResult, simulate } from '../src/sim/simulate.ts';

export interface SeedRange {
  readonly from: number;
  readonly count: number;
}

const { filter } = workerData as { filter: string | null };
const arena = new Arena(SIM_ARENA_BYTES);
raiseInliningBudget();

parentPort?.on('message', ({ from, count }: SeedRange) => {
  const results: SimResult[] = [];
  for (let seed = from; seed < from + count; seed++)
    if (filter === null || scenarioName(seed) === filter) results.push(simulate(arena, seed));
  parentPort?.postMessage(results);
});

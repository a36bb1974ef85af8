/** Forged, spoilt and repeated frames at every state of a connection: see attack.testing.ts. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { Prng } from '../memory/prng.ts';
import { STATE_NAMES } from '../tcp/block.ts';
import { Attack } from './attack.testing.ts';
import { readTape, runTape } from './tape.testing.ts';
import { replayable, SEED_GIVEN, testSeed } from './testing.ts';

const FILE = 'src/engine/fuzz.test.ts';
const CORPUS = fileURLToPath(new URL('./corpus/', import.meta.url));
const RUNS = SEED_GIVEN ? 1 : 8;
/** Frames that each run gives to the two engines. */
const FRAMES = 40_000;

/** States of connections that forged segments met, over all runs. */
const met = new Set<string>();

function run(seed: number): void {
  const attack = new Attack(new Prng(seed), met);
  while (attack.given[0] + attack.given[1] < FRAMES) attack.act();
  attack.finish();
  for (const i of [0, 1] as const) {
    const { segmentsIn, badChecksum, badHeader, badOptions } = attack.engines[i].tcp.counters;
    expect(segmentsIn).toBeGreaterThan(attack.given[i] / 3);
    expect(badChecksum + badHeader + badOptions).toBeGreaterThan(0);
    expect(badChecksum + badHeader + badOptions).toBeLessThan(segmentsIn / 2);
  }
}

describe('an attacker between two engines', () => {
  const first = testSeed(Math.floor(Math.random() * 2 ** 31));
  for (let i = 0; i < RUNS; i++) {
    const seed = first + i;
    test(`${FRAMES} frames from seed ${seed}`, () => replayable(FILE, seed, () => run(seed)));
  }

  afterAll(() => {
    if (SEED_GIVEN) return;
    // The test of the test: that the forged segments met connections in every state.
    const states = [...STATE_NAMES.slice(1, 9), 'SYN-RECEIVED (mini)', 'TIME-WAIT (mini)'];
    expect(states.filter((state) => !met.has(state))).toEqual([]);
  });
});

describe.skipIf(SEED_GIVEN)('what fuzzing found worth keeping', () => {
  test.each(readdirSync(CORPUS))('%s', (name) => {
    runTape(readTape(readFileSync(`${CORPUS}${name}`)));
  });
});

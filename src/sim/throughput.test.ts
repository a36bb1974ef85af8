/** docs/throughput.md still says what is measured: some of its rows, measured again. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { SIM_ARENA_BYTES } from './simulate.ts';
import { CONGESTIONS, RTTS_MS, tailRecovery } from './throughput.ts';
import { goodputRow, tailRow } from './throughput-table.ts';

const page = readFileSync(new URL('../../docs/throughput.md', import.meta.url), 'utf8');
const arena = new Arena(SIM_ARENA_BYTES);
const AGAIN = 'if the change is meant, measure all of it again: npm run sim -- --table';

describe.each(CONGESTIONS)('%s', (congestion) => {
  test('goodput at 1 Mbit/s and 50 ms', () => {
    expect(page.split('\n'), AGAIN).toContain(goodputRow(arena, congestion, 1, 50));
  });

  test('a lost tail at 50 ms', () => {
    expect(page.split('\n'), AGAIN).toContain(tailRow(arena, congestion, 50));
  });

  test.each(RTTS_MS)('a lost tail takes less than two round trips longer at %d ms', (rtt_ms) => {
    // Its number decides whether the peer acknowledges what is before it at once.
    for (const segments of [2, 3, 9, 10])
      expect(tailRecovery(arena, congestion, rtt_ms, 1, segments)).toBeLessThan(2);
  });
});

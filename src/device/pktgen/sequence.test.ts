import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SequenceTracker } from './sequence.ts';

/** Takes what came, in order, and looks back at all of it. */
function model(came: number[]): { lost: number; late: number; duplicates: number } {
  const seen = new Set<number>();
  let highest = came[0] - 1;
  let late = 0;
  let duplicates = 0;
  let lost = 0;
  for (const number of came) {
    if (seen.has(number)) duplicates++;
    else if (number < highest) {
      late++;
      if (lost > 0) lost--;
    } else lost += number - highest - 1;
    seen.add(number);
    highest = Math.max(highest, number);
  }
  return { lost, late, duplicates };
}

test('tells lost, late and doubled packets apart as a plain model does, across the wrap of numbers, too', () => {
  const steps = fc.array(fc.integer({ min: -40, max: 40 }), { minLength: 1, maxLength: 300 });
  fc.assert(
    fc.property(fc.constantFrom(0, 5, 2 ** 31 - 60, 2 ** 32 - 60), steps, (start, moves) => {
      const tracker = new SequenceTracker();
      let at = start + 20_000;
      const came = moves.map((move) => (at += move));
      for (const number of came) tracker.take(number);
      expect(tracker).toMatchObject({ received: came.length, restarts: 0, ...model(came) });
    }),
  );
});

test('a sender that begins anew is one restart, and nothing is lost by it', () => {
  const tracker = new SequenceTracker();
  for (let i = 0; i < 100_000; i++) tracker.take(i);
  for (let i = 0; i < 1000; i++) tracker.take(i);
  expect(tracker).toMatchObject({ received: 101_000, lost: 0, late: 0, duplicates: 0, restarts: 1 });
});

test('numbers that were skipped a window ago are not remembered as come', () => {
  const tracker = new SequenceTracker();
  for (let i = 0; i < 65_536; i++) tracker.take(i);
  tracker.take(65_536 + 10);
  tracker.take(65_536 + 5);
  expect(tracker).toMatchObject({ lost: 9, late: 1, duplicates: 0 });
});

/**
 * V8 inlines small functions into hot ones within a budget that suits web pages. The data path is many small
 * functions over typed arrays: with a larger one a request of RR 64/64/1 takes 533 ns instead of 609 (medians of three,
 * interleaved; `npm run bench -- cable --only 'RR 64/64/1'` with and without this call in bench/jobs/cable.ts).
 * Takes effect for what is optimised from now on. More isn't better: with 4,600 it takes 505 ns of CPU, with 4,000 as with
 * 5,400 and 6,000 from 540 to 557 (medians of six to eight), as V8 then spends the budget elsewhere.
 */
import { setFlagsFromString } from 'node:v8';

export function raiseInliningBudget(): void {
  setFlagsFromString('--max-inlined-bytecode-size=2000');
  setFlagsFromString('--max-inlined-bytecode-size-cumulative=4600');
}

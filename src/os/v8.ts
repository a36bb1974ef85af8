/**
 * V8 inlines small functions into hot ones within a budget that suits web pages. The data path is many small
 * functions over typed arrays: with a larger one a request of RR 64/64/1 takes 533 ns instead of 609 (medians of three,
 * interleaved; `npm run bench -- cable --only 'RR 64/64/1'` with and without this call in bench/jobs/cable.ts).
 * Takes effect for what is optimised from now on.
 */
import { setFlagsFromString } from 'node:v8';

export function raiseInliningBudget(): void {
  setFlagsFromString('--max-inlined-bytecode-size=2000');
  setFlagsFromString('--max-inlined-bytecode-size-cumulative=4000');
}

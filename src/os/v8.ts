/**
 * V8 inlines small functions into hot ones within a budget that suits web pages. The data path is many small
 * functions over typed arrays: with a larger one they cost nothing (123 to 110 ns a segment where one large
 * function takes 107). Takes effect for what is optimised from now on.
 */
import { setFlagsFromString } from 'node:v8';

export function raiseInliningBudget(): void {
  setFlagsFromString('--max-inlined-bytecode-size=2000');
  setFlagsFromString('--max-inlined-bytecode-size-cumulative=4000');
}

import { WAIT_MS_MAX } from './poll.ts';

/** A wait of WAIT_MS_MAX that took less than this was ended by somebody, however busy the machine. */
export const WOKEN_MS_MAX = WAIT_MS_MAX - 10;

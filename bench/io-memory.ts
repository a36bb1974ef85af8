/** Packet I/O: frames in memory: cable and switch. */
import type { Workload } from './workloads.ts';

export const MEMORY: readonly Workload[] = [];

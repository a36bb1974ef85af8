/** Packet I/O: TUN and TAP. */
import type { Workload } from './workloads.ts';

export const TUN: readonly Workload[] = [];

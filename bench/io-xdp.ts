/** Packet I/O: AF_XDP beside a C program with the same system calls. */
import type { Workload } from './workloads.ts';

export const XDP: readonly Workload[] = [];

/**
 * Where the AF_XDP jobs run: a network namespace of their own with veth cables, the same for ours and the C twin.
 *
 *     tx                                   port ─► x0 ══ f0 ─► dropped
 *     rx       port ─► f0 ══ x0 ─► port
 *     forward  port ─► f0 ══ x0 ─► port … port ─► y0 ══ g0 ─► dropped
 *
 * What arrives at the end is dropped by an XDP program, the cheapest end that the kernel has. What is received must have
 * been sent: by another port, on the same core. (BPF_PROG_TEST_RUN makes frames for a fraction of that, but takes 25 ms to
 * start.)
 */
import { parseArgs } from 'node:util';
import { createVeth } from '../../src/device/xdp.testing.ts';
import { attachXdp, loadXdpProgram, XDP_DROP } from '../../src/os/bpf.ts';
import { assemble, exit, R0, set } from '../../src/os/bpf-assembler.ts';
import { interfaceInfo } from '../../src/os/interface.ts';
import { enterNewNetwork } from '../../src/os/netns.ts';
import { ETHERTYPE_IPV4, emitEthernet } from '../../src/wire/ethernet.ts';
import { emitIpv4Packet } from '../../src/wire/ipv4.ts';
import { emitUdp } from '../../src/wire/udp.ts';
import { finish } from './job.ts';

/** What is measured; the numbers are the twin's, too. */
export const [TX, RX, FORWARD] = [0, 1, 2];
/** Of each ring. */
export const SLOTS = 512;
/** Frames that are sent before they are received, at least; a batch if that is more. */
export const BURST = 64;

export interface XdpArguments {
  readonly warmup: number;
  readonly seconds: number;
  readonly kind: number;
  readonly batch: number;
  /** Of each interface. */
  readonly queues: number;
  /** Interfaces that are received from. */
  readonly ports: number;
}

export function xdpArguments(): XdpArguments {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    options: { warmup: text, seconds: text, kind: text, batch: text, queues: text, ports: text },
  });
  const { warmup = '1', seconds = '2', kind = '0', batch = '64', queues = '1', ports = '1' } = values;
  return {
    warmup: Number(warmup),
    seconds: Number(seconds),
    kind: Number(kind),
    batch: Number(batch),
    queues: Number(queues),
    ports: Number(ports),
  };
}

/** 64 B on the wire, with the four that the hardware adds: UDP with a good checksum. */
export function frame(): Uint8Array {
  const ends = { src: '10.0.0.1', dst: '10.0.0.2' };
  const payload = emitUdp({ srcPort: 9, dstPort: 9, payload: new Uint8Array(18) }, ends);
  const packet = emitIpv4Packet({ ...ends, protocol: 17, payload });
  return emitEthernet({
    dst: '02:00:00:00:00:01',
    src: '02:00:00:00:00:02',
    type: ETHERTYPE_IPV4,
    payload: packet,
  });
}

/** Makes the cables x0–f0, x1–f1, … and y0–g0. Ends the job when that can't be had here. */
export function setScene(name: string, { kind, queues, ports }: XdpArguments): void {
  if (process.geteuid?.() !== 0) {
    finish({ name, requests: 0, wallNs: 0, cpuNs: 0, skipped: 'needs root: bpf() and network namespaces' });
  }
  enterNewNetwork();
  for (let i = 0; i < ports; i++) createVeth(`x${i}`, `f${i}`, queues);
  createVeth('y0', 'g0');
  const drop = loadXdpProgram('drop', assemble([set(R0, XDP_DROP), exit()]), true);
  attachXdp(drop, interfaceInfo(kind === TX ? 'f0' : 'g0').index, 'native');
}

import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  DESC_AT,
  DESC_FLAGS,
  DESC_LENGTH,
  FRAME_CHECKSUM_FILL,
  FRAME_CHECKSUM_GOOD,
  FRAME_MORE,
} from '../memory/ring.ts';
import { interfaceInfo } from '../os/interface.ts';
import { enterNewNetwork } from '../os/netns.ts';
import { WOKEN_MS_MAX } from '../os/poll.testing.ts';
import { Poller, WAIT_MS_MAX } from '../os/poll.ts';
import { formatMac } from '../wire/address.ts';
import { fold } from '../wire/checksum.ts';
import { ETHERTYPE_IPV4, emitEthernet, parseEthernet } from '../wire/ethernet.ts';
import { emitIpv4Packet, parseIpv4Packet } from '../wire/ipv4.ts';
import { concat, pseudoSum, transportChecksumGood, viewOf } from '../wire/plain.ts';
import { PROTOCOL_UDP } from '../wire/protocols.ts';
import { emitUdp, parseUdp, UDP_CHECKSUM } from '../wire/udp.ts';
import { frameOf, takeFrames } from './compliance.testing.ts';
import { eventually, queue, receiveAll, send } from './tun.testing.ts';
import { createVeth, disableTxChecksum, ip, openTestXdp, RawSocket } from './xdp.testing.ts';
import type { XdpPort } from './xdp.ts';
import type { XdpOptions } from './xdp-options.ts';

const reason = process.geteuid?.() === 0 ? '' : ' (skipped: needs root)';
const ENDS = { src: '10.9.0.1', dst: '10.9.0.2' };
const SLOTS = 128;

describe.skipIf(reason !== '')(`an AF_XDP port and the kernel${reason}`, () => {
  const closing: (() => void)[] = [];
  beforeAll(enterNewNetwork);
  beforeEach(() => createVeth('xdp0', 'far0', 2));
  afterEach(() => {
    for (const close of closing.splice(0).reverse()) close();
    ip('link', 'delete', 'xdp0');
  });

  function open(options: Partial<XdpOptions> = {}): XdpPort {
    const port = openTestXdp({ name: 'xdp0', slots: SLOTS, ...options });
    closing.push(() => port.close());
    return port;
  }

  function raw(name = 'far0'): RawSocket {
    const socket = new RawSocket(name);
    closing.push(() => socket[Symbol.dispose]());
    return socket;
  }

  const received = (port: XdpPort) => eventually(() => receiveAll(port)[0], 'a frame');
  const arrived = (socket: RawSocket) => eventually(() => socket.receive()[0], 'a frame');

  test('it says what it is', () => {
    const port = open();
    expect(port).toMatchObject({ name: 'xdp:xdp0', mode: 'native', zeroCopy: false, frameBytes: 1518 });
    const { capabilities } = port;
    expect(capabilities).toMatchObject({ link: 'ether', mtu: 1500, queues: 2, multiBuffer: false });
    expect(capabilities).toMatchObject({ txChecksum: true, rxChecksum: true, segmentBytesMax: 0 });
    expect(formatMac(capabilities.mac ?? [])).toBe(interfaceInfo('xdp0').mac);
    port.close();
    expect(open({ queue: 1, mode: 'generic', offload: false, mtu: 1280 })).toMatchObject({
      name: 'xdp:xdp0:1',
      mode: 'generic',
      capabilities: { mtu: 1280, queues: 1, txChecksum: false, rxChecksum: false },
    });
  });

  test('flows come by all queues, each in order; one queue alone leaves the others’ to the host', async () => {
    const far = raw();
    const flows = Array.from({ length: 32 }, (_, port) => port + 1);
    const sendAll = (): void => {
      for (const text of ['a', 'b', 'c']) far.send(flows.map((port) => udp(port, text)));
    };
    const all = open();
    sendAll();
    await eventually(() => (all.rxSync() >= 3 * flows.length ? true : undefined), 'all frames');
    const texts = new Map<number, string>();
    for (const frame of takeFrames(all)) {
      const { dstPort, payload } = parseUdp(parseIpv4Packet(parseEthernet(frame).payload).payload);
      texts.set(dstPort, (texts.get(dstPort) ?? '') + new TextDecoder().decode(payload));
    }
    expect(texts).toEqual(new Map(flows.map((port) => [port, 'abc'])));
    all.close();
    const counts = [0, 1].map((queue) => {
      const one = open({ queue });
      sendAll();
      const frames = receiveAll(one).length;
      one.close();
      return frames;
    });
    expect(Math.min(...counts)).toBeGreaterThan(0);
    expect(counts[0] + counts[1]).toBe(3 * flows.length);
  });

  test('the first of its queues, as many as told', () => {
    expect(open({ queues: 2 }).capabilities.queues).toBe(2);
    for (const close of closing.splice(0)) close();
    const first = open({ queues: 1 });
    expect(first).toMatchObject({ name: 'xdp:xdp0', capabilities: { queues: 1 } });
    const far = raw();
    far.send(Array.from({ length: 32 }, (_, port) => udp(port + 1, 'x')));
    const frames = first.rxSync();
    first.close();
    const other = open({ queue: 1 });
    far.send(Array.from({ length: 32 }, (_, port) => udp(port + 1, 'x')));
    expect(frames).toBeGreaterThan(0);
    expect(other.rxSync()).toBe(32 - frames);
  });

  test('a queue that gets everything has as many buffers as there are slots', () => {
    const port = open();
    const far = raw();
    far.send(Array.from({ length: SLOTS + 20 }, (_, i) => frameOf(port, 60, i)));
    expect(port.rxSync()).toBe(SLOTS);
    expect(takeFrames(port)).toHaveLength(SLOTS);
    // As many are held and as many wait: the rest found no buffer.
    expect(port.counters.rxDropped).toBe(20);
    expect({ ...port.counters }).toMatchObject({ rxFrames: SLOTS, rxDropped: 20 });
    far.send([frameOf(port, 60, 1)]);
    expect(port.rxSync()).toBe(0);
    far.send([frameOf(port, 60, 2)]);
    expect(port.rxSync()).toBe(1);
    port.close();
    expect(port.counters.rxDropped).toBe(21);
  });

  test('all that is sent leaves by the first queue', async () => {
    const port = open();
    const first = open({ name: 'far0', queue: 0 });
    for (let i = 1; i <= 32; i++) expect(queue(port, udp(i, 'x'))).toBe(true);
    port.txSync();
    expect(await eventually(() => (first.rxSync() === 32 ? 32 : undefined), '32 frames')).toBe(32);
  });

  test('its descriptor wakes a Poller for frames of any queue', async () => {
    const port = open();
    const far = raw();
    const poller = new Poller(port.fds);
    // The interfaces' own coming up is news, too.
    for (let i = 0; i < 1024; i++) port.rxSync();
    try {
      for (let i = 1; i <= 8; i++) {
        let woken = false;
        const wait = poller.wait(WAIT_MS_MAX).then(() => {
          woken = true;
        });
        await new Promise((resolve) => setTimeout(resolve, 2));
        expect(woken).toBe(false);
        const before = performance.now();
        far.send([udp(i, 'wake')]);
        await wait;
        expect(performance.now() - before).toBeLessThan(WOKEN_MS_MAX);
        expect(receiveAll(port)).toHaveLength(1);
      }
    } finally {
      poller.close();
    }
  });

  test.each(['native', 'generic'] as const)(
    'a checksum that the peer’s kernel left out (%s)',
    async (mode) => {
      const far = raw();
      const port = open({ mode });
      far.send([udp(7, 'left out', true)]);
      expect((await received(port)).flags).toBe(FRAME_CHECKSUM_GOOD | FRAME_CHECKSUM_FILL);
      far.send([udp(7, 'whole')]);
      expect((await received(port)).flags).toBe(0);
      port.close();
      const without = open({ mode, offload: false });
      far.send([udp(7, 'left out', true)]);
      expect((await received(without)).flags).toBe(0);
    },
  );

  test('a checksum that is left to the device: a veth leaves it out, too, others make it', async () => {
    const port = open();
    const far = raw();
    send(port, udp(7, 'left out', true), FRAME_CHECKSUM_FILL);
    expect(await arrived(far)).toEqual(udp(7, 'left out', true));
    disableTxChecksum('xdp0');
    send(port, udp(7, 'left out', true), FRAME_CHECKSUM_FILL);
    const { payload } = parseIpv4Packet(parseEthernet(await arrived(far)).payload);
    expect(transportChecksumGood(payload, ENDS, PROTOCOL_UDP)).toBe(true);
    // Nothing to fill in.
    send(port, frameOf(port, 100, 1), FRAME_CHECKSUM_FILL);
    expect(port.counters).toMatchObject({ txFrames: 2, txDropped: 1 });
    port.close();
    const without = open({ offload: false });
    send(without, udp(7, 'left out', true), FRAME_CHECKSUM_FILL);
    expect(without.counters).toMatchObject({ txFrames: 0, txDropped: 1 });
  });

  describe('frames of several buffers', () => {
    beforeEach(() => {
      for (const name of ['xdp0', 'far0']) ip('link', 'set', name, 'mtu', '9000');
    });

    test.each(['native', 'generic'] as const)('jumbo frames both ways (%s)', async (mode) => {
      const port = open({ multiBuffer: true, mode });
      expect(port.capabilities).toMatchObject({ mtu: 9000, multiBuffer: true });
      const far = raw();
      for (const length of [9014, 1793, 1792, 60, 5000]) {
        const frame = frameOf(port, length, length);
        far.send([frame]);
        const pieces = await eventually(
          () => (port.rxSync() > 0 ? pieceLengths(port) : undefined),
          'a frame',
        );
        expect(pieces.reduce((a, b) => a + b)).toBe(length);
        expect(pieces.length).toBe(Math.ceil(length / 1792));
        expect(concat(...takeFrames(port))).toEqual(frame);
        queuePieces(port, frame);
        port.txSync();
        expect(await arrived(far)).toEqual(frame);
      }
      expect(port.counters).toMatchObject({
        rxFrames: 5,
        txFrames: 5,
        txDropped: 0,
        rxBytes: 9014 + 1793 + 1792 + 60 + 5000,
      });
      expect(port.txSync()).toBe(SLOTS);
    });

    test('more of them than there are slots come whole, one after the other', () => {
      const port = open({ multiBuffer: true, slots: 16 });
      const far = raw();
      // Two queues have 32 buffers, six a frame.
      const frames = [1, 2].map((i) => frameOf(port, 9014, i));
      far.send(frames);
      expect(port.rxSync()).toBe(12);
      far.send(frames.slice(0, 1));
      expect(port.rxSync()).toBe(12);
      expect(takeFrames(port)).toHaveLength(12);
    });

    test('a frame isn’t sent before its end is there, nor one of too many buffers', async () => {
      const port = open({ multiBuffer: true });
      const far = raw();
      queue(port, frameOf(port, 1000, 1), FRAME_MORE);
      port.txSync();
      expect(far.receive()).toEqual([]);
      queue(port, new Uint8Array(200));
      port.txSync();
      expect((await arrived(far)).length).toBe(1200);
      for (let i = 0; i < 19; i++) queue(port, new Uint8Array(100), i < 18 ? FRAME_MORE : 0);
      send(port, frameOf(port, 60, 1));
      expect((await arrived(far)).length).toBe(60);
      expect(port.counters).toMatchObject({ txFrames: 2, txDropped: 1 });
      expect(port.txSync()).toBe(SLOTS);
    });

    test('a checksum is left to the device if its place is in the first buffer', async () => {
      const port = open({ multiBuffer: true });
      const far = raw();
      disableTxChecksum('xdp0');
      const frame = udp(7, 'left out '.repeat(100), true);
      for (const first of [30, 42, 200]) {
        for (const piece of [frame.subarray(0, first), frame.subarray(first)])
          queue(port, piece, piece.length === first ? FRAME_MORE | FRAME_CHECKSUM_FILL : 0);
        port.txSync();
      }
      send(port, frameOf(port, 60, 1));
      const got = await eventually(() => (port.txSync() === SLOTS ? far.receive() : undefined), 'the frames');
      expect(got.map(({ length }) => length)).toEqual([frame.length, frame.length, 60]);
      for (const bytes of got.slice(0, 2)) {
        const { payload } = parseIpv4Packet(parseEthernet(bytes).payload);
        expect(transportChecksumGood(payload, ENDS, PROTOCOL_UDP)).toBe(true);
      }
      expect(port.counters).toMatchObject({ txFrames: 3, txDropped: 1 });
    });

    test('a frame that fills the ring and goes on is dropped', async () => {
      const port = open({ multiBuffer: true, slots: 16 });
      const far = raw();
      while (queue(port, new Uint8Array(100), FRAME_MORE));
      expect(port.txSync()).toBe(16);
      send(port, frameOf(port, 60, 1));
      expect((await arrived(far)).length).toBe(60);
      expect(port.counters).toMatchObject({ txFrames: 1, txDropped: 1 });
    });

    test('who doesn’t know them has an MTU for one buffer; longer frames are dropped, and counted', async () => {
      const port = open();
      expect(port).toMatchObject({ frameBytes: 1792, capabilities: { mtu: 1774, multiBuffer: false } });
      const far = raw();
      far.send([frameOf(port, 9014, 1), frameOf(port, 1788, 2)]);
      expect((await received(port)).bytes).toEqual(frameOf(port, 1788, 2));
      expect(port.counters.rxDropped).toBe(1);
      queue(port, frameOf(port, 1000, 1), FRAME_MORE);
      queue(port, new Uint8Array(200));
      send(port, frameOf(port, 60, 3));
      expect((await arrived(far)).length).toBe(60);
      expect(port.counters).toMatchObject({ txFrames: 1, txDropped: 1 });
    });
  });

  test('busy polling is a matter of system calls in idle syncs', async () => {
    const port = open({ busyPoll_us: 20 });
    const { syscalls } = port.counters;
    port.rxSync();
    expect(port.counters.syscalls - syscalls).toBe(2);
    const far = raw();
    far.send([frameOf(port, 60, 1)]);
    expect((await received(port)).bytes).toEqual(frameOf(port, 60, 1));
  });

  test('a batch is one system call, and receiving none', async () => {
    const port = open();
    const other = open({ name: 'far0' });
    const before = port.counters.syscalls;
    for (let i = 0; i < 100; i++) {
      for (let k = 0; k < 64; k++) queue(port, frameOf(port, 60, k));
      port.txSync();
      await eventually(() => (other.rxSync() >= 64 ? true : undefined), '64 frames');
      other.rx.head = other.rx.tail;
    }
    expect(port.counters.txFrames).toBe(6400);
    expect(port.counters.syscalls - before).toBeLessThan(0.03 * 6400);
    expect(other.counters.syscalls).toBeLessThan(5);
  });
});

/** @param partial The checksum is left out. */
function udp(dstPort: number, text: string, partial = false): Uint8Array {
  const segment = emitUdp({ srcPort: 9, dstPort, payload: new TextEncoder().encode(text) }, ENDS);
  if (partial) viewOf(segment).setUint16(UDP_CHECKSUM, fold(pseudoSum(ENDS, PROTOCOL_UDP, segment.length)));
  const payload = emitIpv4Packet({ ...ENDS, protocol: PROTOCOL_UDP, payload: segment });
  return emitEthernet({ dst: '02:00:00:00:00:01', src: '02:00:00:00:00:02', type: ETHERTYPE_IPV4, payload });
}

/** Of the one frame that is there. */
function pieceLengths({ rx }: XdpPort): number[] {
  return Array.from({ length: rx.available }, (_, i) => {
    const slot = rx.slot(rx.head + i);
    expect(rx.m[slot + DESC_FLAGS]).toBe(i + 1 < rx.available ? FRAME_MORE : 0);
    return rx.m[slot + DESC_LENGTH];
  });
}

function queuePieces(port: XdpPort, frame: Uint8Array): void {
  const { tx, arena, frameBytes } = port;
  for (let at = 0; at < frame.length; at += frameBytes) {
    const slot = tx.slot(tx.head);
    const piece = frame.subarray(at, at + frameBytes);
    arena.u8.set(piece, tx.m[slot + DESC_AT]);
    tx.m[slot + DESC_LENGTH] = piece.length;
    tx.m[slot + DESC_FLAGS] = at + frameBytes < frame.length ? FRAME_MORE : 0;
    tx.head = (tx.head + 1) | 0;
  }
}

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Engine } from '../engine/engine.ts';
import { LIMITS_SMALL } from '../engine/testing.ts';
import { Arena } from '../memory/arena.ts';
import { DESC_AUX, DESC_FLAGS, FRAME_CHECKSUM_FILL, FRAME_MORE, FRAME_SEGMENT } from '../memory/ring.ts';
import { fold } from '../wire/checksum.ts';
import { decodeFrame } from '../wire/decode.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6, emitEthernet } from '../wire/ethernet.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet } from '../wire/ipv6.ts';
import { type Ends, pseudoSum, viewOf } from '../wire/plain.ts';
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/protocols.ts';
import { emitTcp, FLAG_ACK, FLAG_CWR, FLAG_FIN, FLAG_PSH, TCP_CHECKSUM } from '../wire/tcp.ts';
import { emitUdp, UDP_CHECKSUM } from '../wire/udp.ts';
import { type CableOptions, createCable } from './cable.ts';
import { frameOf, queueFrame, takeFrames } from './compliance.testing.ts';
import { Bridge, Forwarder } from './forward.ts';
import { createFrames } from './frames.ts';
import type { Port } from './port.ts';
import { watch } from './watch.ts';

/** near ═ cable ═ inner │ bridge │ outer ═ cable ═ far */
function rig(left: CableOptions, right: CableOptions, bytes = 1 << 25) {
  const arena = new Arena(bytes);
  const [near, inner] = createCable(arena, 'left', left);
  // The ends of a cable have addresses by which it is.
  const [outer, far] = createCable(arena, 'right', right);
  return { arena, near, inner, outer, far, bridge: new Bridge(inner, outer) };
}

const plain = (port: Port): Port => ({
  ...watch(port, { received() {}, sending() {} }),
  capabilities: { ...port.capabilities, multiBuffer: false },
});

function queueWith(port: Port, frame: Uint8Array, flags: number, aux = 0): void {
  queueFrame(port, frame);
  const slot = port.tx.slot((port.tx.head - 1) | 0);
  port.tx.m[slot + DESC_FLAGS] = flags;
  port.tx.m[slot + DESC_AUX] = aux;
}

/** Takes what has come, in turns with the bridge, until nothing moves. */
function drain({ bridge, far }: { bridge: Bridge; far: Port }): Uint8Array[] {
  const got: Uint8Array[] = [];
  for (let idle = 0; idle < 3; ) {
    const moved = bridge.turn();
    far.rxSync();
    const frames = takeFrames(far);
    far.rxSync();
    got.push(...frames);
    idle = moved + frames.length === 0 ? idle + 1 : 0;
  }
  return got;
}

const V4: Ends = { src: '10.0.0.1', dst: '10.0.0.2' };
const V6: Ends = { src: 'fd00::1', dst: 'fd00::2' };

/** A packet whose transport checksum is left out, as engines and kernels send it. */
function unfinished(
  ends: Ends,
  protocol: number,
  payload: Uint8Array,
  link: 'ether' | 'ip' | 'vlan',
  flags = FLAG_ACK,
): Uint8Array {
  const tcp = protocol === PROTOCOL_TCP;
  const options = { timestamps: { value: 1, echo: 2 } };
  const segment = tcp
    ? emitTcp({ srcPort: 5, dstPort: 6, seq: 0xffff_f000, ack: 1, flags, options, payload }, ends)
    : emitUdp({ srcPort: 5, dstPort: 6, payload }, ends);
  viewOf(segment).setUint16(
    tcp ? TCP_CHECKSUM : UDP_CHECKSUM,
    fold(pseudoSum(ends, protocol, segment.length)),
  );
  const v6 = ends.src.includes(':');
  const packet = v6
    ? emitIpv6Packet({ ...ends, nextHeader: protocol, payload: segment })
    : emitIpv4Packet({ ...ends, protocol, payload: segment, id: 0xfffe });
  if (link === 'ip') return packet;
  const type = v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4;
  const header = { dst: '02:00:00:00:00:01', src: '02:00:00:00:00:02' };
  if (link === 'ether') return emitEthernet({ ...header, type, payload: packet });
  return emitEthernet({
    ...header,
    type: 0x8100,
    payload: Uint8Array.of(0, 5, type >> 8, type & 255, ...packet),
  });
}

/** Without its VLAN tag. */
function untagged(frame: Uint8Array, link: 'ether' | 'ip' | 'vlan'): Uint8Array {
  return link === 'vlan' ? Uint8Array.from([...frame.subarray(0, 12), ...frame.subarray(16)]) : frame;
}

const anyLink = fc.constantFrom('ether' as const, 'ip' as const, 'vlan' as const);
const anyEnds = fc.constantFrom(V4, V6);
const anyProtocol = fc.constantFrom(PROTOCOL_TCP, PROTOCOL_UDP);
const bytesOf = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 255);

describe('what a destination can’t do is done for it', () => {
  test('checksums that were left out are completed', () => {
    fc.assert(
      fc.property(
        anyLink,
        anyEnds,
        anyProtocol,
        fc.integer({ min: 0, max: 1400 }),
        (link, ends, protocol, n) => {
          const kind = link === 'ip' ? 'ip' : 'ether';
          const it = rig({ link: kind, offload: true, slots: 4 }, { link: kind, slots: 4 }, 1 << 21);
          queueWith(it.near, unfinished(ends, protocol, bytesOf(n), link), FRAME_CHECKSUM_FILL);
          it.near.txSync();
          const [frame] = drain(it);
          expect(decodeFrame(untagged(frame, link), kind)).toMatchObject({ protocol, checksumGood: true });
          expect(it.bridge.forth.counters).toMatchObject({
            frames: 1,
            completed: 1,
            malformed: 0,
            tooLong: 0,
          });
        },
      ),
    );
  });

  test('super-segments are cut into whole segments of the size asked for, more than a ring holds too', () => {
    const sizes = fc.record({
      payload: fc.integer({ min: 0, max: 60_000 }),
      size: fc.integer({ min: 100, max: 1400 }),
    });
    fc.assert(
      fc.property(anyLink, anyEnds, anyProtocol, sizes, (link, ends, protocol, { payload, size }) => {
        const kind = link === 'ip' ? 'ip' : 'ether';
        const it = rig({ link: kind, offload: true, slots: 4 }, { link: kind, slots: 4 }, 1 << 21);
        const data = bytesOf(payload);
        const flags = FLAG_ACK | FLAG_PSH | FLAG_FIN | FLAG_CWR;
        const frame = unfinished(ends, protocol, data, link, flags);
        queueWith(it.near, frame, FRAME_CHECKSUM_FILL | FRAME_SEGMENT, size);
        it.near.txSync();
        const pieces = drain(it).map((piece) => decodeFrame(untagged(piece, link), kind));
        expect(pieces.length).toBe(Math.max(1, Math.ceil(payload / size)));
        let done = 0;
        for (const [i, { tcp, udp, ipv4, checksumGood, malformed }] of pieces.entries()) {
          expect({ checksumGood, malformed }).toEqual({ checksumGood: true, malformed: undefined });
          const part = tcp?.payload ?? udp?.payload ?? new Uint8Array(0);
          expect(Buffer.compare(part, data.subarray(done, done + size))).toBe(0);
          if (ipv4 !== undefined) expect(ipv4.id).toBe((0xfffe + i) & 0xffff);
          if (tcp !== undefined) {
            expect(tcp.seq).toBe((0xffff_f000 + done) >>> 0);
            expect(tcp.options).toEqual({ timestamps: { value: 1, echo: 2 } });
            expect((tcp.flags & FLAG_CWR) !== 0).toBe(i === 0);
            expect((tcp.flags & (FLAG_FIN | FLAG_PSH)) !== 0).toBe(i === pieces.length - 1);
          }
          done += part.length;
        }
        expect(done).toBe(payload);
        expect(it.bridge.forth.counters).toMatchObject({ frames: 1, pieces: pieces.length });
      }),
      { numRuns: 60 },
    );
  });

  test('a destination that can do both gets frames as they are', () => {
    const it = rig({ offload: true, slots: 4 }, { offload: true, slots: 4 }, 1 << 23);
    const frame = unfinished(V4, PROTOCOL_TCP, bytesOf(30_000), 'ether');
    queueWith(it.near, frame, FRAME_CHECKSUM_FILL | FRAME_SEGMENT, 1400);
    it.near.txSync();
    it.bridge.turn();
    it.far.rxSync();
    const slot = it.far.rx.slot(it.far.rx.head);
    expect(it.far.rx.m[slot + DESC_AUX]).toBe(1400);
    expect(it.far.rx.m[slot + DESC_FLAGS] & (FRAME_CHECKSUM_FILL | FRAME_SEGMENT)).toBe(
      FRAME_CHECKSUM_FILL | FRAME_SEGMENT,
    );
    expect(takeFrames(it.far)).toEqual([frame]);
  });

  test('frames of several buffers pass as they are, or in one, and wait for their end', () => {
    for (const linear of [false, true]) {
      const arena = new Arena(1 << 21);
      const [near, inner] = createCable(arena, 'left', { slots: 8 });
      const [far, outer] = createCable(arena, 'right', { slots: 8 });
      const bridge = new Bridge(inner, linear ? plain(outer) : outer);
      const frame = frameOf(near, 1200, 3);
      queueWith(near, frame.slice(0, 500), FRAME_MORE);
      near.txSync();
      expect(drain({ bridge, far })).toEqual([]);
      queueWith(near, frame.slice(500, 700), FRAME_MORE);
      queueWith(near, frame.slice(700), 0);
      near.txSync();
      const got = drain({ bridge, far });
      expect(got.length).toBe(linear ? 1 : 3);
      expect(Buffer.concat(got)).toEqual(Buffer.from(frame));
    }
  });

  test('a checksum over several buffers is completed in one', () => {
    const it = rig({ offload: true, slots: 8 }, { slots: 8 }, 1 << 23);
    const frame = unfinished(V6, PROTOCOL_UDP, bytesOf(1000), 'ether');
    queueWith(it.near, frame.slice(0, 301), FRAME_CHECKSUM_FILL | FRAME_MORE);
    queueWith(it.near, frame.slice(301), 0);
    it.near.txSync();
    const got = drain(it);
    expect(got.map((bytes) => decodeFrame(bytes, 'ether').checksumGood)).toEqual([true]);
  });

  test('a frame without an end fills the ring, and is dropped', () => {
    const it = rig({ slots: 4 }, { slots: 4 });
    for (let i = 0; i < 4; i++) queueWith(it.near, frameOf(it.near, 60, i), FRAME_MORE);
    it.near.txSync();
    expect(drain(it)).toEqual([]);
    expect(it.bridge.forth.counters.malformed).toBe(1);
    queueFrame(it.near, frameOf(it.near, 60, 9));
    it.near.txSync();
    expect(drain(it)).toEqual([frameOf(it.near, 60, 9)]);
  });
});

describe('what can’t be forwarded', () => {
  test('is dropped and counted when it is longer than the destination’s MTU, a VLAN tag aside', () => {
    const it = rig({ mtu: 1504, slots: 4 }, { mtu: 1000, slots: 4 });
    const tagged = frameOf(it.near, 1018, 2);
    tagged.set([0x81, 0, 0, 5], 12);
    const frames = [1014, 1015, 1018].map((length) => frameOf(it.near, length, 1));
    for (const frame of [...frames, tagged]) queueFrame(it.near, frame);
    it.near.txSync();
    expect(drain(it)).toEqual([frames[0], tagged]);
    expect(it.bridge.forth.counters).toMatchObject({ frames: 2, tooLong: 2, bytes: 1014 + 1018 });
  });

  test('so are super-segments whose pieces are, and what was left to do on what is no TCP or UDP', () => {
    const it = rig({ offload: true, slots: 4 }, { mtu: 1000, slots: 4 }, 1 << 21);
    const big = unfinished(V4, PROTOCOL_TCP, bytesOf(5000), 'ether');
    queueWith(it.near, big, FRAME_CHECKSUM_FILL | FRAME_SEGMENT, 1400);
    queueWith(it.near, big, FRAME_CHECKSUM_FILL | FRAME_SEGMENT, 0);
    queueWith(it.near, frameOf(it.near, 100, 1), FRAME_CHECKSUM_FILL);
    it.near.txSync();
    expect(drain(it)).toEqual([]);
    expect(it.bridge.forth.counters).toMatchObject({ frames: 0, tooLong: 1, malformed: 2 });
  });

  test('waits in its ring while the destination is full', () => {
    const it = rig({ slots: 16 }, { slots: 4 });
    const frames = Array.from({ length: 14 }, (_, i) => frameOf(it.near, 60 + i, i));
    for (const frame of frames) queueFrame(it.near, frame);
    it.near.txSync();
    for (let i = 0; i < 5; i++) it.bridge.turn();
    // The far ring and the tx ring before it.
    expect(it.bridge.forth.counters.frames).toBe(8);
    expect(it.inner.rx.available).toBe(6);
    expect(drain(it)).toEqual(frames);
  });

  test('ports of unlike links, of other arenas and a port with itself are refused', () => {
    const arena = new Arena(1 << 22);
    const [a] = createCable(arena, 'a', { slots: 2, link: 'ip' });
    const [b] = createCable(arena, 'b', { slots: 2 });
    const [c] = createCable(new Arena(1 << 20), 'c', { slots: 2 });
    for (const [from, to, why] of [
      [a, b, 'b.0 carries Ethernet frames and a.0 bare IP packets'],
      [b, a, 'b.0 carries Ethernet frames and a.0 bare IP packets'],
      [b, c, 'arenas'],
      [a, a, 'itself'],
    ] as const) {
      expect(() => new Forwarder(from, to)).toThrow(
        expect.objectContaining({ code: 'EINVAL', message: expect.stringContaining(why) }),
      );
    }
  });
});

test('ports of one pool exchange buffers, and none gets lost or shared', () => {
  const arena = new Arena(1 << 22);
  const pool = createFrames(arena, 'frames', 256, 1518);
  const [near, inner] = createCable(arena, 'left', { slots: 16, pool });
  const [far, outer] = createCable(arena, 'right', { slots: 16, pool });
  const bridge = new Bridge(inner, outer);
  const copies = arena.kernels.copy;
  arena.kernels.copy = () => expect.fail('nothing needs to be copied');
  for (let round = 0; round < 20; round++) {
    const frames = Array.from({ length: 13 }, (_, i) => frameOf(near, 60 + i, i + round));
    for (const frame of frames) queueFrame(near, frame);
    near.txSync();
    expect(drain({ bridge, far })).toEqual(frames);
  }
  arena.kernels.copy = copies;
  for (const port of [near, inner, far, outer]) port.close();
  pool.audit();
  expect(pool.inUse).toBe(0);
});

test('engines with and without offload talk through a bridge, and no checksum is wrong', () => {
  for (const address of ['10.0.0.2', 'fd00::2']) {
    const it = rig({ offload: true }, {}, 1 << 28);
    const secret = new Int32Array(4);
    const engine = () => new Engine({ arena: it.arena, limits: LIMITS_SMALL, secret, now: 0 });
    const [a, b] = [engine(), engine()];
    a.addInterface(it.near, { addresses: ['10.0.0.1/24', 'fd00::1/64'] });
    b.addInterface(it.far, { addresses: ['10.0.0.2/24', 'fd00::2/64'] });
    const wanted = 500_000;
    let received = 0;
    let sent = 0;
    b.listen(
      { port: 7 },
      {
        data(_conn, at, length) {
          for (let i = 0; i < length; i += 97)
            if (it.arena.u8[at + i] !== ((received + i) & 0xff)) throw new Error(`wrong at ${received + i}`);
          received += length;
          return length;
        },
      },
    );
    const data = it.arena.carve('data', 65_536);
    for (let i = 0; i < 65_536; i++) it.arena.u8[data + i] = i;
    const pump = (conn: number) => {
      while (sent < wanted) {
        const n = a.send(conn, data + (sent & 0xff), Math.min(60_000, wanted - sent));
        if (n <= 0) return;
        sent += n;
      }
    };
    a.connect({ address, port: 7 }, { open: pump, writable: pump });
    for (let now = 0; now < 20_000 && received < wanted; now++) {
      for (let i = 0; i < 4; i++) {
        a.breath(now);
        it.bridge.turn();
        b.breath(now);
      }
    }
    expect(received).toBe(wanted);
    expect(it.bridge.forth.counters.pieces).toBeGreaterThan(100);
    expect(it.bridge.forth.counters).toMatchObject({ tooLong: 0, malformed: 0 });
    expect(it.far.counters.rxFrames).toBeGreaterThan(wanted / 1460);
    expect(b.tcp.counters.badChecksum).toBe(0);
  }
});

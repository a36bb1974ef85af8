import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { DESC_AT, DESC_AUX, DESC_FLAGS, DESC_LENGTH, FRAME_MORE, Ring } from '../memory/ring.ts';
import { memifRingBytes, RING_COOKIE } from '../wire/memif.ts';
import { clientMemory } from './memif-handshake.ts';
import {
  dropFrames,
  MEMIF_TABLE_BYTES,
  MemifRegions,
  MemifRing,
  ringFault,
  type TxCursor,
} from './memif-rings.ts';
import { portCounters } from './port.ts';

const RING_LOG2 = 3;
const SLOTS = 1 << RING_LOG2;
const FRAME_BYTES = 256;
const FRAMES = 16;

/** One ring to the server and one to the client, in shared memory between guards, and a port's rings for each side. */
function world(bufferBytes = 128) {
  const arena = new Arena(1 << 18);
  const memory = clientMemory({ queues: 1, ringLog2: RING_LOG2 }, bufferBytes);
  const before = arena.carve('before', 4096);
  const at = arena.carve('region', memory.bytes, 4096);
  const after = arena.carve('after', 4096);
  const frames = arena.carve('frames', 4 * FRAMES * FRAME_BYTES);
  const [toServer, toClient] = [...memory.toServer, ...memory.toClient];
  for (const { offset } of [toServer, toClient]) arena.i32[(at + offset) >> 2] = RING_COOKIE;
  const side = (index: number, client: boolean) => {
    const table = arena.carve('table', MEMIF_TABLE_BYTES);
    const rx = new Ring(arena, 'rx', FRAMES);
    const tx = new Ring(arena, 'tx', FRAMES);
    for (const [k, ring] of [rx, tx].entries()) {
      for (let i = 0; i < FRAMES; i++) {
        ring.m[ring.slot(i) + DESC_AT] = frames + ((2 * index + k) * FRAMES + i) * FRAME_BYTES;
      }
    }
    tx.tail = FRAMES;
    const cursor: TxCursor = { taken: 0, chained: false };
    const counters = portCounters();
    const incoming = client ? toClient : toServer;
    const outgoing = client ? toServer : toClient;
    const link = () => {
      const regions = new MemifRegions(arena, table);
      regions.add(at, memory.bytes);
      const reader = new MemifRing(regions, incoming, !client, client ? incoming.buffers : null);
      const writer = new MemifRing(regions, outgoing, client, client ? outgoing.buffers : null);
      return { regions, reader, writer };
    };
    return {
      ...{ rx, tx, cursor, counters, link },
      ...link(),
      queue(bytes: Uint8Array, flags = 0, length = bytes.length) {
        const slot = tx.slot(tx.head);
        arena.u8.set(bytes, tx.m[slot + DESC_AT]);
        tx.m[slot + DESC_LENGTH] = length;
        tx.m[slot + DESC_FLAGS] = flags;
        tx.head = (tx.head + 1) | 0;
      },
      write() {
        const sent = this.writer.write(tx, cursor, FRAME_BYTES, counters);
        tx.tail = (cursor.taken + FRAMES) | 0;
        return sent;
      },
      take(): Uint8Array[] {
        this.reader.read(rx, FRAME_BYTES, counters);
        const got: Uint8Array[] = [];
        for (; rx.available > 0; rx.head = (rx.head + 1) | 0) {
          const slot = rx.slot(rx.head);
          got.push(arena.u8.slice(rx.m[slot + DESC_AT], rx.m[slot + DESC_AT] + rx.m[slot + DESC_LENGTH]));
        }
        return got;
      },
    };
  };
  return { arena, at, before, after, memory, server: side(0, false), client: side(1, true) };
}

type World = ReturnType<typeof world>;

const frame = (length: number, seed: number) => Uint8Array.from({ length }, (_, i) => (i * 5 + seed) & 255);
const hex = (frames: Uint8Array[]) => frames.map((bytes) => Buffer.from(bytes).toString('hex'));

describe.each(['client', 'server'] as const)('from the %s', (from) => {
  const ends = (w: World) => (from === 'client' ? [w.client, w.server] : [w.server, w.client]);

  test('frames arrive in order, in one buffer or several, in any batches', () => {
    const batches = fc.array(
      fc.tuple(fc.array(fc.integer({ min: 1, max: FRAME_BYTES }), { maxLength: FRAMES }), fc.boolean()),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(batches, fc.constantFrom(64, 100, 256), (given, bufferBytes) => {
        const w = world(bufferBytes);
        const [a, b] = ends(w);
        const sent: Uint8Array[] = [];
        const got: Uint8Array[] = [];
        for (const [lengths, read] of given) {
          for (const length of lengths) {
            if (a.tx.available === 0) break;
            sent.push(frame(length, sent.length));
            a.queue(sent[sent.length - 1]);
          }
          a.write();
          if (read) got.push(...b.take());
        }
        for (let i = 0; i < 100 && got.length < sent.length; i++) {
          a.write();
          got.push(...b.take());
        }
        expect(hex(got)).toEqual(hex(sent));
        expect(a.writer.fault ?? b.reader.fault).toBeNull();
        expect(a.counters).toMatchObject({ txFrames: sent.length, txDropped: 0 });
        expect(b.counters).toMatchObject({ rxFrames: sent.length, rxDropped: 0 });
      }),
    );
  });

  test('what can’t be sent is dropped and counted, and the rest passes', () => {
    const w = world(16);
    const [a, b] = ends(w);
    a.queue(frame(10, 0), 0, 0);
    a.queue(frame(10, 1), 0, FRAME_BYTES + 1);
    a.queue(frame(10, 2), FRAME_MORE);
    a.queue(frame(10, 3));
    // 8 slots of 16 B.
    a.queue(frame(129, 4));
    a.queue(frame(128, 5));
    expect(a.write()).toBe(true);
    expect(hex(b.take())).toEqual(hex([frame(128, 5)]));
    expect(a.counters).toMatchObject({ txDropped: 5, txFrames: 1, txBytes: 128 });
  });

  test('signals are wanted until the reader says otherwise', () => {
    const [a, b] = ends(world());
    expect(a.writer.signalsWanted).toBe(true);
    b.reader.wantSignals(false);
    expect(a.writer.signalsWanted).toBe(false);
    b.reader.wantSignals(true);
    expect(a.writer.signalsWanted).toBe(true);
  });
});

test('nobody there: all is dropped and counted', () => {
  const { client } = world();
  client.queue(frame(10, 0));
  client.queue(frame(10, 1), FRAME_MORE);
  dropFrames(client.tx, client.cursor, client.counters);
  expect(client.counters.txDropped).toBe(2);
  expect(client.cursor).toEqual({ taken: 2, chained: true });
});

test('a frame longer than the receiver’s buffers is dropped, and the next received', () => {
  const w = world(128);
  const other = portCounters();
  w.client.queue(frame(200, 0));
  w.client.queue(frame(50, 1));
  w.client.write();
  w.server.reader.read(w.server.rx, 100, other);
  expect(other).toMatchObject({ rxDropped: 1, rxFrames: 1, rxBytes: 50 });
});

describe('a lie ends it', () => {
  const HEAD = 6;
  const TAIL = 64;
  const u16 = (w: World, at: number, value: number) => w.arena.view.setUint16(w.at + at, value, true);
  const word = (w: World, at: number, value: number) => w.arena.view.setInt32(w.at + at, value, true);

  /** The ring to the server is at 0, its first descriptor at 128; that to the client behind it. */
  const CLIENT_RING = memifRingBytes(RING_LOG2);

  test.each<[string, (w: World) => void, 'server' | 'client', 'reader' | 'writer']>([
    ['a head ahead of the ring', (w) => u16(w, HEAD, SLOTS + 1), 'server', 'reader'],
    ['a head that goes back', (w) => u16(w, HEAD, 0xffff), 'server', 'reader'],
    ['a head that offers too much', (w) => u16(w, CLIENT_RING + HEAD, SLOTS + 1), 'server', 'writer'],
    ['a tail ahead of the ring', (w) => u16(w, CLIENT_RING + TAIL, SLOTS + 1), 'client', 'reader'],
    ['a tail ahead of the head', (w) => u16(w, TAIL, 1), 'client', 'writer'],
    ['an unknown region', (w) => word(w, 128, 1 << 16), 'server', 'reader'],
    [
      // Its entry is zero otherwise, and a region of no bytes is refused, too: the count has to do it alone.
      'a region that wasn’t announced',
      (w) => {
        w.server.regions.at[1] = w.before;
        w.server.regions.bytes[1] = 4096;
        word(w, 128, 1 << 16);
        word(w, 136, 0);
      },
      'server',
      'reader',
    ],
    ['a region of 65535', (w) => word(w, 128, -65_536), 'server', 'reader'],
    ['an offset at 2^31', (w) => word(w, 136, -(2 ** 31)), 'server', 'reader'],
    ['an offset beyond the end', (w) => word(w, 136, w.memory.bytes), 'server', 'reader'],
    ['a length of 2^32 - 1', (w) => word(w, 132, -1), 'server', 'reader'],
    ['a length beyond the end', (w) => word(w, 132, w.memory.bytes), 'server', 'reader'],
    ['a length that wraps', (w) => word(w, 132, 2 ** 31 - 1), 'server', 'reader'],
    ['an empty buffer to fill', (w) => word(w, CLIENT_RING + 132, 0), 'server', 'writer'],
    [
      'a buffer to fill beyond the end',
      (w) => word(w, CLIENT_RING + 136, w.memory.bytes - 1),
      'server',
      'writer',
    ],
    ['a buffer to fill in no region', (w) => word(w, CLIENT_RING + 128, 5 << 16), 'server', 'writer'],
    ['more than the buffer holds', (w) => word(w, CLIENT_RING + 132, 129), 'client', 'reader'],
    [
      'a chain around the ring',
      (w) => {
        for (let i = 0; i < SLOTS; i++) word(w, 128 + 16 * i, 1);
        u16(w, HEAD, SLOTS);
      },
      'server',
      'reader',
    ],
  ])('%s', (_, lie, whose, which) => {
    const w = world();
    w.client.queue(frame(60, 0));
    w.server.queue(frame(60, 1));
    if (which === 'reader') {
      w.client.write();
      w.server.write();
    }
    lie(w);
    const side = w[whose];
    if (which === 'reader') expect(side.take()).toEqual([]);
    else expect(side.write()).toBe(false);
    expect(side[which].fault).toMatch(/./);
  });

  test('part of a chain is waited for', () => {
    const w = world();
    w.client.queue(frame(60, 0));
    w.client.write();
    w.arena.view.setUint16(w.at + 128, 1, true);
    expect(w.server.take()).toEqual([]);
    expect(w.server.reader.fault).toBeNull();
    w.client.queue(frame(30, 1));
    w.client.write();
    expect(w.server.take().map((bytes) => bytes.length)).toEqual([90]);
  });
});

test('rings are taken only where they can be', () => {
  const { server, arena, at, memory } = world();
  const { regions } = server;
  const good = { region: 0, offset: 0, ringLog2: RING_LOG2 };
  expect(ringFault(regions, good)).toBeNull();
  expect(ringFault(regions, { ...good, ringLog2: 16 })).toMatch(/slots/);
  expect(ringFault(regions, { ...good, ringLog2: 255 })).toMatch(/slots/);
  expect(ringFault(regions, { ...good, ringLog2: 15 })).toMatch(/beyond/);
  expect(ringFault(regions, { ...good, region: 1 })).toMatch(/beyond/);
  expect(ringFault(regions, { ...good, offset: 2 })).toMatch(/at 2/);
  expect(ringFault(regions, { ...good, offset: 2 ** 32 - 4 })).toMatch(/beyond/);
  expect(ringFault(regions, { ...good, offset: memory.bytes - 128 })).toMatch(/beyond/);
  arena.i32[at >> 2] = 0;
  expect(ringFault(regions, good)).toMatch(/cookie/);
});

/** A buffer in the server's second region, as a client describes it; `there` unless that lies. */
interface Described {
  readonly region: number;
  readonly offset: number;
  readonly length: number;
  readonly next: boolean;
  readonly there: boolean;
}

const DATA_BYTES = 1000;
const described: fc.Arbitrary<Described> = fc
  .record({
    region: fc.constantFrom(...Array<number>(24).fill(1), 2, 0xffff),
    length: fc.oneof(
      { weight: 12, arbitrary: fc.constantFrom(0, 1, 16, 60, 64, 100, 128, 255, 256, 257, DATA_BYTES) },
      { weight: 1, arbitrary: fc.constantFrom(2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1) },
    ),
    place: fc.constantFrom(
      ...Array<'inside'>(8).fill('inside'),
      ...Array<'at the end'>(8).fill('at the end'),
      'past the end',
    ),
    wild: fc.oneof(
      { weight: 12, arbitrary: fc.constant(null) },
      {
        weight: 1,
        arbitrary: fc.constantFrom(DATA_BYTES, DATA_BYTES + 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1),
      },
    ),
    next: fc.constantFrom(false, false, true),
    any: fc.nat(DATA_BYTES),
  })
  .map(({ region, length, place, wild, next, any }) => {
    const last = Math.max(0, DATA_BYTES - length);
    const chosen = place === 'inside' ? Math.min(any, last) : place === 'at the end' ? last : last + 1;
    const offset = wild ?? chosen;
    return { region, offset, length, next, there: region === 1 && offset + length <= DATA_BYTES };
  });

/** A server whose client is the test: it writes descriptors by hand, after the ring has turned `start` slots. */
function byHand(start: number) {
  const w = world();
  const { arena, server } = w;
  const { view } = arena;
  const guard = arena.carve('guard', 1024);
  const data = arena.carve('data', 1024);
  const behind = data + DATA_BYTES;
  arena.carve('guard', 1024);
  arena.u8.fill(0xa5, guard, data);
  arena.u8.set(frame(DATA_BYTES, 3), data);
  arena.u8.fill(0xa5, behind, behind + 1024);
  server.regions.add(data, DATA_BYTES);
  return {
    ...{ arena, server, data },
    describe(ring: number, given: readonly Described[], first: number) {
      for (const [k, { region, offset, length, next }] of given.entries()) {
        const at = w.at + ring + 128 + 16 * ((first + k) % SLOTS);
        view.setUint16(at, next ? 1 : 0, true);
        view.setUint16(at + 2, region, true);
        view.setUint32(at + 4, length, true);
        view.setUint32(at + 8, offset, true);
      }
      view.setUint16(w.at + ring + 6, first + given.length, true);
    },
    /** Lets the ring turn, by `step` for each few buffers that are described. */
    turn(ring: number, each: Described, step: (slots: number) => void) {
      for (let at = 0; at < start; ) {
        const slots = Math.min(SLOTS, start - at);
        this.describe(ring, Array<Described>(slots).fill(each), at);
        step(slots);
        at += slots;
      }
      Object.assign(server.counters, portCounters());
    },
    descriptor(ring: number, index: number) {
      const at = w.at + ring + 128 + 16 * (index % SLOTS);
      return [view.getUint16(at, true), view.getUint16(at + 2, true), view.getUint32(at + 4, true)];
    },
    tail: (ring: number) => view.getUint16(w.at + ring + 64, true),
    guardsHold: () =>
      [...arena.u8.subarray(guard, data), ...arena.u8.subarray(behind, behind + 1024)].every(
        (byte) => byte === 0xa5,
      ),
  };
}

describe('any descriptors, against a model', () => {
  const TO_SERVER = 0;
  const TO_CLIENT = memifRingBytes(RING_LOG2);
  const start = fc.oneof(
    { weight: 9, arbitrary: fc.nat(2 * SLOTS) },
    { weight: 1, arbitrary: fc.constant(65_533) },
  );
  const ones: Described = { region: 1, offset: 0, length: 1, next: false, there: true };

  test('read', () => {
    fc.assert(
      fc.property(
        start,
        fc.array(described, { maxLength: SLOTS }),
        fc.constantFrom(0, 1, 3, FRAMES),
        (first, given, free) => {
          const w = byHand(first);
          const { arena, server, data } = w;
          const { rx, counters } = server;
          w.turn(TO_SERVER, { ...ones, length: 0 }, () => server.take());
          w.describe(TO_SERVER, given, first);
          rx.head = (rx.tail - (FRAMES - free)) | 0;
          const { tail } = rx;
          for (let k = 0; k < FRAMES; k++) {
            rx.m[rx.slot(k) + DESC_FLAGS] = 7;
            rx.m[rx.slot(k) + DESC_AUX] = 7;
          }
          server.reader.read(rx, FRAME_BYTES, counters);

          const frames: Uint8Array[] = [];
          let used = 0;
          let dropped = 0;
          let fault: RegExp | null = null;
          while (used < given.length && frames.length < free && fault === null) {
            const last = given.findIndex(({ next }, k) => k >= used && !next);
            const parts = given.slice(used, last < 0 ? given.length : last + 1);
            if (!parts.every(({ there }) => there)) fault = /outside/;
            else if (last < 0) {
              if (used === 0 && given.length === SLOTS) fault = /longer/;
              break;
            } else {
              used = last + 1;
              const bytes = parts.flatMap(({ offset, length }) => [
                ...arena.u8.subarray(data + offset, data + offset + length),
              ]);
              if (bytes.length === 0 || bytes.length > FRAME_BYTES) dropped++;
              else frames.push(Uint8Array.from(bytes));
            }
          }
          const got = frames.map((_, k) => {
            const slot = rx.slot((tail + k) | 0);
            expect(rx.m[slot + DESC_FLAGS] | rx.m[slot + DESC_AUX]).toBe(0);
            return arena.u8.slice(rx.m[slot + DESC_AT], rx.m[slot + DESC_AT] + rx.m[slot + DESC_LENGTH]);
          });
          if (fault === null) expect(server.reader.fault).toBeNull();
          else expect(server.reader.fault).toMatch(fault);
          expect((rx.tail - tail) | 0).toBe(frames.length);
          expect(hex(got)).toEqual(hex(frames));
          const rxBytes = frames.reduce((sum, { length }) => sum + length, 0);
          expect(counters).toMatchObject({ rxFrames: frames.length, rxBytes, rxDropped: dropped });
          expect(w.tail(TO_SERVER)).toBe((first + used) & 0xffff);
        },
      ),
      // A full ring that ends within a frame is waited on once something else was taken from it.
      {
        numRuns: 500,
        examples: [[0, [...Array<Described>(SLOTS - 1).fill(ones), { ...ones, next: true }], FRAMES]],
      },
    );
  });

  test('write', () => {
    const queued = fc.record({
      length: fc.constantFrom(1, 60, 128, 200, 256, 256, 257, 0, -1, -(2 ** 31)),
      more: fc.constantFrom(false, false, false, true),
    });
    fc.assert(
      fc.property(
        start,
        fc.array(described, { maxLength: SLOTS }),
        fc.array(queued, { maxLength: FRAMES }),
        (first, offered, given) => {
          const w = byHand(first);
          const { arena, server, data } = w;
          const { tx, cursor, counters } = server;
          w.turn(TO_CLIENT, ones, (slots) => {
            for (let k = 0; k < slots; k++) server.queue(Uint8Array.of(1));
            server.write();
          });
          w.describe(TO_CLIENT, offered, first);
          const taken = cursor.taken;
          for (const [k, { length, more }] of given.entries())
            server.queue(frame(FRAME_BYTES, k), more ? FRAME_MORE : 0, length);

          const shadow = arena.u8.slice(data, data + DATA_BYTES);
          const descriptors: number[][] = [];
          let [used, sent, bytes, dropped] = [0, 0, 0, 0];
          let chained = false;
          let fault = false;
          for (const [k, { length, more }] of given.entries()) {
            if (chained || more || length < 1 || length > FRAME_BYTES) {
              chained = more;
              dropped++;
              continue;
            }
            let left = length;
            let at = used;
            for (; left > 0 && at < offered.length && !fault; at++) {
              const { region, offset, length: room, there } = offered[at];
              fault = !there || room === 0;
              if (fault) break;
              const part = Math.min(room, left);
              shadow.set(frame(FRAME_BYTES, k).subarray(length - left, length - left + part), offset);
              left -= part;
              descriptors[at] = [left > 0 ? 1 : 0, region, part];
            }
            if (left > 0 && (fault || used > 0 || offered.length < SLOTS)) break;
            if (left > 0) {
              dropped++;
              continue;
            }
            used = at;
            sent++;
            bytes += length;
          }
          expect(server.write()).toBe(sent > 0);
          expect(server.writer.fault !== null).toBe(fault);
          expect((cursor.taken - taken) | 0).toBe(sent + dropped);
          expect(cursor.chained).toBe(chained);
          expect(counters).toMatchObject({ txFrames: sent, txBytes: bytes, txDropped: dropped });
          expect(tx.available).toBe(FRAMES - (given.length - sent - dropped));
          expect(w.tail(TO_CLIENT)).toBe((first + used) & 0xffff);
          expect(descriptors.map((_, k) => w.descriptor(TO_CLIENT, first + k))).toEqual(descriptors);
          expect(Buffer.compare(arena.u8.subarray(data, data + DATA_BYTES), shadow)).toBe(0);
          expect(w.guardsHold()).toBe(true);
        },
      ),
      { numRuns: 500 },
    );
  });
});

/**
 * A peer that writes anything anywhere into the shared memory, at any time: bytes of ours outside it never change and
 * never come out as frames, and every call comes back.
 */
test('whatever a peer writes, nothing outside the shared memory is read or written', () => {
  const SECRET = 0xa5;
  const where = fc.oneof(
    fc.constantFrom(6, 64, 128, 132, 136, 144, 148, 152, 262, 320, 384, 388, 392, 400, 404, 408),
    fc.integer({ min: 0, max: 511 }),
  );
  const value = fc.oneof(
    fc.constantFrom(0, 1, -1, 2, SLOTS, SLOTS + 1, 0x10001, 0x7fffffff, -0x80000000, 4096, 128, 256),
    fc.integer(),
  );
  const step = fc.oneof(
    fc.record({ write: where, value, wide: fc.boolean() }),
    fc.constantFrom('send' as const, 'receive' as const),
  );
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 80 }), fc.boolean(), (steps, asClient) => {
      const w = world();
      const { arena, before, after, at, memory } = w;
      const outside = (change: (from: number, to: number) => void) => {
        change(before, at);
        change(after, after + 4096);
      };
      outside((from, to) => arena.u8.fill(SECRET, from, to));
      const side = asClient ? w.client : w.server;
      for (const [i, what] of steps.entries()) {
        if (what === 'send') {
          if (side.tx.available > 0) side.queue(frame(1 + ((i * 37) % FRAME_BYTES), 1));
          side.write();
        } else if (what === 'receive') {
          for (const bytes of side.take()) {
            expect(bytes.length).toBeLessThanOrEqual(FRAME_BYTES);
            expect(bytes.length < 8 || !bytes.every((byte) => byte === SECRET)).toBe(true);
          }
        } else if (what.wide) arena.view.setInt32(at + what.write, what.value, true);
        else arena.view.setInt16(at + what.write, what.value, true);
        if (side.reader.fault !== null || side.writer.fault !== null) {
          // What the port does: the link is gone. Another comes with the memory as the liar left it.
          Object.assign(side, side.link());
        }
      }
      outside((from, to) => {
        for (let k = from; k < to; k++) if (arena.u8[k] !== SECRET) throw new Error(`${k} was written`);
      });
      expect(memory.bytes).toBeGreaterThan(512);
    }),
    { numRuns: 1000 },
  );
});

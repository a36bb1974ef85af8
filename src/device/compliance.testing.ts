/**
 * What every device must keep to, whatever is behind it. A test file per backend calls `portCompliance` with a way to open
 * a port and the far end of it.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { FramePool } from '../memory/frame-pool.ts';
import { DESC_AT, DESC_AUX, DESC_FLAGS, DESC_LENGTH, type Ring } from '../memory/ring.ts';
import type { Port } from './port.ts';

/** Who sees what the port sends, and sends what it receives. */
export interface FarEnd {
  /** Hands frames over, all of them; the port may take a while to see them. */
  send(frames: readonly Uint8Array[]): void;
  /** What has come from the port since the last call, in order. */
  receive(): Uint8Array[];
}

export interface Rig {
  readonly port: Port;
  readonly far: FarEnd;
  /** After the port was closed. */
  close(): Promise<void> | void;
}

export interface ComplianceOptions {
  /** Frames shorter than this aren't carried as they are, bytes; 14 for Ethernet, 20 for IP unless told. */
  readonly lengthMin?: number;
  /** Longer ones aren't; the MTU and an Ethernet header unless told. */
  readonly lengthMax?: number;
  /** The far end sees frames later than txSync, and the port later than `send`; ms to wait for them. 0 unless told. */
  readonly patience_ms?: number;
  /** Frames on the way at once without loss, at least: fewer than the device's own queue has. 32 unless told. */
  readonly inFlight?: number;
  readonly runs?: number;
}

/** Opens a rig for each test, which closes it. */
export function portCompliance(
  name: string,
  open: () => Promise<Rig> | Rig,
  options: ComplianceOptions = {},
): void {
  const { patience_ms = 0, inFlight = 32, runs = 20 } = options;

  const withRig = async (run: (rig: Rig) => Promise<void> | void): Promise<void> => {
    const rig = await open();
    try {
      await run(rig);
      expectBuffersApart(rig.port);
    } finally {
      rig.port.close();
      expectAllGivenBack(rig.port.pool);
      await rig.close();
    }
  };

  const lengths = ({ capabilities }: Port): fc.Arbitrary<number> => {
    const ether = capabilities.link === 'ether';
    const { lengthMin = ether ? 14 : 20, lengthMax = capabilities.mtu + (ether ? 14 : 0) } = options;
    return fc.oneof(
      fc.integer({ min: lengthMin, max: lengthMax }),
      fc.constantFrom(lengthMin, lengthMax, 60),
    );
  };

  /** Batches of frames, no more than may be on the way at once. */
  const batches = (port: Port): fc.Arbitrary<number[][]> =>
    fc.array(fc.array(lengths(port), { minLength: 1, maxLength: Math.min(inFlight, port.tx.slots - 1) }), {
      minLength: 1,
      maxLength: 8,
    });

  describe(`port compliance: ${name}`, () => {
    test('frames that are sent arrive once, in order, unchanged, and are counted', () =>
      withRig((rig) => {
        const { port, far } = rig;
        return fc.assert(
          fc.asyncProperty(batches(port), async (given) => {
            far.receive();
            const before = { ...port.counters };
            let serial = 0;
            for (const lengthsOf of given) {
              const frames = lengthsOf.map((length) => frameOf(port, length, serial++));
              for (const frame of frames) queueFrame(port, frame);
              expectFrames(await collect(() => sent(rig), frames.length, patience_ms), frames);
            }
            await until(() => port.txSync() === port.tx.slots, patience_ms);
            expect(port.tx.available).toBe(port.tx.slots);
            const bytes = given.flat().reduce((sum, length) => sum + length, 0);
            expect(port.counters.txFrames - before.txFrames).toBe(serial);
            expect(port.counters.txBytes - before.txBytes).toBe(bytes);
            expect(port.counters.txDropped).toBe(before.txDropped);
          }),
          { numRuns: runs },
        );
      }));

    test('frames that come are received once, in order, unchanged, and are counted', () =>
      withRig(({ port, far }) =>
        fc.assert(
          fc.asyncProperty(batches(port), async (given) => {
            const before = { ...port.counters };
            let serial = 0;
            for (const lengthsOf of given) {
              const frames = lengthsOf.map((length) => frameOf(port, length, serial++));
              far.send(frames);
              const got = await collect(() => received(port), frames.length, patience_ms);
              expectFrames(got, frames);
            }
            expect(port.rxSync()).toBe(0);
            expect(port.counters.rxFrames - before.rxFrames).toBe(serial);
            expect(port.counters.rxDropped).toBe(before.rxDropped);
          }),
          { numRuns: runs },
        ),
      ));

    test('frames stay as they are while the user holds them', () =>
      withRig(async ({ port, far }) => {
        const held = Array.from({ length: 4 }, (_, i) => frameOf(port, 100 + i, i));
        far.send(held);
        await until(() => port.rxSync() >= held.length, patience_ms);
        const { head } = port.rx;
        const more = Array.from({ length: 8 }, (_, i) => frameOf(port, 200 + i, 10 + i));
        far.send(more);
        await until(() => port.rxSync() >= held.length + more.length, patience_ms);
        expect(port.rx.head).toBe(head);
        expectFrames(takeFrames(port), [...held, ...more]);
      }));

    test('a user that forwards by exchanging buffers loses none', () =>
      withRig(async ({ port, far }) => {
        for (let round = 0; round < 3 * Math.ceil(port.rx.slots / inFlight); round++) {
          const frames = Array.from({ length: inFlight }, (_, i) => frameOf(port, 60 + i, i));
          far.send(frames);
          const back = await collect(
            () => {
              port.rxSync();
              reflect(port);
              port.txSync();
              return far.receive();
            },
            frames.length,
            patience_ms,
          );
          expectFrames(back, frames);
          expectBuffersApart(port);
        }
      }));

    test('a full tx ring takes no more, and goes on once there is room', () =>
      withRig(async ({ port, far }) => {
        const frames: Uint8Array[] = [];
        while (port.tx.available > 0) {
          const frame = frameOf(port, 64, frames.length);
          frames.push(frame);
          queueFrame(port, frame);
        }
        expect(frames.length).toBe(port.tx.slots);
        const dropped = port.counters.txDropped;
        const got: Uint8Array[] = [];
        await until(
          () => {
            port.txSync();
            got.push(...far.receive());
            return got.length >= frames.length;
          },
          Math.max(patience_ms, 1000),
        );
        expectFrames(got, frames);
        expect(port.counters.txDropped).toBe(dropped);
      }));

    test('nothing comes of nothing', () =>
      withRig(({ port, far }) => {
        for (let i = 0; i < 10; i++) {
          expect(port.rxSync()).toBe(0);
          expect(port.txSync()).toBe(port.tx.slots);
        }
        expect(far.receive()).toEqual([]);
      }));

    test('frames that can’t be are dropped and counted, and the others pass', () =>
      withRig(async (rig) => {
        const { port } = rig;
        const frame = frameOf(port, 80, 1);
        const { tx } = port;
        const slot = tx.slot(tx.head);
        tx.m[slot + DESC_LENGTH] = 0;
        tx.m[slot + DESC_FLAGS] = 0;
        tx.m[slot + DESC_AUX] = 0;
        tx.head = (tx.head + 1) | 0;
        const long = tx.slot(tx.head);
        tx.m[long + DESC_LENGTH] = port.frameBytes + 1;
        tx.m[long + DESC_FLAGS] = 0;
        tx.m[long + DESC_AUX] = 0;
        tx.head = (tx.head + 1) | 0;
        queueFrame(port, frame);
        expectFrames(await collect(() => sent(rig), 1, patience_ms), [frame]);
        expect(port.counters.txDropped).toBe(2);
      }));

    test('close while both rings are in use gives everything back, twice is once, and syncs do nothing then', () =>
      withRig(async ({ port, far }) => {
        far.send([frameOf(port, 100, 0), frameOf(port, 100, 1)]);
        await until(() => port.rxSync() > 0, patience_ms);
        queueFrame(port, frameOf(port, 100, 2));
        port.close();
        port.close();
        expect(port.rxSync()).toBe(0);
        expect(port.txSync()).toBe(0);
        expect(port.rx.available).toBe(0);
      }));
  });
}

/** A frame that tells its number, with a source that is no group. Ethernet frames have a local experimental type. */
export function frameOf(port: Port, length: number, serial: number): Uint8Array {
  const frame = Uint8Array.from({ length }, (_, i) => (i * 7 + serial * 31 + 1) & 255);
  if (port.capabilities.link === 'ether') {
    frame.set([0x02, 0x6d, 0x72, 0, 1, 1, 0x02, 0x6d, 0x72, 0, 1, 2, 0x88, 0xb5].slice(0, length));
  } else {
    // IPv4, of an experimental protocol, from and to addresses of documentation.
    const header = [0x45, 0, length >> 8, length & 255, serial >> 8, serial & 255, 0, 0, 64, 253, 0, 0];
    frame.set([...header, 192, 0, 2, 1, 192, 0, 2, 2].slice(0, length));
    let sum = 0;
    for (let i = 0; i + 1 < Math.min(20, length); i += 2) sum += (frame[i] << 8) | frame[i + 1];
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    if (length >= 12) frame.set([(~sum >> 8) & 255, ~sum & 255], 10);
  }
  return frame;
}

/** Puts a frame into the next tx slot. */
export function queueFrame({ arena, tx }: Port, frame: Uint8Array): void {
  expect(tx.available).toBeGreaterThan(0);
  const slot = tx.slot(tx.head);
  arena.u8.set(frame, tx.m[slot + DESC_AT]);
  tx.m[slot + DESC_LENGTH] = frame.length;
  tx.m[slot + DESC_FLAGS] = 0;
  tx.m[slot + DESC_AUX] = 0;
  tx.head = (tx.head + 1) | 0;
}

/** Copies all received frames, and gives their slots back. */
export function takeFrames({ arena, rx }: Port): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (; rx.available > 0; rx.head = (rx.head + 1) | 0) {
    const slot = rx.slot(rx.head);
    frames.push(arena.u8.slice(rx.m[slot + DESC_AT], rx.m[slot + DESC_AT] + rx.m[slot + DESC_LENGTH]));
  }
  return frames;
}

/** The far end of devices in memory: another port. */
export function portAsFarEnd(port: Port): FarEnd {
  return {
    send(frames) {
      for (const frame of frames) {
        port.txSync();
        queueFrame(port, frame);
      }
      port.txSync();
    },
    receive() {
      port.rxSync();
      return takeFrames(port);
    },
  };
}

function sent({ port, far }: Rig): Uint8Array[] {
  port.txSync();
  return far.receive();
}

function received(port: Port): Uint8Array[] {
  port.rxSync();
  return takeFrames(port);
}

/** Sends back what came, by exchanging buffers. */
function reflect({ rx, tx }: Port): void {
  const { m } = rx;
  while (rx.available > 0 && tx.available > 0) {
    const from = rx.slot(rx.head);
    const to = tx.slot(tx.head);
    const empty = m[to + DESC_AT];
    for (const word of [DESC_AT, DESC_LENGTH, DESC_FLAGS, DESC_AUX]) m[to + word] = m[from + word];
    m[from + DESC_AT] = empty;
    rx.head = (rx.head + 1) | 0;
    tx.head = (tx.head + 1) | 0;
  }
}

/** Every slot that the user owns has a buffer of its own, with room for a frame. */
function expectBuffersApart(port: Port): void {
  const at: number[] = [];
  const own = (ring: Ring) => {
    for (let i = ring.head; i !== ring.tail; i = (i + 1) | 0) at.push(ring.m[ring.slot(i) + DESC_AT]);
  };
  own(port.rx);
  own(port.tx);
  at.sort((a, b) => a - b);
  for (const [i, start] of at.entries()) {
    expect(start).toBeGreaterThan(0);
    if (i > 0) expect(start - at[i - 1]).toBeGreaterThanOrEqual(Math.min(port.frameBytes, 64));
    if (port.pool === null) continue;
    const end = port.pool.frameOf(start) + port.pool.frameBytes;
    expect(end - start).toBeGreaterThanOrEqual(port.frameBytes);
  }
}

function expectAllGivenBack(pool: FramePool | null): void {
  pool?.audit();
}

function expectFrames(got: readonly Uint8Array[], wanted: readonly Uint8Array[]): void {
  expect(got.map(hex)).toEqual(wanted.map(hex));
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** Until `poll` has given `count` frames, or too many; a moment longer to see whether there are more. */
async function collect(poll: () => Uint8Array[], count: number, patience_ms: number): Promise<Uint8Array[]> {
  const frames = [...poll()];
  await until(() => {
    if (frames.length < count) frames.push(...poll());
    return frames.length >= count;
  }, patience_ms);
  frames.push(...poll());
  return frames;
}

async function until(done: () => boolean, patience_ms: number): Promise<void> {
  const end = performance.now() + patience_ms;
  while (!done() && performance.now() < end) await new Promise((resolve) => setImmediate(resolve));
}

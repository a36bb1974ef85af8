import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { Prng } from '../memory/prng.ts';
import { DESC_AT, DESC_FLAGS, DESC_LENGTH, FRAME_MORE, FRAME_SEGMENT } from '../memory/ring.ts';
import { type CableOptions, createCable } from './cable.ts';
import { capture } from './capture.ts';
import { readPcapng } from './pcapng.testing.ts';
import type { Port } from './port.ts';

/** A cable of 8 slots whose first end is recorded, on a clock that advances by 1 µs a look. */
function recorded(options: CableOptions = {}) {
  const [a, b] = createCable(new Arena(4 << 20), 'cable', { slots: 8, ...options });
  const pieces: Uint8Array[] = [];
  let now = 1_700_000_000_000_000;
  const port = capture(
    a,
    (bytes) => pieces.push(bytes),
    () => now++,
  );
  return { bare: a, port, peer: b, file: () => readPcapng(Buffer.concat(pieces)) };
}

/** Fills the next tx slot; false when none is free. */
function send(port: Port, bytes: Uint8Array, flags = 0): boolean {
  if (port.tx.available === 0) return false;
  const slot = port.tx.slot(port.tx.head);
  port.arena.u8.set(bytes, port.tx.m[slot + DESC_AT]);
  port.tx.m[slot + DESC_LENGTH] = bytes.length;
  port.tx.m[slot + DESC_FLAGS] = flags;
  port.tx.head = (port.tx.head + 1) | 0;
  return true;
}

/** Takes one rx frame and scribbles over it, as its user may. */
function receive(port: Port): Uint8Array | null {
  if (port.rx.available === 0) return null;
  const slot = port.rx.slot(port.rx.head);
  const at = port.rx.m[slot + DESC_AT];
  const bytes = port.arena.u8.slice(at, at + port.rx.m[slot + DESC_LENGTH]);
  port.arena.u8.fill(0xdd, at, at + bytes.length);
  port.rx.head = (port.rx.head + 1) | 0;
  return bytes;
}

test('every frame is recorded once, in order, in its direction, and crosses unchanged', () => {
  const step = fc.constantFrom('send', 'answer', 'receive', 'take', 'rxSync', 'txSync', 'peerRx', 'peerTx');
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), fc.nat(), (steps, seed) => {
      const prng = new Prng(seed);
      const { port, peer, file } = recorded();
      const fresh = () => Uint8Array.from({ length: 1 + prng.below(40) }, () => prng.next());
      const [sent, answered, received, taken]: Uint8Array[][] = [[], [], [], []];
      let synced = 0;
      let arrived = 0;
      for (const one of steps) {
        const frame = fresh();
        switch (one) {
          case 'send':
            if (send(port, frame)) sent.push(frame);
            break;
          case 'answer':
            if (send(peer, frame)) answered.push(frame);
            break;
          case 'receive':
            received.push(...[receive(port)].filter((bytes) => bytes !== null));
            break;
          case 'take':
            taken.push(...[receive(peer)].filter((bytes) => bytes !== null));
            break;
          case 'rxSync':
            arrived = received.length + port.rxSync();
            break;
          case 'txSync':
            port.txSync();
            synced = sent.length;
            break;
          case 'peerRx':
            peer.rxSync();
            break;
          default:
            peer.txSync();
        }
      }
      const { interfaces, packets } = file();
      expect(interfaces).toMatchObject([{ linkType: 1, name: 'cable.0', timeDigits: 6 }]);
      const recordedIn = (flags: number) =>
        packets.filter((packet) => packet.flags === flags).map(({ bytes }) => bytes);
      expect(recordedIn(2)).toEqual(sent.slice(0, synced));
      expect(recordedIn(1)).toEqual(answered.slice(0, arrived));
      expect(received).toEqual(answered.slice(0, received.length));
      expect(taken).toEqual(sent.slice(0, taken.length));
      const times = packets.map(({ ticks }) => ticks);
      expect(times).toEqual([...times].sort((x, y) => Number(x - y)));
    }),
    { numRuns: 300 },
  );
});

test('a frame in several slots is one packet, also when a sync comes between', () => {
  const { port, peer, file } = recorded({ link: 'ip' });
  send(port, Uint8Array.of(1, 2, 3), FRAME_MORE);
  port.txSync();
  send(port, Uint8Array.of(4), FRAME_MORE);
  send(port, Uint8Array.of(5, 6));
  send(port, Uint8Array.of(7), FRAME_SEGMENT);
  port.txSync();
  send(peer, Uint8Array.of(8), FRAME_MORE);
  peer.txSync();
  port.rxSync();
  send(peer, Uint8Array.of(9));
  peer.txSync();
  port.rxSync();
  const { interfaces, packets } = file();
  expect(interfaces[0].linkType).toBe(101);
  expect(packets.map(({ bytes, flags }) => [flags, ...bytes])).toEqual([
    [2, 1, 2, 3, 4, 5, 6],
    [2, 7],
    [1, 8, 9],
  ]);
});

test('a super-segment is recorded whole', () => {
  const { port, file } = recorded({ offload: true });
  const frame = new Uint8Array(65_000).fill(7);
  send(port, frame, FRAME_SEGMENT);
  port.txSync();
  expect(file().packets[0].bytes).toEqual(frame);
});

test('what came before the capture is left out, and the port behind is the same', () => {
  const [a, b] = createCable(new Arena(1 << 20), 'cable', { slots: 8 });
  send(b, Uint8Array.of(1));
  b.txSync();
  a.rxSync();
  send(a, Uint8Array.of(2));
  const pieces: Uint8Array[] = [];
  const port = capture(
    a,
    (bytes) => pieces.push(bytes),
    () => 0,
  );
  expect(port.rxSync()).toBe(1);
  expect(port.txSync()).toBe(8);
  expect(readPcapng(Buffer.concat(pieces)).packets).toEqual([]);
  for (const key of ['name', 'arena', 'capabilities', 'counters', 'rx', 'tx', 'frameBytes', 'fds'] as const) {
    expect(port[key]).toBe(a[key]);
  }
  let calls = 0;
  port.onArrival = () => {
    calls += 1;
  };
  expect(port.onArrival).toBe(a.onArrival);
  send(b, Uint8Array.of(3));
  b.txSync();
  expect(calls).toBe(1);
  port.close();
  send(b, Uint8Array.of(4));
  b.txSync();
  expect(b.counters.txDropped).toBe(1);
});

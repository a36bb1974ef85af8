/** TCP over fragments: segments made whole are shown in their buffers, as others are in their frames. */
import { expect, test } from 'vitest';
import { bytes, OUR, PEER, UdpContext } from '../udp/testing.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet } from '../wire/ipv6.ts';
import { emitTcp, FLAG_ACK, FLAG_SYN } from '../wire/tcp.ts';

const PORTS = { srcPort: 5000, dstPort: 80 };

test.each([4, 6] as const)('segments that come in fragments over IPv%d are data like any other', (v) => {
  const context = new UdpContext();
  const { engine } = context;
  const received: number[] = [];
  let takes = true;
  let conn = 0;
  engine.listen(
    { port: 80 },
    {
      open: (opened) => {
        conn = opened;
      },
      data(_conn, at, length) {
        if (!takes) return 0;
        received.push(...context.arena.u8.subarray(at, at + length));
        return length;
      },
    },
  );
  let id = 0;
  /** In pieces of 400 bytes, the last one first. */
  const give = (segment: Uint8Array) => {
    id++;
    const starts = Array.from({ length: Math.ceil(segment.length / 400) }, (_, i) => i * 400);
    for (const start of starts.reverse()) {
      const payload = segment.subarray(start, start + 400);
      const more = start + 400 < segment.length;
      const ends = { src: PEER[v], dst: OUR[v] };
      const header = [6, 0, start >> 8, (start & 0xf8) | (more ? 1 : 0), 0, 0, 0, id];
      context.give(
        v === 4
          ? emitIpv4Packet({ ...ends, protocol: 6, id, fragmentOffset: start, moreFragments: more, payload })
          : emitIpv6Packet({ ...ends, nextHeader: 44, payload: Uint8Array.of(...header, ...payload) }),
      );
    }
  };
  const ends = { src: PEER[v], dst: OUR[v] };
  const syn = emitTcp({ ...PORTS, seq: 99, flags: FLAG_SYN, options: { mss: 3000 } }, ends);
  context.give(
    v === 4
      ? emitIpv4Packet({ ...ends, protocol: 6, payload: syn })
      : emitIpv6Packet({ ...ends, nextHeader: 6, payload: syn }),
  );
  const [{ tcp }] = context.breath();
  const ack = (tcp!.seq + 1) | 0;
  const stream = bytes(9000);
  const segment = (at: number) =>
    give(
      emitTcp(
        { ...PORTS, seq: 100 + at, ack, flags: FLAG_ACK, payload: stream.subarray(at, at + 3000) },
        ends,
      ),
    );
  // Two in one breath, the second of which waits for the first; then one that the program doesn't take at once.
  segment(3000);
  segment(0);
  context.breath();
  expect(received).toEqual([...stream.subarray(0, 6000)]);
  takes = false;
  segment(6000);
  context.breath();
  // What the buffers hold now must not matter.
  for (let i = 0; i < 5; i++) give(bytes(2000, i));
  context.breath();
  takes = true;
  engine.resume(conn);
  context.breath();
  expect(received).toEqual([...stream]);
  expect(context.iface.counters.reassembled).toBeGreaterThanOrEqual(3);
  expect(engine.tcp.counters.badChecksum).toBeGreaterThan(0);
});

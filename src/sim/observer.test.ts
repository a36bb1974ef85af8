import { expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { PROTOCOL_TCP } from '../wire/protocols.ts';
import { emitTcp, FLAG_ACK, FLAG_RST, FLAG_SYN } from '../wire/tcp.ts';
import type { TcpOptionValues } from '../wire/tcp-options.ts';
import { Content } from './content.ts';
import { Observer } from './observer.ts';

const [OWN, PEER] = ['10.0.0.1', '10.0.0.2'];
const [ISS, IRS] = [1000, 5000];

test('what a cookie opens after an RST is another connection, and sends for the first time', () => {
  const arena = new Arena(1 << 20);
  const content = new Content(arena);
  let now = 0;
  const observer = new Observer(arena, content, {
    host: 'a',
    mtu: 1500,
    dataOnSyn: false,
    cookies: true,
    now: () => now,
  });
  const at = arena.carve('packet', 1500);
  const put = (
    own: boolean,
    flags: number,
    seq: number,
    ack: number,
    length = 0,
    options: TcpOptionValues = {},
  ) => {
    const [src, dst] = own ? [OWN, PEER] : [PEER, OWN];
    const from = content.at(ISS, seq - ISS - 1);
    const payload = arena.u8.slice(from, from + length);
    const [srcPort, dstPort] = own ? [7, 9] : [9, 7];
    const tcp = { srcPort, dstPort, seq, ack, flags, window: 65_535, urgent: 0, options, payload };
    const packet = emitIpv4Packet({
      src,
      dst,
      protocol: PROTOCOL_TCP,
      payload: emitTcp(tcp, { src, dst }),
    });
    arena.u8.set(packet, at);
    if (own) observer.sent(at, packet.length);
    else observer.received(at, packet.length, false);
  };
  const offer = { mss: 1460, sackPermitted: true };
  put(false, FLAG_SYN, IRS, 0, 0, offer);
  put(true, FLAG_SYN | FLAG_ACK, ISS, IRS + 1, 0, offer);
  put(false, FLAG_ACK, IRS + 1, ISS + 1);
  put(true, FLAG_ACK, ISS + 1, IRS + 1, 100);
  put(false, FLAG_RST, IRS + 1, 0);
  now = 50e6;
  // An ACK from before, late, with what makes a cookie good; and then a SACK for what both connections have sent.
  put(false, FLAG_ACK, IRS + 1, ISS + 1);
  put(true, FLAG_ACK, ISS + 1, IRS + 1, 100);
  put(true, FLAG_ACK, ISS + 101, IRS + 1, 100);
  now = 51e6;
  put(false, FLAG_ACK, IRS + 1, ISS + 1, 0, { sack: [[ISS + 51, ISS + 101]] });
  const { sendings } = observer.flows[0];
  expect([sendings.min_us, sendings.max_us]).toEqual([1000, 1000]);
});

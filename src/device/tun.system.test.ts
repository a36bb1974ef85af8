import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { FRAME_CHECKSUM_FILL, FRAME_CHECKSUM_GOOD, FRAME_MORE } from '../memory/ring.ts';
import { interfaceInfo, setInterface } from '../os/interface.ts';
import { enterNewNetwork } from '../os/netns.ts';
import { WOKEN_MS_MAX } from '../os/poll.testing.ts';
import { Poller, WAIT_MS_MAX } from '../os/poll.ts';
import { formatMac } from '../wire/address.ts';
import { emitArp, parseArp } from '../wire/arp.ts';
import { fold } from '../wire/checksum.ts';
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, emitEthernet, parseEthernet } from '../wire/ethernet.ts';
import { emitIcmp, parseIcmp } from '../wire/icmp.ts';
import { emitIcmpv6, parseIcmpv6 } from '../wire/icmpv6.ts';
import { emitIpv4Packet, parseIpv4Packet } from '../wire/ipv4.ts';
import { emitIpv6Packet, parseIpv6Packet } from '../wire/ipv6.ts';
import { pseudoSum, transportChecksumGood, viewOf } from '../wire/plain.ts';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_UDP } from '../wire/protocols.ts';
import { emitUdp, parseUdp, UDP_CHECKSUM } from '../wire/udp.ts';
import type { Port } from './port.ts';
import { eventually, type Frame, openTestTun, PingSocket, queue, receiveAll, send } from './tun.testing.ts';
import type { TunOptions } from './tun.ts';

const reason = process.geteuid?.() === 0 ? '' : ' (skipped: needs root, or unshare -Urn)';

const HOST = '10.9.0.1';
const OURS = '10.9.0.2';
const HOST6 = 'fd09::1';
const OURS6 = 'fd09::2';
const HOST_ADDRESSES = [`${HOST}/24`, `${HOST6}/64`];

describe.skipIf(reason !== '')(`the kernel and a TUN or TAP port${reason}`, () => {
  const opened: Port[] = [];
  const sockets: Socket[] = [];

  beforeAll(enterNewNetwork);
  afterEach(() => {
    for (const port of opened.splice(0)) port.close();
    for (const socket of sockets.splice(0)) socket.close();
  });

  function open(options: Partial<TunOptions> = {}): Port {
    const port = openTestTun({ name: 'mr0', kind: 'tun', hostAddresses: HOST_ADDRESSES, ...options });
    opened.push(port);
    return port;
  }

  async function hostSocket(address = HOST) {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    sockets.push(socket);
    const messages: string[] = [];
    socket.on('message', (message) => messages.push(message.toString()));
    socket.bind(0, address);
    await once(socket, 'listening');
    return { socket, messages, port: socket.address().port };
  }

  /** What has come of UDP over IPv4, whatever else the host says by itself (solicitations, reports of groups). */
  function receiveUdp(port: Port): Frame[] {
    return receiveAll(port).filter(({ bytes }) => bytes[0] >> 4 === 4 && bytes[9] === PROTOCOL_UDP);
  }

  function nextUdp(port: Port): Promise<Frame> {
    return eventually(() => receiveUdp(port)[0], 'a UDP frame');
  }

  test.each([true, false])('answers pings over IPv4 and IPv6 (offload %s)', async (offload) => {
    const port = open({ offload });
    expect(port).toMatchObject({ name: 'tun:mr0', capabilities: { link: 'ip', mtu: 1500, mac: null } });
    expect(port.capabilities.segmentBytesMax).toBe(offload ? 65_535 : 0);
    using ping = new PingSocket();
    using ping6 = new PingSocket(true);
    const request = emitIcmp({ kind: 'echo request', id: 7, seq: 1, payload: Uint8Array.of(1, 2, 3) });
    ping.send(OURS, request);
    ping6.send(OURS6, emitIcmpv6({ kind: 'echo request', id: 8, seq: 2, payload: Uint8Array.of(4) }, ENDS6));
    let answered = 0;
    for (const { bytes } of receiveAll(port)) answered += answerPing(port, bytes);
    expect(answered).toBe(2);
    const reply = await eventually(() => ping.receive(), 'a reply');
    expect(parseIcmp(reply)).toEqual({ kind: 'echo reply', id: 7, seq: 1, payload: Uint8Array.of(1, 2, 3) });
    const reply6 = await eventually(() => echoReply(ping6.receive()), 'a reply by IPv6');
    expect(reply6).toEqual({ kind: 'echo reply', id: 8, seq: 2, payload: Uint8Array.of(4) });
    expect(port.counters).toMatchObject({ txFrames: 2, txDropped: 0, rxDropped: 0 });
    expect(port.counters.txBytes).toBe(20 + 8 + 3 + 40 + 8 + 1);
    expect(port.counters.rxFrames).toBeGreaterThanOrEqual(2);
  });

  test('UDP from the host: with offload the checksum is left partial and called good, without it is whole', async () => {
    for (const offload of [true, false]) {
      const port = open({ offload });
      const { socket } = await hostSocket();
      socket.send('to the stack', 9, OURS);
      const { bytes, flags } = await nextUdp(port);
      const packet = parseIpv4Packet(bytes);
      const { payload } = packet;
      expect(new TextDecoder().decode(parseUdp(payload).payload)).toBe('to the stack');
      if (offload) {
        expect(flags).toBe(FRAME_CHECKSUM_GOOD | FRAME_CHECKSUM_FILL);
        const field = viewOf(payload).getUint16(UDP_CHECKSUM);
        expect(field).toBe(fold(pseudoSum(packet, PROTOCOL_UDP, payload.length)));
      } else {
        expect(flags).toBe(0);
        expect(transportChecksumGood(payload, packet, PROTOCOL_UDP)).toBe(true);
      }
      port.close();
    }
  });

  test('UDP to the host: a partial checksum arrives when it is said to be one, and only then', async () => {
    const port = open();
    const { messages, port: hostPort } = await hostSocket();
    const ends = { src: OURS, dst: HOST };
    const datagram = (text: string) => {
      const segment = emitUdp(
        { srcPort: 9, dstPort: hostPort, payload: new TextEncoder().encode(text) },
        ends,
      );
      viewOf(segment).setUint16(UDP_CHECKSUM, fold(pseudoSum(ends, PROTOCOL_UDP, segment.length)));
      return emitIpv4Packet({ ...ends, protocol: PROTOCOL_UDP, payload: segment });
    };
    send(port, datagram('wrong'));
    send(port, datagram('partial'), FRAME_CHECKSUM_FILL);
    await eventually(() => messages.find((message) => message === 'partial'), 'the datagram');
    expect(messages).toEqual(['partial']);
  });

  test('a TAP port has an address of its own, and answers ARP and pings', async () => {
    const mac = Uint8Array.of(2, 0, 0, 0, 0, 7);
    for (const options of [{}, { mac }]) {
      const port = open({ kind: 'tap', ...options });
      expect(port).toMatchObject({ name: 'tap:mr0', capabilities: { link: 'ether' } });
      const own = port.capabilities.mac ?? new Uint8Array(6);
      if ('mac' in options) expect(own).toEqual(mac);
      expect(own[0] & 3, 'locally administered, of one host').toBe(2);
      expect(interfaceInfo('mr0').mac).not.toBe(formatMac(own));
      using ping = new PingSocket();
      ping.send(OURS, emitIcmp({ kind: 'echo request', id: 1, seq: 1, payload: new Uint8Array(8) }));
      const reply = await eventually(() => {
        for (const { bytes } of receiveAll(port)) answerEther(port, bytes, formatMac(own));
        return ping.receive();
      }, 'a reply');
      expect(parseIcmp(reply)).toMatchObject({ kind: 'echo reply', id: 1 });
      port.close();
    }
  });

  test('the host keeps to the MTU', async () => {
    const port = open({ mtu: 600, offload: false, hostAddresses: [`${HOST}/24`] });
    expect(interfaceInfo('mr0')).toMatchObject({ mtu: 600, up: true });
    const { socket } = await hostSocket();
    socket.send(new Uint8Array(2000), 9, OURS);
    const lengths: number[] = [];
    await eventually(() => {
      lengths.push(...receiveUdp(port).map((frame) => frame.bytes.length));
      return lengths.length >= 4 ? lengths : undefined;
    }, 'four fragments');
    expect(Math.max(...lengths)).toBeLessThanOrEqual(600);
    expect(port.frameBytes).toBeGreaterThanOrEqual(600);
  });

  test('frames that are too long for the buffers are counted, not cut', async () => {
    const port = open({ mtu: 600, offload: false, hostAddresses: [`${HOST}/24`] });
    setInterface('mr0', { mtu: 2000 });
    const { socket } = await hostSocket();
    receiveAll(port);
    socket.send(new Uint8Array(1500), 9, OURS);
    await eventually(() => {
      expect(receiveUdp(port)).toEqual([]);
      return port.counters.rxDropped > 0 ? true : undefined;
    }, 'the drop');
    socket.send('short', 9, OURS);
    expect((await nextUdp(port)).bytes.length).toBe(20 + 8 + 5);
    expect(port.counters.rxDropped).toBe(1);
  });

  test('the rings hold what they have room for, and the rest waits', async () => {
    const port = open({ slots: 4, hostAddresses: [`${HOST}/24`] });
    const { socket, messages, port: hostPort } = await hostSocket();
    receiveAll(port);
    for (let i = 0; i < 6; i++) socket.send(`${i}`, 9, OURS);
    await eventually(() => (port.rxSync() === 4 ? true : undefined), 'a full ring');
    expect(port.rxSync()).toBe(4);
    expect(receiveUdp(port).map((frame) => String.fromCharCode(frame.bytes[28]))).toEqual([...'012345']);

    const ends = { src: OURS, dst: HOST };
    for (let i = 0; i < 10; i++) {
      const payload = emitUdp({ srcPort: 9, dstPort: hostPort, payload: Uint8Array.of(48 + i) }, ends);
      const packet = emitIpv4Packet({ ...ends, protocol: PROTOCOL_UDP, payload });
      if (!queue(port, packet)) {
        expect(i % 4).toBe(0);
        expect(port.txSync()).toBe(4);
        expect(queue(port, packet)).toBe(true);
      }
    }
    port.txSync();
    await eventually(() => (messages.length === 10 ? true : undefined), 'ten datagrams');
    expect(messages.join('')).toBe('0123456789');
  });

  test('what can’t be sent is counted, and the next frame goes', async () => {
    const port = open();
    const ping = emitIcmp({ kind: 'echo request', id: 1, seq: 1, payload: new Uint8Array(8) });
    const good = emitIpv4Packet({ src: OURS, dst: HOST, protocol: PROTOCOL_ICMP, payload: ping });
    queue(port, good, 0, 0, 0);
    queue(port, good, 0, 0, -1);
    queue(port, good, 0, 0, port.frameBytes + 1);
    queue(port, good, FRAME_CHECKSUM_FILL);
    queue(port, Uint8Array.of(0xff, 0xff));
    queue(port, good, FRAME_MORE);
    queue(port, good, FRAME_MORE);
    queue(port, good);
    port.txSync();
    expect(port.counters).toMatchObject({ txDropped: 8, txFrames: 0 });
    receiveAll(port);
    send(port, good);
    const reply = await eventually(
      () => receiveAll(port).find((frame) => frame.bytes[0] >> 4 === 4),
      'the echo',
    );
    expect(parseIcmp(parseIpv4Packet(reply.bytes).payload)).toMatchObject({ kind: 'echo reply', id: 1 });
  });

  test('a poller sleeps until the host sends', async () => {
    const port = open({ hostAddresses: [`${HOST}/24`] });
    receiveAll(port);
    const poller = new Poller(port.fds);
    const { socket } = await hostSocket();
    await poller.wait(50);
    receiveAll(port);
    const wait = poller.wait(WAIT_MS_MAX);
    const start = performance.now();
    socket.send('wake up', 9, OURS);
    await wait;
    expect(performance.now() - start).toBeLessThan(WOKEN_MS_MAX);
    await nextUdp(port);
    poller.close();
  });

  test('while the interface is down frames are lost, and it comes back', async () => {
    const port = open();
    const { messages, port: hostPort } = await hostSocket();
    const ends = { src: OURS, dst: HOST };
    const payload = emitUdp({ srcPort: 9, dstPort: hostPort, payload: Uint8Array.of(65) }, ends);
    const packet = emitIpv4Packet({ ...ends, protocol: PROTOCOL_UDP, payload });
    setInterface('mr0', { up: false });
    send(port, packet);
    receiveAll(port);
    expect(port.rxSync()).toBe(0);
    expect(port.counters).toMatchObject({ txFrames: 0, txDropped: 1 });
    setInterface('mr0', { up: true });
    send(port, packet);
    await eventually(() => messages[0], 'the datagram');
    expect(port.counters).toMatchObject({ txFrames: 1, txDropped: 1 });
  });
});

const ENDS6 = { src: HOST6, dst: OURS6 };

/** A host in a few lines. @returns 1 when it was a ping for us */
function answerPing(port: Port, bytes: Uint8Array): number {
  const reply = pong(bytes);
  if (reply === undefined) return 0;
  send(port, reply);
  return 1;
}

function pong(bytes: Uint8Array): Uint8Array | undefined {
  if (bytes[0] >> 4 === 6) {
    const { src, dst, nextHeader, payload } = parseIpv6Packet(bytes);
    if (dst !== OURS6 || nextHeader !== PROTOCOL_ICMPV6) return undefined;
    const message = parseIcmpv6(payload);
    if (message.kind !== 'echo request') return undefined;
    const reply = emitIcmpv6({ ...message, kind: 'echo reply' }, { src: dst, dst: src });
    return emitIpv6Packet({ src: dst, dst: src, nextHeader: PROTOCOL_ICMPV6, payload: reply });
  }
  const { src, dst, protocol, payload } = parseIpv4Packet(bytes);
  if (dst !== OURS || protocol !== PROTOCOL_ICMP) return undefined;
  const message = parseIcmp(payload);
  if (message.kind !== 'echo request') return undefined;
  const reply = emitIcmp({ ...message, kind: 'echo reply' });
  return emitIpv4Packet({ src: dst, dst: src, protocol: PROTOCOL_ICMP, payload: reply });
}

function answerEther(port: Port, bytes: Uint8Array, mac: string): void {
  const { src, type, payload } = parseEthernet(bytes);
  if (type === ETHERTYPE_ARP) {
    const { operation, senderMac, senderIp, targetIp } = parseArp(payload);
    if (operation !== 'request' || targetIp !== OURS) return;
    const reply = {
      operation: 'reply',
      senderMac: mac,
      senderIp: OURS,
      targetMac: senderMac,
      targetIp: senderIp,
    } as const;
    send(port, emitEthernet({ dst: src, src: mac, type, payload: emitArp(reply) }));
  } else if (type === ETHERTYPE_IPV4) {
    const reply = pong(payload);
    if (reply !== undefined) send(port, emitEthernet({ dst: src, src: mac, type, payload: reply }));
  }
}

/** Of what comes for a raw ICMPv6 socket: neighbour discovery, too. */
function echoReply(bytes: Uint8Array | undefined) {
  const message = bytes && parseIcmpv6(bytes);
  return message?.kind === 'echo reply' ? message : undefined;
}

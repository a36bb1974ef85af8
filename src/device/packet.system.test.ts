/** What AF_PACKET ports promise beyond what all ports do, against the kernel on a veth. */
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Child } from '../../test/child.ts';
import { Arena } from '../memory/arena.ts';
import {
  FRAME_CHECKSUM_FILL,
  FRAME_CHECKSUM_GOOD,
  FRAME_MORE,
  FRAME_OUTGOING,
  FRAME_SEGMENT,
} from '../memory/ring.ts';
import { interfaceInfo } from '../os/interface.ts';
import { Poller } from '../os/poll.ts';
import { formatMac, parseMac } from '../wire/address.ts';
import { emitArp } from '../wire/arp.ts';
import { fold } from '../wire/checksum.ts';
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, emitEthernet, parseEthernet } from '../wire/ethernet.ts';
import { emitIpv4Packet, parseIpv4Packet } from '../wire/ipv4.ts';
import { pseudoSum, transportChecksumGood, viewOf } from '../wire/plain.ts';
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/protocols.ts';
import { emitTcp, FLAG_ACK, parseTcp, TCP_CHECKSUM } from '../wire/tcp.ts';
import { emitUdp, parseUdp } from '../wire/udp.ts';
import { addVeth, enterVeth, ip, openTestPacket } from './packet.testing.ts';
import { openPacket, type PacketOptions, packetArenaBytes } from './packet.ts';
import type { Port } from './port.ts';
import { eventually, type Frame, queue, receiveAll, send, sendSegmented } from './tun.testing.ts';

const reason = process.geteuid?.() === 0 ? '' : ' (skipped: needs root, or unshare -Urn)';

const HOST = '10.9.0.1';
const OURS = '10.9.0.2';
const ENDS = { src: OURS, dst: HOST };
const SOME_MAC = '02:00:00:00:00:07';
const OTHER_MAC = '02:00:00:00:00:08';

describe.skipIf(reason !== '')(`AF_PACKET ports and the kernel${reason}`, () => {
  const opened: Port[] = [];

  beforeAll(() => {
    enterVeth();
    ip('addr', 'add', `${HOST}/24`, 'dev', 'mr1');
    ip('neigh', 'add', OURS, 'lladdr', SOME_MAC, 'dev', 'mr1');
  });
  afterEach(() => {
    for (const port of opened.splice(0)) port.close();
  });

  function open(options: Partial<PacketOptions> = {}): Port {
    const port = openTestPacket({ name: 'mr0', ...options });
    opened.push(port);
    return port;
  }

  const udpOf = ({ bytes }: Frame) => parseUdp(parseIpv4Packet(parseEthernet(bytes).payload).payload);
  const isUdp = ({ bytes }: Frame): boolean =>
    bytes[12] === 8 && bytes[13] === 0 && bytes[23] === PROTOCOL_UDP;
  const receiveUdp = (port: Port): Frame[] => receiveAll(port).filter(isUdp);

  async function fromHost(...texts: (string | Uint8Array)[]): Promise<void> {
    const socket = createSocket('udp4').bind(0, HOST);
    await once(socket, 'listening');
    for (const text of texts) await new Promise((done) => socket.send(text, 9, OURS, done));
    socket.close();
  }

  function toHost(payload: Uint8Array, dst = interfaceInfo('mr1').mac): Uint8Array {
    return emitEthernet({ dst, src: SOME_MAC, type: ETHERTYPE_IPV4, payload });
  }

  test('a partial checksum of a local peer is called good, and completed when there is no offload', async () => {
    for (const offload of [true, false]) {
      const port = open({ offload });
      await fromHost('to the stack');
      const [frame] = await eventually(() => [receiveUdp(port)].find((got) => got.length > 0), 'a datagram');
      expect(new TextDecoder().decode(udpOf(frame).payload)).toBe('to the stack');
      const packet = parseIpv4Packet(parseEthernet(frame.bytes).payload);
      expect(transportChecksumGood(packet.payload, packet, PROTOCOL_UDP)).toBe(!offload);
      expect(frame.flags).toBe(offload ? FRAME_CHECKSUM_GOOD | FRAME_CHECKSUM_FILL : 0);
      port.close();
    }
  });

  test('a checksum that is left to the device is completed; without offload no such frame is taken', async () => {
    const socket = createSocket('udp4').bind(7777, HOST);
    await once(socket, 'listening');
    const messages: string[] = [];
    socket.on('message', (message) => messages.push(message.toString()));
    const datagram = (text: string) => {
      const segment = emitUdp({ srcPort: 9, dstPort: 7777, payload: new TextEncoder().encode(text) }, ENDS);
      viewOf(segment).setUint16(6, fold(pseudoSum(ENDS, PROTOCOL_UDP, segment.length)));
      return toHost(emitIpv4Packet({ ...ENDS, protocol: PROTOCOL_UDP, payload: segment }));
    };
    const port = open();
    send(port, datagram('wrong'));
    send(port, datagram('partial'), FRAME_CHECKSUM_FILL);
    await eventually(() => messages[0], 'the datagram');
    expect(messages).toEqual(['partial']);
    const plain = open({ offload: false });
    send(plain, datagram('partial'), FRAME_CHECKSUM_FILL);
    expect(plain.counters).toMatchObject({ txFrames: 0, txDropped: 1 });
    socket.close();
  });

  test('nobody on an interface sees what it sends itself, and everybody what comes', async () => {
    const [one, two] = [open(), open()];
    const far = open({ name: 'mr1' });
    send(one, frameTo(OTHER_MAC, 1));
    send(two, frameTo(OTHER_MAC, 2));
    send(far, frameTo(OTHER_MAC, 3));
    const serials = (port: Port) => receiveAll(port).map(({ bytes }) => bytes[14]);
    await eventually(() => (one.rxSync() > 0 ? true : undefined), 'the frame');
    expect(serials(one)).toEqual([3]);
    expect(serials(two)).toEqual([3]);
    expect(serials(far)).toEqual([1, 2]);
  });

  test.each([1, 2])(
    'what the host sends is seen by who asked for it only, and marked (queues: %i)',
    (queues) => {
      const [port, far] = [open({ name: 'mr1', queues }), open()];
      const all = open({ name: 'mr1', queues, outgoing: true });
      const cut = open({ name: 'mr1', queues, outgoing: true, offload: false });
      const payload = Uint8Array.from({ length: 5000 }, (_, i) => i * 7);
      sendSegmented(OURS, 9, payload, 1200);
      send(far, frameTo(OTHER_MAC, 1));
      expect(receiveAll(port).map(({ flags }) => flags)).toEqual([0]);
      const byFlags = (frames: Frame[]) => frames.sort((a, b) => b.flags - a.flags);
      const [whole, ...others] = byFlags(receiveAll(all));
      expect(whole).toMatchObject({
        flags: FRAME_OUTGOING | FRAME_SEGMENT | FRAME_CHECKSUM_FILL | FRAME_CHECKSUM_GOOD,
      });
      expect(others).toMatchObject([{ flags: 0 }]);
      const pieces = byFlags(receiveAll(cut));
      expect(pieces.pop()).toMatchObject({ flags: 0 });
      for (const piece of pieces) {
        expect(piece.flags).toBe(FRAME_OUTGOING);
        const packet = parseIpv4Packet(parseEthernet(piece.bytes).payload);
        expect(transportChecksumGood(packet.payload, packet, PROTOCOL_UDP)).toBe(true);
      }
      expect(Buffer.concat(pieces.map((piece) => udpOf(piece).payload)).equals(payload)).toBe(true);
    },
  );

  test('with addresses, what can’t concern them is left to the host', () => {
    const port = open({ addresses: [`${OURS}/24`, 'fd09::2/64'] });
    const all = open();
    const far = open({ name: 'mr1' });
    const mac = formatMac(port.capabilities.mac ?? []);
    const arp = (targetIp: string) =>
      emitEthernet({
        dst: 'ff:ff:ff:ff:ff:ff',
        src: OTHER_MAC,
        type: ETHERTYPE_ARP,
        payload: emitArp({
          operation: 'request',
          senderMac: OTHER_MAC,
          senderIp: '10.9.0.9',
          targetMac: '00:00:00:00:00:00',
          targetIp,
        }),
      });
    const frames = [frameTo(mac, 1), frameTo(OTHER_MAC, 2), arp('10.9.0.77'), arp(OURS), frameTo(mac, 3)];
    for (const frame of frames) send(far, frame);
    expect(receiveAll(port).map(({ bytes }) => bytes)).toEqual([frames[0], frames[3], frames[4]]);
    expect(receiveAll(all)).toHaveLength(frames.length);
    expect(port.counters.rxDropped).toBe(0);
  });

  test('its hardware address is its own, the same for the same addresses, or the host’s', () => {
    const macOf = (options: Partial<PacketOptions>) => formatMac(open(options).capabilities.mac ?? []);
    const host = interfaceInfo('mr0').mac;
    const own = macOf({ addresses: [`${OURS}/24`, 'fd09::2/64'] });
    expect(macOf({ addresses: ['fd09::2/64', `${OURS}/24`] })).toBe(own);
    expect(macOf({ addresses: ['10.9.0.3/24'] })).not.toBe(own);
    expect(macOf({})).not.toBe(macOf({}));
    expect(own).not.toBe(host);
    expect(parseMac(own)[0] & 3, 'locally administered, of one host').toBe(2);
    for (const port of opened.splice(0)) port.close();
    expect(macOf({ hostMac: true, addresses: [`${OURS}/24`] })).toBe(host);
    // The interface need take no other hosts' frames then, but our groups'.
    expect(linkDetails('mr0')).toMatchObject({ promiscuity: 0, allmulti: 1 });
  });

  test('when the interface’s MTU changes, what no longer fits either way is counted', () => {
    const port = open({ offload: false });
    const mtu = (bytes: number) => {
      for (const name of ['mr0', 'mr1']) ip('link', 'set', name, 'mtu', String(bytes));
    };
    mtu(9000);
    const far = open({ name: 'mr1' });
    send(far, frameTo(OTHER_MAC, 1, 1519));
    send(far, frameTo(OTHER_MAC, 2, 5000));
    send(far, frameTo(OTHER_MAC, 3, 1514));
    expect(receiveAll(port).map(({ bytes }) => bytes.length)).toEqual([1514]);
    expect(port.counters).toMatchObject({ rxFrames: 1, rxDropped: 2 });
    mtu(1000);
    send(port, frameTo(OTHER_MAC, 4, 1514));
    send(port, frameTo(OTHER_MAC, 5, 1014));
    mtu(1500);
    expect(receiveAll(far).map(({ bytes }) => bytes.length)).toEqual([1014]);
    expect(port.counters).toMatchObject({ txFrames: 1, txDropped: 1 });
  });

  test('VLAN tags, which the kernel takes off, are put back', () => {
    const [port, far] = [open({ offload: false }), open({ name: 'mr1' })];
    const frame = frameTo(OTHER_MAC, 1, 100);
    for (const type of [0x8100, 0x88a8]) {
      const tagged = Buffer.concat([
        frame.subarray(0, 12),
        Buffer.from([type >> 8, type & 255, 0x60, 7]),
        frame.subarray(12),
      ]);
      send(far, tagged);
      expect(receiveAll(port).map(({ bytes }) => Buffer.from(bytes))).toEqual([tagged]);
    }
  });

  test('a super-segment crosses whole, or is cut where there is no offload, at any size of the ring', () => {
    const payload = Uint8Array.from({ length: 30_000 }, (_, i) => i * 7);
    const header = {
      srcPort: 5,
      dstPort: 6,
      seq: 1000,
      ack: 1,
      flags: FLAG_ACK,
      window: 9,
      urgent: 0,
      options: {},
    };
    const segment = emitTcp({ ...header, payload }, ENDS);
    viewOf(segment).setUint16(TCP_CHECKSUM, fold(pseudoSum(ENDS, PROTOCOL_TCP, segment.length)));
    const frame = toHost(emitIpv4Packet({ ...ENDS, protocol: PROTOCOL_TCP, payload: segment }), OTHER_MAC);
    const far = open({ name: 'mr1' });
    const flags = FRAME_SEGMENT | FRAME_CHECKSUM_FILL;
    const whole = open();
    send(far, frame, flags, 1448);
    expect(receiveAll(whole)).toEqual([{ bytes: frame, flags: flags | FRAME_CHECKSUM_GOOD, aux: 1448 }]);
    for (const slots of [4, 64]) {
      const cut = open({ offload: false, slots });
      send(far, frame, flags, 1448);
      send(far, frameTo(OTHER_MAC, 1));
      const frames = receiveAll(cut);
      expect(frames.pop()?.bytes).toEqual(frameTo(OTHER_MAC, 1));
      expect(frames).toHaveLength(Math.ceil(payload.length / 1448));
      const bytes = frames.map((piece) => {
        expect(piece.flags).toBe(0);
        const packet = parseIpv4Packet(parseEthernet(piece.bytes).payload);
        expect(transportChecksumGood(packet.payload, packet, PROTOCOL_TCP)).toBe(true);
        return parseTcp(packet.payload).payload;
      });
      expect(Buffer.concat(bytes).equals(payload)).toBe(true);
      expect(cut.counters).toMatchObject({ rxFrames: frames.length + 1, rxDropped: 0 });
    }
  });

  test('frames say when they came', async () => {
    const port = open();
    const before = Date.now() * 1000;
    await fromHost('one', 'two');
    const after = (Date.now() + 1) * 1000;
    port.rxSync();
    const times = Array.from(
      { length: port.rx.available },
      (_, i) => port.rxTimes![(port.rx.head + i) & (port.rx.slots - 1)],
    );
    expect(times.length).toBeGreaterThanOrEqual(2);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    for (const time of times) {
      expect(time).toBeGreaterThanOrEqual(before);
      expect(time).toBeLessThanOrEqual(after);
    }
  });

  test('what finds no slot is counted once there is one', () => {
    const [port, far] = [open(), open({ name: 'mr1' })];
    const flood = (count: number, length: number) => {
      for (let i = 0; i < count; i++) send(far, frameTo(OTHER_MAC, i, length));
      return receiveAll(port).length;
    };
    expect(flood(2000, 1514)).toBe(2000);
    expect(port.counters.rxDropped).toBe(0);
    const got = flood(3000, 60);
    expect(got).toBeLessThan(3000);
    expect(flood(1, 60)).toBe(1);
    expect(port.counters).toMatchObject({ rxFrames: 2000 + got + 1, rxDropped: 3000 - got });
  });

  test('long frames and short ones come in the order in which they were sent', () => {
    ip('link', 'set', 'mr0', 'mtu', '9000');
    ip('link', 'set', 'mr1', 'mtu', '9000');
    const [port, far] = [open(), open({ name: 'mr1' })];
    let x = 1;
    for (let round = 0; round < 20; round++) {
      const frames = Array.from({ length: 60 }, (_, i) => {
        x = (Math.imul(x, 1_664_525) + 1_013_904_223) | 0;
        return frameTo(OTHER_MAC, i, x < 0 ? 60 : x & 1 ? 1792 : 1793 + (x >>> 24) * 28);
      });
      for (const frame of frames) queue(far, frame);
      far.txSync();
      expect(receiveAll(port).map(({ bytes }) => bytes)).toEqual(frames);
    }
    ip('link', 'set', 'mr0', 'mtu', '1500');
    ip('link', 'set', 'mr1', 'mtu', '1500');
  });

  test('several queues share the flows of one interface out, and one port has them all', async () => {
    const port = open({ queues: 4 });
    expect(port.capabilities.queues).toBe(4);
    const far = open({ name: 'mr1' });
    const poller = new Poller(port.fds);
    const arrival = poller.wait(1000);
    const sent: string[] = [];
    for (let i = 0; i < 60; i++) {
      const segment = emitUdp({ srcPort: 1000 + i, dstPort: 9, payload: Uint8Array.of(i) }, ENDS);
      const frame = toHost(emitIpv4Packet({ ...ENDS, protocol: PROTOCOL_UDP, payload: segment }), OTHER_MAC);
      send(far, frame);
      sent.push(Buffer.from(frame).toString('hex'));
    }
    await arrival;
    poller.close();
    const got = receiveAll(port).map(({ bytes }) => Buffer.from(bytes).toString('hex'));
    expect(got).not.toEqual(sent);
    expect(got.sort()).toEqual(sent.sort());
  });

  test('what can’t be sent is counted, and the next frame goes', () => {
    const [port, far] = [open(), open({ name: 'mr1' })];
    const good = frameTo(OTHER_MAC, 1);
    queue(port, good, 0, 0, 13);
    queue(port, new Uint8Array(1519));
    queue(port, good, FRAME_MORE);
    queue(port, good);
    queue(port, good, FRAME_CHECKSUM_FILL);
    queue(port, good);
    port.txSync();
    expect(receiveAll(far).map(({ bytes }) => bytes)).toEqual([good]);
    expect(port.counters).toMatchObject({ txFrames: 1, txDropped: 5 });
  });

  test('an interface that can’t be used is refused with what to do, and leaves nothing', () => {
    const fds = readdirSync('/proc/self/fd').length;
    ip('tuntap', 'add', 'mr2', 'mode', 'tap');
    ip('tuntap', 'add', 'mr3', 'mode', 'tun');
    ip('link', 'set', 'mr3', 'up');
    const refused: [Partial<PacketOptions>, string, RegExp][] = [
      [{ name: 'mr9' }, 'ENODEV', /ip link/],
      [{ name: 'mr2' }, 'ENETDOWN', /ip link set mr2 up/],
      [{ name: 'lo' }, 'EINVAL', /no Ethernet/],
      [{ name: 'mr3' }, 'EINVAL', /no Ethernet/],
      [{ mtu: 1501 }, 'EINVAL', /ip link set mr0 mtu/],
      [{ mtu: 67 }, 'EINVAL', /68 to 1500/],
      [{ queues: 17 }, 'EINVAL', /1 to 16/],
      [{ addresses: ['10.0.0.1/33'] }, 'EINVAL', /address of the stack/],
    ];
    for (const [options, code, message] of refused) {
      const all = { name: 'mr0', offload: false, ...options };
      expect(() => openPacket(new Arena(1 << 26), all), code).toThrow(
        expect.objectContaining({ name: 'PortError', code, message: expect.stringMatching(message) }),
      );
    }
    const full = expect.objectContaining({ code: 'ERR_ARENA_FULL' });
    expect(() => openPacket(new Arena(1 << 20), { name: 'mr0' })).toThrow(full);
    for (const mib of [6, 24, 41]) {
      expect(() => openPacket(new Arena(mib << 20), { name: 'mr0', queues: 2 })).toThrow(full);
    }
    expect(readdirSync('/proc/self/fd').length).toBe(fds);
    expect(packetSockets()).toBe(0);
  });

  test('close lets the interface go, and does nothing the second time', () => {
    const fds = readdirSync('/proc/self/fd').length;
    const port = open({ queues: 2 });
    expect(packetSockets()).toBe(4);
    expect(promiscuous('mr0')).toBe(true);
    port.close();
    port.close();
    expect(packetSockets()).toBe(0);
    expect(promiscuous('mr0')).toBe(false);
    expect(readdirSync('/proc/self/fd').length).toBe(fds);
    expect([port.rxSync(), port.txSync()]).toEqual([0, 0]);
  });

  /** Opens mr0 in a process in this thread's namespace. */
  function openInChild(then: string, command = [process.execPath]): Child {
    const url = JSON.stringify(new URL('./packet.testing.ts', import.meta.url));
    const source = `
      import { openTestPacket } from ${url};
      try {
        globalThis.port = openTestPacket({ name: 'mr0' });
        console.log('open');
      } catch (error) {
        console.log(error.name, error.code, error.message);
      }
      ${then}
    `;
    return new Child(command[0], [...command.slice(1), '--input-type=module', '-e', source]);
  }

  test('SIGKILL leaves nothing', async () => {
    const child = openInChild('setInterval(() => port.rxSync(), 10);');
    await child.waitFor(/open/);
    expect(promiscuous('mr0')).toBe(true);
    child.signal('SIGKILL');
    await child.exit;
    await eventually(() => (packetSockets() === 0 && !promiscuous('mr0') ? true : undefined), 'its end');
  });

  test('CAP_NET_RAW alone is enough, and without it EPERM says so', async () => {
    const only = (...caps: string[]) => {
      const set = ['-all', ...caps].join(',');
      return ['setpriv', `--bounding-set=${set}`, `--inh-caps=${set}`, process.execPath];
    };
    const allowed = openInChild('port.close();', only('+net_raw'));
    expect((await allowed.waitFor(/.+/))[0]).toBe('open');
    await allowed.exit;
    const refused = openInChild('', only('+net_admin'));
    expect((await refused.waitFor(/.+/))[0]).toMatch(/^PortError EPERM .*CAP_NET_RAW/);
    await refused.exit;
  });

  test('down and up again, it goes on; removed, it says so instead of idling', async () => {
    const port = open();
    ip('link', 'set', 'mr0', 'down');
    for (let i = 0; i < 200; i++) expect(port.rxSync()).toBe(0);
    send(port, frameTo(OTHER_MAC, 1));
    expect(port.txSync()).toBe(port.tx.slots);
    expect(port.counters).toMatchObject({ txFrames: 0, txDropped: 1 });
    ip('link', 'set', 'mr0', 'up');
    const far = open({ name: 'mr1' });
    const back = await eventually(() => {
      send(port, frameTo(OTHER_MAC, 2));
      send(far, frameTo(OTHER_MAC, 3));
      return port.rxSync() > 0 && far.rxSync() > 0 ? true : undefined;
    }, 'the way back');
    expect(back).toBe(true);
    const removed = expect.objectContaining({ name: 'PortError', code: 'ENODEV' });
    receiveAll(port);
    const poller = new Poller(port.fds);
    const woken = poller.wait(1000);
    ip('link', 'delete', 'mr0');
    await woken;
    poller.close();
    expect(() => {
      for (let i = 0; i < 200; i++) port.rxSync();
    }).toThrow(removed);
    expect(() => port.rxSync()).toThrow(removed);
    queue(port, frameTo(OTHER_MAC, 1));
    expect(() => port.txSync()).toThrow(removed);
    queue(far, frameTo(OTHER_MAC, 1));
    expect(() => far.txSync()).toThrow(removed);
    addVeth();
  });

  test('packetArenaBytes is what a port carves, and hardly more', () => {
    for (const options of [{}, { offload: false, mtu: 600 }, { queues: 2, slots: 8 }]) {
      const all = { name: 'mr0', ...options };
      const bytes = packetArenaBytes(all);
      const arena = new Arena(64 + bytes);
      const port = openPacket(arena, all);
      const carved = arena.regions.reduce((sum, region) => sum + Math.ceil(region.bytes / 64) * 64, 0);
      expect(carved).toBeLessThanOrEqual(bytes);
      expect(carved).toBeGreaterThan(bytes - 32_768);
      port.close();
    }
  });
});

/** Of an experimental protocol. */
function frameTo(dst: string, serial: number, length = 60): Uint8Array {
  return emitEthernet({
    dst,
    src: SOME_MAC,
    type: 0x88b5,
    payload: new Uint8Array(length - 14).fill(serial),
  });
}

/** In this network namespace. */
function packetSockets(): number {
  return readFileSync('/proc/thread-self/net/packet', 'utf8').trim().split('\n').length - 1;
}

function promiscuous(name: string): boolean {
  return linkDetails(name).promiscuity > 0;
}

function linkDetails(name: string): { promiscuity: number; allmulti: number } {
  return JSON.parse(execFileSync('ip', ['-d', '-j', 'link', 'show', name], { encoding: 'utf8' }))[0];
}

/** What is special about the way that a TUN's frames get into the kernel: batches, queues, and what happens without. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { DESC_AT, type Ring } from '../memory/ring.ts';
import { interfaceInfo, setInterface } from '../os/interface.ts';
import { enterNewNetwork } from '../os/netns.ts';
import { WOKEN_MS_MAX } from '../os/poll.testing.ts';
import { WAIT_MS_MAX } from '../os/poll.ts';
import { emitIpv4Packet } from '../wire/ipv4.ts';
import { PROTOCOL_UDP } from '../wire/protocols.ts';
import { emitUdp } from '../wire/udp.ts';
import { frameOf, queueFrame, takeFrames } from './compliance.testing.ts';
import { createFrames, LARGE_ROOM_BYTES } from './frames.ts';
import type { Port } from './port.ts';
import { HostEnd, openTestTun, silenceIpv6 } from './tun.testing.ts';
import type { TunOptions } from './tun.ts';
import type { TunPort } from './tun-port.ts';
import { PortWaiter } from './wait.ts';

const reason = process.geteuid?.() === 0 ? '' : ' (skipped: needs root, or unshare -Urn)';

describe.skipIf(reason !== '')(`a TUN port${reason}`, () => {
  const opened: { close(): void }[] = [];
  beforeAll(() => {
    enterNewNetwork();
    silenceIpv6();
  });
  afterEach(() => {
    for (const one of opened.splice(0).reverse()) one.close();
  });

  function open(options: Partial<TunOptions> = {}, arena?: Arena): { port: TunPort; far: HostEnd } {
    const port = openTestTun({ name: 'mr0', kind: 'tun', ...options }, arena);
    const far = new HostEnd('mr0');
    opened.push(port, far);
    return { port, far };
  }

  const frames = (port: Port, count: number) =>
    Array.from({ length: count }, (_, i) => frameOf(port, 60 + i, i));

  test('a batch is one system call each way, once it knows what to expect', () => {
    const { port, far } = open({ slots: 32 });
    expect(port.calls).toBe('io_uring, registered buffers');
    for (const warm of [true, false]) {
      const before = port.counters.syscalls;
      far.send(frames(port, 32));
      expect(port.rxSync()).toBe(32);
      takeFrames(port);
      for (const frame of frames(port, 32)) queueFrame(port, frame);
      port.txSync();
      expect(far.receive().length).toBe(32);
      if (!warm) expect(port.counters.syscalls - before).toBe(2);
    }
    // Idle, it asks for one frame.
    port.rxSync();
    const before = port.counters.syscalls;
    for (let i = 0; i < 10; i++) expect([port.rxSync(), port.txSync()]).toEqual([0, 32]);
    expect(port.counters.syscalls - before).toBe(10);
  });

  test.each([true, false])(
    'frames that are too long are dropped, those around them keep their order (io_uring %s)',
    (ioUring) => {
      const { port, far } = open({ slots: 32, offload: false, mtu: 600, ioUring });
      setInterface('mr0', { mtu: 3000 });
      for (let round = 0; round < 20; round++) {
        const lengths = Array.from({ length: 24 }, (_, i) => ((i * 7 + round) % 3 === 0 ? 2000 : 100 + i));
        const sent = lengths.map((length, i) => frameOf(port, length, i));
        far.send(sent);
        for (let i = 0; i < 4; i++) port.rxSync();
        expect(takeFrames(port)).toEqual(sent.filter((frame) => frame.length < 600));
      }
      expect(port.counters.rxDropped).toBe(20 * 8);
      expect(port.capabilities.mtu).toBe(600);
    },
  );

  test('what the kernel refuses of a batch is counted, and the rest goes', () => {
    const { port, far } = open({ slots: 64 });
    const good = frames(port, 8);
    // The version of IP that nobody has.
    const bad = Uint8Array.from(good[0], (byte, i) => (i === 0 ? 0xf5 : byte));
    for (const frame of [...good.slice(0, 4), bad, ...good.slice(4)]) queueFrame(port, frame);
    port.txSync();
    expect(far.receive()).toEqual(good);
    expect(port.counters).toMatchObject({ txFrames: 8, txDropped: 1 });
    setInterface('mr0', { up: false });
    for (const frame of good) queueFrame(port, frame);
    expect(port.txSync()).toBe(64);
    expect(port.counters).toMatchObject({ txFrames: 8, txDropped: 9 });
  });

  test.each([true, false])(
    'removed while a batch is on the way, it says so, and closes (io_uring %s)',
    (ioUring) => {
      const { port, far } = open({ slots: 64, ioUring });
      far.send(frames(port, 16));
      expect(port.rxSync()).toBe(16);
      for (const frame of frames(port, 16)) queueFrame(port, frame);
      expect(spawnSync('ip', ['link', 'delete', 'mr0']).status).toBe(0);
      const removed = expect.objectContaining({ name: 'PortError', code: 'ENODEV' });
      expect(() => port.txSync()).toThrow(removed);
      port.rx.head = port.rx.tail;
      expect(() => port.rxSync()).toThrow(removed);
      port.close();
      expect(port.pool.inUse).toBe(0);
    },
  );

  test('buffers that aren’t of the pool carry frames, too, until they are taken back', () => {
    const arena = new Arena(16 << 20);
    const { port, far } = open({ slots: 32 }, arena);
    expect(port.calls).toBe('io_uring, registered buffers');
    const strange = arena.carve('strange', 64 * 66_000);
    const swapped: [Ring, number, number][] = [];
    for (const [k, ring] of [port.rx, port.tx].entries()) {
      for (let i = 0; i < 32; i += 2) {
        const word = ring.slot(i) + DESC_AT;
        swapped.push([ring, word, ring.m[word]]);
        ring.m[word] = strange + (k * 32 + i) * 66_000 + 64;
      }
    }
    const some = frames(port, 16);
    far.send(some);
    for (let i = 0; i < 4; i++) port.rxSync();
    expect(takeFrames(port)).toEqual(some);
    for (const frame of some) queueFrame(port, frame);
    port.txSync();
    expect(far.receive()).toEqual(some);
    for (const [ring, word, at] of swapped) ring.m[word] = at;
  });

  const datagram = (flow: number, serial: number) => {
    const ends = { src: '192.0.2.1', dst: '192.0.2.2' };
    const payload = Uint8Array.of(flow, serial);
    const udp = emitUdp({ srcPort: 1000 + flow, dstPort: 7, payload }, ends);
    return emitIpv4Packet({ ...ends, protocol: PROTOCOL_UDP, payload: udp });
  };

  test('of several queues it hears all, each flow in order', () => {
    for (const ioUring of [true, false]) {
      const { port, far } = open({ slots: 256, queues: 4, ioUring });
      const FLOWS = 40;
      const sent = Array.from({ length: 5 * FLOWS }, (_, i) => datagram(i % FLOWS, Math.floor(i / FLOWS)));
      const inOrder = (got: Uint8Array[]) => {
        expect(got.length).toBe(sent.length);
        for (let flow = 0; flow < FLOWS; flow++) {
          const serials = got.filter((frame) => frame[28] === flow).map((frame) => frame[29]);
          expect(serials).toEqual([0, 1, 2, 3, 4]);
        }
      };
      far.send(sent);
      for (let i = 0; i < 8; i++) port.rxSync();
      const got = takeFrames(port);
      inOrder(got);
      // Over more than one queue, the host's order of all flows doesn't survive.
      expect(got).not.toEqual(sent);
      for (const frame of sent) queueFrame(port, frame);
      port.txSync();
      const out = far.receive();
      inOrder(out);
      port.close();
      far.close();
      opened.length = 0;
    }
  });

  test('all frames of a flow leave by one queue, and flows by all of them', () => {
    for (const ioUring of [true, false]) {
      const { port, far } = open({ slots: 256, queues: 4, ioUring });
      const FLOWS = 41;
      for (let i = 0; i < 5 * FLOWS; i++) queueFrame(port, datagram(i % FLOWS, Math.floor(i / FLOWS)));
      const queues = [0, 1, 2, 3].map((queue) => new HostEnd('mr0', queue));
      opened.push(...queues);
      port.txSync();
      const flows = queues.map((queue) => queue.receive().map((frame) => frame[28]));
      for (const some of flows) {
        expect(some.length).toBeGreaterThan(0);
        for (const flow of some) expect(some.filter((other) => other === flow)).toHaveLength(5);
      }
      expect(flows.flat()).toHaveLength(5 * FLOWS);
      expect(far.receive()).toHaveLength(5 * FLOWS);
      for (const one of opened.splice(0).reverse()) one.close();
    }
  });

  test('a waiter is woken by any of several queues', async () => {
    const { port, far } = open({ slots: 256, queues: 4 });
    const waiter = new PortWaiter([port]);
    try {
      for (let flow = 0; flow < 8; flow++) {
        const wait = waiter.wait(WAIT_MS_MAX);
        const start = performance.now();
        const ends = { src: '192.0.2.1', dst: '192.0.2.2' };
        const payload = emitUdp({ srcPort: 1000 + flow, dstPort: 7, payload: new Uint8Array(9) }, ends);
        far.send([emitIpv4Packet({ ...ends, protocol: PROTOCOL_UDP, payload })]);
        await wait;
        expect(performance.now() - start).toBeLessThan(WOKEN_MS_MAX);
        expect(port.rxSync()).toBe(1);
        takeFrames(port);
      }
    } finally {
      waiter.close();
    }
  });

  test('of several queues nobody else gets one', () => {
    open({ queues: 2 });
    const taken = expect.objectContaining({ name: 'PortError', code: 'EBUSY' });
    expect(() => openTestTun({ name: 'mr0', kind: 'tun', queues: 2 })).toThrow(taken);
    expect(() => openTestTun({ name: 'mr0', kind: 'tun' })).toThrow(
      expect.objectContaining({ name: 'PortError' }),
    );
    for (const queues of [0, 17, 1.5]) {
      expect(() => openTestTun({ name: 'mr1', kind: 'tun', queues })).toThrow(
        expect.objectContaining({ code: 'EINVAL' }),
      );
    }
  });

  /** Opens a TUN in a process of its own, in this namespace, and sends and receives a batch. @returns what it says */
  function inChild(command: string[], before = ''): string {
    const url = (file: string) => JSON.stringify(new URL(file, import.meta.url));
    const source = `
      import { HostEnd, openTestTun } from ${url('./tun.testing.ts')};
      import { libc, NativeMemory } from ${url('../os/libc.ts')};
      import { DESC_LENGTH } from ${url('../memory/ring.ts')};
      ${before}
      const port = openTestTun({ name: 'mr2', kind: 'tun', slots: 32 });
      const far = new HostEnd('mr2');
      const frame = Uint8Array.from({ length: 60 }, (_, i) => (i === 0 ? 0x45 : i));
      far.send(Array(32).fill(frame));
      const got = port.rxSync();
      for (let i = 0; i < 32; i++) {
        const slot = port.tx.slot(port.tx.head);
        port.arena.u8.set(frame, port.tx.m[slot]);
        port.tx.m[slot + DESC_LENGTH] = 60;
        port.tx.head++;
      }
      port.txSync();
      console.log(port.calls, got, far.receive().length);
    `;
    const [program, ...rest] = [...command, process.execPath, '--input-type=module', '-e', source];
    const { stdout, stderr } = spawnSync(program, rest, { encoding: 'utf8', timeout: 20_000 });
    return stdout.trim() || stderr;
  }

  test('where io_uring is refused, it goes by read and write', () => {
    // A seccomp filter, as containers have: load the call's number; 425 fails with EPERM; all else is allowed.
    const filter = `
      const memory = new NativeMemory(64);
      [[0x20, 0, 0, 0], [0x15, 0, 1, 425], [0x06, 0, 0, 0x50001], [0x06, 0, 0, 0x7fff0000]].forEach(([code, yes, no, k], i) => {
        memory.view.setUint16(16 + i * 8, code, true);
        memory.view.setUint8(18 + i * 8, yes);
        memory.view.setUint8(19 + i * 8, no);
        memory.view.setUint32(20 + i * 8, k, true);
      });
      memory.view.setUint16(0, 4, true);
      memory.view.setBigUint64(8, BigInt(memory.address + 16), true);
      if (libc().syscall(${process.arch === 'x64' ? 317 : 277}, 1, 0, memory.address) !== 0) throw new Error('seccomp');
    `;
    expect(inChild([], filter)).toBe('read and write 32 32');
  });

  test('where too little memory may be locked, it goes without registered buffers', () => {
    const limits = ['prlimit', '--memlock=1048576', 'setpriv', '--bounding-set=-ipc_lock', '--inh-caps=-all'];
    expect(inChild(limits)).toBe('io_uring 32 32');
    expect(inChild([])).toBe('io_uring, registered buffers 32 32');
  });

  test('ports of one pool register it twice, and give back what they took', () => {
    const arena = new Arena(32 << 20);
    const pool = createFrames(arena, 'frames', 256, LARGE_ROOM_BYTES);
    const a = openTestTun({ name: 'mr3', kind: 'tun', slots: 64, pool }, arena);
    const b = openTestTun({ name: 'mr4', kind: 'tap', slots: 64, pool }, arena);
    expect([a.pool, b.pool]).toEqual([pool, pool]);
    expect(() => openTestTun({ name: 'mr5', kind: 'tun', slots: 64, pool }, arena)).toThrow(RangeError);
    a.close();
    b.close();
    expect(pool.inUse).toBe(0);
    pool.audit();
    expect(() => interfaceInfo('mr3')).toThrow();
  });

  test('a million packets allocate next to nothing, sent and received', () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
    // The host routes what is sent into one to the other.
    const { port: into } = open({ slots: 64, hostAddresses: ['10.1.0.1/24'] });
    const out = openTestTun({ name: 'mr1', kind: 'tun', slots: 64, hostAddresses: ['10.2.0.1/24'] });
    opened.push(out);
    const ends = { src: '10.1.0.2', dst: '10.2.0.2' };
    const packet = emitIpv4Packet({ ...ends, protocol: PROTOCOL_UDP, payload: new Uint8Array(44) });
    for (let i = 0; i < into.tx.slots; i++) {
      queueFrame(into, packet);
      into.txSync();
    }
    const { tx } = into;
    const { rx } = out;
    const run = (rounds: number): void => {
      for (let i = 0; i < rounds; i++) {
        // Some by a call each, most by io_uring.
        tx.head = (tx.head + (i % 2 === 0 ? 62 : 2)) | 0;
        into.txSync();
        rx.head = (rx.head + out.rxSync()) | 0;
      }
    };
    run(4_000);
    collect();
    const received = out.counters.rxFrames;
    const before = process.memoryUsage().heapUsed;
    run(32_000);
    const bytes = process.memoryUsage().heapUsed - before;
    const packets = out.counters.rxFrames - received;
    expect(packets).toBeGreaterThan(1_000_000);
    // Addresses are no small integers: V8 boxes some on their way into a call.
    expect(bytes / packets).toBeLessThan(4);
  });
});

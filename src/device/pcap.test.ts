import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { DESC_FLAGS, DESC_LENGTH, FRAME_MORE } from '../memory/ring.ts';
import { queueFrame, takeFrames } from './compliance.testing.ts';
import { createFrames, framesArenaBytes } from './frames.ts';
import { type PcapRecord, writePcap } from './pcap.testing.ts';
import { openPcap, type PcapOptions, pcapArenaBytes } from './pcap.ts';
import { readPcapng } from './pcapng.testing.ts';
import type { Port } from './port.ts';

const FORM = { little: true, nanoseconds: false };
const frame = (serial: number, length = 60): Uint8Array => new Uint8Array(length).fill(serial);

describe('pcap', () => {
  let folder = '';
  const opened: Port[] = [];
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'pcap-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  afterEach(() => {
    for (const port of opened.splice(0)) port.close();
  });

  function write(name: string, file: Uint8Array): string {
    const path = join(folder, name);
    writeFileSync(path, file);
    return path;
  }

  function open(options: Partial<PcapOptions>) {
    const all = { file: '', ...options };
    const port = openPcap(new Arena(pcapArenaBytes(all.slots) + 128), all);
    opened.push(port);
    return port;
  }

  function replay(records: PcapRecord[], options: Partial<PcapOptions> = {}, form = FORM) {
    return open({ file: write('in.pcap', writePcap(records, form)), ...options });
  }

  test('replays every packet in order, with its time, as fast as slots are given back', () => {
    const records = Array.from({ length: 100 }, (_, i) => ({
      bytes: frame(i, 60 + i),
      time: 1_700_000_000_000_000n + BigInt(i),
    }));
    // More than a chunk of the file.
    for (let i = 0; i < 8; i++) records.push({ bytes: frame(i, 65_000), time: 1_700_000_001_000_000n });
    const port = replay(records, { speed: Number.POSITIVE_INFINITY, slots: 16 });
    expect(port.capabilities).toMatchObject({ link: 'ether', mtu: 1500, rxTimestamps: true });
    const got: Uint8Array[] = [];
    const times: number[] = [];
    while (!port.ended) {
      const n = port.rxSync();
      expect(n).toBe(Math.min(16, records.length - got.length));
      for (let i = 0; i < n; i++) times.push(port.rxTimes![(port.rx.head + i) & 15]);
      got.push(...takeFrames(port));
    }
    expect(got).toEqual(records.map(({ bytes }) => bytes));
    expect(times).toEqual(records.map(({ time }) => Number(time)));
    expect(port.rxSync()).toBe(0);
    expect(port.counters).toMatchObject({ rxFrames: 108, rxDropped: 0 });
    expect(port.counters.syscalls).toBeGreaterThan(1);
  });

  test.each([
    [1, 250],
    [2, 125],
    [0.5, 500],
  ])('at %d times the speed a packet of 250 ms later comes after %d ms', (speed, wait_ms) => {
    let now = 1000;
    const records = [0n, 250_000n, 250_000n].map((time, i) => ({ bytes: frame(i), time }));
    const port = replay(records, { speed, clock: () => now });
    now += 5000;
    expect(port.rxSync()).toBe(1);
    now += wait_ms - 1;
    expect(port.rxSync()).toBe(1);
    expect(port.ended).toBe(false);
    now += 1;
    expect(port.rxSync()).toBe(3);
    expect(port.ended).toBe(true);
  });

  test('tells when a packet is due, and when there was no room for it', async () => {
    const records = [0n, 30_000n, 30_000n, 30_000n].map((time, i) => ({ bytes: frame(i), time }));
    const port = replay(records, { slots: 2 });
    const arrival = () => new Promise<void>((arrived) => (port.onArrival = arrived));
    expect(port.rxSync()).toBe(1);
    const start = performance.now();
    await arrival();
    expect(performance.now() - start).toBeGreaterThan(15);
    const got = [];
    while (!port.ended) {
      port.rxSync();
      got.push(...takeFrames(port));
      if (!port.ended) await arrival();
    }
    expect(got.map(([serial]) => serial)).toEqual([0, 1, 2, 3]);
  });

  test('packets that were cut, are empty or of another link are dropped, and counted', () => {
    const records = [
      { bytes: frame(1), time: 0n },
      { bytes: frame(2), time: 0n, length: 61 },
      { bytes: frame(3, 0), time: 0n },
      { bytes: frame(4, 70_000), time: 0n },
      { bytes: frame(5), time: 0n },
    ];
    const port = replay(records);
    port.rxSync();
    expect(takeFrames(port)).toEqual([frame(1), frame(5)]);
    expect(port.counters).toMatchObject({ rxFrames: 2, rxBytes: 120, rxDropped: 3 });
  });

  test('IP captures are of IP, and others are refused', () => {
    const ip = replay([{ bytes: frame(0x45), time: 0n }], {}, { ...FORM, linkType: 101 } as typeof FORM);
    expect(ip.capabilities).toMatchObject({ link: 'ip', mac: null });
    ip.rxSync();
    expect(takeFrames(ip)).toEqual([frame(0x45)]);
    const cooked = { ...FORM, linkType: 113 } as typeof FORM;
    const refused = { name: 'PortError', code: 'ERR_PCAP_LINK', message: expect.stringContaining('113') };
    expect(() => replay([{ bytes: frame(1), time: 0n }], {}, cooked)).toThrow(
      expect.objectContaining(refused),
    );
  });

  test('a bad file: everything up to the error, then the error with its place, each time', () => {
    const good = writePcap(
      [
        { bytes: frame(1), time: 0n },
        { bytes: frame(2), time: 0n },
      ],
      FORM,
    );
    const port = open({ file: write('cut.pcap', good.subarray(0, good.length - 1)) });
    expect(port.rxSync()).toBe(1);
    expect(port.ended).toBe(false);
    const error = {
      name: 'PortError',
      code: 'ERR_PCAP_TRUNCATED',
      message: expect.stringContaining('at byte 100'),
    };
    for (let i = 0; i < 2; i++) expect(() => port.rxSync()).toThrow(expect.objectContaining(error));
    expect(takeFrames(port)).toEqual([frame(1)]);
  });

  test('what can’t be opened leaves nothing open', () => {
    const fds = readdirSync('/proc/self/fd').length;
    const good = write('good.pcap', writePcap([], FORM));
    const refused: [Partial<PcapOptions>, string][] = [
      [{ file: join(folder, 'missing') }, 'ENOENT'],
      [{ file: folder }, 'EISDIR'],
      [{ file: write('text', Buffer.from('no capture at all, but a text')) }, 'ERR_PCAP_FORMAT'],
      [{ file: write('empty', new Uint8Array(0)) }, 'ERR_PCAP_FORMAT'],
      [{ file: good, to: join(folder, 'no', 'folder') }, 'ENOENT'],
      [{ file: good, speed: 0 }, 'EINVAL'],
      [{ file: good, speed: Number.NaN }, 'EINVAL'],
      [{}, 'EINVAL'],
    ];
    for (const [options, code] of refused) {
      expect(() => open(options), code).toThrow(expect.objectContaining({ name: 'PortError', code }));
    }
    expect(() => openPcap(new Arena(1 << 16), { file: good })).toThrow(
      expect.objectContaining({ code: 'ERR_ARENA_FULL' }),
    );
    expect(readdirSync('/proc/self/fd').length).toBe(fds);
  });

  test('what is sent is recorded, or else counted and gone', () => {
    const to = join(folder, 'out.pcapng');
    const port = open({ to, slots: 8 });
    const nowhere = replay([], { slots: 8 });
    const before = Date.now() * 1000;
    for (const each of [port, nowhere]) {
      for (let i = 0; i < 20; i++) {
        if (each.tx.available === 0) each.txSync();
        queueFrame(each, frame(i, 60 + i));
      }
      expect(each.txSync()).toBe(8);
      expect(each.counters).toMatchObject({ txFrames: 20, txDropped: 0 });
      const { tx } = each;
      for (const [length, flags] of [
        [0, 0],
        [60, FRAME_MORE],
        [60, 0],
        [1519, 0],
        [each.frameBytes + 1, 0],
      ]) {
        tx.m[tx.slot(tx.head) + DESC_LENGTH] = length;
        tx.m[tx.slot(tx.head) + DESC_FLAGS] = flags;
        tx.head = (tx.head + 1) | 0;
      }
      each.txSync();
      expect(each.counters).toMatchObject({ txFrames: 20, txDropped: 5 });
    }
    expect([port.rxSync(), port.ended]).toEqual([0, true]);
    port.close();
    const { interfaces, packets } = readPcapng(readFileSync(to));
    expect(interfaces).toMatchObject([{ linkType: 1, name: to }]);
    expect(packets.map(({ bytes }) => bytes)).toEqual(Array.from({ length: 20 }, (_, i) => frame(i, 60 + i)));
    for (const { ticks, flags } of packets) {
      expect(flags).toBe(2);
      expect(Number(ticks)).toBeGreaterThanOrEqual(before);
    }
    expect(nowhere.rxSync()).toBe(0);
  });

  test('a full disk is an error, not a hole in the file', () => {
    const port = open({ to: '/dev/null' });
    port.close();
    expect(() => open({ to: '/dev/full' })).toThrow(
      expect.objectContaining({ code: 'ENOSPC', message: expect.stringContaining('/dev/full') }),
    );
  });

  test('buffers go back to their pool on close, and syncs do nothing then', () => {
    const arena = new Arena(framesArenaBytes(64, 65_553) + 65_536);
    const pool = createFrames(arena, 'frames', 64, 65_553);
    const file = write('pool.pcap', writePcap([{ bytes: frame(1), time: 0n }], FORM));
    const port = openPcap(arena, { file, slots: 8, pool });
    expect(port.pool).toBe(pool);
    port.rxSync();
    port.close();
    port.close();
    expect(pool.inUse).toBe(0);
    expect([port.rxSync(), port.txSync(), port.rx.available]).toEqual([0, 0, 0]);
  });
});

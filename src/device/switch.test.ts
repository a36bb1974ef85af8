import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Engine } from '../engine/engine.ts';
import { LIMITS_SMALL } from '../engine/testing.ts';
import { Arena } from '../memory/arena.ts';
import { DESC_FLAGS, FRAME_MORE } from '../memory/ring.ts';
import { createCable } from './cable.ts';
import { portAsFarEnd, portCompliance, queueFrame, takeFrames } from './compliance.testing.ts';
import { createFrames } from './frames.ts';
import type { Port } from './port.ts';
import { createSwitch, SWITCH_PORTS_MAX, type Switch, type SwitchOptions } from './switch.ts';

const BROADCAST = 'ff:ff:ff:ff:ff:ff';

function bytesOf(mac: string): number[] {
  return mac.split(':').map((part) => Number.parseInt(part, 16));
}

function frame(dst: string, src: string, serial = 0, length = 60): Uint8Array {
  const bytes = Uint8Array.from({ length }, (_, i) => (i * 5 + serial) & 255);
  bytes.set([...bytesOf(dst), ...bytesOf(src), 0x88, 0xb5]);
  return bytes;
}

const host = (i: number): string => `02:00:00:00:${(i >> 8).toString(16)}:${(i & 255).toString(16)}`;

class Lan {
  readonly arena = new Arena(1 << 25);
  now = 5_000;
  readonly switch: Switch;
  /** What programs hold: of each port the near end. */
  readonly ports: Port[];

  constructor(count: number, options: Partial<SwitchOptions> = {}) {
    this.switch = createSwitch(this.arena, 'lan', { now: () => this.now, key: 77, slots: 8, ...options });
    this.ports = Array.from({ length: count }, () => this.switch.port());
  }

  send(from: number, ...frames: Uint8Array[]): void {
    for (const bytes of frames) queueFrame(this.ports[from], bytes);
    this.ports[from].txSync();
  }

  /** What each port has received since the last call. */
  received(): Uint8Array[][] {
    return this.ports.map((port) => {
      const all: Uint8Array[] = [];
      while (port.rxSync() > 0) all.push(...takeFrames(port));
      return all;
    });
  }

  counts(): number[] {
    return this.received().map((frames) => frames.length);
  }
}

describe('a switch', () => {
  test('floods what it doesn’t know, and sends what it knows to one port, changed in nothing', () => {
    const lan = new Lan(4);
    const first = frame(host(2), host(0));
    lan.send(0, first);
    expect(lan.received()).toEqual([[], [first], [first], [first]]);
    const answer = frame(host(0), host(2));
    lan.send(2, answer);
    expect(lan.received()).toEqual([[answer], [], [], []]);
    lan.send(0, first);
    expect(lan.received()).toEqual([[], [], [first], []]);
    expect(lan.switch.ports.map(({ counters }) => counters)).toMatchObject([
      { unicast: 1, flooded: 1 },
      {},
      { unicast: 1, flooded: 0 },
      {},
    ]);
    expect(lan.switch.ports[2].out).toMatchObject({ frames: 2, bytes: 120 });
  });

  test('delivers as a model does: each frame to the port where its destination was seen last, else to all others', () => {
    const step = fc.record({
      from: fc.nat(3),
      src: fc.nat(5),
      dst: fc.integer({ min: 0, max: 7 }),
      pass_s: fc.nat(3),
    });
    const steps = fc.array(fc.array(step, { minLength: 1, maxLength: 6 }), { maxLength: 30 });
    fc.assert(
      fc.property(steps, fc.constantFrom('one', 'each', 'some'), (bursts, pools) => {
        const arena = new Arena(1 << 24);
        const pool = createFrames(arena, 'frames', 1024, 1518);
        const given = pools === 'one' ? { pool } : {};
        const lan = { now: 0, ports: [] as Port[] };
        const lan_ = createSwitch(arena, 'lan', {
          now: () => lan.now,
          key: 1,
          ageing_s: 4,
          slots: 8,
          ...given,
        });
        for (let i = 0; i < 2; i++) lan.ports.push(lan_.port());
        for (let i = 0; i < 2; i++) {
          const [near, far] = createCable(arena, `c${i}`, { slots: 8, ...(pools !== 'each' && { pool }) });
          lan.ports.push(near);
          lan_.attach(far);
        }
        const seen = new Map<number, { port: number; at: number }>();
        let moves = 0;
        let serial = 0;
        for (const burst of bursts) {
          lan.now += burst[0].pass_s * 1000;
          const wanted: string[][] = lan.ports.map(() => []);
          const { from } = burst[0];
          for (const { src, dst } of burst) {
            const bytes = frame(dst === 7 ? BROADCAST : host(dst), host(src), serial++);
            const at = lan.now / 1000;
            const before = seen.get(src);
            if (before !== undefined && before.port !== from && at - before.at <= 4) moves++;
            seen.set(src, { port: from, at });
            const known = seen.get(dst);
            const to = known === undefined || at - known.at > 4 ? -1 : known.port;
            for (const [i, list] of wanted.entries())
              if (i !== from && (to < 0 || to === i)) list.push(Buffer.from(bytes).toString('hex'));
            queueFrame(lan.ports[from], bytes);
          }
          lan.ports[from].txSync();
          lan_.turn();
          const got = lan.ports.map((port) => {
            port.rxSync();
            const frames = takeFrames(port).map((bytes) => Buffer.from(bytes).toString('hex'));
            port.rxSync();
            port.txSync();
            return frames;
          });
          expect(got).toEqual(wanted);
        }
        expect(lan_.counters).toEqual({ moves, evicted: 0 });
        for (const { port } of lan_.ports) port.close();
        for (const port of lan.ports) port.close();
        pool.audit();
        expect(pool.inUse).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  test('never learns the address of a group, nor none', () => {
    const lan = new Lan(2);
    for (const src of [BROADCAST, '01:00:5e:00:00:01', '00:00:00:00:00:00']) {
      lan.send(0, frame(host(9), src));
      expect(lan.switch.portOf(Uint8Array.from(bytesOf(src)))).toBe(null);
    }
    lan.send(0, frame(host(9), host(1)));
    expect(lan.switch.portOf(Uint8Array.from(bytesOf(host(1))))).toBe(lan.switch.ports[0].port);
  });

  test('passes on neither what is for the same port, nor what is for the next switch alone, nor a runt', () => {
    const lan = new Lan(2);
    lan.send(0, frame(BROADCAST, host(1)), frame(BROADCAST, host(2)));
    expect(lan.counts()).toEqual([0, 2]);
    const runt = frame(BROADCAST, host(1)).slice(0, 13);
    lan.send(0, frame(host(2), host(1)), frame('01:80:c2:00:00:0e', host(1)), runt);
    expect(lan.counts()).toEqual([0, 0]);
    expect(lan.switch.ports[0].counters.filtered).toBe(3);
    lan.send(0, frame('01:80:c2:00:00:10', host(1)));
    expect(lan.counts()).toEqual([0, 1]);
  });

  test('loses what a full port has no room for, counts it, and holds nobody else back', () => {
    const lan = new Lan(3);
    lan.send(1, frame(BROADCAST, host(1)));
    lan.send(2, frame(BROADCAST, host(2)));
    lan.received();
    const sent = 40;
    for (let i = 0; i < sent; i++) {
      lan.send(0, frame(host(1), host(0), i), frame(host(2), host(0), i));
      lan.ports[2].rxSync();
      expect(takeFrames(lan.ports[2]).length).toBe(1);
    }
    const { dropped } = lan.switch.ports[1].counters;
    expect(dropped).toBe(sent - 16); // both rings of its cable
    expect(lan.switch.ports[2].counters.dropped).toBe(0);
    expect(lan.counts()[1]).toBe(16);
    lan.send(0, frame(host(1), host(0)));
    expect(lan.counts()[1]).toBe(1);
  });

  test('counts hosts that move, and follows them', () => {
    const lan = new Lan(3);
    lan.send(0, frame(BROADCAST, host(1)));
    lan.send(1, frame(BROADCAST, host(1)));
    lan.received();
    expect(lan.switch.counters.moves).toBe(1);
    lan.send(2, frame(host(1), host(2)));
    expect(lan.counts()).toEqual([0, 1, 0]);
  });

  test('forgets hosts that are silent, and no others', () => {
    const lan = new Lan(3, { ageing_s: 10 });
    lan.send(0, frame(BROADCAST, host(0)));
    lan.send(1, frame(BROADCAST, host(1)));
    lan.received();
    lan.now += 10_000;
    lan.send(0, frame(host(1), host(0)));
    expect(lan.counts()).toEqual([0, 1, 0]);
    lan.now += 1_000;
    lan.send(2, frame(host(0), host(2)), frame(host(1), host(2)));
    expect(lan.counts()).toEqual([2, 1, 0]);
  });

  test('keeps to its table’s size whatever comes, and the hosts that were seen last', () => {
    const lan = new Lan(2, { addresses: 64 });
    for (let i = 0; i < 1000; i++) {
      lan.send(0, frame(BROADCAST, host(i)));
      lan.received();
      if (i % 10 === 0) lan.now += 1000;
    }
    expect(lan.switch.counters.evicted).toBeGreaterThanOrEqual(1000 - 64);
    let known = 0;
    for (let i = 0; i < 1000; i++) if (lan.switch.portOf(Uint8Array.from(bytesOf(host(i)))) !== null) known++;
    expect(known).toBe(1000 - lan.switch.counters.evicted);
    expect(lan.switch.portOf(Uint8Array.from(bytesOf(host(999))))).not.toBe(null);
  });

  test('passes frames of several buffers on, whole', () => {
    const lan = new Lan(3);
    const bytes = frame(BROADCAST, host(1), 3, 900);
    queueFrame(lan.ports[0], bytes.slice(0, 300));
    lan.ports[0].tx.m[lan.ports[0].tx.slot((lan.ports[0].tx.head - 1) | 0) + DESC_FLAGS] = FRAME_MORE;
    lan.ports[0].txSync();
    expect(lan.counts()).toEqual([0, 0, 0]);
    queueFrame(lan.ports[0], bytes.slice(300));
    lan.ports[0].txSync();
    const got = lan.received().map((frames) => Buffer.concat(frames));
    expect(got).toEqual([Buffer.alloc(0), Buffer.from(bytes), Buffer.from(bytes)]);
  });

  test('refuses ports that it can’t serve, and options that make no sense', () => {
    const lan = new Lan(1);
    const [ip, other] = createCable(lan.arena, 'ip', { link: 'ip', slots: 2 });
    const refused = (run: () => unknown, code: string, message: string) =>
      expect(run).toThrow(expect.objectContaining({ code, message: expect.stringContaining(message) }));
    refused(() => lan.switch.attach(ip), 'EINVAL', 'ip.0 carries bare IP packets');
    refused(
      () => lan.switch.attach(createCable(new Arena(1 << 20), 'x', { slots: 2 })[0]),
      'EINVAL',
      'another arena',
    );
    refused(() => lan.switch.attach(lan.switch.ports[0].port), 'EINVAL', 'already');
    const many = createSwitch(lan.arena, 'many', { now: () => 0, key: 0, slots: 1 });
    for (let i = 0; i < SWITCH_PORTS_MAX; i++) many.port();
    refused(() => many.port(), 'ENOSPC', '254 ports');
    for (const options of [{ addresses: 3 }, { addresses: 100 }, { ageing_s: 0 }])
      expect(() => createSwitch(lan.arena, 'x', { now: () => 0, key: 0, ...options })).toThrow(RangeError);
    other.close();
  });
});

test('engines on a switch find each other and talk, with offload or without', () => {
  for (const offload of [false, true]) {
    const arena = new Arena(1 << 28);
    const lan = createSwitch(arena, 'lan', { now: () => 0, key: 3, slots: 64, offload });
    const engines = [1, 2, 3].map((i) => {
      const engine = new Engine({ arena, limits: LIMITS_SMALL, secret: new Int32Array(4), now: 0 });
      engine.addInterface(lan.port(), { addresses: [`10.0.0.${i}/24`] });
      return engine;
    });
    let got = 0;
    engines[2].listen(
      { port: 7 },
      {
        data(_conn, _at, length) {
          got += length;
          return length;
        },
      },
    );
    const data = arena.carve('data', 50_000);
    for (const engine of engines.slice(0, 2))
      engine.connect(
        { address: '10.0.0.3', port: 7 },
        { open: (conn) => void engine.send(conn, data, 50_000) },
      );
    for (let now = 0; now < 3000 && got < 100_000; now++) for (const engine of engines) engine.breath(now);
    expect(got).toBe(100_000);
    expect(lan.ports.map(({ counters }) => counters.dropped)).toEqual([0, 0, 0]);
  }
});

function rig(shared: boolean) {
  const arena = new Arena(1 << 24);
  const pool = shared ? createFrames(arena, 'frames', 1024, 1518) : undefined;
  const lan = createSwitch(arena, 'lan', { now: () => 0, key: 9, slots: 64, ...(pool && { pool }) });
  const port = lan.port();
  const far = lan.port();
  return {
    port,
    far: portAsFarEnd(far),
    close: () => {
      far.close();
      lan.close();
    },
  };
}

portCompliance('a switch’s port', () => rig(false), { inFlight: 64 });
portCompliance('a switch’s port of a shared pool', () => rig(true), { inFlight: 64 });

/** RACK (RFC 8985 6), packet by packet and against the RFC's own words, taken byte by byte. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { COLD, LOSS_FLAG, TCB } from './block.ts';
import { coldOf } from './cold.ts';
import { Flow, MSS } from './recovery.testing.ts';

describe('what is lost', () => {
  test('a segment that others have overtaken by a reordering window: a quarter of the smallest RTT', () => {
    const f = new Flow({ rtt_ms: 100 });
    expect(f.write(4)).toEqual([0, 1, 2, 3]);
    f.pass(100);
    f.ack(0, [[1, 2]]);
    expect(f.starts()).toEqual([]);
    f.pass(24);
    expect(f.starts()).toEqual([]);
    f.pass(3);
    expect(f.starts()).toEqual([0]);
    expect(f.info.recovery).toBe('fast');
    expect(f.counters).toMatchObject({ rackLosses: 1, fastRecoveries: 1, retransmissionTimeouts: 0 });
  });

  test.each([
    ['three segments SACKed one by one', [[[1, 2]], [[1, 3]], [[1, 4]]]],
    ['three at once', [[[1, 4]]]],
    [
      'three apart',
      [
        [[1, 2]],
        [
          [3, 4],
          [1, 2],
        ],
        [
          [5, 6],
          [3, 4],
          [1, 2],
        ],
      ],
    ],
  ] as const)('at once with %s, until reordering was seen (6.2 step 4)', (_, acks) => {
    const f = new Flow();
    f.write(8);
    f.pass(100);
    for (const blocks of acks.slice(0, -1)) {
      f.ack(0, blocks);
      expect(f.starts()).toEqual([]);
    }
    f.ack(0, acks.at(-1));
    expect(f.starts()[0]).toBe(0);
    expect(f.info.recovery).toBe('fast');
  });

  test('small segments count as segments', () => {
    const f = new Flow();
    for (let i = 0; i < 5; i++) f.c.write(50);
    f.take();
    f.pass(100);
    f.ackBytes(0, [[50, 100]]);
    f.ackBytes(0, [[50, 150]]);
    expect(f.take()).toEqual([]);
    f.ackBytes(0, [[50, 200]]);
    expect(f.take().map((s) => [s.seq - f.base, s.length])).toEqual([[0, 50]]);
  });

  test('not what was sent after all that has arrived', () => {
    const f = new Flow();
    f.write(4);
    f.pass(50);
    f.write(4);
    f.pass(50);
    f.ack(0, [[1, 4]]);
    expect(f.starts()).toEqual([0]);
    expect(f.info.lost).toBe(0);
    // The second flight's first three are as missing, and younger than what arrived.
    expect(f.info.inFlight).toBe(5 * MSS);
  });

  test('a retransmission too, when something sent after it has arrived', () => {
    const f = new Flow();
    expect(f.write(20)).toHaveLength(10);
    f.pass(100);
    f.ack(0, [[1, 5]]);
    expect(f.starts()).toEqual([0]);
    f.pass(10);
    f.ack(0, [[1, 8]]);
    f.ack(0, [[1, 10]]);
    expect(f.starts()[0]).toBe(10);
    f.pass(100);
    f.ack(0, [[1, 11]]);
    // No retransmission timeout was needed to see that segment 0 is lost again.
    expect(f.starts()[0]).toBe(0);
    expect(f.counters).toMatchObject({ fastRecoveries: 1, retransmissionTimeouts: 0 });
    for (let end = 11; end < 20; end = Math.max(...f.starts()) + 1) {
      f.pass(100);
      f.ack(end);
    }
    f.pass(100);
    f.ack(20);
    expect(f.info).toMatchObject({ recovery: 'none', inFlight: 0, lost: 0, sacked: 0 });
  });

  test('a retransmission that left in one breath with new data that has arrived, after it', () => {
    const f = new Flow();
    f.write(4);
    f.pass(100);
    f.write(2);
    f.ack(0, [[1, 4]]);
    expect(f.starts()).toEqual([0]);
    f.pass(101);
    f.ack(0, [[1, 5]]);
    expect(f.starts()).toEqual([0]);
    expect(f.counters.rackLosses).toBe(2);
  });

  test('an ACK of the original says nothing of when the retransmission arrived (6.2 step 2)', () => {
    const f = new Flow({ rtt_ms: 100 });
    f.write(5);
    f.pass(100);
    f.ack(0, [[1, 4]]);
    expect(f.starts()).toEqual([0]);
    f.pass(1);
    f.write(1);
    // In less than any RTT since it was sent again: the original. Segments 4 and 5 are not lost for that.
    f.pass(20);
    f.ack(4);
    expect(f.info).toMatchObject({ lost: 0, retransmits: 1 });
  });
});

describe('reordering', () => {
  /** Segment 0 arrives after 1 and 2, in time. */
  function reordered(): Flow {
    const f = new Flow({ rtt_ms: 100 });
    f.write(3);
    f.pass(100);
    f.ack(0, [[1, 2]]);
    f.ack(0, [[1, 3]]);
    f.pass(5);
    f.ack(3);
    expect(f.info).toMatchObject({ reorderingSeen: true, retransmits: 0, inFlight: 0 });
    expect(f.counters.reorderingSeen).toBe(1);
    return f;
  }

  test('is seen when what was sent once arrives below what has arrived, and then three SACKs wait too', () => {
    const f = reordered();
    f.write(8);
    f.pass(100);
    f.ack(3, [[4, 10]]);
    expect(f.starts()).toEqual([]);
    f.pass(23);
    expect(f.starts()).toEqual([]);
    f.pass(5);
    expect(f.starts()).toEqual([3]);
  });

  test('in recovery as well', () => {
    const f = reordered();
    f.write(10);
    f.pass(100);
    f.ack(3, [[4, 5]]);
    f.pass(30);
    expect(f.starts()).toEqual([3]);
    f.ack(3, [
      [4, 5],
      [6, 7],
    ]);
    expect(f.info.lost).toBe(0);
    f.pass(27);
    // PRR says when it may go.
    expect(f.info.lost).toBe(MSS);
  });

  test('blocks of one ACK are no reordering, whatever their order', () => {
    const f = new Flow();
    f.write(8);
    f.pass(100);
    f.ack(0, [
      [6, 7],
      [1, 2],
      [3, 4],
    ]);
    expect(f.info.reorderingSeen).toBe(false);
  });

  test('D-SACKs widen the window, once a round trip; sixteen recoveries without make it narrow again', () => {
    const f = new Flow({ rtt_ms: 100 });
    const window = () => f.info.reorderingWindow_ms;
    let n = 0;
    /** The first of four is taken for lost; `dsack`: it was not. */
    const recovery = (dsack: boolean) => {
      for (let end = n; f.info.cwnd < 4 * MSS; ) {
        end += 8;
        for (let sent = f.write(8); n < end; sent = f.starts()) {
          f.pass(100);
          f.ack((n = sent.at(-1) ?? n) + 1);
          n++;
        }
      }
      f.write(4);
      f.pass(100);
      f.ack(n, [[n + 1, n + 4]]);
      f.pass(80);
      expect(f.starts()).toContain(n);
      f.ack(n + 4);
      n += 4;
      f.pass(70);
      if (dsack) f.ack(n, [[n - 4, n - 3]]);
      f.pass(30);
    };
    recovery(true);
    // Undone for it, so reordering was seen.
    expect(f.info.reorderingSeen).toBe(true);
    expect(window()).toBeCloseTo(50, 0);
    recovery(true);
    expect(window()).toBeCloseTo(75, 0);
    for (let i = 0; i < 15; i++) recovery(false);
    expect(window()).toBeCloseTo(75, 0);
    recovery(false);
    expect(window()).toBeCloseTo(25, 0);
  });

  test('never more than SRTT', () => {
    const f = new Flow({ rtt_ms: 100 });
    f.write(1);
    f.pass(1000);
    f.take();
    // Each byte sent again may be reported once.
    for (let n = 1; n < 9; n++) {
      f.write(1);
      f.pass(700);
      f.ack(n);
      f.ack(n, [[n - 1, n]]);
    }
    expect(f.info.reorderingWindow_ms).toBeLessThanOrEqual(f.info.rtt_ms);
  });

  test('more D-SACKs than we sent again are not believed', () => {
    const f = new Flow();
    f.write(6);
    f.pass(100);
    f.ack(0, [[1, 4]]);
    f.pass(100);
    f.ack(6);
    for (let i = 0; i < 5; i++) f.ack(6, [[4, 5]]);
    expect(f.info).toMatchObject({ retransmits: 1, duplicatesReported: 1 });
  });

  test('D-SACKs of what we never sent twice are not believed', () => {
    const f = new Flow();
    f.write(4);
    f.pass(100);
    f.ack(4);
    for (let i = 0; i < 5; i++) f.ack(4, [[2, 3]]);
    expect(f.info.duplicatesReported).toBe(0);
    expect(f.counters.duplicatesReported).toBe(0);
  });
});

test('a reordering window of a whole SRTT ends before the retransmission timeout', () => {
  const f = new Flow({ rtt_ms: 100 });
  const { m } = f.c.engine.tcp;
  const cold = coldOf(f.c.engine.tcp, f.block);
  m[cold + COLD.LOSS_FLAGS] |= LOSS_FLAG.REORDERING;
  m[cold + COLD.REO_MULT] = 15;
  m[f.block + TCB.RTTVAR] = 0;
  f.write(10);
  f.pass(100);
  f.ack(0, [[1, 10]]);
  expect(f.info.lost).toBe(0);
  f.pass(110);
  expect(f.starts()).toContain(0);
  expect(f.info.recovery).toBe('fast');
  expect(f.counters.retransmissionTimeouts).toBe(0);
});

/** The RFC's algorithm on cells of 250 bytes, with nothing left out and nothing clever. */
class Model {
  readonly f: Flow;
  /** By cell: sent at, us; state. */
  readonly sent: number[] = [];
  readonly rxt: boolean[] = [];
  readonly state: ('flight' | 'lost' | 'sacked' | 'acked')[] = [];
  una = 0;
  dupacks = 0;
  fack = 0;
  xmit = -Infinity;
  end = 0;
  rtt = 0;
  reordering = false;
  recover = -1;
  timer = Infinity;

  constructor(f: Flow) {
    this.f = f;
  }

  get now(): number {
    return Math.floor(this.f.c.now) * 1000;
  }

  /** What the engine has sent. */
  transmitted(): void {
    for (const s of this.f.take()) {
      const first = (s.seq - this.f.base) / CELL;
      for (let i = first; i < first + s.length / CELL; i++) {
        this.rxt[i] = this.sent[i] !== undefined;
        this.sent[i] = this.now;
        this.state[i] = 'flight';
      }
    }
  }

  ack(una: number, blocks: readonly (readonly [number, number])[], minRtt_ms: number): void {
    const fackBefore = this.fack;
    const fresh: number[] = [];
    let sacked = 0;
    for (const [l, r] of blocks) {
      if (l < this.una || r > this.sent.length) continue;
      for (let i = l; i < r; i++) {
        if (this.state[i] === 'sacked') continue;
        this.state[i] = 'sacked';
        fresh.push(i);
        sacked++;
      }
    }
    for (let i = this.una; i < una; i++) {
      if (this.state[i] !== 'sacked') fresh.push(i);
      this.state[i] = 'acked';
    }
    const acked = una - this.una;
    this.una = una;
    fresh.sort((a, b) => this.sent[a] - this.sent[b]);
    let rtt = -1;
    for (const i of fresh) {
      if (i + 1 > this.fack) this.fack = i + 1;
      if (!this.rxt[i] && i + 1 < fackBefore) this.reordering = true;
      const measured = this.now - this.sent[i];
      if (this.rxt[i] && measured + 1000 < minRtt_ms * 1000) continue;
      rtt = measured;
      if (this.after(this.sent[i], i + 1)) continue;
      this.xmit = this.sent[i];
      this.end = i + 1;
    }
    if (rtt >= 0) this.rtt = rtt;
    this.fack = Math.max(this.fack, una);
    if (acked > 0) this.dupacks = Math.min(this.dupacks, Math.ceil((this.count('sacked') * CELL) / MSS));
    else if (sacked > 0) this.dupacks++;
    if (this.recover >= 0 && una >= this.recover) this.recover = -1;
    this.detect();
  }

  /** Whether RACK.xmit_ts is after that. */
  after(at: number, end: number): boolean {
    return this.xmit > at || (this.xmit === at && this.end > end);
  }

  count(state: string): number {
    return this.state.filter((s) => s === state).length;
  }

  detect(): void {
    const { minRtt_ms, rtt_ms } = this.f.info;
    let window = Math.min(minRtt_ms * 250, rtt_ms * 1000);
    const many = this.dupacks >= 3 || this.count('sacked') * CELL > 2 * MSS;
    if (!this.reordering && (this.recover >= 0 || many)) window = 0;
    let first = Infinity;
    for (let i = this.una; i < this.sent.length; i++) {
      if (this.state[i] !== 'flight' || !this.after(this.sent[i], i + 1)) continue;
      const remaining = this.sent[i] + Math.max(1000, this.rtt + Math.floor(window)) - this.now;
      if (remaining <= 0) this.state[i] = 'lost';
      else first = Math.min(first, remaining);
    }
    if (this.recover < 0 && this.count('lost') > 0) this.recover = this.sent.length;
    this.timer = this.una === this.sent.length ? Infinity : this.now / 1000 + Math.floor(first / 1000) + 1;
  }

  pass(ms: number): void {
    for (let i = 0; i < ms; i++) {
      this.f.pass(1);
      if (this.now / 1000 >= this.timer) this.detect();
      this.transmitted();
    }
  }
}
const CELL = 250;

test('what is in flight is what the RFC says, whatever is SACKed and when', () => {
  const cell = fc.integer({ min: 0, max: 60 });
  const step = fc.record({
    write: fc.constantFrom(0, 0, 250, 1000, 3000),
    ms: fc.integer({ min: 0, max: 12 }),
    una: fc.constantFrom(0, 0, 0, 1, 4, 9),
    blocks: fc.array(fc.tuple(cell, fc.integer({ min: 1, max: 12 })), { maxLength: 3 }),
  });
  let lost = 0;
  let again = 0;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      // No timeout comes between, and no probe of the tail.
      const f = new Flow({ rtt_ms: 40, limits: { rtoMin_ms: 60_000 } });
      const model = new Model(f);
      f.c.write(8000);
      model.transmitted();
      for (const { write, ms, una, blocks } of steps) {
        if (write > 0) f.c.write(write);
        model.transmitted();
        model.pass(ms);
        const total = model.sent.length;
        const to = Math.min(model.una + una, total);
        const real = blocks.map(([l, n]): [number, number] => [model.una + l, model.una + l + n]);
        const above = real.filter(([, r]) => r > to);
        // A first block inside the second is a D-SACK.
        const usable =
          above.length > 1 && above[0][0] >= above[1][0] && above[0][1] <= above[1][1]
            ? above.slice(1)
            : above;
        const { minRtt_ms } = f.info;
        f.ackBytes(
          to * CELL,
          usable.map(([l, r]) => [l * CELL, r * CELL]),
        );
        model.ack(to, usable, minRtt_ms);
        lost += model.count('lost');
        model.transmitted();
        const inFlight = model.count('flight') * CELL;
        expect(f.info).toMatchObject({
          sacked: model.count('sacked') * CELL,
          lost: model.count('lost') * CELL,
          inFlight,
        });
        again = Math.max(again, f.info.retransmits);
      }
    }),
    { numRuns: 150 },
  );
  expect(lost).toBeGreaterThan(100);
  expect(again).toBeGreaterThan(5);
});

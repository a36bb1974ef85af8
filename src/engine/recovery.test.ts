/** Loss recovery between two engines: how long it takes, and that reordering is not taken for loss. */
import { describe, expect, test } from 'vitest';
import type { Faults } from '../device/fault.ts';
import type { TcpInfo } from '../tcp/info.ts';
import type { Conn } from './handlers.ts';
import { A4, B4, replayable, testSeed, World } from './testing.ts';

const FILE = 'src/engine/recovery.test.ts';
const PORT = 7;
/** What is reordered comes that much later than it would have, and by nothing else. */
const LATE = { reorderFrames: 1_000_000, reorder_ms: 9 };
/** Ours, ms. */
const DELAYED_ACK = 40;

/** a sends to b, which counts. */
class Transfer {
  readonly world: World;
  readonly conn: Conn;
  opened = false;
  received = 0;
  wanted = 0;
  written = 0;

  constructor(seed: number, forth: Faults, back: Faults, congestion: 'cubic' | 'reno' = 'cubic') {
    const limits = { congestion, chunks: 8192, records: 4096, receiveBuffer: 4 << 20, sendBuffer: 4 << 20 };
    this.world = new World({ seed, link: 'ip', slots: 32, forth, back, limits, arenaBytes: 96 << 20 });
    const { a, b } = this.world;
    b.listen(
      { port: PORT, noDelay: true },
      {
        data: (_conn, _at, length) => {
          this.received += length;
          return length;
        },
      },
    );
    this.conn = a.connect(
      { address: B4, localAddress: A4, port: PORT, noDelay: true },
      {
        open: () => {
          this.opened = true;
        },
        writable: () => this.pump(),
      },
    );
    this.world.run(() => this.opened, 10_000);
  }

  write(bytes: number): void {
    this.wanted += bytes;
    this.pump();
  }

  pump(): void {
    while (this.written < this.wanted) {
      const n = Math.min(16_384, this.wanted - this.written);
      const taken = this.world.a.write(this.conn, new Uint8Array(n));
      this.written += taken;
      if (taken < n) return;
    }
  }

  /** Until all is acknowledged. @returns ms that it took */
  settle(): number {
    const { world } = this;
    const began = world.now;
    world.run(() => this.info.sendQueue === 0 && this.written === this.wanted, 600_000);
    expect(this.received).toBe(this.wanted);
    return world.now - began;
  }

  get info(): TcpInfo {
    const info = this.world.a.info(this.conn);
    if (info === null) throw new Error('the connection is gone');
    return info;
  }

  get counters() {
    return this.world.a.tcp.counters;
  }
}

describe('a lost tail', () => {
  /** Ten segments, of which the last `lost` don't arrive. @returns round trips from when their ACKs were due */
  function tail(lost: number, rtt_ms: number): { rounds: number; transfer: Transfer } {
    const clear = { delay_ms: rtt_ms / 2 };
    const transfer = new Transfer(1, clear, clear);
    const { world } = transfer;
    const { mss } = transfer.info;
    transfer.write(mss);
    transfer.settle();
    transfer.write((10 - lost) * mss);
    world.a.breath(world.now);
    world.b.breath(world.now);
    world.network.set('rx', { ...clear, loss: 1 });
    transfer.write(lost * mss);
    world.a.breath(world.now);
    world.b.breath(world.now);
    world.network.set('rx', clear);
    expect(world.network.rxFaults?.lost).toBe(lost);
    return { rounds: transfer.settle() / rtt_ms - 1, transfer };
  }

  test('of two segments or more is found a round trip after its ACKs were due, and repaired in two or three', () => {
    for (const rtt_ms of [40, 100, 300]) {
      const two = tail(2, rtt_ms);
      expect(two.transfer.counters).toMatchObject({
        tlpProbes: 1,
        retransmissionTimeouts: 0,
        retransmits: 2,
      });
      // The probe, then what its SACK shows to be lost.
      expect(two.rounds).toBeLessThan(3.5);
      const three = tail(3, rtt_ms);
      expect(three.rounds).toBeLessThan(4.5);
      expect(three.transfer.counters.retransmissionTimeouts).toBe(0);
    }
  });

  test('of one segment is repaired a round trip after two and the peer’s delayed ACK, without slow start', () => {
    for (const rtt_ms of [40, 100, 300]) {
      const { rounds, transfer } = tail(1, rtt_ms);
      expect(rounds * rtt_ms).toBeLessThanOrEqual(3 * rtt_ms + 200 + DELAYED_ACK + 3);
      expect(transfer.counters).toMatchObject({ tlpProbes: 1, retransmissionTimeouts: 0, retransmits: 1 });
      expect(transfer.info.cwnd).toBeGreaterThan(4 * transfer.info.mss);
    }
  });
});

describe('over a path that loses', () => {
  test.each([0.01, 0.05])(
    '%d of all segments, few more than those are sent again, and timeouts are rare',
    (loss) => {
      const seed = testSeed(Math.floor(Math.random() * 2 ** 31));
      replayable(FILE, seed, () => {
        let lost = 0;
        let again = 0;
        let timeouts = 0;
        for (let i = 0; i < 6; i++) {
          const transfer = new Transfer(
            seed + i,
            { loss, delay_ms: 20 },
            { delay_ms: 20 },
            i % 2 ? 'reno' : 'cubic',
          );
          transfer.write(600_000);
          transfer.settle();
          lost += transfer.world.network.rxFaults?.lost ?? 0;
          again += transfer.counters.retransmits;
          timeouts += transfer.counters.retransmissionTimeouts;
          expect(transfer.counters.undos).toBe(0);
        }
        // b answers a breath's segments with one ACK, whose three SACK blocks may leave some unmentioned for a while.
        expect(again).toBeLessThanOrEqual(1.2 * lost + 8);
        expect(timeouts).toBeLessThanOrEqual(1 + lost / 20);
      });
    },
  );
});

describe('over a path that loses nothing', () => {
  test('and reorders within a quarter of the RTT, little is sent again, and nothing stays reduced', () => {
    const seed = testSeed(Math.floor(Math.random() * 2 ** 31));
    replayable(FILE, seed, () => {
      for (let i = 0; i < 8; i++) {
        const forth = { delay_ms: 20, reorder: [0.05, 0.3][i & 1], ...LATE };
        const transfer = new Transfer(seed + i, forth, { delay_ms: 20 });
        transfer.write(1_000_000);
        transfer.settle();
        expect(transfer.world.network.rxFaults).toMatchObject({ lost: 0, overflowed: 0 });
        // Acknowledged, and told that it was a duplicate.
        transfer.world.pass(500);
        transfer.write(1000);
        transfer.settle();
        const { counters, info } = transfer;
        expect(counters.retransmissionTimeouts).toBe(0);
        expect(counters.undos).toBe(counters.fastRecoveries);
        expect(counters.retransmits).toBeLessThan(40);
        expect(counters.fastRecoveries).toBeLessThanOrEqual(2);
        // As at the start: no loss was ever seen.
        expect(info.ssthresh).toBeGreaterThan(1 << 29);
      }
    });
  });
});

/** At tens of millions of packets a second, one small object for each would keep the collector busy. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { Arena } from '../../memory/arena.ts';
import { createCable } from '../cable.ts';
import { parseRange } from './flows.ts';
import { Pinger, Ponger, Receiver, type Role, Sender } from './roles.ts';
import { PacketTemplate } from './template.ts';

const BURST = 64;
const STEPS = 4000;
/** Times are numbers that V8 may box, a few for each step. */
const BYTES_PER_PACKET_MAX = 4;

test.each(['tx and rx', 'ping and pong'])('%s allocate next to nothing', (pair) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const arena = new Arena(8 << 20);
  const [left, right] = createCable(arena, 'cable');
  const template = new PacketTemplate(arena, {
    link: 'ether',
    length: 60,
    src: parseRange('10.0.0.1:1-10.0.0.4:8', 1),
    dst: parseRange('10.1.0.1', 9),
    srcMac: new Uint8Array(6),
    dstMac: new Uint8Array(6),
  });
  let now = 1.5;
  const options = { count: Number.POSITIVE_INFINITY, rate: 0, burst: BURST };
  const roles: [Role, Role] =
    pair === 'tx and rx'
      ? [new Sender(left, template, options), new Receiver(right, BURST)]
      : [new Pinger(left, template, options, () => now), new Ponger(right, BURST)];
  const run = (): void => {
    for (let i = 0; i < STEPS; i++) {
      now += 1.25;
      for (const role of roles) role.step(now);
    }
  };
  for (let i = 0; i < 4; i++) run();
  collect();
  const [frames, heap] = [left.counters.txFrames, process.memoryUsage().heapUsed];
  run();
  const bytes = process.memoryUsage().heapUsed - heap;
  expect(left.counters.txFrames - frames).toBe(STEPS * BURST);
  expect(bytes / (STEPS * BURST)).toBeLessThan(BYTES_PER_PACKET_MAX);
});

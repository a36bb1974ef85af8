import { expect, test } from 'vitest';
import { Prng } from '../memory/prng.ts';
import { decodeFrame } from './decode.ts';
import { FRAME_WORLD, generateFrame } from './generate.ts';
import { mutateFrame, repairChecksums } from './mutate.ts';

test('the same seed gives the same frames and the same damage, and leaves the original alone', () => {
  const run = () => {
    const prng = new Prng(5);
    const frames = Array.from({ length: 50 }, () => generateFrame(prng));
    const before = frames.map((frame) => frame.slice());
    const mutants = frames.map((frame) => mutateFrame(prng, frame, frames[0]));
    expect(frames).toEqual(before);
    return [frames, mutants];
  };
  expect(run()).toEqual(run());
});

test.each(['ether', 'ip'] as const)(
  'repaired frames add up wherever their headers make sense (%s)',
  (link) => {
    const prng = new Prng(6);
    const frames = Array.from({ length: 200 }, () => generateFrame(prng, { ...FRAME_WORLD, link }));
    let good = 0;
    let spoilt = 0;
    for (let i = 0; i < 5000; i++) {
      const mutant = mutateFrame(prng, frames[i % frames.length], frames[(i * 7) % frames.length]);
      if (decodeFrame(mutant, link).checksumGood === false) spoilt += 1;
      repairChecksums(mutant, link);
      const { checksumGood, malformed, udp } = decodeFrame(mutant, link);
      expect(malformed?.message).not.toBe('malformed ipv4: header checksum');
      // The one thing repair doesn't follow is a UDP length that lies.
      if (udp === undefined) expect(checksumGood).not.toBe(false);
      if (checksumGood) good += 1;
    }
    expect(spoilt).toBeGreaterThan(200);
    expect(good).toBeGreaterThan(1000);
  },
);

/** The module of docs/congestion-control.md is the one in examples/, and it works. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { vegas } from '../../../examples/congestion/vegas.ts';
import { MSS, Path, WIRE } from './path.testing.ts';
import { Wire } from './wire.testing.ts';

const ROOT = new URL('../../../', import.meta.url);

test('the guide shows it as it is', () => {
  const guide = readFileSync(new URL('docs/congestion-control.md', ROOT), 'utf8');
  const example = readFileSync(new URL('examples/congestion/vegas.ts', ROOT), 'utf8');
  expect(guide).toContain(`\`\`\`ts\n${example.replace("'../../src/index.ts'", "'millrace'")}\`\`\`\n`);
});

describe('vegas', () => {
  test('fills a path, and keeps no more than a few segments in its queue', () => {
    const path = new Path({ mbps: 50, rtt_ms: 40, queue: 1, congestions: [vegas] });
    const flow = path.add('vegas');
    path.run(5000);
    const before = flow.delivered;
    path.queuePeak = 0;
    path.run(10_000);
    expect((flow.delivered - before) / ((path.bytesPerUs * 10e6 * MSS) / WIRE)).toBeGreaterThan(0.97);
    expect(path.queuePeak).toBeLessThan(8 * WIRE);
    expect(path.drops).toBe(0);
  });

  test('in an engine, by name', () => {
    const limits = { sendBuffer: 4 << 20, receiveBuffer: 4 << 20, chunks: 8192 };
    const wire = new Wire({ mbps: 50, rtt_ms: 40, congestionControls: [vegas], limits });
    wire.send({ congestion: 'vegas' });
    wire.run(4000);
    expect(wire.info.congestion).toBe('vegas');
    wire.queuePeak = 0;
    expect(wire.share(4000)).toBeGreaterThan(0.93);
    expect(wire.queuePeak / 1500).toBeLessThan(10);
  });
});

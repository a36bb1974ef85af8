import { describe, expect, test } from 'vitest';
import type { JobResult } from './jobs/job.ts';
import { type Outcome, rows, table } from './report.ts';
import { select, type Workload } from './workloads.ts';

const peer = { name: 'node:net', job: 'net-x.ts', peer: true } as const;
const ours = { name: 'millrace', job: 'cable-x.ts' } as const;

function workload(better: 'lower' | 'higher'): Workload {
  return {
    name: 'X',
    contenders: [ours, peer],
    numbers: {},
    metrics: [{ label: 'units', better, of: (r) => r.requests }],
  };
}

const results = (...requests: number[]): JobResult[] =>
  requests.map((n) => ({ name: 'x', requests: n, wallNs: 1, cpuNs: 1 }));

describe('the ratio to the peer', () => {
  const outcomes = (better: 'lower' | 'higher'): Outcome[] => [
    { workload: workload(better), contender: ours, results: results(90, 100, 1000) },
    { workload: workload(better), contender: peer, results: results(400, 400, 1) },
  ];

  test('is over one when lower is better and ours is lower', () => {
    const [own, other] = rows(outcomes('lower'));
    expect(own.ratio).toBe(4);
    expect(other.ratio).toBeUndefined();
    expect(own.metrics[0]).toMatchObject({ median: 100, min: 90, max: 1000, runs: 3 });
  });

  test('is under one when higher is better and ours is lower', () => {
    expect(rows(outcomes('higher'))[0].ratio).toBe(0.25);
  });

  test('is missing when the peer was not measured', () => {
    const [own, skipped] = outcomes('lower');
    const list = rows([own, { ...skipped, results: [], skipped: 'no descriptors' }]);
    expect(list[0].ratio).toBeUndefined();
    expect(list[1]).toMatchObject({ skipped: 'no descriptors', metrics: [] });
    expect(table(list)).toContain('X, node:net: not measured: no descriptors');
  });
});

test('the table keeps its columns in line and says each note once', () => {
  const noted = results(1234.5, 1234.5).map((r) => ({ ...r, note: 'fewer connections' }));
  const text = table(rows([{ workload: workload('lower'), contender: peer, results: noted }])).split('\n');
  expect(text[0].indexOf('median')).toBe(text[1].indexOf('1,230 (1,230..1,230) units'));
  expect(text.filter((line) => line.includes('fewer connections'))).toHaveLength(1);
});

describe('groups', () => {
  test('none asked for means all, each workload once', () => {
    const names = select([]).map((w) => w.name);
    expect(names).toContain('idle 20,000');
    expect(names).toContain('RR 100,000/64/1');
    expect(new Set(names).size).toBe(names.length);
  });

  test('net is the peers alone', () => {
    const contenders = select(['net']).flatMap((w) => w.contenders);
    expect(contenders.length).toBeGreaterThan(0);
    expect(contenders.every((c) => c.job.startsWith('net-'))).toBe(true);
    expect(select(['idle']).map((w) => w.name)).toEqual(['idle 20,000', 'idle 100,000', 'idle 1,000,000']);
  });
});

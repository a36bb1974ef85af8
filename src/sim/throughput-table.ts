/** The figures of throughput.ts as a page, and their chart. */
import type { Arena } from '../memory/arena.ts';
import { COLORS, plotSvg } from './plot.ts';
import { CONGESTIONS, goodput, LOSSES, RATES_MBPS, RTTS_MS, shares, tailRecovery } from './throughput.ts';

export interface ThroughputPage {
  readonly markdown: string;
  readonly svg: string;
}

const HEAD = [
  '# What TCP makes of paths',
  '',
  'Measured in virtual time by `npm run sim -- --table`; the same on every machine, so a change here is a change of the',
  "stack's. Buffers are large, the queue in front of the bottleneck holds a bandwidth-delay product (20 packets at least),",
  'packets have 1500 bytes, losses are independent.',
  '',
];
/** Of the chart. */
const CHART_MBPS = 10;
const CHART_RTT_MS = 50;
const CHART_LOSSES = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1];

function percent(share: number): string {
  return `${(100 * share).toFixed(0)}`;
}

/** One row of the goodput table: a path, and a column for each loss. In percent of the rate. */
export function goodputRow(arena: Arena, congestion: string, rate_mbps: number, rtt_ms: number): string {
  const cells = LOSSES.map((loss) => {
    return percent(goodput(arena, congestion, { rate_mbps, rtt_ms, loss }) / rate_mbps);
  });
  return `| ${congestion} | ${rate_mbps} | ${rtt_ms} | ${cells.join(' | ')} |`;
}

export function tailRow(arena: Arena, congestion: string, rtt_ms: number): string {
  const cells = [1, 2, 5].map((lost) => tailRecovery(arena, congestion, rtt_ms, lost).toFixed(2));
  return `| ${congestion} | ${rtt_ms} | ${cells.join(' | ')} |`;
}

export function shareRow(arena: Arena, a: string, b: string, rtt_ms: number, bdps: number): string {
  const rate_mbps = 20;
  const bytes = Math.max(30_000, (bdps * rate_mbps * 1e6 * rtt_ms) / 8000);
  const [first, second] = shares(arena, [a, b], {
    rate_mbps,
    rtt_ms,
    loss: 0,
    queue: { kind: 'droptail', bytes },
  });
  return `| ${a} / ${b} | ${rtt_ms} | ${bdps} | ${percent(first)} / ${percent(second)} |`;
}

export function throughputPage(arena: Arena, say: (text: string) => void): ThroughputPage {
  const lines = [
    ...HEAD,
    '## Goodput',
    '',
    'In percent of the rate, headers not counted (5 % at most), by loss.',
    '',
  ];
  const losses = LOSSES.map((loss) => `${100 * loss} %`);
  lines.push(
    `| | Mbit/s | RTT, ms | ${losses.join(' | ')} |`,
    `|---|---|---|${LOSSES.map(() => '---|').join('')}`,
  );
  for (const congestion of CONGESTIONS)
    for (const rate of RATES_MBPS)
      for (const rtt of RTTS_MS) {
        say(`${congestion}, ${rate} Mbit/s, ${rtt} ms`);
        lines.push(goodputRow(arena, congestion, rate, rtt));
      }
  lines.push('', '![Goodput by loss at 10 Mbit/s and 50 ms](throughput.svg)', '');
  lines.push('## Two connections through one bottleneck', '');
  lines.push(
    'Of 20 Mbit/s, in percent of what both get over a minute, by the queue in bandwidth-delay products.',
    '',
  );
  lines.push('| | RTT, ms | queue | shares |', '|---|---|---|---|');
  const pairs = [
    ['reno', 'reno'],
    ['cubic', 'cubic'],
    ['bbr', 'bbr'],
    ['cubic', 'reno'],
    ['bbr', 'cubic'],
  ] as const;
  for (const [a, b] of pairs)
    for (const bdps of [0.5, 1, 4]) {
      say(`${a} beside ${b}, queue ${bdps}`);
      lines.push(shareRow(arena, a, b, 50, bdps));
    }
  lines.push('', '## A lost tail', '');
  lines.push('How much longer ten segments take when the last 1, 2 or 5 of them are lost once, in RTTs.', '');
  lines.push('| | RTT, ms | 1 | 2 | 5 |', '|---|---|---|---|---|');
  for (const congestion of CONGESTIONS)
    for (const rtt of RTTS_MS) lines.push(tailRow(arena, congestion, rtt));
  lines.push(
    '',
    'A probe leaves 7/4 SRTT after the last segment, and 3/4 after the last ACK (RFC 8985 7.2 waits for 2 after either). If it is',
    'what was lost, that is all: 7/4. It tells of one segment, so more losses take at least 7/4 + 1: its SACK, which shows the',
    'others lost, is back a round trip later. How many of these may go at once is up to SSTHRESH (RFC 5681 4, RFC 9937 6.2):',
    'half of the five that were outstanding with Reno and 0.7 with CUBIC, thus two or three, and the rest after their ACKs, at',
    '7/4 + 2. BBR, which has its own idea of what the path holds, sends all four.',
  );
  return { markdown: `${lines.join('\n')}\n`, svg: chart(arena) };
}

function chart(arena: Arena): string {
  const series = CONGESTIONS.map((congestion, i) => ({
    label: congestion,
    color: COLORS[i],
    x: CHART_LOSSES.map(Math.log10),
    y: CHART_LOSSES.map((loss) => {
      return goodput(arena, congestion, { rate_mbps: CHART_MBPS, rtt_ms: CHART_RTT_MS, loss });
    }),
    straight: true,
  }));
  return plotSvg(
    'Goodput by loss',
    [{ title: `${CHART_MBPS} Mbit/s, ${CHART_RTT_MS} ms`, unit: 'Mbit/s', series }],
    {
      label: 'packets lost',
      ticks: () =>
        [0.0001, 0.001, 0.01, 0.1].map((loss) => ({ at: Math.log10(loss), text: `${100 * loss} %` })),
    },
  );
}

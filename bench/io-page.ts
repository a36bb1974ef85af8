/**
 * Makes docs/packet-io.md and its chart of what `npm run bench -- io --json` printed:
 *
 *     node bench/io-page.ts [--note TEXT] RESULT.json…
 *
 * What several files have counts as the last one has it, so that some rows may be measured again with `--only`. The note
 * is for what a reader of the figures must know.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type Axis, COLORS, type Panel, plotSvg } from '../src/sim/plot.ts';
import { BATCHES, besideTwin, GROWTH, grown, type XdpKind } from './io-xdp.ts';
import { figure, type Row, round } from './report.ts';
import type { Spread } from './statistics.ts';

interface Result {
  readonly machine: string;
  readonly runs: number;
  readonly warmup: number;
  readonly seconds: number;
  readonly rows: readonly Row[];
}

const PAGE = new URL('../docs/packet-io.md', import.meta.url);
const CHART = new URL('../docs/packet-io.svg', import.meta.url);
const KINDS: readonly XdpKind[] = ['tx', 'rx', 'forward'];

/** Of powers of two. */
const BATCH_AXIS: Axis = {
  label: 'batch, frames',
  ticks: () => BATCHES.map((batch) => ({ at: Math.log2(batch), text: String(batch) })),
};

function packetIoPage(results: readonly Result[], note: string): { markdown: string; svg: string } {
  const last = new Map(
    results.flatMap((result) => result.rows).map((row) => [`${row.workload}: ${row.contender}`, row]),
  );
  const rows = [...last.values()];
  const { machine, runs, warmup, seconds } = results[0];
  const spreadOf = (workload: string, contender: string, label: string): Spread | undefined =>
    rows
      .find((row) => row.workload === workload && row.contender === contender)
      ?.metrics.find((metric) => metric.label === label);
  const of = (workload: string, contender: string, label: string): number | undefined =>
    spreadOf(workload, contender, label)?.median;
  const cell = (value: number | undefined, digits: number): string =>
    value?.toFixed(digits) ?? 'not measured';
  const percent = (a: number | undefined, b: number | undefined): string =>
    a === undefined || b === undefined ? '' : `${((100 * a) / b).toFixed(0)} %`;
  const sweep = KINDS.flatMap((kind) =>
    (kind === 'rx' ? [64] : BATCHES).map((batch) => {
      const { name } = besideTwin(kind, batch);
      const ours = spreadOf(name, 'millrace', 'Mpps');
      const twin = spreadOf(name, 'C twin', 'Mpps');
      const syscalls = of(name, 'millrace', 'syscalls/packet');
      const cost = of(name, 'millrace', 'ns/packet');
      const rates = [ours, twin].map((each) => `${cell(each?.median, 2)} (${cell(each?.max, 2)})`);
      const ratios = [percent(ours?.median, twin?.median), percent(ours?.max, twin?.max)];
      return `| ${[kind, batch, ...rates, ...ratios, cell(cost, 0), cell(syscalls, 4)].join(' | ')} |`;
    }),
  );
  const one = of(besideTwin('rx', 64).name, 'millrace', 'ns/packet');
  const growth = (['queues', 'ports'] as const).map(
    (what) =>
      `| ${what} | ${[one, ...GROWTH.map((count) => of(grown(what, count).name, 'millrace', 'ns/packet'))].map((cost) => cell(cost, 0)).join(' | ')} |`,
  );
  const others = rows.filter(({ workload }) => !workload.startsWith('AF_XDP'));
  const rest = others.map(({ workload, contender, metrics: [rate, ...more], ratio }) => {
    const times = ratio === undefined ? '' : round(ratio);
    const medians = more.map(({ label, median }) => `${round(median)} ${label}`).join(', ');
    return `| ${[workload, contender, rate ? figure(rate) : 'not measured', medians, times].join(' | ')} |`;
  });
  const markdown = `# What packet I/O costs

Measured by \`npm run bench -- io --json\`, ${runs} runs of ${seconds} s after ${warmup} s, interleaved; this page is made of that by
\`node bench/io-page.ts\`. ${machine}.${note === '' ? '' : `\n\n${note}`}

## AF_XDP, beside C

Frames of 64 B over veth cables in copy mode, everything on one core: the port, and the kernel's part on both sides of the
cable, which is nearly all of it. Rates are by CPU time. The C twin (\`bench/xdp-twin.c\`) makes the same system calls on the
same rings without a library. What is received or forwarded must have been sent, by another port on the same core, and
that is in the figure: rx is a packet sent and received, forward one sent, received and sent on.

Medians, and in brackets the fastest runs; "of it" is ours in percent of the twin's, by medians and by the fastest.

| | batch | Mpps | C twin, Mpps | of it | fastest of it | ns/packet | system calls/packet |
|---|---|---|---|---|---|---|---|
${sweep.join('\n')}

Receiving takes no system call; the rx ring takes what there is, so it has no batch of its own.

![Rates by batch](packet-io.svg)

## More queues and ports

ns for a packet sent and received, when one of so many queues or ports has traffic and all are looked at.

| | 1 | ${GROWTH.join(' | ')} |
|---|---|${GROWTH.map(() => '---|').join('')}
${growth.join('\n')}

## In memory, through TUN, over memif

Medians, of rates with the slowest and the fastest run; "times" is by the rate, of that of testpmd or C.

| | | rate | | times |
|---|---|---|---|---|
${rest.join('\n')}
`;
  const panels: Panel[] = (['tx', 'forward'] as const).map((kind) => ({
    title: kind,
    unit: 'Mpps',
    series: (['millrace', 'C twin'] as const).map((contender, i) => ({
      label: contender,
      color: COLORS[i],
      x: BATCHES.map(Math.log2),
      y: BATCHES.map((batch) => of(besideTwin(kind, batch).name, contender, 'Mpps') ?? 0),
      straight: true,
    })),
  }));
  return { markdown, svg: plotSvg('64 B frames by AF_XDP over veth, one core', panels, BATCH_AXIS) };
}

const { values, positionals: files } = parseArgs({
  allowPositionals: true,
  options: { note: { type: 'string', default: '' } },
});
if (files.length === 0) throw new Error('give the files that `npm run bench -- io --json` wrote');
const page = packetIoPage(
  files.map((file) => JSON.parse(readFileSync(file, 'utf8')) as Result),
  values.note,
);
writeFileSync(PAGE, page.markdown);
writeFileSync(CHART, page.svg);

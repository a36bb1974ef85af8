/** Charts as SVG: one below the other over the same time, steps and dots, readable in print and on a dark page alike. */

export interface Series {
  readonly label: string;
  readonly color: string;
  /** Places on the axis, ascending (ms on that of time), and values. */
  readonly x: readonly number[];
  readonly y: readonly number[];
  /** Joins the points, which are few, by straight lines instead of steps. */
  readonly straight?: boolean;
}

export interface Panel {
  readonly title: string;
  readonly unit: string;
  readonly series: readonly Series[];
}

/** What runs from left to right. */
export interface Axis {
  readonly label: string;
  /** Where it is marked, and how. */
  ticks(from: number, to: number): { readonly at: number; readonly text: string }[];
}

/** Of ms, marked in s. */
const TIME: Axis = {
  label: 'time, s',
  ticks: (from, to) => ticks(from / 1000, to / 1000, 10).map((s) => ({ at: s * 1000, text: number(s) })),
};

/** Told apart by those who see colours differently, too (Okabe and Ito). */
export const COLORS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'] as const;

const WIDTH = 960;
const PANEL = 200;
const GAP = 44;
const LEFT = 76;
const RIGHT = 20;
const TOP = 56;
const BOTTOM = 44;
/** Columns of a chart in which a series is told by its least and its greatest value. */
const COLUMNS = 1200;

export function plotSvg(title: string, panels: readonly Panel[], axis = TIME): string {
  const height = TOP + panels.length * PANEL + (panels.length - 1) * GAP + BOTTOM;
  const all = panels.flatMap((panel) => panel.series.flatMap((series) => series.x));
  const from = all.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const to = Math.max(
    all.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY),
    from + 1e-9,
  );
  const x = (at: number): number => LEFT + ((at - from) / (to - from)) * (WIDTH - LEFT - RIGHT);
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" ` +
      'font-family="system-ui, sans-serif" font-size="12" fill="#333">',
    `<title>${escapeXml(title)}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    `<text x="${LEFT}" y="24" font-size="15" font-weight="600">${escapeXml(title)}</text>`,
  ];
  const marks = axis.ticks(from, to);
  for (const [i, panel] of panels.entries()) {
    const top = TOP + i * (PANEL + GAP);
    parts.push(...panelSvg(panel, top, x, marks));
  }
  const bottom = height - BOTTOM;
  for (const { at, text } of marks)
    parts.push(
      `<text x="${x(at).toFixed(1)}" y="${bottom + 18}" text-anchor="middle">${escapeXml(text)}</text>`,
    );
  parts.push(
    `<text x="${WIDTH - RIGHT}" y="${bottom + 36}" text-anchor="end" fill="#777">${escapeXml(axis.label)}</text>`,
    '</svg>',
  );
  return `${parts.join('\n')}\n`;
}

function panelSvg(
  panel: Panel,
  top: number,
  x: (at: number) => number,
  columns: readonly { readonly at: number }[],
): string[] {
  const most = panel.series.flatMap((series) => series.y).reduce((a, b) => Math.max(a, b), 0) || 1;
  const marks = ticks(0, most, 5);
  const ceiling = Math.max(most, marks.at(-1) ?? most) * 1.04;
  const y = (value: number): number => top + PANEL - (value / ceiling) * PANEL;
  const parts: string[] = [];
  for (const { at } of columns)
    parts.push(`<path d="M${x(at).toFixed(1)} ${top}V${top + PANEL}" stroke="#eee"/>`);
  for (const mark of marks) {
    const at = y(mark).toFixed(1);
    parts.push(`<path d="M${LEFT} ${at}H${WIDTH - RIGHT}" stroke="#e4e4e4"/>`);
    parts.push(`<text x="${LEFT - 8}" y="${at}" dy="4" text-anchor="end">${number(mark)}</text>`);
  }
  parts.push(`<path d="M${LEFT} ${top}V${top + PANEL}H${WIDTH - RIGHT}" fill="none" stroke="#888"/>`);
  parts.push(
    `<text x="${LEFT}" y="${top - 8}" font-weight="600">${escapeXml(panel.title)}` +
      `<tspan font-weight="400" fill="#777">, ${escapeXml(panel.unit)}</tspan></text>`,
  );
  let right = WIDTH - RIGHT;
  for (const series of panel.series.toReversed()) {
    parts.push(`<text x="${right}" y="${top - 8}" text-anchor="end">${escapeXml(series.label)}</text>`);
    const width = series.label.length * 6.6 + 8;
    parts.push(`<path d="M${right - width - 18} ${top - 12}h16" stroke="${series.color}" stroke-width="3"/>`);
    right -= width + 36;
  }
  for (const series of panel.series) {
    const path = series.straight === true ? line(series, x, y) : steps(series, x, y);
    parts.push(
      `<path d="${path}" fill="none" stroke="${series.color}" stroke-width="1.3" stroke-linejoin="round"/>`,
    );
  }
  return parts;
}

function line(series: Series, x: (at: number) => number, y: (value: number) => number): string {
  const points = series.x.map((at, i) => `${x(at).toFixed(1)} ${y(series.y[i]).toFixed(1)}`);
  return `M${points.join('L')}`;
}

/** A line in steps; where there are more points than columns, each column's range. */
function steps(series: Series, x: (at: number) => number, y: (value: number) => number): string {
  const { length } = series.x;
  if (length === 0) return '';
  const column = (i: number): number => Math.floor(x(series.x[i]) * (COLUMNS / WIDTH));
  let path = `M${x(series.x[0]).toFixed(1)} ${y(series.y[0]).toFixed(1)}`;
  for (let i = 1; i < length; ) {
    const here = column(i);
    const first = i;
    let [low, high] = [series.y[i], series.y[i]];
    for (; i < length && column(i) === here; i++) {
      low = Math.min(low, series.y[i]);
      high = Math.max(high, series.y[i]);
    }
    path += `H${x(series.x[first]).toFixed(1)}`;
    if (i - first > 2) path += `V${y(low).toFixed(1)}V${y(high).toFixed(1)}`;
    path += `V${y(series.y[i - 1]).toFixed(1)}`;
  }
  return path;
}

/** Round numbers from `low` to `high`, about `count` of them. */
function ticks(low: number, high: number, count: number): number[] {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((n) => n * power >= rough) ?? 10) * power;
  const found: number[] = [];
  for (let n = Math.ceil(low / step); n * step <= high; n++) found.push(n * step);
  return found;
}

/** Short, with k and M. */
function number(n: number): string {
  if (Math.abs(n) >= 1e6) return `${Number((n / 1e6).toPrecision(4))}M`;
  if (Math.abs(n) >= 10_000) return `${Number((n / 1e3).toPrecision(4))}k`;
  return `${Number(n.toPrecision(4))}`;
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** The rules of docs/conformance.md: what it names exists, and what is demanded is there. */

export interface Source {
  /** Relative to src/, with slashes. */
  readonly path: string;
  readonly text: string;
}

/** Labels of RFC 9293's appendix B. */
const LABELS = [...numbered('MUST', 69), ...numbered('SHLD', 31), ...numbered('MAY', 18), 'REC-1'];
/** Shorter ones explain nothing. */
const REASON_MIN = 20;

function numbered(kind: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${kind}-${i + 1}`);
}

/** @returns what is wrong, each with its line of the table. */
export function checkConformance(table: string, sources: readonly Source[]): string[] {
  const texts = new Map(sources.map(({ path, text }) => [path, text]));
  const wrong: string[] = [];
  const seen = new Set<string>();
  for (const [i, line] of table.split('\n').entries()) {
    const cells = line
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim());
    if (cells.length === 0 || /^(What|-+|\*\*.*)$/.test(cells[0])) continue;
    const say = (what: string) => void wrong.push(`${i + 1}: ${what}`);
    if (cells.length !== 5) {
      say(`has ${cells.length} columns, not 5`);
      continue;
    }
    const [, level, labels, where, shown] = cells;
    for (const label of labels.split(', ')) seen.add(label);
    const named = checkNames(where, texts, say);
    const tests = checkTitles(shown, texts, say);
    if (/MUST/.test(level) && (named === 0 || tests === 0)) say('a MUST needs both code and a test');
    else if (tests === 0 && shown.length < REASON_MIN) say('has neither a test nor a reason');
  }
  for (const label of LABELS) if (!seen.has(label)) wrong.push(`0: ${label} is missing`);
  return wrong;
}

/** `file.ts` `name`, `name`: each name is a word of the file before it. @returns how many files */
function checkNames(cell: string, texts: ReadonlyMap<string, string>, say: (what: string) => void): number {
  let file = '';
  let files = 0;
  for (const [, word] of cell.matchAll(/`([^`]+)`/g)) {
    if (word.endsWith('.ts')) {
      file = word;
      files++;
      if (!texts.has(file)) say(`there is no src/${file}`);
    } else if (/^[\w#]+$/.test(word) && texts.has(file)) {
      if (!new RegExp(`\\b${word}\\b`).test(texts.get(file)!)) say(`src/${file} has no ${word}`);
    }
  }
  return files;
}

/** `file.test.ts` "the beginning of a title", "of another". @returns how many titles */
function checkTitles(cell: string, texts: ReadonlyMap<string, string>, say: (what: string) => void): number {
  let file = '';
  let titles = 0;
  for (const [, name, title] of cell.matchAll(/`([^`]+\.test\.ts)`|"([^"]+)"/g)) {
    if (name !== undefined) {
      file = name;
      if (!texts.has(file)) say(`there is no src/${file}`);
      continue;
    }
    titles++;
    const text = texts.get(file) ?? '';
    if (!["'", '"', '`'].some((quote) => text.includes(`${quote}${title}`)))
      say(`src/${file} has no test "${title}"`);
  }
  return titles;
}

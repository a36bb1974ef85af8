/**
 * The shell commands of scripts, taken apart: lists of pipelines with words, quotes, $((arithmetic)) and redirections.
 * Nothing is executed; commands.ts says what each command means here.
 */

/** Words of one command. */
export type Simple = readonly string[];

export interface Pipeline {
  readonly commands: readonly Simple[];
  /** How it follows the one before. */
  readonly after: ';' | '&&' | '||';
}

const WORD = /(?:\\[\s\S]|'[^']*'|"(?:\\[\s\S]|[^"\\])*"|\$\(\([\s\S]*?\)\)|\$\([^)]*\)|[^\s;&|<>()'"\\])+/y;
const REDIRECTION = /\d*(?:>>?|<)(?:&\d|\s*(?:"[^"]*"|'[^']*'|[^\s;&|]+))/y;

/** @returns null for what is no list of simple commands */
export function parseShell(text: string): Pipeline[] | null {
  const pipelines: Pipeline[] = [];
  let commands: string[][] = [];
  let words: string[] = [];
  let after: Pipeline['after'] = ';';
  const endPipeline = (next: Pipeline['after']) => {
    if (words.length > 0) commands.push(words);
    if (commands.length > 0) pipelines.push({ commands, after });
    commands = [];
    words = [];
    after = next;
  };
  for (let at = 0; at < text.length; ) {
    const rest = text.slice(at);
    const skip = /^(?:[ \t\r]+|\\\n|#[^\n]*)/.exec(rest);
    // A hash starts a comment only where a word could start.
    if (skip !== null) {
      at += skip[0].length;
      continue;
    }
    const operator = /^(?:&&|\|\||;|\n|\||&|\(|\))/.exec(rest)?.[0];
    REDIRECTION.lastIndex = at;
    const redirection = REDIRECTION.exec(text);
    if (redirection !== null) {
      at += redirection[0].length;
      continue;
    }
    if (operator !== undefined) {
      at += operator.length;
      if (operator === '(' || operator === ')') return null;
      if (operator === '|') {
        if (words.length > 0) commands.push(words);
        words = [];
      } else endPipeline(operator === '&&' || operator === '||' ? operator : ';');
      continue;
    }
    WORD.lastIndex = at;
    const word = WORD.exec(text);
    if (word === null) return null;
    words.push(expand(word[0]));
    at += word[0].length;
  }
  endPipeline(';');
  return pipelines;
}

function expand(word: string): string {
  return word
    .replace(/\$\(\(([\s\S]*?)\)\)/g, (_, expression: string) => String(arithmetic(expression)))
    .replace(
      /'([^']*)'|"((?:\\[\s\S]|[^"\\])*)"|\\([\s\S])/g,
      (_, single, double, escaped) => single ?? double ?? escaped,
    );
}

/** Sums and products of integers; NaN for more than that. */
function arithmetic(expression: string): number {
  const text = expression.replace(/\s/g, '');
  let at = 0;
  const factor = (): number => {
    if (text[at] === '(') {
      at++;
      const value = sum();
      at++;
      return value;
    }
    const digits = /^-?\d+/.exec(text.slice(at))?.[0] ?? '';
    at += digits.length;
    return digits === '' ? Number.NaN : Number(digits);
  };
  const product = (): number => {
    let value = factor();
    while (text[at] === '*' || text[at] === '/')
      value = text[at++] === '*' ? value * factor() : Math.trunc(value / factor());
    return value;
  };
  const sum = (): number => {
    let value = product();
    while (text[at] === '+' || text[at] === '-')
      value = text[at++] === '+' ? value + product() : value - product();
    return value;
  };
  const value = sum();
  return at === text.length ? value : Number.NaN;
}

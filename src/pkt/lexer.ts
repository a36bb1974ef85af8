/**
 * Tokens of packetdrill's language. As in its flex scanner the longest match wins, which decides between `1`, `1.5`,
 * `1.2.3.4` and the word `1a`, and between a sequence range (`1:1001(1000)`) and an IPv6 address.
 */
import { ScriptSyntaxError } from './errors.ts';

export type TokenKind =
  | 'word'
  | 'integer'
  | 'hex'
  | 'float'
  | 'string'
  /** Back-quoted: a shell command. */
  | 'command'
  /** Between %{ and }%. */
  | 'code'
  | 'ipv4'
  | 'ipv6'
  /** `--name`, or `--name=value` with the value's quotes kept. */
  | 'option'
  | 'ellipsis'
  /** One other character. */
  | 'symbol'
  | 'end';

export interface Token {
  readonly kind: TokenKind;
  /** As written; of strings, commands and code what is between the delimiters. */
  readonly text: string;
  readonly line: number;
  /** Place in the text, first and one past the last character. */
  readonly from: number;
  readonly to: number;
}

const IPV4 = String.raw`[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+`;
const GROUP = '[0-9a-fA-F]{1,4}';
/** Needs `::` or all eight groups, so that no sequence range is one. */
const IPV6 = [
  `(?:${GROUP}:){7}${GROUP}`,
  `(?:${GROUP}:){1,6}:(?:${GROUP}(?::${GROUP}){0,5})?`,
  `::(?:[fF]{4}:(?:0{1,4}:)?)?${IPV4}`,
  `(?:${GROUP}:){1,4}:${IPV4}`,
  `::(?:${GROUP}(?::${GROUP}){0,6})?`,
].join('|');

/** In order of preference at equal length. */
const PATTERNS: readonly [TokenKind, RegExp][] = [
  ['ellipsis', /\.\.\./y],
  ['option', /--[a-zA-Z0-9_]+(?:=(?:[a-zA-Z0-9_]+=)?(?:"(?:\\.|[^"\\])*"|`(?:\\.|[^`\\])*`|[^\s"`]*))?/y],
  ['float', /-?[0-9]*\.[0-9]+/y],
  ['integer', /-?[0-9]+/y],
  ['hex', /0[xX][0-9a-fA-F]+/y],
  ['word', /[a-zA-Z0-9_]+/y],
  ['string', /"(?:\\[\s\S]|[^"\\])*"/y],
  ['command', /`(?:\\[\s\S]|[^`\\])*`/y],
  ['code', /%\{[\s\S]*?\}%/y],
  ['ipv4', new RegExp(IPV4, 'y')],
  ['ipv6', new RegExp(IPV6, 'y')],
];

const BLANK = /(?:\s+|\/\/[^\n]*|\/\*[\s\S]*?\*\/|^#[^\n]*)+/my;
const DELIMITED: readonly TokenKind[] = ['string', 'command', 'code'];

/** @throws ScriptSyntaxError */
export function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  let line = 1;
  for (;;) {
    BLANK.lastIndex = at;
    const blank = BLANK.exec(text);
    if (blank !== null) {
      line += newlines(blank[0]);
      at += blank[0].length;
    }
    if (at >= text.length) {
      tokens.push({ kind: 'end', text: 'the end of the script', line, from: at, to: at });
      return tokens;
    }
    const { kind, length } = longest(text, at);
    if (kind === 'symbol' && '"`'.includes(text[at]))
      throw new ScriptSyntaxError(line, `${text[at]} without a partner`);
    const raw = text.slice(at, at + length);
    const token = {
      kind,
      text: DELIMITED.includes(kind) ? inner(kind, raw) : raw,
      line,
      from: at,
      to: at + length,
    };
    tokens.push(token);
    line += newlines(raw);
    at += length;
  }
}

function longest(text: string, at: number): { kind: TokenKind; length: number } {
  let best: { kind: TokenKind; length: number } = { kind: 'symbol', length: 1 };
  let most = 0;
  for (const [kind, pattern] of PATTERNS) {
    pattern.lastIndex = at;
    const length = pattern.exec(text)?.[0].length ?? 0;
    if (length > most) {
      most = length;
      best = { kind, length };
    }
  }
  return best;
}

function inner(kind: TokenKind, raw: string): string {
  const edge = kind === 'code' ? 2 : 1;
  return raw.slice(edge, -edge);
}

function newlines(text: string): number {
  let count = 0;
  for (let i = text.indexOf('\n'); i >= 0; i = text.indexOf('\n', i + 1)) count++;
  return count;
}

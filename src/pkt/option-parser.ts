/** TCP options as scripts write them. */
import type { Cursor } from './cursor.ts';
import { ScriptSyntaxError } from './errors.ts';
import type { TcpOptionSpec } from './script.ts';

const U32 = 0xffff_ffff;
const ECN_COUNTERS: readonly string[] = ['e0b', 'ceb', 'e1b'];
/** nplab's names for them, in the order of either option. */
const ORDER_0 = [
  ['EE0B', 'e0b'],
  ['ECEB', 'ceb'],
  ['EE1B', 'e1b'],
] as const;
const ORDER_1 = ORDER_0.toReversed();

/** @throws ScriptSyntaxError */
export function parseTcpOption(cursor: Cursor): TcpOptionSpec {
  const first = cursor.peek();
  const { text: name } = cursor.expectKind('word', 'a TCP option');
  switch (name) {
    case 'nop':
    case 'eol':
    case 'sackOK':
      return { kind: name };
    case 'mss':
      return { kind: 'mss', value: cursor.integer('mss', 0, 0xffff) };
    case 'wscale':
      return { kind: 'wscale', value: cursor.take('*') ? null : cursor.integer('window scale', 0, 255) };
    case 'sack':
      return { kind: 'sack', blocks: parseBlocks(cursor) };
    case 'TS':
      return parseTimestamps(cursor);
    case 'FO':
      return parseFastOpen(cursor, false);
    case 'FOEXP':
    case 'EXP_FO':
      return parseFastOpen(cursor, true);
    case 'EXP':
      // nplab's `EXP-FO`.
      if (cursor.at('-') && cursor.at('FO', 1)) {
        cursor.next();
        cursor.next();
        return parseFastOpen(cursor, true);
      }
      break;
    case 'md5':
      return { kind: 'md5', digest: cursor.next().text };
    case 'ECN':
    case 'AccECN':
      return parseEcn(cursor);
    case 'AccECN0':
    case 'AccECN1':
      return parseOrderedEcn(cursor, name === 'AccECN0' ? ORDER_0 : ORDER_1);
  }
  // What the options of other TCPs look like is not known here, but that they end at a comma or bracket.
  while (!cursor.at(',') && !cursor.at('>')) {
    if (cursor.is('end')) cursor.fail("'>'");
    const open = cursor.next().text;
    if (open === '[' || open === '(' || open === '{')
      skipTo(cursor, open === '[' ? ']' : open === '(' ? ')' : '}');
  }
  return { kind: 'other', text: cursor.since(first) };
}

function skipTo(cursor: Cursor, close: string): void {
  while (!cursor.take(close)) {
    if (cursor.is('end')) cursor.fail(`'${close}'`);
    cursor.next();
  }
}

function parseBlocks(cursor: Cursor): (readonly [number, number])[] {
  const blocks: [number, number][] = [];
  do {
    const left = cursor.integer('left edge', 0, U32);
    cursor.expect(':');
    blocks.push([left, cursor.integer('right edge', 0, U32)]);
  } while (cursor.is('integer'));
  return blocks;
}

function parseTimestamps(cursor: Cursor): TcpOptionSpec {
  cursor.expect('val');
  const val = cursor.take('...') ? null : cursor.integer('TS val', 0, U32);
  cursor.expect('ecr');
  const ecr = cursor.integer('TS ecr', 0, U32);
  return { kind: 'TS', val, ecr, ecrAbsolute: cursor.take('!') };
}

function parseFastOpen(cursor: Cursor, experimental: boolean): TcpOptionSpec {
  if (cursor.at(',') || cursor.at('>')) return { kind: 'FO', cookie: '', experimental };
  const { text: cookie, line } = cursor.next();
  if (!/^([0-9a-fA-F]{2})*$/.test(cookie))
    throw new ScriptSyntaxError(
      line,
      `the Fast Open cookie '${cookie}' is not an even number of hexadecimal digits`,
    );
  return { kind: 'FO', cookie: cookie.toLowerCase(), experimental };
}

/** `ECN e1b 1 ceb 0 e0b 1`: up to three counters, in the option's order. */
function parseEcn(cursor: Cursor): TcpOptionSpec {
  const counters: { name: 'e0b' | 'ceb' | 'e1b'; value: number }[] = [];
  while (cursor.is('word') && ECN_COUNTERS.includes(cursor.peek().text)) {
    const name = cursor.next().text as 'e0b' | 'ceb' | 'e1b';
    counters.push({ name, value: cursor.integer(name, 0, U32) });
  }
  return { kind: 'ECN', counters };
}

/** `AccECN0 EE0B 1 ECEB 0 EE1B 1`: up to three counters, in the order that the name tells. */
function parseOrderedEcn(
  cursor: Cursor,
  order: readonly (readonly [string, 'e0b' | 'ceb' | 'e1b'])[],
): TcpOptionSpec {
  const counters: { name: 'e0b' | 'ceb' | 'e1b'; value: number }[] = [];
  for (const [written, name] of order) {
    if (!cursor.take(written)) break;
    counters.push({ name, value: cursor.integer(written, 0, U32) });
  }
  return { kind: 'ECN', counters };
}

/**
 * The grammar of packetdrill scripts: options, commands and events with their times. Packets are in
 * packet-parser.ts, expressions of system calls in expression-parser.ts.
 */
import { Cursor } from './cursor.ts';
import { ScriptSyntaxError } from './errors.ts';
import { parseExpression } from './expression-parser.ts';
import { parsePacket } from './packet-parser.ts';
import { preprocess } from './preprocess.ts';
import type { Command, EventTime, Script, ScriptEvent, ScriptOption, SystemCall } from './script.ts';

export interface ParseOptions {
  /** What words stand for, besides the script's own `--define`. */
  readonly defines?: ReadonlyMap<string, string>;
  /** Names for `#ifdef`, besides those of `defines`. */
  readonly symbols?: readonly string[];
}

/** @throws ScriptSyntaxError */
export function parseScript(text: string, options: ParseOptions = {}): Script {
  const defines = new Map(options.defines);
  const cursor = new Cursor(
    preprocess(text, new Set([...defines.keys(), ...(options.symbols ?? [])])),
    defines,
  );
  const scriptOptions: ScriptOption[] = [];
  // A published script begins with a letter too many, right before its comment.
  if (cursor.is('word') && cursor.peek().from === 0 && text.startsWith('//', cursor.peek().to)) cursor.next();
  while (cursor.is('option')) scriptOptions.push(parseOption(cursor, defines));
  const init = cursor.is('command') ? parseCommand(cursor) : null;
  const events: ScriptEvent[] = [];
  while (!cursor.is('end') && !cursor.is('command')) events.push(parseEvent(cursor));
  const cleanup = cursor.is('command') ? parseCommand(cursor) : null;
  if (!cursor.is('end')) cursor.fail('nothing more: a command without a time is the first or the last');
  if (events.length === 0) cursor.fail('an event');
  return { options: scriptOptions, init, events, cleanup };
}

function parseOption(cursor: Cursor, defines: Map<string, string>): ScriptOption {
  const { text, line } = cursor.next();
  const equals = text.indexOf('=');
  const name = equals < 0 ? text.slice(2) : text.slice(2, equals);
  const value = equals < 0 ? null : text.slice(equals + 1);
  if (name === 'define') {
    const between = value?.indexOf('=') ?? -1;
    if (value === null || between < 1) throw new ScriptSyntaxError(line, '--define takes SYMBOL=value');
    defines.set(value.slice(0, between), value.slice(between + 1));
  }
  return { line, name, value: value === null ? null : value.replace(/^"([\s\S]*)"$/, '$1') };
}

function parseCommand(cursor: Cursor): Command {
  const { text, line } = cursor.expectKind('command', 'a command');
  return { type: 'command', line, text };
}

function parseEvent(cursor: Cursor): ScriptEvent {
  const { line } = cursor.peek();
  const time = parseTime(cursor);
  const action = parseAction(cursor);
  const outbound = action.type === 'packet' && !action.inbound;
  if (!outbound && (time.kind === 'any' || time.kind.endsWith('range')))
    throw new ScriptSyntaxError(line, 'only packets that are expected may have a range of time, or *');
  return { line, time, action };
}

function parseAction(cursor: Cursor): ScriptEvent['action'] {
  if (cursor.at('<') || cursor.at('>')) return parsePacket(cursor);
  if (cursor.is('command')) return parseCommand(cursor);
  if (cursor.is('code')) {
    const { text, line } = cursor.next();
    return { type: 'code', line, text };
  }
  if (cursor.is('word') || cursor.is('ellipsis')) return parseCall(cursor);
  return cursor.fail("a packet ('<', '>'), a system call, a command or code");
}

function parseTime(cursor: Cursor): EventTime {
  const { line } = cursor.peek();
  if (cursor.take('*')) return { kind: 'any', us: 0, endUs: 0 };
  const relative = cursor.take('+');
  const us = parseSeconds(cursor);
  if (!cursor.take('~')) return { kind: relative ? 'relative' : 'absolute', us, endUs: us };
  if (relative) cursor.expect('+');
  const endUs = parseSeconds(cursor);
  if (endUs < us) throw new ScriptSyntaxError(line, 'the range of time is backwards');
  return { kind: relative ? 'relative range' : 'absolute range', us, endUs };
}

/** @returns us */
function parseSeconds(cursor: Cursor): number {
  if (!cursor.is('float') && !cursor.is('integer')) cursor.fail('a time in seconds');
  const token = cursor.next();
  const seconds = Number(token.text);
  if (seconds < 0) throw new ScriptSyntaxError(token.line, 'negative time');
  return Math.round(seconds * 1e6);
}

function parseCall(cursor: Cursor): SystemCall {
  const { line } = cursor.peek();
  const endUs = cursor.take('...') ? parseSeconds(cursor) : null;
  const name = cursor.expectKind('word', 'the name of a system call').text;
  cursor.expect('(');
  const args = [];
  if (!cursor.take(')')) {
    do args.push(parseExpression(cursor));
    while (cursor.take(','));
    cursor.expect(')');
  }
  cursor.expect('=');
  const result = parseExpression(cursor);
  const errno = cursor.is('word') ? cursor.next().text : null;
  // The error's text, or a remark such as (flags O_RDWR).
  for (let notes = 0; notes < 2 && cursor.at('('); notes++) skipNote(cursor);
  return { type: 'call', line, name, args, result, errno, endUs };
}

function skipNote(cursor: Cursor): void {
  cursor.expect('(');
  while (!cursor.take(')')) {
    if (cursor.is('end')) cursor.fail("')'");
    cursor.next();
  }
}

/** Arguments and results of system calls. */
import type { Cursor } from './cursor.ts';
import type { Expression, StructField } from './script.ts';

const CALLS: readonly string[] = ['htons', 'htonl', 'inet_addr', 'inet6_addr'];

/** @throws ScriptSyntaxError */
export function parseExpression(cursor: Cursor): Expression {
  let left = parseTerm(cursor);
  while (cursor.take('|')) left = { type: 'or', left, right: parseTerm(cursor) };
  return left;
}

function parseTerm(cursor: Cursor): Expression {
  const token = cursor.peek();
  switch (token.kind) {
    case 'ellipsis':
      cursor.next();
      return { type: 'ellipsis' };
    case 'integer':
    case 'hex':
      cursor.next();
      return { type: 'integer', value: Number(token.text) };
    case 'string':
      return parseStrings(cursor);
    case 'word':
      return parseWord(cursor);
    case 'symbol':
      if (token.text === '[') return { type: 'list', items: parseItems(cursor, '[', ']') };
      if (token.text === '{') return parseBraces(cursor);
      return cursor.fail('a value');
    default:
      return cursor.fail('a value');
  }
}

/** Strings beside each other are one, as in C. */
function parseStrings(cursor: Cursor): Expression {
  let value = '';
  while (cursor.is('string')) value += readEscapes(cursor.next().text);
  return { type: 'string', value, open: cursor.take('...') };
}

function parseWord(cursor: Cursor): Expression {
  const name = cursor.next().text;
  if (CALLS.includes(name) && cursor.at('('))
    return { type: 'call', name, args: parseItems(cursor, '(', ')') };
  if (cursor.at('=')) {
    cursor.next();
    return { type: 'assign', name, value: parseExpression(cursor) };
  }
  return { type: 'word', name };
}

function parseItems(cursor: Cursor, open: string, close: string): Expression[] {
  cursor.expect(open);
  const items: Expression[] = [];
  if (cursor.take(close)) return items;
  do items.push(parseExpression(cursor));
  while (cursor.take(','));
  cursor.expect(close);
  return items;
}

/** A list in braces, or a structure by the names of its fields. */
function parseBraces(cursor: Cursor): Expression {
  const first = cursor.peek();
  if (isField(cursor, 1)) {
    cursor.next();
    const fields: StructField[] = [];
    do fields.push(parseField(cursor));
    while (cursor.take(',') && isField(cursor, 0));
    cursor.expect('}');
    return { type: 'struct', fields };
  }
  // MPLS labels and GRE headers are written in words of their own.
  if (
    cursor.at('(', 1) ||
    (cursor.is('word', 1) && !cursor.at(',', 2) && !cursor.at('}', 2) && !cursor.at('|', 2))
  ) {
    let depth = 0;
    do {
      if (cursor.is('end')) cursor.fail("'}'");
      const { text } = cursor.next();
      depth += text === '{' ? 1 : text === '}' ? -1 : 0;
    } while (depth > 0);
    return { type: 'opaque', text: cursor.since(first) };
  }
  return { type: 'list', items: parseItems(cursor, '{', '}') };
}

/** `name=`, or `name(argument)=`. */
function isField(cursor: Cursor, ahead: number): boolean {
  if (!cursor.is('word', ahead)) return false;
  if (cursor.at('=', ahead + 1)) return true;
  return cursor.at('(', ahead + 1) && cursor.at(')', ahead + 3) && cursor.at('=', ahead + 4);
}

function parseField(cursor: Cursor): StructField {
  const name = cursor.expectKind('word', "a field's name").text;
  let argument: Expression | null = null;
  if (cursor.take('(')) {
    argument = parseExpression(cursor);
    cursor.expect(')');
  }
  cursor.expect('=');
  return { name, argument, value: parseExpression(cursor) };
}

const ESCAPES: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  0: '\0',
  a: '\x07',
  b: '\b',
  f: '\f',
  v: '\v',
};

/** C's escapes. */
function readEscapes(text: string): string {
  return text.replace(/\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|[\s\S])/g, (_, code: string) => {
    if (code[0] === 'x' && code.length > 1) return String.fromCharCode(Number.parseInt(code.slice(1), 16));
    if (/^[0-7]+$/.test(code)) return String.fromCharCode(Number.parseInt(code, 8) & 0xff);
    return ESCAPES[code] ?? code;
  });
}

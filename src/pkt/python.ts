/**
 * The Python in %{ }%: assertions about TCP_INFO, with variables, arithmetic, conditions and print. Values are numbers,
 * strings, booleans, None and lists of them.
 */

export type PyValue = number | string | boolean | null | PyValue[];

/** The code can't be understood, or fails in a way that Python would too. */
export class PythonError extends Error {
  override readonly name = 'PythonError';
}

/** An assertion doesn't hold. */
export class AssertionFailed extends Error {
  override readonly name = 'AssertionFailed';
}

interface Token {
  readonly kind: 'name' | 'number' | 'string' | 'symbol' | 'end';
  readonly text: string;
}

const TOKEN =
  /\s*(?:(0[xX][0-9a-fA-F]+|\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+)|([A-Za-z_]\w*)|("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(\*\*|\/\/|<<|>>|<=|>=|==|!=|[-+*/%<>=()[\],:|&^~.])|(#.*))/y;

const STEPS_MAX = 100_000;

/**
 * Runs code whose variables are kept in `variables`.
 * @returns what it printed. @throws AssertionFailed, PythonError
 */
export function runPython(code: string, variables: Map<string, PyValue>): string[] {
  const lines = logicalLines(code);
  const printed: string[] = [];
  runBlock(lines, 0, lines.length, variables, printed);
  return printed;
}

interface Line {
  readonly indent: number;
  readonly text: string;
}

/** Lines joined where a bracket or backslash carries on, and split at semicolons. */
function logicalLines(code: string): Line[] {
  const lines: Line[] = [];
  let open = '';
  for (const raw of code.replace(/\r/g, '').split('\n')) {
    const line = open === '' ? raw : `${open} ${raw.trim()}`;
    if (/\\\s*$/.test(line) || depth(line) > 0) {
      open = line.replace(/\\\s*$/, '');
      continue;
    }
    open = '';
    const indent = /^\s*/.exec(line)?.[0].length ?? 0;
    for (const part of splitOutside(line, ';')) {
      if (part.trim() !== '' && !part.trim().startsWith('#')) lines.push({ indent, text: part.trim() });
    }
  }
  if (open !== '') throw new PythonError(`'${open.trim().slice(0, 40)}' is not complete`);
  // The first line's blanks are cut off by the delimiter, so the others' are compared among themselves.
  const least = Math.min(...lines.slice(1).map(({ indent }) => indent));
  return lines.map(({ indent, text }, i) => ({
    indent: i === 0 ? 0 : indent - Math.min(least, indent),
    text,
  }));
}

function depth(line: string): number {
  let count = 0;
  for (const character of line.replace(/"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|#.*/g, '')) {
    if ('([{'.includes(character)) count++;
    if (')]}'.includes(character)) count--;
  }
  return count;
}

function splitOutside(text: string, separator: string): string[] {
  const parts: string[] = [];
  let from = 0;
  for (const { index, 0: match } of text.matchAll(/"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^"']/g)) {
    if (match !== separator) continue;
    parts.push(text.slice(from, index));
    from = index + 1;
  }
  return [...parts, text.slice(from)];
}

function runBlock(
  lines: readonly Line[],
  from: number,
  to: number,
  variables: Map<string, PyValue>,
  printed: string[],
): void {
  let i = from;
  while (i < to) {
    const { text, indent } = lines[i];
    if (!/^(if|elif|else)\b/.test(text)) {
      statement(text, variables, printed);
      i++;
      continue;
    }
    if (!text.startsWith('if')) throw new PythonError(`'${text}' without if`);
    let taken = false;
    for (let branch = 0; i < to && lines[i].indent === indent; branch++) {
      const head = /^(if|elif|else)\b(.*?):\s*(.*)$/.exec(lines[i].text);
      if (head === null || (branch > 0 && head[1] === 'if')) break;
      let end = i + 1;
      while (end < to && lines[end].indent > indent) end++;
      if (!taken && (head[1] === 'else' || truth(evaluate(head[2], variables)))) {
        taken = true;
        if (head[3] !== '') statement(head[3], variables, printed);
        runBlock(lines, i + 1, end, variables, printed);
      }
      i = end;
    }
  }
}

function statement(text: string, variables: Map<string, PyValue>, printed: string[]): void {
  if (text === 'pass' || /^(import|from)\s/.test(text)) return;
  if (/^assert\b/.test(text)) {
    const parser = new Parser(text.slice(6), variables);
    const held = truth(parser.expression());
    const message = parser.take(',') ? show(parser.expression()) : '';
    parser.end();
    if (!held)
      throw new AssertionFailed(`${text}${message === '' ? '' : ` (${message})`}${values(text, variables)}`);
    return;
  }
  const print = /^print\s+([^(=].*)$/.exec(text);
  if (print !== null) {
    printed.push(show(evaluate(print[1], variables)));
    return;
  }
  const assignment = /^([A-Za-z_]\w*)\s*(\*\*|\/\/|<<|>>|[-+*/%|&^])?=(?!=)(.*)$/.exec(text);
  if (assignment !== null) {
    const [, name, operator, value] = assignment;
    variables.set(
      name,
      evaluate(operator === undefined ? value : `${name} ${operator} (${value})`, variables),
    );
    return;
  }
  const parser = new Parser(text, variables, printed);
  parser.expression();
  parser.end();
}

/** What the variables of a failed assertion are. */
function values(text: string, variables: ReadonlyMap<string, PyValue>): string {
  const names = new Set(
    [...text.matchAll(/[A-Za-z_]\w*/g)].map(([name]) => name).filter((name) => variables.has(name)),
  );
  return names.size === 0
    ? ''
    : `; ${[...names].map((name) => `${name} = ${show(variables.get(name) ?? null)}`).join(', ')}`;
}

function evaluate(text: string, variables: ReadonlyMap<string, PyValue>): PyValue {
  const parser = new Parser(text, variables);
  const value = parser.expression();
  parser.end();
  return value;
}

/** Python's expressions by precedence, evaluated as they are read. */
class Parser {
  readonly #tokens: Token[];
  readonly #variables: ReadonlyMap<string, PyValue>;
  readonly #printed: string[];
  #at = 0;
  #steps = 0;

  constructor(text: string, variables: ReadonlyMap<string, PyValue>, printed: string[] = []) {
    this.#tokens = tokens(text);
    this.#variables = variables;
    this.#printed = printed;
  }

  take(text: string): boolean {
    const token = this.#tokens[this.#at];
    if (token.text !== text || token.kind === 'string' || token.kind === 'end') return false;
    this.#at++;
    return true;
  }

  #expect(text: string): void {
    if (!this.take(text))
      throw new PythonError(`expected '${text}' instead of '${this.#tokens[this.#at].text}'`);
  }

  end(): void {
    const { kind, text } = this.#tokens[this.#at];
    if (kind !== 'end') throw new PythonError(`'${text}' is not understood`);
  }

  expression(): PyValue {
    if (++this.#steps > STEPS_MAX) throw new PythonError('too long');
    const value = this.#or();
    if (!this.take('if')) return value;
    const condition = truth(this.#or());
    this.#expect('else');
    const other = this.expression();
    return condition ? value : other;
  }

  #or(): PyValue {
    let value = this.#and();
    while (this.take('or')) {
      const right = this.#and();
      value = truth(value) ? value : right;
    }
    return value;
  }

  #and(): PyValue {
    let value = this.#not();
    while (this.take('and')) {
      const right = this.#not();
      value = truth(value) ? right : value;
    }
    return value;
  }

  #not(): PyValue {
    return this.take('not') ? !truth(this.#not()) : this.#comparison();
  }

  /** `a < b < c` is both. */
  #comparison(): PyValue {
    let left = this.#binary(0);
    let result: PyValue = left;
    let compared = false;
    for (;;) {
      const operator = this.#comparator();
      if (operator === null) return result;
      const right = this.#binary(0);
      const holds = compare(operator, left, right);
      result = compared ? truth(result) && holds : holds;
      compared = true;
      left = right;
    }
  }

  #comparator(): string | null {
    for (const operator of ['==', '!=', '<=', '>=', '<', '>', 'in']) if (this.take(operator)) return operator;
    if (this.take('is')) return this.take('not') ? '!=' : '==';
    if (this.#tokens[this.#at].text === 'not' && this.#tokens[this.#at + 1]?.text === 'in') {
      this.#at += 2;
      return 'not in';
    }
    return null;
  }

  /** Loosest first. */
  static readonly #levels: readonly (readonly string[])[] = [
    ['|'],
    ['^'],
    ['&'],
    ['<<', '>>'],
    ['+', '-'],
    ['*', '/', '//', '%'],
  ];

  #binary(level: number): PyValue {
    if (level === Parser.#levels.length) return this.#unary();
    let left = this.#binary(level + 1);
    for (;;) {
      const operator = Parser.#levels[level].find((candidate) => this.take(candidate));
      if (operator === undefined) return left;
      left = arithmetic(operator, left, this.#binary(level + 1));
    }
  }

  #unary(): PyValue {
    if (this.take('-')) return -number(this.#unary());
    if (this.take('+')) return number(this.#unary());
    if (this.take('~')) return -number(this.#unary()) - 1;
    const base = this.#postfix();
    return this.take('**') ? number(base) ** number(this.#unary()) : base;
  }

  #postfix(): PyValue {
    let value = this.#primary();
    while (this.take('[')) {
      const index = number(this.expression());
      this.#expect(']');
      if (!Array.isArray(value)) throw new PythonError('only lists have elements');
      value = value.at(index) ?? null;
    }
    return value;
  }

  #primary(): PyValue {
    const { kind, text } = this.#tokens[this.#at];
    if (this.take('(')) {
      const items = this.#items(')');
      return items.list || items.values.length !== 1 ? items.values : items.values[0];
    }
    if (this.take('[')) return this.#items(']').values;
    this.#at++;
    if (kind === 'number') return Number(text);
    if (kind === 'string') {
      let value = unquote(text);
      while (this.#tokens[this.#at].kind === 'string') value += unquote(this.#tokens[this.#at++].text);
      return value;
    }
    if (kind !== 'name') throw new PythonError(`'${text}' is not understood`);
    if (this.take('(')) return call(text, this.#items(')').values, this.#printed);
    return this.#name(text);
  }

  #items(close: string): { values: PyValue[]; list: boolean } {
    const found: PyValue[] = [];
    let list = false;
    while (!this.take(close)) {
      found.push(this.expression());
      if (this.take(',')) list = true;
      else {
        this.#expect(close);
        break;
      }
    }
    return { values: found, list };
  }

  #name(text: string): PyValue {
    if (text === 'True') return true;
    if (text === 'False') return false;
    if (text === 'None') return null;
    const value = this.#variables.get(text);
    if (value === undefined) throw new PythonError(`name '${text}' is not defined`);
    return value;
  }
}

function tokens(text: string): Token[] {
  const found: Token[] = [];
  for (TOKEN.lastIndex = 0; TOKEN.lastIndex < text.length; ) {
    const from = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (match === null) {
      if (text.slice(from).trim() === '') break;
      throw new PythonError(`'${text.slice(from, from + 20)}' is not understood`);
    }
    const [, digits, name, string, symbol] = match;
    if (digits !== undefined) found.push({ kind: 'number', text: digits });
    else if (name !== undefined) found.push({ kind: 'name', text: name });
    else if (string !== undefined) found.push({ kind: 'string', text: string });
    else if (symbol !== undefined) found.push({ kind: 'symbol', text: symbol });
  }
  found.push({ kind: 'end', text: 'the end' });
  return found;
}

function unquote(text: string): string {
  return text.slice(1, -1).replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c === 't' ? '\t' : c));
}

function truth(value: PyValue): boolean {
  if (Array.isArray(value)) return value.length > 0;
  return value !== null && value !== false && value !== 0 && value !== '';
}

function number(value: PyValue): number {
  if (typeof value === 'boolean') return value ? 1 : 0;
  if (typeof value !== 'number') throw new PythonError(`${show(value)} is not a number`);
  return value;
}

function equal(a: PyValue, b: PyValue): boolean {
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((item, i) => equal(item, b[i]));
  if (typeof a === 'boolean' || typeof b === 'boolean') {
    const plain = (value: PyValue) => (typeof value === 'boolean' ? Number(value) : value);
    return plain(a) === plain(b);
  }
  return a === b;
}

function compare(operator: string, a: PyValue, b: PyValue): boolean {
  switch (operator) {
    case '==':
      return equal(a, b);
    case '!=':
      return !equal(a, b);
    case 'in':
    case 'not in': {
      const found = Array.isArray(b) ? b.some((item) => equal(item, a)) : String(b).includes(String(a));
      return found === (operator === 'in');
    }
  }
  const [left, right] = typeof a === 'string' && typeof b === 'string' ? [a, b] : [number(a), number(b)];
  switch (operator) {
    case '<':
      return left < right;
    case '<=':
      return left <= right;
    case '>':
      return left > right;
    default:
      return left >= right;
  }
}

function arithmetic(operator: string, a: PyValue, b: PyValue): PyValue {
  if (typeof a === 'string') {
    if (operator === '%') return format(a, Array.isArray(b) ? b : [b]);
    if (operator === '+' && typeof b === 'string') return a + b;
    if (operator === '*') return a.repeat(Math.max(0, number(b)));
  }
  if (operator === '+' && Array.isArray(a) && Array.isArray(b)) return [...a, ...b];
  const x = number(a);
  const y = number(b);
  switch (operator) {
    case '+':
      return x + y;
    case '-':
      return x - y;
    case '*':
      return x * y;
    case '/':
    case '//':
    case '%':
      if (y === 0) throw new PythonError('division by zero');
      return operator === '/' ? x / y : operator === '//' ? Math.floor(x / y) : x - y * Math.floor(x / y);
    case '<<':
      return x * 2 ** y;
    case '>>':
      return Math.floor(x / 2 ** y);
  }
  // Counters and flags may need more than the 32 bits of JavaScript's operators.
  const [p, q] = [BigInt(Math.trunc(x)), BigInt(Math.trunc(y))];
  return Number(operator === '&' ? p & q : operator === '|' ? p | q : p ^ q);
}

function format(text: string, items: readonly PyValue[]): string {
  let i = 0;
  return text.replace(/%(?:%|[-+ 0#]*\d*(?:\.(\d+))?[a-zA-Z])/g, (spec, digits: string | undefined) => {
    if (spec === '%%') return '%';
    const item = items[i++] ?? null;
    if (spec.endsWith('x')) return number(item).toString(16);
    if (spec.endsWith('f')) return number(item).toFixed(digits === undefined ? 6 : Number(digits));
    return spec.endsWith('d') ? String(Math.trunc(number(item))) : show(item);
  });
}

function call(name: string, args: readonly PyValue[], printed: string[]): PyValue {
  const numbers = () => (Array.isArray(args[0]) ? args[0] : args).map(number);
  switch (name) {
    case 'abs':
      return Math.abs(number(args[0]));
    case 'min':
      return Math.min(...numbers());
    case 'max':
      return Math.max(...numbers());
    case 'sum':
      return numbers().reduce((a, b) => a + b, 0);
    case 'int':
      return typeof args[0] === 'string' ? Number.parseInt(args[0], 10) : Math.trunc(number(args[0]));
    case 'float':
      return Number(args[0]);
    case 'round': {
      const scale = 10 ** number(args[1] ?? 0);
      return Math.round(number(args[0]) * scale) / scale;
    }
    case 'bool':
      return truth(args[0] ?? null);
    case 'len':
      return Array.isArray(args[0]) ? args[0].length : String(args[0]).length;
    case 'str':
    case 'repr':
      return show(args[0] ?? '');
    case 'hex':
      return `0x${number(args[0]).toString(16)}`;
    case 'pow':
      return number(args[0]) ** number(args[1]);
    case 'print':
      printed.push(args.map(show).join(' '));
      return null;
  }
  throw new PythonError(`function '${name}' is not defined`);
}

function show(value: PyValue): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  return Array.isArray(value) ? `(${value.map(show).join(', ')})` : String(value);
}

/** Reading tokens one after another, with the errors that a person needs. */
import { ScriptSyntaxError } from './errors.ts';
import { type Token, type TokenKind, tokenize } from './lexer.ts';

export class Cursor {
  readonly text: string;
  readonly #tokens: readonly Token[];
  /** Words that stand for other text (`--define`). */
  readonly #defines: ReadonlyMap<string, string>;
  #at = 0;

  constructor(text: string, defines: ReadonlyMap<string, string>) {
    this.text = text;
    this.#tokens = tokenize(text);
    this.#defines = defines;
  }

  /** The token `ahead` of the next one, which is 0. */
  peek(ahead = 0): Token {
    const token = this.#tokens[Math.min(this.#at + ahead, this.#tokens.length - 1)];
    const definition = token.kind === 'word' ? this.#defines.get(token.text) : undefined;
    if (definition === undefined) return token;
    const [first] = tokenize(definition);
    return { ...first, line: token.line, from: token.from, to: token.to };
  }

  next(): Token {
    const token = this.peek();
    if (this.#at < this.#tokens.length - 1) this.#at++;
    return token;
  }

  /** Whether the next token is this symbol or word. */
  at(text: string, ahead = 0): boolean {
    const token = this.peek(ahead);
    return (
      (token.kind === 'symbol' || token.kind === 'word' || token.kind === 'ellipsis') && token.text === text
    );
  }

  /** Takes the next token if it is this symbol or word. */
  take(text: string): boolean {
    if (!this.at(text)) return false;
    this.next();
    return true;
  }

  is(kind: TokenKind, ahead = 0): boolean {
    return this.peek(ahead).kind === kind;
  }

  expect(text: string): Token {
    if (!this.at(text)) this.fail(`'${text}'`);
    return this.next();
  }

  expectKind(kind: TokenKind, what: string): Token {
    if (!this.is(kind)) this.fail(what);
    return this.next();
  }

  /** A decimal or hexadecimal number within bounds. */
  integer(what: string, low: number, high: number): number {
    if (!this.is('integer') && !this.is('hex')) this.fail(what);
    const token = this.next();
    const value = Number(token.text);
    if (!(value >= low && value <= high))
      throw new ScriptSyntaxError(token.line, `${what} ${token.text} is out of range (${low} to ${high})`);
    return value;
  }

  /** @throws ScriptSyntaxError at the next token */
  fail(expected: string): never {
    const token = this.peek();
    throw new ScriptSyntaxError(token.line, `expected ${expected} instead of ${describe(token)}`);
  }

  /** The script's text from one token up to where the cursor stands. */
  since(first: Token): string {
    const last = this.#tokens[this.#at - 1] ?? first;
    return this.text.slice(first.from, last.to);
  }
}

function describe(token: Token): string {
  return token.kind === 'end' ? token.text : `'${token.text.slice(0, 40)}'`;
}

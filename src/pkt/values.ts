/** What expressions of system calls come to, in one system's numbers. */
import { parseIp } from '../wire/address.ts';
import { Mismatch, Unsupported } from './errors.ts';
import type { Expression } from './script.ts';
import { type Dialect, symbolDialect, symbolName, symbolValue } from './symbols.ts';

export interface SocketAddress {
  readonly family: number;
  readonly port: number;
  readonly address: string;
}

/** Evaluates the arguments of one call. */
export class Values {
  readonly #dialect: Dialect;
  readonly #line: number;

  constructor(dialect: Dialect, line: number) {
    this.#dialect = dialect;
    this.#line = line;
  }

  /** @throws Mismatch when it is none, Unsupported for a symbol that isn't known */
  number(expression: Expression | undefined, what: string): number {
    const value = this.optionalNumber(expression);
    if (value === null) throw new Mismatch(this.#line, `${what} is not a number`);
    return value;
  }

  /** The number of an integer, a symbol or a list of one; null for anything else, such as `...`. */
  optionalNumber(expression: Expression | undefined): number | null {
    switch (expression?.type) {
      case 'integer':
        return expression.value;
      case 'word':
        return this.symbol(expression.name);
      case 'or': {
        const left = this.optionalNumber(expression.left);
        const right = this.optionalNumber(expression.right);
        return left === null || right === null ? null : Number(BigInt(left) | BigInt(right));
      }
      case 'list':
        return expression.items.length === 1 ? this.optionalNumber(expression.items[0]) : null;
      case 'assign':
        return this.optionalNumber(expression.value);
      case 'call': {
        const [argument] = expression.args;
        // Byte order is nobody's business here: ports and the like are compared as they are meant.
        return expression.name.startsWith('hton') ? this.optionalNumber(argument) : null;
      }
      default:
        return null;
    }
  }

  symbol(name: string): number {
    const value = symbolValue(this.#dialect, name);
    if (value !== undefined) return value;
    const other = symbolDialect(name);
    throw new Unsupported(
      this.#line,
      other === null ? `the symbol ${name} is not known here` : `${name} exists on ${other} only`,
    );
  }

  /** The name of a symbol given by name or number, among those that `prefix` matches. */
  name(expression: Expression | undefined, prefix: RegExp, what: string): string {
    if (expression?.type === 'word') {
      this.symbol(expression.name);
      return expression.name;
    }
    const number = this.number(expression, what);
    const found = symbolName(this.#dialect, prefix, number);
    if (found === null) throw new Unsupported(this.#line, `${what} ${number} is not known here`);
    return found;
  }

  string(expression: Expression | undefined): string | null {
    if (expression?.type === 'string') return expression.value;
    return expression?.type === 'list' && expression.items.length === 1
      ? this.string(expression.items[0])
      : null;
  }

  /** A structure's field, if it is there. */
  field(expression: Expression | undefined, name: string): Expression | undefined {
    return expression?.type === 'struct'
      ? expression.fields.find((field) => field.name === name)?.value
      : undefined;
  }

  items(expression: Expression | undefined): readonly Expression[] {
    if (expression?.type === 'list') return expression.items;
    return expression === undefined || expression.type === 'ellipsis' ? [] : [expression];
  }

  /** `{sa_family = AF_INET, sin_port = htons(80), sin_addr = inet_addr("...")}`; null for `...`. */
  address(expression: Expression | undefined): SocketAddress | null {
    if (expression?.type !== 'struct') return null;
    const family = this.number(this.field(expression, 'sa_family'), 'sa_family');
    const port = this.optionalNumber(this.field(expression, 'sin_port')) ?? 0;
    const call = this.field(expression, 'sin_addr') ?? this.field(expression, 'sin6_addr');
    const text = call?.type === 'call' ? this.string(call.args[0]) : null;
    if (text === null) return null;
    try {
      parseIp(text);
    } catch {
      throw new Mismatch(this.#line, `'${text}' is no address`);
    }
    return { family, port, address: text.toLowerCase() };
  }

  /** Bytes of each `most` members of a scatter/gather list. */
  vectorPieces(expression: Expression | undefined, most: number): number[] {
    const items = this.items(expression);
    const pieces: number[] = [];
    for (let i = 0; i < items.length; i += most)
      pieces.push(this.vectorBytes({ type: 'list', items: items.slice(i, i + most) }));
    return pieces;
  }

  /** Bytes of a scatter/gather list: `[{..., 1000}, {..., 500}]`. */
  vectorBytes(expression: Expression | undefined): number {
    let bytes = 0;
    for (const item of this.items(expression)) {
      const length =
        item.type === 'struct'
          ? this.field(item, 'iov_len')
          : item.type === 'list'
            ? item.items.at(-1)
            : undefined;
      bytes += this.optionalNumber(length) ?? 0;
    }
    return bytes;
  }
}

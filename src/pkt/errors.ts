/** What keeps a script from passing. `line` is the script's, from 1. */

/** The text is no script. */
export class ScriptSyntaxError extends Error {
  override readonly name = 'ScriptSyntaxError';
  readonly line: number;
  constructor(line: number, message: string) {
    super(message);
    this.line = line;
  }
}

/** What happened is not what the script says. */
export class Mismatch extends Error {
  override readonly name = 'Mismatch';
  readonly line: number;
  constructor(line: number, message: string) {
    super(message);
    this.line = line;
  }
}

/** The script asks for something that this stack, or this interpreter, doesn't have; the message says what. */
export class Unsupported extends Error {
  override readonly name = 'Unsupported';
  readonly line: number;
  constructor(line: number, message: string) {
    super(message);
    this.line = line;
  }
}

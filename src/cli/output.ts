/** How commands speak: results on stdout, everything else on stderr, errors in one line with what to do. */

export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Ends the process with an error's message; its stack only where MILLRACE_DEBUG is set. */
export function exitWithError(error: unknown): never {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
  const message = error instanceof Error ? error.message : String(error);
  say(`millrace: ${code !== '' && !message.includes(code) ? `${code}: ` : ''}${message}`);
  if (process.env.MILLRACE_DEBUG !== undefined && error instanceof Error) say(error.stack ?? '');
  process.exit(1);
}

/** 1234567 as "1.2 MB". */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** A status line that rewrites itself on a terminal; on anything else it says nothing. */
export class StatusLine {
  readonly #tty = process.stderr.isTTY === true;
  #shown = false;

  show(text: string): void {
    if (!this.#tty) return;
    process.stderr.write(`\r\x1b[2K${text.slice(0, (process.stderr.columns ?? 80) - 1)}`);
    this.#shown = true;
  }

  end(): void {
    if (this.#shown) process.stderr.write('\n');
    this.#shown = false;
  }
}

/** A child process that a test talks to: wait for a line, end it by pid, read what it said. */
import { type ChildProcess, spawn } from 'node:child_process';

export interface SpawnOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Text for its stdin, which then ends. Without it stdin stays open until `endInput`. */
  readonly input?: string;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** How long a child may take over a polite end before it is killed, ms. */
const STOP_MS_MAX = 3_000;

export class Child {
  readonly #process: ChildProcess;
  readonly #command: string;
  readonly #exit: Promise<Exit>;
  #stdout = '';
  #stderr = '';
  #onOutput: () => void = () => {};

  constructor(command: string, args: readonly string[], options: SpawnOptions = {}) {
    this.#command = [command, ...args].join(' ');
    const child = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(options.cwd !== undefined && { cwd: options.cwd }),
      env: { ...process.env, ...options.env },
    });
    this.#process = child;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
      this.#onOutput();
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text));
    // It may not read its input, or be gone already; its exit tells.
    child.stdin.on('error', () => {});
    if (options.input !== undefined) child.stdin.end(options.input);
    this.#exit = new Promise((resolve) => {
      child.once('error', (error) => {
        this.#stderr += error.message;
        resolve({ code: 127, signal: null });
      });
      child.once('close', (code, signal) => resolve({ code, signal }));
    });
    this.#exit.then(() => this.#onOutput());
  }

  get pid(): number {
    const { pid } = this.#process;
    if (pid === undefined) throw new Error(`${this.#command} didn't start: ${this.#stderr}`);
    return pid;
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  get running(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** Resolves when it has ended and all that it wrote is here. */
  get exit(): Promise<Exit> {
    return this.#exit;
  }

  /** The first match in what it has written to stdout so far, or writes within `timeoutMs`. */
  waitFor(pattern: RegExp, timeoutMs = 10_000): Promise<RegExpExecArray> {
    const { promise, resolve, reject } = Promise.withResolvers<RegExpExecArray>();
    const fail = (why: string): void => reject(new Error(`${this.#command} ${why}\n${this.#report()}`));
    const timer = setTimeout(() => fail(`said nothing like ${pattern} in ${timeoutMs} ms`), timeoutMs);
    this.#onOutput = () => {
      const match = pattern.exec(this.#stdout);
      if (match !== null) resolve(match);
      else if (!this.running) fail(`ended before it said ${pattern}`);
    };
    this.#onOutput();
    return promise.finally(() => {
      clearTimeout(timer);
      this.#onOutput = () => {};
    });
  }

  write(text: string): void {
    this.#process.stdin?.write(text);
  }

  endInput(): void {
    this.#process.stdin?.end();
  }

  signal(signal: NodeJS.Signals): void {
    if (this.running) this.#process.kill(signal);
  }

  /** Its stdout, once it has ended well. */
  async success(timeoutMs = 60_000): Promise<string> {
    const timer = setTimeout(() => this.signal('SIGKILL'), timeoutMs);
    const { code, signal } = await this.#exit;
    clearTimeout(timer);
    if (code === 0) return this.#stdout;
    throw new Error(`${this.#command} ended with ${signal ?? `code ${code}`}\n${this.#report()}`);
  }

  /** Asks it to end, makes it end if it won't, and waits until it has. Idempotent. */
  async stop(): Promise<void> {
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.signal('SIGKILL'), STOP_MS_MAX);
    await this.#exit;
    clearTimeout(timer);
  }

  #report(): string {
    return `stdout: ${this.#stdout.slice(-2_000)}\nstderr: ${this.#stderr.slice(-2_000)}`;
  }
}

/** V8's block coverage of the core, for fuzzing: which blocks ran since the last look, and about how often. */
import { type Profiler, Session } from 'node:inspector';

const CORE = /\/src\/(memory|wire|ip|udp|tcp|engine)\/(?!.*testing)/;

export class Coverage {
  readonly #seen = new Set<string>();
  readonly #session = new Session();
  readonly #magnitudes: boolean;

  /** @param magnitudes A block that runs more often than ever counts as a new one. */
  constructor(magnitudes: boolean) {
    this.#magnitudes = magnitudes;
    this.#session.connect();
    this.#post('Profiler.enable');
    this.#post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  get size(): number {
    return this.#seen.size;
  }

  stop(): void {
    this.#post('Profiler.stopPreciseCoverage');
    this.#session.disconnect();
  }

  /** @returns the blocks that ran since the last look and that `add` was never given. */
  news(): string[] {
    return [...this.#ran()].filter((block) => !this.#seen.has(block));
  }

  add(blocks: readonly string[]): void {
    for (const block of blocks) this.#seen.add(block);
  }

  *#ran(): Generator<string> {
    const { result } = this.#post('Profiler.takePreciseCoverage');
    for (const { url, functions } of result) {
      if (!CORE.test(url)) continue;
      for (const { ranges } of functions) {
        for (const { startOffset, endOffset, count } of ranges) {
          if (count === 0) continue;
          yield `${url}:${startOffset}:${endOffset}:${this.#magnitudes ? magnitude(count) : ''}`;
        }
      }
    }
  }

  /** The inspector answers its own thread at once. */
  #post(method: 'Profiler.takePreciseCoverage'): Profiler.TakePreciseCoverageReturnType;
  #post(method: string, params?: object): unknown;
  #post(method: string, params: object = {}): unknown {
    let answer: unknown;
    this.#session.post(method, params, (error, result) => {
      if (error !== null) throw error;
      answer = result;
    });
    return answer;
  }
}

/** 0 once, 1 a few times, 2 often, 3 very often. */
function magnitude(count: number): number {
  return count < 2 ? 0 : count < 8 ? 1 : count < 64 ? 2 : 3;
}

/** Published counters as a person or a script wants them: by name, with rates since the look before. */
import type { Published } from './publications.ts';

export interface LiveValue {
  readonly value: number;
  /** A second; null for gauges, and at the first look. */
  readonly rate: number | null;
}

export interface LiveProcess {
  readonly pid: number;
  readonly label: string;
  readonly hung: boolean;
  /** ms since the epoch. */
  readonly opened: number;
  readonly updated: number;
  readonly values: ReadonlyMap<string, LiveValue>;
}

export class LiveView {
  #before = new Map<string, Published>();

  /** @param published All there are now. Rates are between the times at which the process itself updated them. */
  look(published: readonly Published[]): LiveProcess[] {
    const processes = published.map((now) => live(now, this.#before.get(now.path)));
    this.#before = new Map(published.map((one) => [one.path, one]));
    return processes;
  }
}

function live({ image, hung }: Published, before: Published | undefined): LiveProcess {
  const { pid, label, opened, updated } = image;
  // Another program may have got the name of the file meanwhile.
  const old = before?.image.opened === opened && before.image.pid === pid ? before.image : undefined;
  const values = new Map<string, LiveValue>();
  image.metrics.forEach(({ name, kind }, i) => {
    const value = image.values[i];
    values.set(name, {
      value,
      rate: kind === 'counter' && old ? rateOf(value - old.values[i], updated - old.updated) : null,
    });
  });
  return { pid, label, hung, opened, updated, values };
}

function rateOf(difference: number, time_ms: number): number {
  return time_ms > 0 ? (difference * 1000) / time_ms : 0;
}

/** Runs wrk and reads what it says. */
import type { Namespace } from '../netns.ts';

export interface WrkReport {
  readonly requests: number;
  readonly requestsPerSecond: number;
  /** Connect, read, write and timeout errors together. */
  readonly socketErrors: number;
  /** Responses with a status of 400 or more. */
  readonly badResponses: number;
}

/** wrk prints its lines of errors only where there are any. */
export function parseWrk(text: string): WrkReport {
  const requests = /^\s*(\d+) requests in /m.exec(text);
  const rate = /^Requests\/sec:\s+([\d.]+)/m.exec(text);
  if (requests === null || rate === null) throw new Error(`not a report of wrk: ${text}`);
  const errors = /^\s*Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/m.exec(text);
  const bad = /^\s*Non-2xx or 3xx responses: (\d+)/m.exec(text);
  return {
    requests: Number(requests[1]),
    requestsPerSecond: Number(rate[1]),
    socketErrors: errors === null ? 0 : errors.slice(1).reduce((sum, n) => sum + Number(n), 0),
    badResponses: bad === null ? 0 : Number(bad[1]),
  };
}

/** One thread, 64 connections. */
export async function runWrk(
  ns: Namespace,
  url: string,
  seconds: number,
  headers: readonly string[] = [],
): Promise<WrkReport> {
  const extra = headers.flatMap((header) => ['-H', header]);
  return parseWrk(await ns.run('wrk', ['-t', '1', '-c', '64', '-d', `${seconds}s`, ...extra, url]));
}

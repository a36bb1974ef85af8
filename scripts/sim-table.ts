/** Writes docs/throughput.md and its chart: `npm run sim -- --table`. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Arena } from '../src/memory/arena.ts';
import { SIM_ARENA_BYTES } from '../src/sim/simulate.ts';
import { throughputPage } from '../src/sim/throughput-table.ts';

const DOCS = fileURLToPath(new URL('../docs/', import.meta.url));

export function writeThroughput(): void {
  const say = (text: string): void => void process.stderr.write(`${text}\n`);
  const { markdown, svg } = throughputPage(new Arena(SIM_ARENA_BYTES), say);
  mkdirSync(DOCS, { recursive: true });
  writeFileSync(`${DOCS}throughput.md`, markdown);
  writeFileSync(`${DOCS}throughput.svg`, svg);
}

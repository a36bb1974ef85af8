/**
 * A producer on a thread of its own, for bench/memory.ts and src/memory/rings.test.ts: it is no part of the
 * package, so it isn't under src/.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { MpscRing, SpscRing } from '../src/memory/rings.ts';

export interface ProducerTask {
  readonly buffer: SharedArrayBuffer;
  readonly kind: 'spsc' | 'mpsc';
  readonly at: number;
  readonly producer: number;
  readonly records: number;
  /** Largest batch; each is of a different size up to it when `ragged`. */
  readonly batch: number;
  readonly ragged: boolean;
}

const { buffer, kind, at, producer, records, batch, ragged } = workerData as ProducerTask;
const m = new Int32Array(buffer);
const ring = kind === 'spsc' ? new SpscRing(m, at) : new MpscRing(m, at);
const { words } = ring;
const out = new Int32Array(batch * words);

/** Record i of a producer: its number, i, and words that both determine. */
for (let sent = 0; sent < records; ) {
  const n = Math.min(ragged ? 1 + (sent % batch) : batch, records - sent);
  for (let i = 0; i < n; i++) {
    out[i * words] = sent + i;
    for (let w = 1; w < words; w++) out[i * words + w] = w === 1 ? producer : (sent + i) * w;
  }
  for (let done = 0; done < n; ) done += ring.push(out, done * words, n - done);
  sent += n;
}
parentPort?.postMessage('done');

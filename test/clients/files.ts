/** Files to move, in a directory that goes when the tests do. */
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MIB = 2 ** 20;
const BLOCK_BYTES = 4096;

export interface TestFile {
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
}

export class TestFiles {
  readonly directory = mkdtempSync(join(tmpdir(), 'millrace-clients-'));

  path(name: string): string {
    return join(this.directory, name);
  }

  /**
   * Random bytes; beyond 1 MiB the same again, with a number in each block, so that any two blocks that change
   * places change the sum.
   */
  create(name: string, bytes: number): TestFile {
    const hash = createHash('sha256');
    const chunk = randomBytes(Math.min(bytes, MIB));
    const fd = openSync(this.path(name), 'w');
    for (let at = 0; at < bytes; at += chunk.length) {
      for (let i = 0; i + 8 <= chunk.length; i += BLOCK_BYTES) chunk.writeDoubleLE(at + i, i);
      const part = chunk.subarray(0, Math.min(chunk.length, bytes - at));
      hash.update(part);
      writeSync(fd, part);
    }
    closeSync(fd);
    return { name, bytes, sha256: hash.digest('hex') };
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** What follows the header of an HTTP/1 response saved to a file. */
export function responseBody(path: string): { header: string; body: Buffer } {
  const response = readFileSync(path);
  const end = response.indexOf('\r\n\r\n');
  if (end < 0) throw new Error(`no HTTP header in ${response.length} bytes: ${response.subarray(0, 200)}`);
  return { header: response.toString('latin1', 0, end), body: response.subarray(end + 4) };
}

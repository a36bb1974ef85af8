/** Reads what processes of this machine publish, and clears away what is left of those that ended. */
import { closeSync, constants, fstatSync, openSync, readdirSync, readSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { errorCode } from '../os/errno.ts';
import { processStart } from '../os/process-start.ts';
import {
  CountersError,
  type CountersImage,
  decodeImage,
  IMAGE_BYTES_MAX,
  SEQUENCE,
} from './counters-image.ts';
import { publicationFolder } from './publish.ts';

const NAME = /^millrace-([1-9]\d{0,9})-\d{1,4}$/;
/** A file that is looked at while it is written; an update takes some 10 us of every 100 ms. */
const ATTEMPTS = 50;
/** A process that hasn't updated its file for this long hangs, or is stopped. ms */
const HUNG_MS = 2000;

export interface Published {
  readonly path: string;
  readonly image: CountersImage;
  /** Its process does other things than turn its event loop, or is stopped. */
  readonly hung: boolean;
}

export interface Publications {
  readonly published: Published[];
  /** Files that can't be read, and why. */
  readonly unreadable: { readonly path: string; readonly error: Error }[];
}

/**
 * What running processes publish. Files of processes that ended are removed.
 * @param now ms since the epoch.
 */
export function readPublications(now: number, folder: string = publicationFolder()): Publications {
  const found: Publications = { published: [], unreadable: [] };
  for (const name of readdirSync(folder)) {
    const match = NAME.exec(name);
    if (match === null) continue;
    const path = join(folder, name);
    const start = processStart(Number(match[1]));
    if (start === null) {
      remove(path);
      continue;
    }
    try {
      const image = readImage(path);
      if (image.pid !== Number(match[1]))
        throw new CountersError('ERR_COUNTERS_FORMAT', 'it names another pid');
      // Its pid is another process's now.
      if (image.start !== start) remove(path);
      else found.published.push({ path, image, hung: now - image.updated > HUNG_MS });
    } catch (error) {
      if (errorCode(error) === '') throw error;
      // It may have ended meanwhile; and who isn't root sees nothing of other users'.
      if (!['ENOENT', 'EACCES'].includes(errorCode(error)))
        found.unreadable.push({ path, error: error as Error });
    }
  }
  return found;
}

/** @throws CountersError, and what node:fs says */
export function readImage(path: string): CountersImage {
  // No link to elsewhere, and no pipe that keeps us waiting.
  const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const { size } = fstatSync(file);
    if (!fstatSync(file).isFile()) throw new CountersError('ERR_COUNTERS_FORMAT', 'it is no file');
    const bytes = new Uint8Array(Math.min(size, IMAGE_BYTES_MAX + 1));
    const sequence = new Uint32Array(1);
    for (let i = 0; i < ATTEMPTS; i++) {
      const image = decodeImage(bytes.subarray(0, readSync(file, bytes, 0, bytes.length, 0)));
      readSync(file, sequence, 0, 4, SEQUENCE);
      if ((image.sequence & 1) === 0 && sequence[0] === image.sequence) return image;
    }
    throw new CountersError('ERR_COUNTERS_BUSY', 'it is always being written');
  } finally {
    closeSync(file);
  }
}

/** Who isn't allowed leaves it. */
function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // As said.
  }
}

/** Tells a process from another one that got its pid later. */
import { readFileSync } from 'node:fs';
import { errorCode } from './errno.ts';

/** Field 22 of /proc/PID/stat, and what comes before the program's name and behind it. */
const START_FIELD = 22;
const FIELDS_TO_NAME = 2;

/**
 * When a process began, in clock ticks since the machine did; 0 where the system doesn't tell.
 * @returns null when there is no such process
 */
export function processStart(pid: number): number | null {
  if (process.platform !== 'linux') return isRunning(pid) ? 0 : null;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name is in parentheses and may have any characters.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie has ended, and waits for its parent to ask.
    return fields[0] === 'Z' ? null : Number(fields[START_FIELD - FIELDS_TO_NAME - 1]);
  } catch {
    return null;
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) === 'EPERM';
  }
}

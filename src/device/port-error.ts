/** Errors of the kernel's, Node's and the C library's as a port's. */
import { ArenaFullError } from '../memory/arena.ts';
import { errorCode } from '../os/errno.ts';
import { PortError } from './port.ts';

/** @param advice What to do, or ''. @returns what to throw; errors without a code, and of ours, pass as they are */
export function asPortError(error: unknown, what: string, advice: string): unknown {
  const code = errorCode(error);
  if (!(error instanceof Error) || code === '') return error;
  if (error instanceof ArenaFullError || error instanceof PortError) return error;
  const message = `${what}: ${error.message}${advice === '' ? '' : `; ${advice}`}`;
  return new PortError(code, message, { cause: error });
}

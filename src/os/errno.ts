/** The kernel's error numbers as Errors like Node's own. */
import { getSystemErrorMap } from 'node:util';

export const EPERM = 1;
export const EINTR = 4;
/** A packet socket whose interface is gone. */
export const ENXIO = 6;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EBUSY = 16;
export const EINVAL = 22;
export const ENETDOWN = 100;
export const ENOBUFS = 105;
/** A TUN descriptor whose interface is gone. Not in Node's table. */
export const EBADFD = 77;

/** A system call failed. Like Node's own system errors: `code`, negative `errno`, `syscall`. */
export class SystemError extends Error {
  override readonly name = 'SystemError';
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;

  /**
   * @param errno Positive, as the C library gives it.
   * @param syscall Which call, with what it was about: `ioctl TUNSETIFF mr0`.
   * @param detail What the kernel said beyond the number.
   */
  constructor(errno: number, syscall: string, detail = '') {
    const [code, text] = describe(errno);
    super(`${code}: ${text}, ${syscall}${detail === '' ? '' : ` (${detail})`}`);
    this.code = code;
    this.errno = -errno;
    this.syscall = syscall;
  }
}

function describe(errno: number): [code: string, text: string] {
  if (errno === EBADFD) return ['EBADFD', 'file descriptor in bad state'];
  return getSystemErrorMap().get(-errno) ?? [`ERRNO_${errno}`, 'unknown error'];
}

/** The `code` of any error that has one, or ''. */
export function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

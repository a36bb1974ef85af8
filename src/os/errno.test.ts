import { expect, test } from 'vitest';
import { EBADFD, EPERM, errorCode, SystemError } from './errno.ts';

test('errors read like Node’s own, and say which call failed', () => {
  const error = new SystemError(EPERM, 'ioctl TUNSETIFF mr0');
  expect(error).toMatchObject({ code: 'EPERM', errno: -1, syscall: 'ioctl TUNSETIFF mr0' });
  expect(error.message).toBe('EPERM: operation not permitted, ioctl TUNSETIFF mr0');
  expect(new SystemError(22, 'send', 'too big').message).toBe('EINVAL: invalid argument, send (too big)');
});

test('numbers that Node has no name for still have a code', () => {
  expect(new SystemError(EBADFD, 'read').code).toBe('EBADFD');
  expect(new SystemError(999, 'read')).toMatchObject({ code: 'ERRNO_999', errno: -999 });
});

test('errorCode takes anything', () => {
  expect(errorCode(new SystemError(EPERM, 'x'))).toBe('EPERM');
  for (const other of [new Error('x'), 'EPERM', null, undefined, { code: 'EPERM' }])
    expect(errorCode(other)).toBe('');
});

/** Network namespaces: a network of one's own, for tests and measurements. */
import { check, libc } from './libc.ts';

const CLONE_NEWNET = 0x40000000;

/**
 * Moves this thread, and the children it starts from now on, to a new network namespace with nothing in it but a
 * loopback interface that is down. For good: the namespace goes with its last process and descriptor.
 * @throws SystemError, EPERM without CAP_SYS_ADMIN (root, or `unshare -Ur`)
 */
export function enterNewNetwork(): void {
  check(libc().unshare(CLONE_NEWNET), 'unshare CLONE_NEWNET');
}

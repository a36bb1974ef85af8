/** Several descriptors behind one: it polls readable while one of them does. */
import { closeSync } from 'node:fs';
import { check, libc, NativeMemory } from './libc.ts';

const EPOLL_CLOEXEC = 0x80000;
const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;
/** struct epoll_event: events u32, data u64; packed on x64, so that the data's place differs; nobody reads it. */
const EVENT_BYTES = 16;

/** @returns the one, to be closed before the others are. @throws SystemError */
export function joinDescriptors(fds: readonly number[]): number {
  const c = libc();
  using event = new NativeMemory(EVENT_BYTES);
  event.view.setUint32(0, EPOLLIN, true);
  const epoll = check(c.epoll_create1(EPOLL_CLOEXEC), 'epoll_create1');
  try {
    for (const fd of fds) check(c.epoll_ctl(epoll, EPOLL_CTL_ADD, fd, event.address), 'epoll_ctl');
    return epoll;
  } catch (error) {
    closeSync(epoll);
    throw error;
  }
}

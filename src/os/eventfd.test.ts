import { closeSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Epoll } from './epoll.ts';
import { createEventfd, EventSignaller } from './eventfd.ts';
import { libc, NativeMemory } from './libc.ts';

const F_SETFL = 4;
const O_RDWR = 2;

test('signals count, more of them than requests fit', () => {
  using memory = new NativeMemory(8);
  const signaller = new EventSignaller();
  const fd = createEventfd();
  for (let i = 0; i < 1000; i++) expect(signaller.signal(fd)).toBe(true);
  expect(libc().read(fd, memory.address, 8)).toBe(8);
  expect(memory.view.getBigUint64(0, true)).toBe(1000n);
  expect(libc().read(fd, memory.address, 8)).toBe(-1);
  signaller.close();
  closeSync(fd);
});

test('a full counter whose descriptor blocks doesn’t stop us', () => {
  using memory = new NativeMemory(8);
  const signaller = new EventSignaller();
  const fd = createEventfd();
  memory.view.setBigUint64(0, 2n ** 64n - 2n, true);
  libc().write(fd, memory.address, 8);
  libc().fcntl(fd, F_SETFL, O_RDWR);
  for (let i = 0; i < 100; i++) expect(signaller.signal(fd)).toBe(true);
  signaller.close();
  closeSync(fd);
});

test('what is no eventfd is told', () => {
  const signaller = new EventSignaller();
  const epoll = new Epoll();
  expect(signaller.signal(epoll.fd)).toBe(false);
  expect(signaller.signal(-1)).toBe(false);
  epoll.close();
  signaller.close();
});

test('an edge is told once, a level as long as it lasts; what is removed not at all', () => {
  const signaller = new EventSignaller();
  const epoll = new Epoll();
  const [edge, level] = [createEventfd(), createEventfd()];
  epoll.add(edge, true);
  epoll.add(level, false);
  expect(epoll.readable()).toEqual([]);
  signaller.signal(edge);
  signaller.signal(level);
  expect(epoll.readable().sort()).toEqual([edge, level].sort());
  expect(epoll.readable()).toEqual([level]);
  signaller.signal(edge);
  expect(epoll.readable().sort()).toEqual([edge, level].sort());
  epoll.remove(level);
  signaller.signal(level);
  expect(epoll.readable()).toEqual([]);
  epoll.close();
  signaller.close();
  for (const fd of [edge, level]) closeSync(fd);
});

import { closeSync } from 'node:fs';
import { expect, test } from 'vitest';
import { joinDescriptors } from './epoll.ts';
import { check, libc, NativeMemory } from './libc.ts';
import { Poller } from './poll.ts';

test.skipIf(process.platform !== 'linux')(
  'several descriptors poll as one, as long as one of them is readable',
  async () => {
    const c = libc();
    using memory = new NativeMemory(8);
    memory.view.setInt32(0, 1, true);
    const fds = [0, 1, 2].map(() => check(c.eventfd(0, 0x800), 'eventfd'));
    const joined = joinDescriptors(fds);
    const poller = new Poller([joined]);
    const wait_ms = async (most: number): Promise<number> => {
      const start = performance.now();
      await poller.wait(most);
      return performance.now() - start;
    };
    for (const fd of fds) {
      expect(await wait_ms(20)).toBeGreaterThan(15);
      c.write(fd, memory.address, 8);
      expect(await wait_ms(1000)).toBeLessThan(900);
      expect(await wait_ms(1000)).toBeLessThan(900);
      c.read(fd, memory.address, 8);
      memory.view.setInt32(0, 1, true);
    }
    poller.close();
    for (const fd of [joined, ...fds]) closeSync(fd);
    expect(() => joinDescriptors([-1])).toThrow('EBADF');
  },
);

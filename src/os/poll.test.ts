import { spawnSync } from 'node:child_process';
import { closeSync, readdirSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { check, libc, NativeMemory } from './libc.ts';
import { WOKEN_MS_MAX } from './poll.testing.ts';
import { Poller, WAIT_MS_MAX } from './poll.ts';

const EFD_NONBLOCK = 0x800;

/** A descriptor that is readable after `raise` until `drain`. */
function event() {
  const memory = new NativeMemory(8);
  const fd = check(libc().eventfd(0, EFD_NONBLOCK), 'eventfd');
  return {
    fd,
    raise() {
      memory.view.setInt32(0, 1, true);
      libc().write(fd, memory.address, 8);
    },
    drain: () => libc().read(fd, memory.address, 8),
    [Symbol.dispose]() {
      closeSync(fd);
      memory.free();
    },
  };
}

async function took(wait: Promise<void>): Promise<number> {
  const start = performance.now();
  await wait;
  return performance.now() - start;
}

/**
 * Runs a program in which a Poller begins its longest wait and something else happens 10 ms later. The time is from before the
 * wait to the end of the process.
 */
function runChild(then: string) {
  const url = JSON.stringify(new URL('./poll.ts', import.meta.url));
  const source = `import { Poller, WAIT_MS_MAX } from ${url};
    const poller = new Poller([]);
    console.log(Date.now());
    poller.wait(WAIT_MS_MAX);
    setTimeout(() => { ${then} }, 10);`;
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', source], {
    encoding: 'utf8',
    timeout: 10_000,
  });
  return { code: child.status, stderr: child.stderr, ms: Date.now() - Number(child.stdout) };
}

describe.skipIf(process.platform !== 'linux')('Poller', () => {
  test('comes back when the time is over', async () => {
    const poller = new Poller([]);
    expect(await took(poller.wait(40))).toBeGreaterThan(38);
    for (const soon of [0, -5]) expect(await took(poller.wait(soon))).toBeLessThan(WOKEN_MS_MAX);
    poller.close();
  });

  test('takes no timeout longer than its own', async () => {
    const poller = new Poller([]);
    expect(await took(poller.wait(Number.POSITIVE_INFINITY))).toBeLessThan(2 * WAIT_MS_MAX);
    poller.close();
  });

  test('any of its descriptors ends a wait, as long as it is readable', async () => {
    using first = event();
    using second = event();
    const poller = new Poller([first.fd, second.fd]);
    for (const each of [first, second]) {
      const wait = took(poller.wait(WAIT_MS_MAX));
      setTimeout(each.raise, 20);
      expect(await wait).toBeLessThan(WOKEN_MS_MAX);
      expect(await took(poller.wait(WAIT_MS_MAX))).toBeLessThan(WOKEN_MS_MAX);
      each.drain();
      expect(await took(poller.wait(50))).toBeGreaterThan(48);
    }
    poller.close();
  });

  test('wake ends the present wait, or else the next, and only that one', async () => {
    const poller = new Poller([]);
    const wait = took(poller.wait(WAIT_MS_MAX));
    setTimeout(() => {
      poller.wake();
      poller.wake();
    }, 20);
    expect(await wait).toBeLessThan(WOKEN_MS_MAX);
    expect(await took(poller.wait(50))).toBeGreaterThan(48);
    poller.wake();
    expect(await took(poller.wait(WAIT_MS_MAX))).toBeLessThan(WOKEN_MS_MAX);
    expect(await took(poller.wait(50))).toBeGreaterThan(48);
    poller.close();
  });

  test('who wakes it before each wait starves nobody', async () => {
    const poller = new Poller([]);
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const end = performance.now() + 50;
    while (performance.now() < end) {
      poller.wake();
      await poller.wait(WAIT_MS_MAX);
    }
    clearInterval(timer);
    poller.close();
    expect(turns).toBeGreaterThan(0);
  });

  test('one wait at a time', async () => {
    const poller = new Poller([]);
    const wait = poller.wait(WAIT_MS_MAX);
    expect(() => poller.wait(0)).toThrow('outstanding');
    poller.wake();
    await wait;
    await poller.wait(0);
    poller.close();
  });

  test('close ends the wait, can be repeated, and leaves no descriptor', async () => {
    const open = () => readdirSync('/proc/self/fd').length;
    await new Promise((resolve) => setTimeout(resolve, 20));
    const before = open();
    const waiting = new Poller([]);
    const idle = new Poller([]);
    expect(open()).toBe(before + 2);
    const wait = took(waiting.wait(WAIT_MS_MAX));
    for (const poller of [waiting, idle]) {
      poller.close();
      poller.close();
      poller.wake();
      expect(() => poller.wait(0)).toThrow('closed');
    }
    expect(await wait).toBeLessThan(WOKEN_MS_MAX);
    expect(open()).toBe(before);
  });

  test('a descriptor that was closed under it is an error, not a spin', async () => {
    const gone = event();
    const poller = new Poller([gone.fd]);
    gone[Symbol.dispose]();
    await expect(poller.wait(WAIT_MS_MAX)).rejects.toMatchObject({ code: 'EBADF' });
    poller.close();
  });

  test.each([
    ['process.exit(3)', 3, /^$/],
    ["throw new Error('boom')", 1, /boom/],
    ['poller.close()', 0, /^$/],
  ])('a process exits before its poll(2) would be over: %s', (then, code, stderr) => {
    // If it waited, it would each time. Others on the machine may delay it as long, but less so each time.
    let ms = Infinity;
    for (let i = 0; i < 5 && ms > WAIT_MS_MAX / 2; i++) {
      const child = runChild(then);
      expect(child.code).toBe(code);
      expect(child.stderr).toMatch(stderr);
      ms = child.ms;
    }
    expect(ms).toBeLessThan(WAIT_MS_MAX / 2);
  });

  test('a worker can be terminated in the middle of a wait', async () => {
    const url = JSON.stringify(new URL('./poll.ts', import.meta.url));
    const source = `
      const { parentPort } = require('node:worker_threads');
      import(${url}).then(({ Poller, WAIT_MS_MAX }) => { new Poller([]).wait(WAIT_MS_MAX); parentPort.postMessage('waiting'); });
    `;
    const worker = new Worker(source, { eval: true, execArgv: [] });
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    expect(await worker.terminate()).toBe(1);
  });
});

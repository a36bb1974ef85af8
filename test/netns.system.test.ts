import { readlinkSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Child } from './child.ts';
import { describeInNamespace } from './describe.ts';
import { Namespace } from './netns.ts';

const gone = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return false;
  } catch {
    return true;
  }
};

async function eventually(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(condition()).toBe(true);
}

async function inNamespace(body: (ns: Namespace) => Promise<void>): Promise<void> {
  const ns = await Namespace.create();
  try {
    await body(ns);
  } finally {
    await ns.close();
  }
}

describeInNamespace('a namespace', () => {
  test('has only lo, up, and is not ours', () =>
    inNamespace(async (ns) => {
      const links = await ns.run('ip', ['-o', 'link']);
      expect(links.trim().split('\n')).toHaveLength(1);
      expect(links).toMatch(/lo: <LOOPBACK,UP/);
      const theirs = (await ns.run('readlink', ['/proc/self/ns/net'])).trim();
      expect(theirs).not.toBe(readlinkSync('/proc/self/ns/net'));
    }));

  test('ends its processes by their own pid when it closes, even stubborn ones', async () => {
    const ns = await Namespace.create();
    const stubborn = ns.spawn('sh', ['-c', 'trap "" TERM; echo "pid $$"; while :; do sleep 0.1; done']);
    const [, pid] = await stubborn.waitFor(/pid (\d+)/);
    expect(Number(pid)).toBe(stubborn.pid);
    await ns.close();
    expect(gone(stubborn.pid)).toBe(true);
    await ns.close();
  });

  test('two linked by a cable reach each other', () =>
    inNamespace(async (left) => {
      const right = await Namespace.create(left);
      try {
        await left.link(right, 'left0', 'right0');
        await left.run('ip', ['address', 'add', '10.1.0.1/24', 'dev', 'left0']);
        await right.run('ip', ['address', 'add', '10.1.0.2/24', 'dev', 'right0']);
        const hello = "require('net').createServer(s=>s.end('hello')).listen(7,()=>console.log('up'))";
        await right.spawn('node', ['-e', hello]).waitFor(/up/);
        const ask = "require('net').connect(7,'10.1.0.2').pipe(process.stdout)";
        expect(await left.run('node', ['-e', ask])).toBe('hello');
      } finally {
        await right.close();
      }
    }));

  test('leaves nothing behind when the process that made it is killed', async () => {
    const module = new URL('netns.ts', import.meta.url).href;
    const program = `
      const { Namespace } = await import(${JSON.stringify(module)});
      const ns = await Namespace.create();
      const child = ns.spawn('sh', ['-c', 'echo up; exec sleep 600']);
      await child.waitFor(/up/);
      console.log('pid', child.pid);
    `;
    const maker = new Child('node', ['--input-type=module', '-e', program]);
    const [, pid] = await maker.waitFor(/pid (\d+)/);
    expect(gone(Number(pid))).toBe(false);
    maker.signal('SIGKILL');
    await maker.exit;
    await eventually(() => gone(Number(pid)));
  });
});

describeInNamespace('a child', () => {
  test('that fails says what it said', () =>
    inNamespace(async (ns) => {
      await expect(ns.run('sh', ['-c', 'echo out; echo because >&2; exit 3'])).rejects.toThrow(
        /code 3\nstdout: out\n\nstderr: because/,
      );
      await expect(ns.run('no-such-program', [])).rejects.toThrow(/no-such-program/);
    }));

  test('is not waited for once it has ended, nor for ever', () =>
    inNamespace(async (ns) => {
      await expect(ns.spawn('true', []).waitFor(/never/)).rejects.toThrow(/ended before/);
      await expect(ns.spawn('sleep', ['60']).waitFor(/never/, 50)).rejects.toThrow(/in 50 ms/);
      await expect(ns.run('sleep', ['60'], { timeoutMs: 50 })).rejects.toThrow(/SIGKILL/);
    }));
});

/**
 * Against DPDK's testpmd, which forwards on a memif port of its own: `scripts/setup-bench.sh` installs it. It takes a core
 * as long as it runs.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Child } from '../../test/child.ts';
import { frameOf, queueFrame, takeFrames } from './compliance.testing.ts';
import { openTestMemif, turnUntil } from './memif.testing.ts';
import type { MemifOptions, MemifPort } from './memif.ts';

const found = spawnSync('sh', ['-c', 'command -v dpdk-testpmd']).status === 0;
const reason = found ? '' : ' (skipped: no dpdk-testpmd; scripts/setup-bench.sh installs it)';

describe.skipIf(reason !== '')(`memif and DPDK's testpmd${reason}`, () => {
  let folder = '';
  let port: MemifPort | undefined;
  let peer: Child | undefined;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'memif-'));
  });
  afterEach(async () => {
    port?.close();
    peer?.write('quit\n');
    await peer?.stop();
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** @param vdev Of its memif: role, socket and what else is not as usual. @param options Of testpmd itself. */
  async function start(vdev: string, options: string[] = []): Promise<Child> {
    const eal = ['--no-huge', '-m', '256', '--no-pci', '--no-shconf', '--no-telemetry', '-l', '0,1'];
    // Without --no-flush-rx it drops what comes in its first moments.
    const own = ['-i', '--auto-start', '--no-flush-rx', '--total-num-mbufs=8192', '--forward-mode=macswap'];
    const child = new Child('dpdk-testpmd', [...eal, `--vdev=net_memif0,${vdev}`, '--', ...own, ...options]);
    await child.waitFor(/testpmd> /);
    return child;
  }

  /**
   * All frames come back, in order, with their addresses swapped.
   * @param inFlight No more than its rings have slots: it drops what it can't send on at once.
   */
  async function comesBack(own: MemifPort, lengths: number[], inFlight = 256): Promise<void> {
    const frames = lengths.map((length, i) => frameOf(own, length, i));
    let queued = 0;
    const back: Uint8Array[] = [];
    await turnUntil([own], () => {
      while (queued < frames.length && queued - back.length < inFlight && own.tx.available > 0) {
        queueFrame(own, frames[queued++]);
      }
      back.push(...takeFrames(own));
      return back.length >= frames.length;
    });
    const swapped = (frame: Uint8Array) =>
      Buffer.concat([frame.subarray(6, 12), frame.subarray(0, 6), frame.subarray(12)]).toString('hex');
    expect(back.map((frame) => Buffer.from(frame).toString('hex'))).toEqual(frames.map(swapped));
  }

  const LENGTHS = Array.from({ length: 3000 }, (_, i) => 60 + ((i * 331) % 1455));

  async function asClient(
    vdev: string,
    socket: string,
    options: Partial<MemifOptions> = {},
    own: string[] = [],
  ) {
    peer = await start(`role=server,${vdev}`, own);
    port = openTestMemif({ socket, role: 'client', ...options });
    const opened = port;
    await turnUntil([opened], () => opened.linked);
    return opened;
  }

  async function asServer(
    vdev: string,
    socket: string,
    options: Partial<MemifOptions> = {},
    own: string[] = [],
  ) {
    port = openTestMemif({ socket, role: 'server', ...options });
    const opened = port;
    const starting = start(`role=client,${vdev}`, own);
    await turnUntil([opened], () => opened.linked, 15_000);
    peer = await starting;
    return opened;
  }

  const at = (name: string) => join(folder, name);
  const plain = (name: string) => `socket=${at(name)},socket-abstract=no`;

  test('as server, it sends back what we send', async () => {
    await comesBack(
      await asClient(`id=5,secret=pw,${plain('a')}`, at('a'), { id: 5, secret: 'pw' }),
      LENGTHS,
    );
  });

  test('as client, it sends back what we send', async () => {
    await comesBack(
      await asServer(`id=5,secret=pw,${plain('b')}`, at('b'), { id: 5, secret: 'pw' }),
      LENGTHS,
    );
  });

  test('by a name in the abstract namespace, its default', async () => {
    const name = `millrace-${process.pid}`;
    await comesBack(await asServer(`socket=${name}`, `@${name}`), LENGTHS.slice(0, 100));
  });

  test('frames over several buffers, both ways', async () => {
    const long = Array.from({ length: 300 }, (_, i) => 60 + ((i * 331) % 1455));
    await comesBack(await asClient(`${plain('c')},bsize=512`, at('c'), { bufferBytes: 512 }), long);
  });

  test('frames over several buffers of its own', async () => {
    const long = Array.from({ length: 300 }, (_, i) => 60 + ((i * 331) % 1455));
    await comesBack(await asServer(`${plain('d')},bsize=512`, at('d')), long);
  });

  test('several queues and small rings', async () => {
    const queues = ['--rxq=2', '--txq=2', '--nb-cores=1'];
    await comesBack(await asServer(`${plain('e')},rsize=6`, at('e'), { queues: 2 }, queues), LENGTHS, 32);
  });

  test('a secret that isn’t its own is refused with its reason', async () => {
    peer = await start(`role=server,secret=pw,${plain('f')}`);
    const refused = openTestMemif({ socket: at('f'), secret: 'other' });
    port = refused;
    await expect(turnUntil([refused], () => false, 2000)).rejects.toThrow(/refused: Incorrect secret/);
  });

  test('when it ends, the port goes on and takes the next', async () => {
    const server = await asServer(plain('g'), at('g'));
    await comesBack(server, [60, 100]);
    peer?.signal('SIGKILL');
    await turnUntil([server], () => !server.linked);
    const starting = start(`role=client,${plain('g')}`);
    await turnUntil([server], () => server.linked, 15_000);
    peer = await starting;
    await comesBack(server, [60, 100]);
  });
});

import { closeSync, existsSync, fstatSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { errorCode } from './errno.ts';
import { createEventfd } from './eventfd.ts';
import { acceptSeqpacket, connectSeqpacket, listenSeqpacket, PacketBuffer } from './seqpacket.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'seqpacket-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function codeOf(run: () => unknown): string {
  try {
    run();
    return '';
  } catch (error) {
    return errorCode(error);
  }
}

test.each(['path', 'abstract'])('packets and descriptors cross, by a %s name', (kind) => {
  const name = kind === 'path' ? join(folder, 's') : `@millrace-test-${process.pid}`;
  const before = readdirSync('/proc/self/fd').length;
  const listener = listenSeqpacket(name);
  expect(acceptSeqpacket(listener)).toBe(-1);
  const a = connectSeqpacket(name);
  const b = acceptSeqpacket(listener);
  const buffer = new PacketBuffer();
  expect(buffer.receive(b)).toBeNull();
  expect(buffer.send(a, Uint8Array.of(1, 2, 3), -1)).toBe(true);
  const passed = createEventfd();
  expect(buffer.send(a, Uint8Array.of(4), passed)).toBe(true);
  expect(buffer.receive(b)).toEqual({ bytes: Uint8Array.of(1, 2, 3), fds: [] });
  const second = buffer.receive(b);
  expect(second?.bytes).toEqual(Uint8Array.of(4));
  expect(second?.fds.length).toBe(1);
  const [got] = second?.fds ?? [];
  expect(fstatSync(got).ino).toBe(fstatSync(passed).ino);
  closeSync(got);
  closeSync(a);
  expect(buffer.receive(b)).toBeUndefined();
  expect(buffer.send(b, Uint8Array.of(5), -1)).toBe(false);
  buffer.free();
  for (const fd of [b, passed, listener]) closeSync(fd);
  expect(readdirSync('/proc/self/fd').length).toBe(before);
});

test('a full socket takes no more, at once', () => {
  const listener = listenSeqpacket(join(folder, 's'));
  const a = connectSeqpacket(join(folder, 's'));
  const buffer = new PacketBuffer();
  let sent = 0;
  while (sent < 100_000 && buffer.send(a, new Uint8Array(128), -1)) sent++;
  expect(sent).toBeGreaterThan(0);
  expect(sent).toBeLessThan(100_000);
  buffer.free();
  closeSync(a);
  closeSync(listener);
});

test('a dead process’s socket file is replaced, a live one’s and other files are not', () => {
  const path = join(folder, 's');
  expect(codeOf(() => connectSeqpacket(path))).toBe('ENOENT');
  closeSync(listenSeqpacket(path));
  expect(existsSync(path)).toBe(true);
  expect(codeOf(() => connectSeqpacket(path))).toBe('ECONNREFUSED');
  const listener = listenSeqpacket(path);
  expect(codeOf(() => listenSeqpacket(path))).toBe('EADDRINUSE');
  closeSync(connectSeqpacket(path));
  closeSync(listener);
  rmSync(path);
  writeFileSync(path, 'precious');
  expect(codeOf(() => listenSeqpacket(path))).toBe('ENOTSOCK');
  expect(codeOf(() => connectSeqpacket(path))).toBe('ENOTSOCK');
  expect(codeOf(() => listenSeqpacket(join(folder, 'x'.repeat(120))))).toBe('ENAMETOOLONG');
});

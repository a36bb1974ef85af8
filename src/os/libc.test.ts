import { spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { expect, test } from 'vitest';
import { SystemError } from './errno.ts';
import { check, libc, NativeMemory, syscallNumbers, UnsupportedError } from './libc.ts';

const linux = process.platform === 'linux';

test('other platforms are refused with the reason', () => {
  expect(syscallNumbers('linux', 'x64').bpf).toBe(321);
  expect(syscallNumbers('linux', 'arm64').bpf).toBe(280);
  for (const [platform, arch] of [
    ['darwin', 'arm64'],
    ['linux', 'riscv64'],
    ['win32', 'x64'],
  ]) {
    expect(() => syscallNumbers(platform, arch)).toThrow(UnsupportedError);
    expect(() => syscallNumbers(platform, arch)).toThrow(new RegExp(`${platform} on ${arch}`));
  }
});

test('importing what needs the kernel loads no native library', () => {
  const modules = ['../device/tun.ts', './poll.ts', './probe.ts', './interface.ts'];
  const imports = modules.map((path) => `await import(${JSON.stringify(new URL(path, import.meta.url))});`);
  const report = `
    import { createRequire } from 'node:module';
    const { cache } = createRequire(${JSON.stringify(import.meta.url)});
    console.log(Object.keys(cache).filter((path) => path.includes('koffi')).length);
  `;
  const node = ['--input-type=module', '-e', report + imports.join('')];
  const imported = spawnSync(process.execPath, node, { encoding: 'utf8' });
  expect(imported.stderr).toBe('');
  expect(imported.stdout).toBe('0\n');
  if (!linux) return;
  const url = JSON.stringify(new URL('./libc.ts', import.meta.url));
  const used = ['--input-type=module', '-e', `const m = await import(${url}); m.libc(); ${report}`];
  // The same look does see it once it is used.
  expect(Number(spawnSync(process.execPath, used, { encoding: 'utf8' }).stdout)).toBeGreaterThan(0);
});

test.skipIf(!linux)('a failed call throws its errno', () => {
  const c = libc();
  expect(check(7, 'fine')).toBe(7);
  expect(() => check(c.read(-1, 0, 0), 'read nothing')).toThrow(SystemError);
  expect(() => check(c.read(-1, 0, 0), 'read nothing')).toThrow('EBADF: bad file descriptor, read nothing');
});

test.skipIf(!linux)('native memory is zeroed, is what the kernel writes to, and is freed once', () => {
  using memory = new NativeMemory(16);
  expect(memory.u8.every((byte) => byte === 0)).toBe(true);
  const fd = openSync('/dev/urandom', 'r');
  expect(libc().read(fd, memory.address, 16)).toBe(16);
  closeSync(fd);
  expect(memory.u8.some((byte) => byte !== 0)).toBe(true);
  memory.free();
  memory.free();
});

test.skipIf(!linux)('an array’s address is where its bytes are', () => {
  const { buffer } = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const bytes = new Uint8Array(buffer);
  using memory = new NativeMemory(8);
  memory.u8.set([1, 2, 3, 4, 5, 6, 7, 8]);
  const fd = check(libc().eventfd(0, 0), 'eventfd');
  memory.view.setInt32(4, 0, true);
  libc().write(fd, memory.address, 8);
  expect(libc().read(fd, libc().addressOf(bytes) + 100, 8)).toBe(8);
  closeSync(fd);
  expect([...bytes.subarray(99, 105)]).toEqual([0, 1, 2, 3, 4, 0]);
});

import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const SYSTEM = '**/*.system.test.ts';
const COMPILE_CACHE = fileURLToPath(new URL('node_modules/.cache/node-compile', import.meta.url));

/** Everything but the tests with real clients, which have a configuration of their own. */
// biome-ignore lint/style/noDefaultExport: where Vitest looks for its configuration
export default defineConfig({
  test: {
    // Models and simulations take seconds on a busy machine; what takes longer than this hangs.
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // V8 flags, signal handlers and native libraries belong to a process, so each file gets its own.
    pool: 'forks',
    setupFiles: ['test/equality.ts'],
    // For the programs that tests start: a command starts in 0.4 s instead of 0.8.
    env: { NODE_COMPILE_CACHE: COMPILE_CACHE },
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['{src,bench,test,scripts}/**/*.test.ts'],
          exclude: [SYSTEM, '**/*.clients.test.ts'],
          sequence: { groupOrder: 0 },
          // Vitest's own default leaves one core idle.
          maxWorkers: '100%',
        },
      },
      {
        extends: true,
        test: {
          name: 'system',
          include: [`{src,bench,test}/${SYSTEM}`],
          globalSetup: ['scripts/announce-system-tests.ts'],
          // They share the kernel's devices and ports, so one file at a time, after all the others.
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});

import { defineConfig } from 'vitest/config';

/** Real clients and servers against the CLI, in network namespaces; `npm run test:clients`. */
// biome-ignore lint/style/noDefaultExport: where Vitest looks for its configuration
export default defineConfig({
  test: {
    include: ['test/clients/**/*.clients.test.ts'],
    globalSetup: ['test/clients/programs.ts'],
    // They move gigabytes; side by side they would only time each other out.
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 60_000,
  },
});

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const built = await import('./build-kernels.ts').catch((error: Error) => error);
const reason = built instanceof Error ? ` (skipped: ${built.message})` : '';

test.skipIf(built instanceof Error)(`wasm.ts is what its source builds${reason}`, async () => {
  if (built instanceof Error) return;
  // On a difference: `npm run build:kernels`, and commit what it wrote.
  expect(readFileSync(built.WASM_FILE, 'utf8')).toBe(await built.buildKernels());
});

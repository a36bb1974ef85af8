import { describe } from 'vitest';
import { namespaceSupport } from './netns.ts';

/** `describe` for tests that need network namespaces; where there are none they are skipped, and it says why. */
export function describeInNamespace(title: string, body: () => void): void {
  const { reason } = namespaceSupport();
  if (reason === undefined) describe(title, body);
  else describe.skip(`${title} (no network namespaces: ${reason})`, body);
}

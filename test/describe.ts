import { describe } from 'vitest';
import { tryTun } from '../src/os/tuntap.ts';
import { namespaceSupport, rootlessSupport } from './netns.ts';

/** `describe` for tests that need network namespaces; where there are none they are skipped, and it says why. */
export function describeInNamespace(title: string, body: () => void): void {
  describeUnless(namespaceSupport().reason, title, body);
}

/** `describeInNamespace` for tests that make TUN or TAP devices there. */
export function describeWithTun(title: string, body: () => void): void {
  describeUnless(namespaceSupport().reason ?? tunReason(), title, body);
}

/** `describe` for tests that use `Namespace.createRootless`. */
export function describeRootless(title: string, body: () => void): void {
  describeUnless(rootlessSupport().reason, title, body);
}

function describeUnless(reason: string | undefined, title: string, body: () => void): void {
  if (reason === undefined) describe(title, body);
  else describe.skip(`${title} (can't here: ${reason})`, body);
}

/** Rootless namespaces have their own devices, but the host decides who may open the device node. */
function tunReason(): string | undefined {
  try {
    tryTun();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

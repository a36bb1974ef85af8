/** Vitest runs this once, before the system tests: it says which of them this machine can run, and why. */
import { spawnSync } from 'node:child_process';

function missing(): string[] {
  const reasons: string[] = [];
  const uid = process.geteuid?.();
  if (uid !== 0) reasons.push(`not root (uid ${uid ?? 'unknown'})`);
  if (spawnSync('ip', ['-V']).status !== 0) reasons.push('no `ip` command (install iproute2)');
  return reasons;
}

export function setup(): void {
  const reasons = missing();
  const say =
    reasons.length === 0
      ? 'run (root, iproute2)'
      : `that need root and iproute2 are skipped: ${reasons.join(', ')}`;
  process.stdout.write(`\nSystem tests ${say}.\n\n`);
}

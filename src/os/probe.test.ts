import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { type Finding, probe } from './probe.ts';

const root = process.geteuid?.() === 0;

test('every finding has a detail, and advice exactly when it isn’t ok', () => {
  const findings = probe();
  expect(findings.length).toBeGreaterThan(0);
  for (const { name, ok, detail, advice } of findings) {
    expect(name).not.toBe('');
    expect(detail).not.toBe('');
    expect(advice === '', `${name}: ${advice}`).toBe(ok);
  }
  expect(new Set(findings.map((finding) => finding.name)).size).toBe(findings.length);
});

test.skipIf(process.platform !== 'linux' || !root)(
  `who has no rights is told what to do${root ? '' : ' (skipped: not root)'}`,
  () => {
    const url = JSON.stringify(new URL('./probe.ts', import.meta.url));
    const source = `import { probe } from ${url}; console.log(JSON.stringify(probe()));`;
    const drop = ['--bounding-set=-net_admin,-net_raw,-sys_admin,-bpf', '--inh-caps=-all'];
    const child = spawnSync('setpriv', [...drop, process.execPath, '--input-type=module', '-e', source], {
      encoding: 'utf8',
    });
    const findings = new Map(
      (JSON.parse(child.stdout) as Finding[]).map((finding) => [finding.name, finding]),
    );
    expect(findings.get('platform')).toMatchObject({ ok: true });
    expect(findings.get('capabilities')).toMatchObject({
      ok: false,
      detail: expect.stringContaining('no CAP_NET_ADMIN, no CAP_NET_RAW'),
    });
    expect(findings.get('capabilities')?.advice).toContain('unshare -Urn');
    expect(findings.get('AF_XDP')).toMatchObject({ ok: false, detail: expect.stringContaining('EPERM') });
  },
);

/** The kernel's TCP and ours over a bad link, with each feature on and off: what arrives, and what the wire shows. */
import { fileURLToPath } from 'node:url';
import { expect, it, vi } from 'vitest';
import { describeWithTun } from './describe.ts';
import type { Outcome, Scene } from './kernel-peer.ts';
import { Namespace } from './netns.ts';

const PLAYER = fileURLToPath(new URL('./kernel-peer.ts', import.meta.url));
/** 1 MB there and back is about 1,500 segments: some thirty are lost. */
const BYTES = 1 << 20;
const BAD = { loss: 0.02, reorder: 0.02, duplicate: 0.005, corrupt: 0.002, delay_ms: 4, jitter_ms: 1 };

async function play(scene: Partial<Scene>): Promise<Outcome> {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const all = { role: 'client', family: 4, sysctls: {}, limits: {}, offload: false, faults: BAD };
  const given = JSON.stringify({ ...all, bytes: BYTES, seed, ...scene });
  const ns = await Namespace.create();
  try {
    const out = await ns.run(process.execPath, [PLAYER, given], { timeoutMs: 60_000 });
    const outcome: Outcome = JSON.parse(out.trim().split('\n').at(-1) ?? '');
    expect(outcome, `node test/kernel-peer.ts '${given}'`).toMatchObject({ exact: true });
    return outcome;
  } finally {
    await ns.close();
  }
}

vi.setConfig({ testTimeout: 90_000 });

describeWithTun('the kernel over a bad link', () => {
  const ends = (['client', 'server'] as const).flatMap((role) =>
    ([4, 6] as const).map((family) => ({ role, family })),
  );

  it.each(ends)('all that both know, as $role over IPv$family', async (end) => {
    const { syn, ours, kernels, retransmits } = await play(end);
    const options = ['mss', 'sackPermitted', 'timestamps', 'windowScale'];
    expect([syn.ours.options, syn.kernels.options]).toEqual([options, options]);
    expect(Math.min(ours.sack, kernels.sack)).toBeGreaterThan(0);
    expect([ours.timestamps, kernels.timestamps]).toEqual([ours.segments, kernels.segments]);
    expect(retransmits).toBeGreaterThan(0);
  });

  it.each([
    ['SACK', { tcp_sack: '0' }, 'sackPermitted'],
    ['timestamps', { tcp_timestamps: '0' }, 'timestamps'],
    ['window scaling', { tcp_window_scaling: '0' }, 'windowScale'],
  ])('without %s', async (_what, sysctls, option) => {
    for (const role of ['client', 'server'] as const) {
      const { syn, ours, kernels } = await play({ role, sysctls });
      expect(syn.kernels.options).not.toContain(option);
      // We offer all as a client, and answer with what was offered as a server.
      expect(syn.ours.options.includes(option)).toBe(role === 'client');
      if (option === 'sackPermitted') expect([ours.sack, kernels.sack]).toEqual([0, 0]);
      if (option === 'timestamps') expect([ours.timestamps, kernels.timestamps]).toEqual([0, 0]);
    }
  });

  it.each(['client', 'server'] as const)('super-segments, as %s', async (role) => {
    await play({ role, offload: true });
  });
});

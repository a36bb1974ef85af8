/** The kernel's TCP and ours over a bad link, with each feature on and off: what arrives, and what the wire shows. */
import { fileURLToPath } from 'node:url';
import { expect, it, vi } from 'vitest';
import { describeWithTun } from './describe.ts';
import type { Outcome, Scene } from './kernel-peer.ts';
import { Namespace } from './netns.ts';

const PLAYER = fileURLToPath(new URL('./kernel-peer.ts', import.meta.url));
/** There and back that is about 1,100 segments: some twenty are lost. */
const BYTES = 3 << 18;
/** Flags of TCP's header: ECN-Echo, Congestion Window Reduced, Accurate ECN. */
const [ECE, CWR, AE] = [0x40, 0x80, 0x100];
const ECN_FLAGS = ECE | CWR | AE;
const BAD = { loss: 0.02, reorder: 0.02, duplicate: 0.005, corrupt: 0.002, delay_ms: 4, jitter_ms: 1 };

async function play(scene: Partial<Scene>): Promise<Outcome> {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const all = {
    role: 'client',
    family: 4,
    sysctls: {},
    limits: {},
    offload: false,
    fastOpen: false,
    faults: BAD,
  };
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

/**
 * Plays again when the link has lost what the feature began with: ECN isn't asked for by a SYN that is repeated (RFC 3168
 * 6.1.1.1), nor is data sent on it (RFC 7413 4.2.1). Whatever is lost, all bytes must have arrived.
 */
async function playUntil(began: (outcome: Outcome) => boolean, scene: Partial<Scene>): Promise<Outcome> {
  for (let tries = 1; ; tries++) {
    const outcome = await play(scene);
    if (began(outcome) || tries === 4) return outcome;
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
    const roles = ['client', 'server'] as const;
    const outcomes = await Promise.all(roles.map((role) => play({ role, sysctls })));
    for (const [i, { syn, ours, kernels }] of outcomes.entries()) {
      expect(syn.kernels.options).not.toContain(option);
      // We offer all as a client, and answer with what was offered as a server.
      expect(syn.ours.options.includes(option)).toBe(roles[i] === 'client');
      if (option === 'sackPermitted') expect([ours.sack, kernels.sack]).toEqual([0, 0]);
      if (option === 'timestamps') expect([ours.timestamps, kernels.timestamps]).toEqual([0, 0]);
    }
  });

  it.each(['client', 'server'] as const)('super-segments, as %s', async (role) => {
    // The kernel trusts what it is to cut: spoiled on this side of that, it would be taken.
    const { largest } = await play({ role, offload: true, faults: { ...BAD, corrupt: 0 } });
    expect(largest).toBeGreaterThan(1500);
  });

  it.each(['bbr', 'reno'] as const)('with %s', async (congestion) => {
    const { info } = await play({ limits: { congestion } });
    expect(info).toMatchObject({ congestion });
  });

  it.each(['client', 'server'] as const)('classic ECN, as %s', async (role) => {
    const faults = { ...BAD, mark: 0.05 };
    const ecn = role === 'client' ? 'on' : 'passive';
    // A sender that repairs losses all the time may have no reduction of its own to tell of.
    const told = ({ ect, ece, cwr }: Outcome['ours']) => Math.min(ect, ece, cwr) > 0;
    const { syn, ours, kernels, info } = await playUntil(
      (outcome) => outcome.info?.ecn === 'classic' && told(outcome.ours) && told(outcome.kernels),
      { role, faults, limits: { ecn }, sysctls: { tcp_ecn: '1' } },
    );
    expect(info).toMatchObject({ ecn: 'classic' });
    const [asks, agrees] = role === 'client' ? [syn.ours, syn.kernels] : [syn.kernels, syn.ours];
    expect([asks.flags & ECN_FLAGS, agrees.flags & ECN_FLAGS]).toEqual([ECE | CWR, ECE]);
    // Marks in both directions were told, and answered.
    expect([ours, kernels]).toSatisfy((both: Outcome['ours'][]) => both.every(told));
  });

  it('without ECN when either end has none', async () => {
    const outcomes = await Promise.all([
      play({ sysctls: { tcp_ecn: '0' }, limits: { ecn: 'on' } }),
      play({ sysctls: { tcp_ecn: '1' }, limits: { ecn: 'off' }, role: 'server' }),
    ]);
    for (const { ours, kernels, info } of outcomes) {
      expect(info).toMatchObject({ ecn: 'none' });
      for (const { ect, cwr } of [ours, kernels]) expect([ect, cwr]).toEqual([0, 0]);
    }
  });

  it.for(['client', 'server'] as const)('accurate ECN, as %s', async (role, { skip }) => {
    const played = play({
      role,
      faults: { ...BAD, mark: 0.02 },
      limits: { ecn: role === 'client' ? 'accurate' : 'passive' },
      sysctls: { tcp_ecn: '3' },
    });
    // A kernel that doesn't know RFC 9768 refuses the setting.
    const outcome = await played.catch((error: Error) => {
      if (!error.message.includes('EINVAL')) throw error;
      return null;
    });
    if (outcome === null) return skip('this kernel has no accurate ECN');
    const { syn, ours, kernels, info } = outcome;
    expect(info).toMatchObject({ ecn: 'accurate' });
    const asks = role === 'client' ? syn.ours : syn.kernels;
    expect(asks.flags & ECN_FLAGS).toBe(AE | ECE | CWR);
    expect(Math.min(ours.ect, kernels.ect)).toBeGreaterThan(0);
  });

  it.each(['client', 'server'] as const)('Fast Open, as %s', async (role) => {
    const { fastOpens } = await playUntil((outcome) => outcome.fastOpens > 0, {
      role,
      fastOpen: true,
      bytes: 1000,
      sysctls: { tcp_fastopen: '3' },
    });
    expect(fastOpens).toBeGreaterThan(0);
  });
});

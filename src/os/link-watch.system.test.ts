import { closeSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { rxQueues } from './ethtool.ts';
import { setInterface } from './interface.ts';
import { LinkWatch } from './link-watch.ts';
import { enterNewNetwork } from './netns.ts';
import { createTun } from './tuntap.ts';

const reason = process.geteuid?.() === 0 ? '' : ' (skipped: needs root, or unshare -Urn)';

describe.skipIf(reason !== '')(`interfaces that change${reason}`, () => {
  beforeAll(enterNewNetwork);

  test('every change is told once, however many there were', () => {
    const watch = new LinkWatch();
    expect(watch.changed()).toBe(false);
    const [fd] = createTun('mr0', 'tap', { vnetBytes: 10, offload: false, queues: 1 }).fds;
    expect(watch.changed()).toBe(true);
    expect(watch.changed()).toBe(false);
    for (let mtu = 1000; mtu < 1010; mtu++) setInterface('mr0', { mtu });
    expect(watch.changed()).toBe(true);
    expect(watch.changed()).toBe(false);
    closeSync(fd);
    expect(watch.changed()).toBe(true);
    watch.close();
  });

  test('a driver that doesn’t tell its queues has one', () => {
    const [fd] = createTun('mr0', 'tap', { vnetBytes: 10, offload: false, queues: 1 }).fds;
    expect(rxQueues('mr0')).toBe(1);
    expect(rxQueues('nope0')).toBe(1);
    closeSync(fd);
  });
});

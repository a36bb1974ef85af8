/** TUN and TAP ports keep to what all ports do, whatever they are asked for; the host's end is a raw socket. */
import { beforeAll, describe, expect, test } from 'vitest';
import { enterNewNetwork } from '../os/netns.ts';
import { portCompliance } from './compliance.testing.ts';
import { HostEnd, openTestTun, silenceIpv6 } from './tun.testing.ts';

const reason = process.geteuid?.() === 0 ? '' : ' (skipped: needs root, or unshare -Urn)';

describe.skipIf(reason !== '')(`TUN and TAP${reason}`, () => {
  beforeAll(() => {
    enterNewNetwork();
    silenceIpv6();
  });

  for (const kind of ['tun', 'tap'] as const)
    for (const offload of [true, false])
      for (const queues of [1, 2])
        for (const ioUring of [true, false]) {
          const options = { name: 'mr0', kind, offload, queues, ioUring, slots: 64 };
          const name = `${kind}, offload ${offload}, ${queues} queues, io_uring ${ioUring}`;
          const open = () => {
            const port = openTestTun(options);
            const far = new HostEnd('mr0');
            return { port, far, close: () => far.close() };
          };
          portCompliance(name, open, { patience_ms: 5000, runs: 10 });
          test(`${name}: is what was asked for`, () => {
            const port = openTestTun(options);
            expect(port.capabilities).toMatchObject({ queues, txChecksum: offload, rxChecksum: offload });
            expect(port.calls === 'read and write').toBe(!ioUring);
            port.close();
          });
        }
});

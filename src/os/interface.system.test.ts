import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addAddress, addRoute, interfaceInfo, setInterface } from './interface.ts';
import { enterNewNetwork } from './netns.ts';
import { createTun, type TunDevice } from './tuntap.ts';

const reason = process.geteuid?.() === 0 ? '' : ' (skipped: needs root, or unshare -Ur)';

describe.skipIf(reason !== '')(`interfaces${reason}`, () => {
  let tap: TunDevice;
  beforeAll(() => {
    enterNewNetwork();
    tap = createTun('mr0', 'tap', { vnetBytes: 10, offload: true, queues: 1 });
  });
  afterAll(() => closeSync(tap.fds[0]));

  test('a new device is down, with Ethernet’s MTU and a hardware address', () => {
    const info = interfaceInfo('mr0');
    expect(info).toMatchObject({ up: false, mtu: 1500 });
    expect(info.index).toBeGreaterThan(1);
    expect(info.mac).toMatch(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
  });

  test('settings change together and leave the others alone', () => {
    const { index } = interfaceInfo('mr0');
    setInterface('mr0', { mac: '02:00:00:00:00:09', mtu: 9000 });
    const mac = '02:00:00:00:00:09';
    const same = { index, mac, ether: true, kind: 'tun', xdpProgram: 0 };
    expect(interfaceInfo('mr0')).toEqual({ ...same, up: false, mtu: 9000 });
    setInterface('mr0', { up: true });
    expect(interfaceInfo('mr0')).toEqual({ ...same, up: true, mtu: 9000 });
    setInterface('mr0', { mtu: 1400 });
    expect(interfaceInfo('mr0')).toMatchObject({ up: true, mtu: 1400 });
    setInterface('mr0', { up: false });
    expect(interfaceInfo('mr0').up).toBe(false);
    setInterface('mr0', { up: true });
  });

  test('addresses of both families are there, and usable, at once', async () => {
    addAddress('mr0', '10.9.0.1/24');
    addAddress('mr0', '10.9.8.1/31');
    addAddress('mr0', 'fd09::1/64');
    const found = networkInterfaces().mr0?.map((each) => each.cidr);
    expect(found).toEqual(expect.arrayContaining(['10.9.0.1/24', '10.9.8.1/31', 'fd09::1/64']));
    // Nobody can bind to an address whose uniqueness is still being found out.
    const socket = createSocket('udp6').bind(0, 'fd09::1');
    await once(socket, 'listening');
    socket.close();
  });

  test('routes lead there, on the link or by a gateway', () => {
    addRoute('mr0', '10.20.0.0/16', '10.9.0.2');
    addRoute('mr0', '10.21.0.0/16');
    addRoute('mr0', '0.0.0.0/0', '10.9.0.2');
    addRoute('mr0', 'fd20::/16', 'fd09::2');
    addRoute('mr0', '::/0');
    expect(() => addRoute('mr0', '10.20.0.0/16', '10.9.0.2')).toThrow('EEXIST');
    expect(() => addRoute('mr0', '10.22.0.0/16', '192.0.2.1')).toThrow('ENETUNREACH');
  });

  test('what the kernel refuses names the thing and the reason', () => {
    expect(() => interfaceInfo('mr7')).toThrow('ENODEV');
    expect(() => addAddress('mr7', '10.0.0.1/8')).toThrow(expect.objectContaining({ code: 'ENODEV' }));
    expect(() => addAddress('mr0', '10.9.0.1/24')).toThrow(/EEXIST: .*add 10\.9\.0\.1\/24 to mr0/);
    // In the kernel's own words.
    expect(() => setInterface('mr0', { mtu: 10 })).toThrow(/EINVAL: .*mtu less than device minimum/);
    expect(() => addAddress('mr0', '10.0.0.300/8')).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ADDRESS' }),
    );
  });
});

import { describe, expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { DEVICE_USAGE, deviceFault, openPort, portArenaBytes } from './open.ts';

describe('names of devices', () => {
  test.each([
    'tun:mr0',
    'tap:mr0',
    'packet:eth0',
    'packet:eth0:host-mac',
    'host:eth0',
    'pcap:in.pcap',
    'pcap:in.pcap,to=out.pcapng,speed=0.5',
    'pcap:,to=out.pcapng',
    'pcap:in.pcap,speed=max',
    'null',
    'null:0',
    'null:1518',
  ])('%s is one', (name) => expect(deviceFault(name)).toBeNull());

  test.each([
    ['', 'there are'],
    ['ether:eth0', 'there are'],
    ['tun:', 'interface name'],
    ['packet:', 'interface name'],
    ['packet:eth0:2', 'host-mac'],
    ['packet:eth0:host-mac:2', 'host-mac'],
    ['pcap:', 'to=FILE'],
    ['pcap:in,out', 'to=FILE'],
    ['pcap:in,to=', 'to=FILE'],
    ['pcap:in,speed=0', 'speed'],
    ['pcap:in,speed=fast', 'speed'],
    ['null:1519', 'length'],
    ['null:x', 'length'],
  ])('%s is none, and it says why', (name, why) => {
    expect(deviceFault(name)).toContain(why);
    expect(() => openPort(new Arena(1 << 16), name)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(() => portArenaBytes(name)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });

  test('help texts name all of them', () => {
    for (const kind of ['tun:', 'tap:', 'packet:', 'host:', 'pcap:', 'null'])
      expect(DEVICE_USAGE).toContain(kind);
  });

  test('what a name says gets to the device', () => {
    const settings = { mtu: 600, slots: 16 };
    const port = openPort(new Arena(portArenaBytes('null:100', settings) + 128), 'null:100', settings);
    expect(port).toMatchObject({ name: 'null:100', capabilities: { mtu: 600 } });
    port.rxSync();
    expect(port.counters.rxBytes).toBe(1600);
    port.close();
  });
});

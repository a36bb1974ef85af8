/** What drivers say of their devices (linux/ethtool.h), by ioctl. */
import { closeSync } from 'node:fs';
import { check, libc, NativeMemory } from './libc.ts';

const SIOCETHTOOL = 0x8946;
const ETHTOOL_GCHANNELS = 0x3c;
const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 0x80002;
/** struct ifreq, of 40 B: name, then a pointer to the command. */
const IFREQ_DATA = 16;
const INTERFACE_NAME_MAX = 15;
/** struct ethtool_channels, u32: command, four maxima, then the counts: rx, tx, other, combined. */
const CHANNELS = 64;
const CHANNELS_BYTES = 36;
const CHANNELS_RX = CHANNELS + 20;
const CHANNELS_COMBINED = CHANNELS + 32;

/** How many queues an interface receives with: 1 when the driver doesn't tell. @throws SystemError */
export function rxQueues(name: string): number {
  const c = libc();
  using memory = new NativeMemory(CHANNELS + CHANNELS_BYTES);
  const { view, u8, address } = memory;
  new TextEncoder().encodeInto(name, u8.subarray(0, INTERFACE_NAME_MAX));
  view.setBigUint64(IFREQ_DATA, BigInt(address + CHANNELS), true);
  view.setUint32(CHANNELS, ETHTOOL_GCHANNELS, true);
  const fd = check(c.socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0), 'socket');
  try {
    if (c.ioctl(fd, SIOCETHTOOL, address) < 0) return 1;
    return Math.max(1, view.getUint32(CHANNELS_RX, true) + view.getUint32(CHANNELS_COMBINED, true));
  } finally {
    closeSync(fd);
  }
}

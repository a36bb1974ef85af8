/** Configuring the host's network interfaces: addresses by rtnetlink, the rest by ioctl. No external program. */
import { libc, SystemError } from './libc.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCSIFMTU = 0x8922;
const SIOCGIFINDEX = 0x8933;
const IFF_UP = 1;
const IFREQ_BYTES = 40;
const IFREQ_DATA = 16;

const RTM_NEWADDR = 20;
const NLM_REQUEST_ACK_CREATE = 0x1 | 0x4 | 0x400;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_FLAGS = 8;
/** Usable at once, without duplicate address detection: nobody else can be on a device that we made. */
const IFA_F_NODAD = 2;
const SCRATCH_BYTES = 4096;

let scratch: { at: number; view: DataView } | null = null;

function scratchPage(): { at: number; view: DataView } {
  scratch ??= libc().allocate(SCRATCH_BYTES);
  new Uint8Array(scratch.view.buffer).fill(0);
  return scratch;
}

/** One ioctl on an interface by name; `fill` writes the request's union, which is returned after the call. */
function interfaceIoctl(
  name: string,
  request: number,
  what: string,
  fill?: (data: DataView) => void,
): DataView {
  const c = libc();
  const page = scratchPage();
  const data = new DataView(page.view.buffer, page.view.byteOffset + IFREQ_DATA, IFREQ_BYTES - IFREQ_DATA);
  for (let i = 0; i < name.length; i++) page.view.setUint8(i, name.charCodeAt(i));
  fill?.(data);
  const fd = c.socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) throw new SystemError('socket', c.errno());
  const result = c.ioctl(fd, request, page.at);
  const errno = c.errno();
  c.close(fd);
  if (result < 0) throw new SystemError(what, errno, name);
  return data;
}

export function interfaceIndex(name: string): number {
  return interfaceIoctl(name, SIOCGIFINDEX, 'SIOCGIFINDEX').getInt32(0, true);
}

/** @param up false takes it down. */
export function interfaceSetUp(name: string, up: boolean): void {
  const flags = interfaceIoctl(name, SIOCGIFFLAGS, 'SIOCGIFFLAGS').getInt16(0, true);
  const wanted = up ? flags | IFF_UP : flags & ~IFF_UP;
  interfaceIoctl(name, SIOCSIFFLAGS, 'SIOCSIFFLAGS', (data) => data.setInt16(0, wanted, true));
}

export function interfaceSetMtu(name: string, mtu: number): void {
  interfaceIoctl(name, SIOCSIFMTU, 'SIOCSIFMTU', (data) => data.setInt32(0, mtu, true));
}

/** @param address 4 or 16 bytes in network order. */
export function interfaceAddAddress(name: string, address: Uint8Array, prefixLength: number): void {
  const index = interfaceIndex(name);
  const c = libc();
  const { at, view } = scratchPage();
  let length = 16;
  view.setUint16(4, RTM_NEWADDR, true);
  view.setUint16(6, NLM_REQUEST_ACK_CREATE, true);
  view.setUint32(8, 1, true);
  view.setUint8(length, address.length === 4 ? AF_INET : AF_INET6);
  view.setUint8(length + 1, prefixLength);
  view.setInt32(length + 4, index, true);
  length += 8;
  const attribute = (type: number, bytes: Uint8Array): void => {
    view.setUint16(length, 4 + bytes.length, true);
    view.setUint16(length + 2, type, true);
    for (const [i, byte] of bytes.entries()) view.setUint8(length + 4 + i, byte);
    length += (4 + bytes.length + 3) & ~3;
  };
  attribute(IFA_LOCAL, address);
  attribute(IFA_ADDRESS, address);
  if (address.length === 16) attribute(IFA_FLAGS, Uint8Array.of(IFA_F_NODAD, 0, 0, 0));
  view.setUint32(0, length, true);

  const fd = c.socket(AF_NETLINK, SOCK_RAW_CLOEXEC, 0);
  if (fd < 0) throw new SystemError('socket', c.errno(), 'netlink');
  try {
    if (c.send(fd, at, length, 0) < 0) throw new SystemError('send', c.errno(), 'netlink');
    if (c.recv(fd, at, SCRATCH_BYTES, 0) < 20) throw new SystemError('recv', c.errno(), 'netlink');
  } finally {
    c.close(fd);
  }
  const error = view.getInt32(16, true);
  if (error !== 0) throw new SystemError('RTM_NEWADDR', -error, name);
}

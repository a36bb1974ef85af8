/**
 * The kernel's Fast Open (RFC 7413), which Node doesn't offer: `node test/fast-open-peer.ts client|server ADDRESS PORT
 * CONNECTIONS BYTES`. A client sends its bytes with the SYN, a server sends back what it got; both one connection
 * after the other, and print a line for each. Blocking calls, for a process of its own in a namespace.
 */
import { createHash } from 'node:crypto';
import { closeSync } from 'node:fs';
import { check, libc, NativeMemory } from '../src/os/libc.ts';
import { parseIpv4 } from '../src/wire/address.ts';

const AF_INET = 2;
const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const IPPROTO_TCP = 6;
const TCP_FASTOPEN = 23;
const MSG_FASTOPEN = 0x2000_0000;
const SHUT_WR = 1;
const SYSCALLS =
  process.arch === 'x64'
    ? { accept: 43, shutdown: 48, listen: 50 }
    : { accept: 202, shutdown: 210, listen: 201 };

const [role, address, port, connections, bytes] = process.argv.slice(2);
const c = libc();
const memory = new NativeMemory(1 << 20);
/** The first bytes are for addresses and options. */
const DATA = 4096;

writeAddress(parseIpv4(address), Number(port));
if (role === 'client') for (let i = 0; i < Number(connections); i++) client(Number(bytes));
else server(Number(connections));

function client(length: number): void {
  const fd = check(c.socket(AF_INET, SOCK_STREAM, 0), 'socket');
  for (let i = 0; i < length; i++) memory.u8[DATA + i] = i * 11 + (i >> 8);
  const sent = digest(length);
  let done = check(c.sendto(fd, memory.address + DATA, length, MSG_FASTOPEN, memory.address, 16), 'sendto');
  while (done < length) done += check(c.send(fd, memory.address + DATA + done, length - done, 0), 'send');
  check(c.syscall(SYSCALLS.shutdown, fd, SHUT_WR, 0), 'shutdown');
  const got = receive(fd);
  closeSync(fd);
  process.stdout.write(`${got === length && digest(got) === sent ? 'exact' : `${got} bytes back`}\n`);
}

function server(count: number): void {
  const fd = check(c.socket(AF_INET, SOCK_STREAM, 0), 'socket');
  option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  check(c.bind(fd, memory.address, 16), 'bind');
  option(fd, IPPROTO_TCP, TCP_FASTOPEN, 16);
  check(c.syscall(SYSCALLS.listen, fd, 16, 0), 'listen');
  process.stdout.write('listening\n');
  for (let i = 0; i < count; i++) {
    const peer = check(c.syscall(SYSCALLS.accept, fd, 0, 0), 'accept');
    const got = receive(peer);
    for (let done = 0; done < got; )
      done += check(c.send(peer, memory.address + DATA + done, got - done, 0), 'send');
    closeSync(peer);
    process.stdout.write(`echoed ${got}\n`);
  }
  closeSync(fd);
}

/** Until the end. @returns how many bytes now stand at DATA */
function receive(fd: number): number {
  let done = 0;
  for (;;) {
    const n = check(c.recv(fd, memory.address + DATA + done, memory.u8.length - DATA - done, 0), 'recv');
    if (n === 0) return done;
    done += n;
  }
}

function digest(length: number): string {
  return createHash('sha256')
    .update(memory.u8.subarray(DATA, DATA + length))
    .digest('hex');
}

/** struct sockaddr_in, at the memory's start. */
function writeAddress(ip: number, to: number): void {
  memory.view.setUint16(0, AF_INET, true);
  memory.view.setUint16(2, to, false);
  memory.view.setInt32(4, ip, false);
}

function option(fd: number, level: number, name: number, value: number): void {
  memory.view.setInt32(64, value, true);
  check(c.setsockopt(fd, level, name, memory.address + 64, 4), 'setsockopt');
}

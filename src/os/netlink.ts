/**
 * rtnetlink: one request, and its answers (RFC 3549, linux/netlink.h, linux/rtnetlink.h). All in the byte order of the
 * machine, which is little-endian on every architecture that libc.ts lets in.
 */
import { closeSync } from 'node:fs';
import { EAGAIN, SystemError } from './errno.ts';
import { check, libc, MSG_DONTWAIT, NativeMemory } from './libc.ts';

export const NLM_F_CREATE = 0x400;
export const NLM_F_EXCL = 0x200;

const NLM_F_REQUEST = 1;
const NLM_F_ACK = 4;
const NLM_F_DUMP = 0x300;
const NLM_F_ACK_TLVS = 0x200;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLMSGERR_ATTR_MSG = 1;
/** length u32, type u16, flags u16, sequence u32, port u32 */
const HEADER_BYTES = 16;
/** The answer to a refused request: header, errno i32, the request's header; then attributes. */
const ERROR_BYTES = HEADER_BYTES + 4 + HEADER_BYTES;

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 0x80003;
const NETLINK_ROUTE = 0;
const SOL_NETLINK = 270;
/** Don't repeat the request in the answer to it; say in words what was wrong with it. */
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
/** A link's description, the longest answer, is some 2 KiB. */
const BUFFER_BYTES = 32_768;

/**
 * @param what For the error: what was to be done.
 * @param body After the netlink header.
 * @param answer Whether a message is asked for, or only whether it was done.
 * @returns the body of the answer, or nothing.
 * @throws SystemError
 */
export function netlinkRequest(
  what: string,
  type: number,
  flags: number,
  body: Uint8Array,
  answer = false,
): Uint8Array {
  return converse((socket) => {
    socket.send(what, type, flags | (answer ? 0 : NLM_F_ACK), body);
    const [message] = socket.receive(what);
    return message.type === NLMSG_ERROR ? new Uint8Array(0) : message.body;
  });
}

/**
 * Everything of a kind.
 * @param body After the netlink header, as the request has it; the kernel may take no notice of what it asks for.
 * @returns the bodies of the answers. @throws SystemError
 */
export function netlinkDump(what: string, type: number, body: Uint8Array): Uint8Array[] {
  return converse((socket) => {
    socket.send(what, type, NLM_F_DUMP, body);
    const found: Uint8Array[] = [];
    for (;;) {
      for (const message of socket.receive(what)) {
        if (message.type === NLMSG_DONE) return found;
        found.push(message.body);
      }
    }
  });
}

interface NetlinkMessage {
  readonly type: number;
  readonly body: Uint8Array;
}

interface NetlinkSocket {
  send(what: string, type: number, flags: number, body: Uint8Array): void;
  /** What one recv() gives, one message at least. @throws SystemError the error that one of them is */
  receive(what: string): NetlinkMessage[];
}

function converse<T>(talk: (socket: NetlinkSocket) => T): T {
  const c = libc();
  using memory = new NativeMemory(BUFFER_BYTES);
  const { view, u8, address } = memory;
  const fd = check(c.socket(AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_ROUTE), 'socket AF_NETLINK');
  try {
    view.setInt32(0, 1, true);
    // Older than Linux 4.12: the errors are terser.
    c.setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, address, 4);
    c.setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, address, 4);
    return talk({
      send(what, type, flags, body) {
        view.setUint32(0, HEADER_BYTES + body.length, true);
        view.setUint16(4, type, true);
        view.setUint16(6, NLM_F_REQUEST | flags, true);
        view.setUint32(8, 0, true);
        view.setUint32(12, 0, true);
        u8.set(body, HEADER_BYTES);
        check(c.send(fd, address, HEADER_BYTES + body.length, 0), what);
      },
      receive(what) {
        // rtnetlink has answered by the time send() returns.
        const length = c.recv(fd, address, BUFFER_BYTES, MSG_DONTWAIT);
        if (length < HEADER_BYTES + 4)
          throw new SystemError(length === -1 ? c.errno() : EAGAIN, what, 'no answer');
        return readMessages(u8.slice(0, length), what);
      },
    });
  } finally {
    closeSync(fd);
  }
}

function readMessages(bytes: Uint8Array, what: string): NetlinkMessage[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const messages: NetlinkMessage[] = [];
  for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
    const length = view.getUint32(at, true);
    if (length < HEADER_BYTES || at + length > bytes.length) break;
    const type = view.getUint16(at + 4, true);
    if (type === NLMSG_ERROR) throwError(bytes.subarray(at, at + length), what);
    messages.push({ type, body: bytes.subarray(at + HEADER_BYTES, at + length) });
    at += (length + 3) & ~3;
  }
  return messages;
}

/** Unless it is an error of none, which acknowledges. */
function throwError(message: Uint8Array, what: string): void {
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  const errno = -view.getInt32(HEADER_BYTES, true);
  if (errno === 0) return;
  const worded = (view.getUint16(6, true) & NLM_F_ACK_TLVS) !== 0 && message.length > ERROR_BYTES;
  const text = worded ? readAttributes(message.subarray(ERROR_BYTES)).get(NLMSGERR_ATTR_MSG) : undefined;
  throw new SystemError(errno, what, text && textOf(text));
}

/** Length u16, type u16, the value, padded to four bytes. */
export function attribute(type: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array((4 + value.length + 3) & ~3);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 4 + value.length, true);
  view.setUint16(2, type, true);
  bytes.set(value, 4);
  return bytes;
}

/** The last of a type counts. */
export function readAttributes(bytes: Uint8Array): Map<number, Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found = new Map<number, Uint8Array>();
  for (let at = 0; at + 4 <= bytes.length; ) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > bytes.length) break;
    found.set(view.getUint16(at + 2, true) & 0x3fff, bytes.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return found;
}

export function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

/** A string as the kernel has it, up to its zero. */
export function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes.slice() : bytes.slice(0, end));
}

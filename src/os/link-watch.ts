/** Tells that some interface has changed: gone, down, another MTU. One cheap question, for who polls anyway. */
import { closeSync } from 'node:fs';
import { EAGAIN } from './errno.ts';
import { check, libc, NativeMemory } from './libc.ts';

const AF_NETLINK = 16;
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0x80800;
const NETLINK_ROUTE = 0;
const RTMGRP_LINK = 1;
/** struct sockaddr_nl: family u16, pad, pid u32, groups u32. */
const SOCKADDR_BYTES = 12;
/** Messages aren't read for what they say, so they may be cut. */
const BUFFER_BYTES = 64;
/** Messages taken by one question. */
const BURST = 64;

export class LinkWatch {
  /** Polls readable when there is something to tell. */
  readonly fd: number;
  readonly #memory: NativeMemory;

  /** @throws SystemError */
  constructor() {
    const c = libc();
    this.fd = check(c.socket(AF_NETLINK, SOCK_RAW_NONBLOCK_CLOEXEC, NETLINK_ROUTE), 'socket AF_NETLINK');
    this.#memory = new NativeMemory(BUFFER_BYTES);
    try {
      this.#memory.view.setUint16(0, AF_NETLINK, true);
      this.#memory.view.setUint32(8, RTMGRP_LINK, true);
      check(c.bind(this.fd, this.#memory.address, SOCKADDR_BYTES), 'bind AF_NETLINK');
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Since the last question. An overflow (ENOBUFS) is a change, too. */
  changed(): boolean {
    const c = libc();
    for (let i = 0; i < BURST; i++) {
      if (c.recv(this.fd, this.#memory.address, BUFFER_BYTES, 0) < 0) return i > 0 || c.errno() !== EAGAIN;
    }
    return true;
  }

  close(): void {
    closeSync(this.fd);
    this.#memory.free();
  }
}

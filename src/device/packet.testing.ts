/** A veth pair in the test's own network namespace, and packet ports on its ends. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { Arena } from '../memory/arena.ts';
import { enterNewNetwork } from '../os/netns.ts';
import { openPacket, type PacketOptions, packetArenaBytes } from './packet.ts';
import type { Port } from './port.ts';

export function ip(...args: string[]): void {
  execFileSync('ip', args);
}

/** `mr0` and `mr1`, up, in a fresh namespace; the kernel says nothing by itself on them. */
export function enterVeth(): void {
  enterNewNetwork();
  writeFileSync('/proc/sys/net/ipv6/conf/default/disable_ipv6', '1');
  addVeth();
}

export function addVeth(): void {
  ip('link', 'add', 'mr0', 'type', 'veth', 'peer', 'name', 'mr1');
  ip('link', 'set', 'mr0', 'up');
  ip('link', 'set', 'mr1', 'up');
}

export function openTestPacket(options: PacketOptions): Port {
  return openPacket(new Arena(packetArenaBytes(options) + 128), options);
}

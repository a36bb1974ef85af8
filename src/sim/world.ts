/**
 * A whole network in virtual time: hosts with an engine each, routers, and links between them. Everything that
 * happens follows from the seed; nothing sleeps, and time jumps from one event to the next.
 *
 * Addresses: node n has 10.0.0.n and fd00::n, wherever it stands. Routers and hosts find the way by n, along the
 * fewest links.
 */

import { Frames } from '../device/held-frames.ts';
import type { Arena } from '../memory/arena.ts';
import { Prng } from '../memory/prng.ts';
import { ETHER_HEADER_BYTES } from '../wire/ethernet.ts';
import { EventQueue } from './event-queue.ts';
import { Host, type HostOptions } from './host.ts';
import { Link, type LinkOptions } from './link.ts';
import { Nat, type NatOptions } from './nat.ts';
import { NODES_MAX, Router, type RouterOptions } from './router.ts';

/** A frame reaches a link's end; a link's transmitter is free; a program's timer is due. */
const [ARRIVAL, FREE, TIMER] = [0, 1, 2];
const MS = 1e6;

export interface WorldOptions {
  readonly seed: number;
  /** All of it is the world's; see Arena.reset. */
  readonly arena: Arena;
  /** Largest IP packet of any host, bytes. */
  readonly mtu: number;
  /** Frames under way at once, in queues and on links; beyond they are lost (counted in `frames.exhausted`). */
  readonly frames?: number;
}

export type Node = Host | Router;

export class World {
  readonly arena: Arena;
  readonly prng: Prng;
  readonly frames: Frames;
  readonly hosts: Host[] = [];
  readonly routers: Router[] = [];
  readonly links: Link[] = [];
  /** By number; 0 is nobody's. */
  readonly nodes: (Node | null)[] = [null];
  /** ns since the world began. */
  now = 0;
  /** Events so far. */
  steps = 0;
  /** After each breath of a host, before anything else happens. */
  onBreath: (host: Host) => void = () => {};
  readonly #events = new EventQueue();
  readonly #timers: ((() => void) | null)[] = [];
  readonly #timersFree: number[] = [];
  /** By node and link: which links lead away from it. */
  readonly #edges: { link: Link; to: Node }[][] = [[]];

  constructor(options: WorldOptions) {
    const { seed, arena, mtu, frames = 2048 } = options;
    this.arena = arena;
    this.prng = new Prng(seed);
    this.frames = new Frames(arena, frames, mtu + ETHER_HEADER_BYTES);
  }

  get now_ms(): number {
    return this.now / MS;
  }

  addHost(name: string, options: HostOptions): Host {
    const host = new Host(this, name, this.nodes.length, options);
    this.hosts.push(host);
    this.#add(host);
    return host;
  }

  addRouter(name: string, options: RouterOptions = {}): Router {
    const router = new Router(this, name, this.nodes.length, options);
    this.routers.push(router);
    this.#add(router);
    return router;
  }

  addNat(name: string, options: NatOptions): Nat {
    const nat = new Nat(this, name, this.nodes.length, options);
    this.routers.push(nat);
    this.#add(nat);
    return nat;
  }

  #add(node: Node): void {
    if (this.nodes.length > NODES_MAX) throw new RangeError(`a world has at most ${NODES_MAX} nodes`);
    this.nodes.push(node);
    this.#edges.push([]);
  }

  /** Joins two nodes. A host has one link only, and is joined to a host only if both have the same link layer. */
  join(a: Node, b: Node, forth: LinkOptions, back: LinkOptions): { forth: Link; back: Link } {
    const ether = a instanceof Host && b instanceof Host && a.ether && b.ether;
    for (const node of [a, b])
      if (node instanceof Host && node.ether !== ether)
        throw new RangeError(`host ${node.name} needs a host with Ethernet at its link's other end`);
    const connect = (from: Node, to: Node, options: LinkOptions): Link => {
      const name = `${from.name}-${to.name}`;
      const link = new Link(this, name, this.links.length, to, options, ether ? ETHER_HEADER_BYTES : 0);
      this.links.push(link);
      this.#edges[from.number].push({ link, to });
      if (from instanceof Host) from.nic.out = link;
      return link;
    };
    const links = { forth: connect(a, b, forth), back: connect(b, a, back) };
    this.#route();
    return links;
  }

  /** Fills the routers' tables: for each destination its links are walked backwards, nearest nodes first. */
  #route(): void {
    for (let n = 1; n < this.nodes.length; n++) {
      const seen = new Set<number>([n]);
      let ring = [n];
      while (ring.length > 0) {
        const further: number[] = [];
        for (const to of ring) {
          for (let from = 1; from < this.nodes.length; from++) {
            const edge = this.#edges[from].find((e) => e.to.number === to);
            if (edge === undefined || seen.has(from)) continue;
            seen.add(from);
            const node = this.nodes[from];
            // Hosts don't forward.
            if (!(node instanceof Router)) continue;
            node.routes[n] = edge.link;
            further.push(from);
          }
        }
        ring = further;
      }
    }
  }

  /** The links from one host to another, in order. */
  path(from: Host, to: Host): Link[] {
    const links: Link[] = [];
    for (let link: Link | null = from.nic.out; link !== null; ) {
      links.push(link);
      link = link.to instanceof Router ? link.to.routes[to.number] : null;
    }
    return links;
  }

  /** Calls `run` after so many ms, as a program's own timers do. */
  after(ms: number, run: () => void): void {
    const i = this.#timersFree.pop() ?? this.#timers.push(null) - 1;
    this.#timers[i] = run;
    this.#events.push(this.now + Math.max(0, ms) * MS, TIMER, i);
  }

  arriveAt(time: number, f: number, link: Link): void {
    this.frames.link[f] = link.index;
    this.#events.push(time, ARRIVAL, f);
  }

  freeAt(time: number, link: Link): void {
    this.#events.push(time, FREE, link.index);
  }

  /** Lets the next thing happen. @returns false when nothing ever will */
  step(): boolean {
    let host: Host | null = null;
    let time = this.#events.next;
    for (let i = 0; i < this.hosts.length; i++) {
      if (this.hosts[i].wakeAt >= time) continue;
      host = this.hosts[i];
      time = host.wakeAt;
    }
    if (time === Number.POSITIVE_INFINITY) return false;
    this.now = time;
    this.steps++;
    if (host !== null) {
      host.breathe();
      this.onBreath(host);
      return true;
    }
    const events = this.#events;
    events.pop();
    const i = events.argument;
    if (events.what === ARRIVAL) {
      const link = this.links[this.frames.link[i]];
      link.to.receive(i, link);
    } else if (events.what === FREE) this.links[i].free();
    else {
      const run = this.#timers[i];
      this.#timers[i] = null;
      this.#timersFree.push(i);
      run?.();
    }
    return true;
  }

  /** Steps until `done`. @returns false when it isn't by `limit_ms` of virtual time, or nothing will happen any more */
  run(done: () => boolean, limit_ms: number): boolean {
    const end = this.now + limit_ms * MS;
    while (!done()) if (this.now > end || !this.step()) return false;
    return true;
  }

  /** Lets `ms` pass. */
  pass(ms: number): void {
    const end = this.now + ms * MS;
    let over = false;
    this.after(ms, () => {
      over = true;
    });
    while (!over) this.step();
    this.now = end;
  }
}

/** Runs a scenario to its end, and says what happened. */
import { auditEngine } from '../engine/audit.ts';
import { EngineError } from '../engine/errors.ts';
import type { Conn, Handlers } from '../engine/handlers.ts';
import type { Arena } from '../memory/arena.ts';
import { FLAG, STATE, TCB } from '../tcp/block.ts';
import { LEVEL_CALM } from '../tcp/memory.ts';
import { CLOSED_RESET } from '../tcp/reasons.ts';
import { auditRecords } from '../tcp/records-audit.ts';
import { Content } from './content.ts';
import type { Host } from './host.ts';
import { checkConnection, checkRtt } from './invariants.ts';
import { buildNetwork, type Network, startIncidents } from './network.ts';
import { Observer } from './observer.ts';
import { Pair, Program } from './program.ts';
import { drawScenario, type Scenario } from './scenario.ts';
import { type Rule, Violation } from './violation.ts';
import { World } from './world.ts';

/** What a scenario's engines, frames and rings need at most. Untouched pages cost nothing. */
export const SIM_ARENA_BYTES = 192 << 20;

/** Memory for frames under way, and how many there are at most. */
const FRAMES_BYTES = 64 << 20;
const FRAMES_MAX = 16_384;
const PORT = 7;
/** Where nobody listens. */
const PORT_CLOSED = 1;
/** Both sides' local ports of a simultaneous open, plus the connection's number. */
const PORT_LEFT = 20_000;
const PORT_RIGHT = 25_000;
/** A world in which so much happens hangs. */
const STEPS_MAX = 5_000_000;
/** Transmission records are audited at one in this plus 1 of the steps. */
const RECORDS_EVERY = 15;
/** Connections of a host that are checked after each of its breaths; more take turns. */
const CHECKED_A_BREATH = 4;
/** What is left when all programs are done (TIME-WAIT, half-open peers) ends by itself within this, virtual ms. */
const QUIET_MS = 1_500_000;
const QUIET_STEP_MS = 30_000;
/** Clocks drift by less. */
const CLOCK_SLACK = 5e-4;

export interface SimResult {
  readonly seed: number;
  readonly name: string;
  readonly virtual_ms: number;
  readonly steps: number;
  readonly frames: number;
  readonly connections: number;
  /** Read by programs. */
  readonly bytes: number;
  /** null: all rules held. */
  readonly violation: SimViolation | null;
}

export interface SimViolation {
  readonly rule: Rule;
  readonly connection: string;
  readonly message: string;
  readonly at_ms: number;
}

/**
 * @param arena Of SIM_ARENA_BYTES; what was in it is lost.
 * @param onlooker Called once the network stands and before anything happens in it.
 */
export function simulate(arena: Arena, seed: number, onlooker?: (simulation: Simulation) => void): SimResult {
  const simulation = new Simulation(arena, drawScenario(seed));
  onlooker?.(simulation);
  return simulation.run();
}

/** What is known of a host besides. */
class Watch {
  readonly host: Host;
  readonly observer: Observer;
  /** Its programs that aren't over, all of them and by their connections' slots. */
  live: Program[] = [];
  readonly bySlot = new Map<number, Program>();
  /** One set for all its connections. */
  handlers: Handlers = {};
  /** It has been short of chunks. */
  short = false;
  /** Windows that its engine has reduced for ECN; and whether a program of its has just ended. */
  reductions = 0;
  ended = false;
  turn = 0;

  constructor(host: Host, observer: Observer) {
    this.host = host;
    this.observer = observer;
  }

  add(program: Program): void {
    this.live.push(program);
    this.bySlot.set(this.host.engine.slot(program.conn), program);
  }

  remove(program: Program): void {
    this.ended = true;
    this.live.splice(this.live.indexOf(program), 1);
    this.bySlot.delete(this.host.engine.slot(program.conn));
  }

  of(conn: Conn): Program | null {
    const program = this.bySlot.get(this.host.engine.slot(conn));
    return program !== undefined && program.conn === conn ? program : null;
  }
}

export class Simulation {
  readonly scenario: Scenario;
  readonly world: World;
  readonly network: Network;
  readonly pairs: Pair[];
  readonly programs: Program[] = [];
  /** For onlookers: after each breath. */
  onBreath: (host: Host) => void = () => {};
  readonly watches: Watch[];
  readonly #content: Content;
  /** By the client's initial sequence number, which no translator changes. */
  readonly #bySequence = new Map<number, Pair>();
  /** By host's number times 256 plus the other's. */
  readonly #fastOpen: boolean;
  readonly #pathRtts = new Map<number, number>();
  #pending: number;

  constructor(arena: Arena, scenario: Scenario) {
    arena.reset();
    this.scenario = scenario;
    const { seed, mtu } = scenario;
    const frames = Math.min(FRAMES_MAX, Math.floor(FRAMES_BYTES / (mtu + 200)));
    this.world = new World({ seed, arena, mtu, frames });
    this.#content = new Content(arena);
    this.network = buildNetwork(this.world, scenario);
    this.#fastOpen = scenario.features.some(({ listen }) => listen.fastOpen === true);
    this.pairs = scenario.connections.map((plan) => new Pair(plan, scenario.mayFail));
    this.#pending = this.pairs.length;
    this.watches = this.network.hosts.map((host) => {
      const observer = new Observer(arena, this.#content, {
        host: host.name,
        mtu: scenario.mtu,
        dataOnSyn: this.#fastOpen,
        cookies: host.engine.tcp.limits.synCookies !== 'never',
        now: () => this.world.now,
      });
      host.nic.tap = observer;
      return new Watch(host, observer);
    });
  }

  run(): SimResult {
    let violation: SimViolation | null = null;
    try {
      this.#meet();
      for (const watch of this.watches) this.#listen(watch);
      startIncidents(this.world, this.scenario, this.network, (host) => this.#restarted(host));
      for (const pair of this.pairs) this.world.after(pair.plan.at_ms, () => this.#connect(pair));
      this.world.onBreath = (host) => {
        this.onBreath(host);
        this.#check(this.watches[host.number - 1]);
      };
      this.#untilOver();
      this.#untilQuiet();
      this.#checkEnd();
    } catch (error) {
      violation = this.#describe(error);
    }
    const { scenario, world } = this;
    return {
      seed: scenario.seed,
      name: scenario.name,
      virtual_ms: world.now_ms,
      steps: world.steps,
      frames: world.links.reduce((sum, link) => sum + link.counters.frames, 0),
      connections: this.pairs.length,
      bytes: this.programs.reduce((sum, program) => sum + program.received, 0),
      violation,
    };
  }

  #describe(error: unknown): SimViolation {
    const at_ms = this.world.now_ms;
    if (error instanceof Violation)
      return { rule: error.rule, connection: error.connection, message: error.message, at_ms };
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { rule: 'assertion', connection: '', message, at_ms };
  }

  /** Neighbours find each other before anything goes wrong: a host that doesn't answer three times can't be reached. */
  #meet(): void {
    const [a, b] = this.network.hosts;
    if (!a.ether) return;
    for (const link of this.world.links) link.isCalm = true;
    for (const address of [b.address4, b.address6]) {
      if (address === null) continue;
      let refused = false;
      const close = (): void => {
        refused = true;
      };
      a.engine.connect({ address, port: PORT_CLOSED }, { close });
      this.world.run(() => refused, 10_000);
    }
    for (const link of this.world.links) link.isCalm = false;
  }

  #listen(watch: Watch): void {
    watch.handlers = this.#handlers(watch);
    const { listen } = this.scenario.features[watch.host.number - 1];
    watch.host.engine.listen({ ...listen, port: PORT, backlog: this.scenario.backlog }, watch.handlers);
  }

  #handlers(watch: Watch): Handlers {
    const of = (conn: Conn): Program => {
      const program = watch.of(conn);
      if (program === null)
        throw new Violation('order', watch.host.name, `an event for connection ${conn}, which there is not`);
      return program;
    };
    return {
      open: (conn) => (watch.of(conn) ?? this.#accept(watch, conn)).open(),
      data: (conn, at, length) => of(conn).data(at, length),
      end: (conn) => of(conn).end(),
      writable: (conn) => of(conn).pump(),
      drained: (conn) => {
        of(conn).drained++;
      },
      close: (conn, reason) => {
        const program = of(conn);
        watch.remove(program);
        if (reason === CLOSED_RESET && this.#isCookieLost(program)) program.pair.mayFail = true;
        program.close(reason);
      },
    };
  }

  /**
   * A SYN cookie comes back in the handshake's last ACK only: when that is lost or late, what the client sends after it
   * is a stranger's (RFC 4987 3.6).
   */
  #isCookieLost({ pair }: Program): boolean {
    return this.watches[pair.plan.server].host.engine.tcp.counters.cookiesFailed > 0;
  }

  #accept(watch: Watch, conn: Conn): Program {
    const { tcp } = watch.host.engine;
    const irs = tcp.m[tcp.blocks.find(conn) + TCB.IRS];
    const pair = this.#bySequence.get(irs);
    if (pair === undefined)
      throw new Violation('accepted', watch.host.name, `a connection that nobody opened`);
    // Data on a SYN that the network doubles is accepted twice (RFC 7413 2.2).
    if (pair.server !== null && this.#fastOpen) pair.mayFail = true;
    // And an ACK with a cookie, as long as that is good.
    if (watch.host.engine.tcp.counters.cookiesAccepted > 0) pair.mayFail ||= pair.server !== null;
    if (pair.server !== null && !pair.mayFail)
      throw new Violation('accepted', pair.server.name, 'accepted a second time');
    const program = this.#program(pair, watch, 1);
    program.attach(conn);
    pair.server = program;
    watch.add(program);
    return program;
  }

  #program(pair: Pair, watch: Watch, side: 0 | 1): Program {
    const program = new Program(this.world, this.#content, pair, watch.host, side, this.scenario.seed);
    this.programs.push(program);
    return program;
  }

  #connect(pair: Pair): void {
    const { plan } = pair;
    const [client, server] = [this.watches[plan.client], this.watches[plan.server]];
    this.#pending--;
    if (plan.simultaneous) {
      pair.server = this.#open(pair, server, client, 1, PORT_RIGHT + plan.id, PORT_LEFT + plan.id);
      pair.client = this.#open(pair, client, server, 0, PORT_LEFT + plan.id, PORT_RIGHT + plan.id);
    } else pair.client = this.#open(pair, client, server, 0, plan.clientPort, PORT);
    if (pair.client === null) pair.refused = true;
    else this.#bySequence.set(pair.client.iss, pair);
  }

  /** @returns null when the port is still in use. */
  #open(pair: Pair, from: Watch, to: Watch, side: 0 | 1, localPort: number, port: number): Program | null {
    const { engine } = from.host;
    const six = pair.plan.v6;
    const program = this.#program(pair, from, side);
    const { noDelay } = program.plan;
    try {
      const conn = engine.connect(
        {
          ...this.scenario.features[from.host.number - 1].connect,
          address: (six ? to.host.address6 : to.host.address4) ?? '',
          localAddress: (six ? from.host.address6 : from.host.address4) ?? '',
          port,
          localPort,
          noDelay,
        },
        from.handlers,
      );
      program.attach(conn);
    } catch (error) {
      if (!(error instanceof EngineError) || error.code !== 'EADDRINUSE') throw error;
      this.programs.pop();
      return null;
    }
    from.add(program);
    program.begin();
    return program;
  }

  /** A host came up again, with nothing of what it had. */
  #restarted(host: Host): void {
    const watch = this.watches[host.number - 1];
    for (const program of watch.live) program.die();
    watch.live = [];
    watch.bySlot.clear();
    watch.reductions = 0;
    watch.observer.forget();
    this.#listen(watch);
  }

  /** The rules that a host's control blocks tell of, after its breath. */
  #check(watch: Watch): void {
    const { host, live, observer } = watch;
    const { tcp } = host.engine;
    if (tcp.memory.level !== LEVEL_CALM) watch.short = true;
    this.#checkMarks(watch);
    const all = live.length <= CHECKED_A_BREATH;
    const count = all ? live.length : CHECKED_A_BREATH;
    for (let i = 0; i < count; i++) {
      const program = live[all ? i : watch.turn++ % live.length];
      const t = tcp.blocks.find(program.conn);
      // Costly: it walks all of them.
      if ((this.world.steps & RECORDS_EVERY) === 0 && t !== 0) auditRecords(tcp, t);
      if (t === 0) throw new Violation('order', program.name, 'gone, and its program was not told');
      const flow = observer.find(
        (tcp.m[t + TCB.FLAGS] & FLAG.V6) === 0,
        tcp.m[t + TCB.PORTS],
        tcp.m[t + TCB.RADDR],
      );
      if (flow === null || flow.iss !== program.iss || program.offWire) continue;
      program.offWire = tcp.m[t + TCB.STATE] === STATE.UNREAD;
      const sentNew = all && flow.sndMax !== program.sndMax;
      program.sndMax = flow.sndMax;
      checkConnection(host.engine, t, flow, this.#pathRtt(program), sentNew, watch.short);
      const srtt_us = tcp.m[t + TCB.SRTT] >> 3;
      checkRtt(flow, program.srtt_us, srtt_us);
      program.srtt_us = srtt_us;
    }
  }

  /**
   * No congestion is taken for reported that no queue has marked, unless an ACK leaves room for it. What ends a connection
   * doesn't matter: there bare ACKs may lack the counters of AccECN.
   */
  #checkMarks(watch: Watch): void {
    const { ecnReductions } = watch.host.engine.tcp.counters;
    const reduced = ecnReductions !== watch.reductions;
    const hidden = watch.observer.marksHidden;
    watch.observer.marksHidden = false;
    const ending = watch.ended || watch.live.some((program) => program.shut || program.ended);
    watch.reductions = ecnReductions;
    watch.ended = false;
    if (!reduced || hidden || ending || this.world.links.some((link) => link.queue.counters.marked > 0))
      return;
    throw new Violation('ecn', watch.host.name, 'a window was reduced, and nothing was marked');
  }

  /** The shortest RTT of a program's path, us. */
  #pathRtt(program: Program): number {
    const { client, server } = program.pair.plan;
    const key = client * 256 + server;
    const known = this.#pathRtts.get(key);
    if (known !== undefined) return known;
    const [a, b] = [this.network.hosts[client], this.network.hosts[server]];
    const links = [...this.world.path(a, b), ...this.world.path(b, a)];
    const rtt_us = links.reduce((sum, link) => sum + link.delayMin_ms, 0) * 1000 * (1 - CLOCK_SLACK);
    this.#pathRtts.set(key, rtt_us);
    return rtt_us;
  }

  #untilOver(): void {
    const { world, scenario } = this;
    const end = world.now_ms + scenario.limit_ms;
    const over = (): boolean => this.#pending === 0 && this.pairs.every((pair) => pair.over);
    for (let n = 1; ; n++) {
      // Asked now and then: it looks at each connection.
      if (n % 16 === 0 && over()) return;
      if (world.steps > STEPS_MAX) throw new Violation('livelock', '', `${STEPS_MAX} events, and no end`);
      if (world.now_ms > end || !world.step()) {
        if (over()) return;
        throw new Violation('no-end', this.#unended(), `no end after ${Math.round(world.now_ms)} ms`);
      }
    }
  }

  /** The programs that aren't over, and what their connections are at. */
  #unended(): string {
    const left = this.programs.filter((program) => !program.over);
    return left
      .slice(0, 4)
      .map((program) => {
        const info = program.host.engine.info(program.conn);
        const at =
          info === null ? 'gone' : `${info.state}, ${info.sendQueue} B to send, window ${info.sndWnd}`;
        return `${program.name} (${program.sent} of ${program.plan.bytes} B sent, ${program.received} received; ${at})`;
      })
      .join('; ');
  }

  /** All that is left ends by itself: nothing is held any more then. */
  #untilQuiet(): void {
    const { world } = this;
    for (let waited = 0; ; waited += QUIET_STEP_MS) {
      try {
        for (const { host } of this.watches) auditEngine(host.engine);
        if (world.frames.inUse === 0 && this.programs.every((program) => program.over)) return;
      } catch (error) {
        if (waited >= QUIET_MS) throw new Violation('leak', '', error instanceof Error ? error.message : '');
      }
      if (waited >= QUIET_MS)
        throw new Violation('leak', this.#unended(), `${world.frames.inUse} frames are still under way`);
      world.run(() => false, QUIET_STEP_MS);
    }
  }

  #checkEnd(): void {
    for (const program of this.programs) {
      if (program.pair.mayFail || program.pair.refused) continue;
      if (program.received !== program.expected)
        throw new Violation('end', program.name, `${program.received} of ${program.expected} B received`);
    }
    if (this.scenario.clean) for (const watch of this.watches) this.#checkSentOnce(watch);
  }

  /** Where nothing is lost or late nothing is sent twice, but to ask for a window that is shut. */
  #checkSentOnce({ host, observer }: Watch): void {
    const { links, frames } = this.world;
    const lost = frames.exhausted + links.reduce((sum, link) => sum + link.queue.counters.overflowed, 0);
    const dropped = this.network.hosts.reduce((sum, each) => sum + each.nic.counters.rxDropped, 0);
    if (lost + dropped + host.engine.tcp.counters.persistProbes > 0) return;
    for (const flow of observer.flows) {
      // A probe of the tail needs no more cause than an RTT that grows (RFC 8985 7.2).
      if (flow.segmentsSentAgain <= host.engine.tcp.counters.tlpProbes) continue;
      const what = `${flow.segmentsSentAgain} segments (${flow.bytesSentAgain} B) were sent again, and none was lost`;
      throw new Violation('spurious-retransmission', flow.name, what);
    }
  }
}

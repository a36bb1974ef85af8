/** Runs one script against a fresh engine in virtual time. */
import type { Arena } from '../memory/arena.ts';
import { STATE, STATE_NAMES, TCB } from '../tcp/block.ts';
import { timeWaitRemove } from '../tcp/time-wait.ts';
import { FLAG_ACK, FLAG_AE, FLAG_CWR, FLAG_ECE, FLAG_FIN, FLAG_SYN } from '../wire/tcp.ts';
import { type Attempt, Calls } from './calls.ts';
import { type CommandTarget, type RouteSettings, runCommand } from './commands.ts';
import { comparePacket, joinSegments } from './compare.ts';
import { type Config, readConfig } from './config.ts';
import { Cookies } from './cookies.ts';
import { Mismatch, ScriptSyntaxError, Unsupported } from './errors.ts';
import { Flow } from './flow.ts';
import { Host, MTU_MIN_6 } from './host.ts';
import { buildIcmp, buildOptions, buildTcp, buildUdp, encapsulate } from './inject.ts';
import { formatLive, formatSeconds } from './notation.ts';
import { Nstat } from './nstat.ts';
import { parseScript } from './parser.ts';
import { AssertionFailed, PythonError, type PyValue, runPython } from './python.ts';
import type { EventTime, PacketSpec, Script, ScriptEvent, SystemCall, TcpSpec } from './script.ts';
import type { LivePacket, LiveTcp } from './sent.ts';
import { Settings } from './settings.ts';
import { TcpSocket, tableStates } from './socket.ts';
import { Sockets } from './sockets.ts';
import type { Dialect } from './symbols.ts';
import { setTcpInfo } from './tcp-info.ts';

export interface RunOptions {
  /** Found out from the script when left out. */
  readonly dialect?: Dialect;
  /** Of scripts that don't say; 4 unless told. */
  readonly version?: 4 | 6;
  /** Memory for the engine, ARENA_BYTES or more; it is cleared first. */
  readonly arena: Arena;
  readonly defines?: ReadonlyMap<string, string>;
}

export interface Result {
  readonly verdict: 'pass' | 'fail' | 'unsupported';
  readonly dialect: Dialect;
  /** Why it didn't pass: the line of the script, and what was expected and what came. */
  readonly line: number;
  readonly reason: string;
  /** What happened, packet by packet and call by call. */
  readonly trace: readonly string[];
  /** Mismatches that the script itself calls not fatal. */
  readonly warnings: readonly string[];
}

/** What Linux's test runner defines for its scripts, beside those of its own. */
const DEFINES: Readonly<Record<string, string>> = {
  CMSG_LEVEL_IP: 'SOL_IP',
  CMSG_TYPE_RECVERR: 'IP_RECVERR',
  TFO_COOKIE: '3021b9d889017eeb',
  TFO_COOKIE_ZERO: 'b7c12350a90dc8f5',
};

/** Some scripts hold two answers, the standard's and FreeBSD's: either will do. */
const STANDARD = 'STANDARD';
const FREEBSD = 'FreeBSD';
const ALTERNATIVE = /^[ \t]*#[ \t]*ifdef[ \t]+FreeBSD\b/m;

/** Longest wait for a packet whose time is any, us. */
const ANY_TIME_US = 300e6;
const FIRST_REMOTE_PORT = 50_000;
/** Echo and timestamp replies, of both versions. */
const ICMP_ANSWERS: readonly number[] = [0, 14, 129];

export function runScript(text: string, options: RunOptions): Result {
  const dialect = options.dialect ?? detectDialect(text);
  let result = runAs(text, options, dialect, STANDARD);
  if (result.verdict !== 'pass' && ALTERNATIVE.test(text)) {
    const other = runAs(text, options, dialect, FREEBSD);
    if (other.verdict === 'pass') result = other;
  }
  return result;
}

function runAs(text: string, options: RunOptions, dialect: Dialect, symbol: string): Result {
  const trace: string[] = [];
  const warnings: string[] = [];
  const settings = new Settings(dialect);
  const end = (verdict: Result['verdict'], line = 0, reason = ''): Result => ({
    verdict,
    dialect,
    line,
    reason,
    trace,
    warnings,
  });
  try {
    const defines = new Map([...Object.entries(DEFINES), ...(options.defines ?? [])]);
    const script = parseScript(text, { defines, symbols: [symbol] });
    const config = readConfig(script, options.version ?? null, dialect);
    for (const what of config.missing) settings.lack(what);
    if (!config.dryRun) new Run(script, config, settings, options.arena, trace, warnings).run();
    return end('pass');
  } catch (error) {
    if (error instanceof Unsupported) return end('unsupported', error.line, error.message);
    if (error instanceof ScriptSyntaxError) return end('fail', error.line, `syntax: ${error.message}`);
    if (!(error instanceof Mismatch)) throw error;
    if (settings.missing.length === 0) return end('fail', error.line, error.message);
    return end('unsupported', error.line, `${settings.missing.join(', ')}; without, ${error.message}`);
  }
}

/** FreeBSD's order of options on a SYN, and its padding. */
const FREEBSD_SYN = />[^<>\n]*S[^<>\n]*<[^<>\n]*(?:nop, *wscale +\d+, *sackOK|sackOK, *eol)/;

/** By what only one system's scripts have. */
export function detectDialect(text: string): Dialect {
  if (
    /\bnet\.ipv4\.|\/proc\/sys\/net|\bdefaults\.sh|\bset_sysctls|\btcpi_ca_state|\bTCP_CA_|\bTFO_COOKIE/.test(
      text,
    )
  )
    return 'linux';
  return /\bnet\.inet6?\.|\bkern\.ipc|\bsockstat\b|\btcpdrop\b|\/udp\(|\bTCPI_(?!OPT)[A-Z]|--udp_encapsulation|TCP_FUNCTION_BLK|#ifdef FreeBSD/.test(
    text,
  ) || FREEBSD_SYN.test(text)
    ? 'freebsd'
    : 'linux';
}

interface Pending {
  readonly call: SystemCall;
  readonly attempt: Attempt;
  readonly endUs: number;
  readonly sinceUs: number;
}

class Run implements CommandTarget {
  readonly #script: Script;
  readonly #config: Config;
  readonly settings: Settings;
  readonly #arena: Arena;
  readonly #trace: string[];
  readonly #warnings: string[];
  /** Built at the first event that needs it: settings made before count for all of it. */
  #host: Host | null = null;
  #sockets: Sockets | null = null;
  #calls: Calls | null = null;
  /** Set by a command, before there is a host. */
  #mtu: number | null = null;
  /** Time before there is a host, us. */
  #earlyUs = 0;
  readonly #flows: Flow[] = [];
  readonly #cookies = new Cookies();
  readonly #nstat = new Nstat();
  /** What the script's packets belong to. */
  #flow: Flow | null = null;
  #remotePort = FIRST_REMOTE_PORT;
  /** A blocking call that has not returned. */
  #pending: Pending | null = null;
  readonly #variables = new Map<string, PyValue>();
  #lastUs = 0;
  #lastInbound = false;

  constructor(
    script: Script,
    config: Config,
    settings: Settings,
    arena: Arena,
    trace: string[],
    warnings: string[],
  ) {
    this.#script = script;
    this.#config = config;
    this.settings = settings;
    this.#arena = arena;
    this.#trace = trace;
    this.#warnings = warnings;
  }

  run(): void {
    const { init, events, cleanup } = this.#script;
    if (init !== null) this.#command(init.text, init.line);
    if (events[0].time.us !== 0) throw new Mismatch(events[0].line, 'the first event must be at time 0');
    for (const event of events) this.#event(event);
    if (this.#pending !== null) {
      this.#advance(
        this.#pending.endUs + this.#tolerance(this.#pending.endUs, this.#pending.sinceUs),
        () => this.#pending === null,
      );
      if (this.#pending !== null)
        throw new Mismatch(this.#pending.call.line, `${this.#pending.call.name}() still blocks at the end`);
    }
    if (cleanup !== null) this.#command(cleanup.text, cleanup.line);
  }

  get #us(): number {
    return this.#host?.us ?? this.#earlyUs;
  }

  #event(event: ScriptEvent): void {
    const { action, time, line } = event;
    const base = this.#baseUs(event);
    const atUs = base + time.us;
    if (atUs < this.#lastUs && time.kind === 'absolute' && atUs + this.#config.toleranceUs < this.#us)
      throw new Mismatch(
        line,
        `time goes backwards, from ${formatSeconds(this.#lastUs)} to ${formatSeconds(atUs)}`,
      );
    const inbound = action.type === 'packet' && action.inbound;
    const before = this.#lastUs;
    if (action.type === 'packet' && !action.inbound) {
      this.#expect(action, time, base, before);
      this.#lastUs = Math.max(time.kind === 'any' ? this.#us : atUs, before);
    } else {
      this.#advance(atUs);
      if (this.#us > atUs + this.#tolerance(atUs, before))
        throw new Mismatch(
          line,
          `expected at ${formatSeconds(atUs)}, but it is ${formatSeconds(this.#us)} already`,
        );
      this.#lastUs = atUs;
      if (action.type === 'packet') this.#inject(action);
      else if (action.type === 'call') this.#call(action, base, atUs);
      else if (action.type === 'command') this.#command(action.text, action.line);
      else this.#code(action.text, action.line);
    }
    this.#lastInbound = inbound;
  }

  /** What a time counts from: packets in a row from each other, anything else from now. */
  #baseUs(event: ScriptEvent): number {
    const { kind } = event.time;
    if (kind === 'absolute' || kind === 'absolute range') return 0;
    const inbound = event.action.type === 'packet' && event.action.inbound;
    return inbound && this.#lastInbound ? this.#lastUs : this.#us;
  }

  #tolerance(us: number, sinceUs: number): number {
    return Math.max(this.#config.toleranceUs, ((us - sinceUs) * this.#config.tolerancePercent) / 100);
  }

  // --- the stack

  #start(): Host {
    if (this.#host !== null) return this.#host;
    const { version, local, localPrefix } = this.#config;
    const mtu = this.#mtu ?? this.#config.mtu;
    this.#arena.reset();
    const host = new Host({
      arena: this.#arena,
      limits: this.settings.limits,
      mtu,
      addresses: [`${local}/${localPrefix}`],
      // The script's end answers for everywhere.
      ...(version === 4 ? { gateway4: neighbour4(local) } : { gateway6: 'fe80::1' }),
    });
    host.advance(this.#earlyUs);
    this.#host = host;
    const sockets = new Sockets(host, this.settings, this.#config);
    this.#sockets = sockets;
    host.onBreath = () => {
      sockets.adapt();
      this.#retry();
    };
    this.#calls = new Calls(host, this.#sockets, this.settings, this.#config);
    this.#calls.onSocket = () => this.#follow();
    return host;
  }

  #advance(us: number, done?: () => boolean): void {
    if (this.#host === null) {
      this.#earlyUs = Math.max(this.#earlyUs, us);
      return;
    }
    this.#host.advance(us, done);
  }

  /** Packets of the script's belong to the socket that was last created, connected, accepted from or set to listen. */
  #follow(): void {
    const socket = this.#calls?.underTest ?? null;
    if (socket === null) return;
    if (socket.flow === null) {
      this.#flow = null;
      return;
    }
    const { tuple } = socket.flow;
    const known = this.#flows.find((flow) => sameTuple(flow, tuple));
    // A connect() from the same port is a connection of its own, with its own first sequence number.
    if (known !== undefined && !(socket instanceof TcpSocket && socket.state === 'connecting')) {
      socket.flow = known;
    } else this.#flows.push(socket.flow);
    this.#flow = socket.flow;
  }

  // --- packets

  #inject(packet: PacketSpec): void {
    const host = this.#start();
    refuse(packet);
    // Linux drops what is signed on a connection without a key.
    const { transport: given } = packet;
    const signed = given.protocol === 'tcp' && given.options?.some(({ kind }) => kind === 'md5') === true;
    if (signed && this.settings.dialect === 'linux' && !this.#signs) {
      this.#trace.push(`${formatSeconds(host.us)} ${packet.text} (dropped)`);
      return;
    }
    const flow = this.#flowFor(packet);
    const path = {
      version: flow.tuple.version,
      src: flow.tuple.remote,
      dst: flow.tuple.local,
      srcPort: packet.srcPort || flow.tuple.remotePort,
      dstPort: packet.dstPort || flow.tuple.localPort,
    };
    const { transport } = packet;
    this.#trace.push(`${formatSeconds(host.us)} ${packet.text}`);
    const inject = (bytes: Uint8Array) =>
      host.inject(encapsulate(bytes, path.version, packet.encapsulation, packet.line));
    if (transport.protocol === 'udp') inject(buildUdp(transport.length, path, packet.ip));
    else if (transport.protocol === 'icmp') {
      if (transport.quoted?.protocol === 'tcp' && transport.quoted.tunnel !== null)
        throw new Unsupported(packet.line, 'TCP over UDP');
      const seq = transport.quoted?.protocol === 'tcp' ? transport.quoted.seq : 0;
      inject(buildIcmp(packet, transport, path, flow.localToWire(seq), flow.protocol === 'udp' ? 17 : 6));
    } else {
      const acknowledges = (transport.flags & FLAG_ACK) !== 0;
      flow.noteEct(transport.options ?? []);
      flow.counted.segs_in++;
      if (transport.length > 0) flow.counted.data_segs_in++;
      const { tcp } = host.engine;
      const sockets = this.#sockets as Sockets;
      const { fastOpenKey, fastOpenCookies } = sockets;
      const own = this.#cookies.toWire(tcp, transport, flow.tuple, fastOpenKey, fastOpenCookies);
      const options = buildOptions(
        flow.optionsToWire(own, acknowledges, packet.line, this.#config.echoScaled),
        packet.line,
      );
      const spec = { ...transport, flags: this.#classic(transport.flags) };
      const numbers = flow.toWire(transport);
      sockets.takeWhole(numbers.seq, transport.length, (transport.flags & FLAG_FIN) !== 0);
      inject(buildTcp(spec, options, path, numbers, packet.ip));
    }
  }

  /** A socket has a key for MD5 signatures. */
  get #signs(): boolean {
    return this.#sockets?.all.some(({ options }) => options.has('TCP_MD5SIG')) ?? false;
  }

  /** The flags of a SYN that offers AccECN to a system that knows only RFC 3168, which sees no more in it. */
  #classic(flags: number): number {
    if ((flags & (FLAG_SYN | FLAG_ACK)) !== FLAG_SYN || !this.settings.classicEcn) return flags;
    const both = FLAG_ECE | FLAG_CWR;
    return (flags & both) === both ? flags & ~FLAG_AE : flags & ~(both | FLAG_AE);
  }

  /** The flow of an inbound packet; a SYN for a listener, or a packet for nobody, begins one. */
  #flowFor(packet: PacketSpec): Flow {
    if (this.#flow !== null) return this.#flow;
    const { version, local, remote, bindPort } = this.#config;
    const flow = new Flow(
      {
        version,
        local,
        localPort: packet.dstPort || (this.#calls?.underTest?.bound?.port ?? bindPort),
        remote,
        remotePort: packet.srcPort || this.#remotePort++,
      },
      packet.transport.protocol === 'udp' ? 'udp' : 'tcp',
    );
    this.#flows.push(flow);
    this.#flow = flow;
    return flow;
  }

  #expect(packet: PacketSpec, time: EventTime, base: number, sinceUs: number): void {
    refuse(packet);
    const host = this.#start();
    const flow = this.#flow;
    if (flow === null) throw new Mismatch(packet.line, `no connection can send ${packet.text}`);
    const any = time.kind === 'any';
    const fromUs = any ? 0 : base + time.us;
    const toUs = any ? host.us + ANY_TIME_US : base + time.endUs;
    const tolerance = any ? 0 : this.#tolerance(fromUs, sinceUs);
    let first = this.#nextOf(flow, toUs + tolerance);
    while (first !== null && isAside(packet, first)) first = this.#nextOf(flow, toUs + tolerance);
    if (first === null) {
      throw new Mismatch(
        packet.line,
        `nothing was sent until ${formatSeconds(toUs + tolerance)}\n  script: ${packet.text}`,
      );
    }
    const live = this.#wholeOf(flow, first, packet, toUs + tolerance);
    const wrong = this.#compare(flow, packet, live);
    const timing =
      any || (live.us >= fromUs - tolerance && live.us <= toUs + tolerance)
        ? null
        : `time: expected ${formatSeconds(fromUs)}${toUs === fromUs ? '' : `~${formatSeconds(toUs)}`}, sent at ${formatSeconds(live.us)} (tolerance ${formatSeconds(tolerance)})`;
    const problem = wrong ?? timing;
    this.#trace.push(this.#show(flow, packet, live));
    if (problem === null) return;
    const message = `${problem}\n  script: ${packet.text}\n  actual: ${this.#show(flow, packet, live)}`;
    if (!this.#config.nonFatalPackets) throw new Mismatch(packet.line, message);
    this.#warnings.push(`${packet.line}: ${message}`);
  }

  /** The next packet that a flow sent, waiting for it if need be. Those of others are nobody's, as in packetdrill. */
  #nextOf(flow: Flow, untilUs: number): LivePacket | null {
    const { sent } = this.#start();
    const taken = () => {
      while (sent.length > 0 && !flow.sends(sent[0])) sent.shift();
      return sent.length > 0;
    };
    if (!taken()) this.#advance(untilUs, taken);
    return sent.shift() ?? null;
  }

  /** What is expected as one packet may be several segments: a device that segments would have been given one. */
  #wholeOf(flow: Flow, first: LivePacket, packet: PacketSpec, untilUs: number): LivePacket {
    const { transport } = packet;
    if (transport.protocol !== 'tcp' || first.protocol !== 'tcp' || this.#config.strictSegments) return first;
    let live: LiveTcp = first;
    while (live.length > 0 && live.length < transport.length) {
      const next = this.#nextOf(flow, untilUs);
      const joined = next?.protocol === 'tcp' ? joinSegments(live, next) : null;
      // But for the last they are of one size.
      const whole = next?.length === first.length || (joined?.length ?? 0) >= transport.length;
      if (joined === null || !whole) {
        if (next !== null) this.#start().sent.unshift(next);
        break;
      }
      live = joined;
    }
    return live;
  }

  #compare(flow: Flow, packet: PacketSpec, live: LivePacket): string | null {
    const { transport } = packet;
    const options = { tsTickUs: this.#config.tsTickUs, toleranceUs: this.#config.toleranceUs };
    if (transport.protocol !== 'tcp' || live.protocol !== 'tcp')
      return comparePacket(packet, live, options, true);
    if ((live.flags & FLAG_SYN) !== 0 && (transport.flags & FLAG_SYN) !== 0 && flow.isn === null) {
      flow.isn = live.seq | 0;
      flow.scriptIsn = transport.seq;
    }
    const pushMatters = this.settings.dialect !== 'linux' || !this.#withinWrite(live);
    return comparePacket(packet, this.#toScript(flow, live, transport), options, pushMatters);
  }

  /**
   * More was written than ends there, or the program said that more would come. Where Linux sets PSH then depends on how
   * it cut what was written: it is set on all that a device is to segment, and cleared on what is cut off.
   */
  #withinWrite(live: LiveTcp): boolean {
    const socket = this.#calls?.underTest;
    if (live.length === 0 || !(socket instanceof TcpSocket)) return false;
    return socket.saidMore || socket.writtenPast((live.seq + live.length) | 0);
  }

  #toScript(flow: Flow, live: LiveTcp, spec: TcpSpec): LiveTcp {
    const mapped = flow.toScript(live, spec);
    const { tcp } = this.#start().engine;
    const key = this.#sockets?.fastOpenKey ?? '';
    return { ...mapped, options: this.#cookies.toScript(tcp, mapped.options, spec, flow.tuple, key) };
  }

  #show(flow: Flow, packet: PacketSpec, live: LivePacket): string {
    const { transport } = packet;
    return formatLive(
      transport.protocol === 'tcp' && live.protocol === 'tcp' ? this.#toScript(flow, live, transport) : live,
    );
  }

  // --- system calls

  #call(call: SystemCall, base: number, atUs: number): void {
    this.#start();
    this.#awaitPending();
    const calls = this.#calls as Calls;
    const attempt = calls.begin(call);
    const endUs = call.endUs === null ? atUs : base + call.endUs;
    if (endUs < atUs) throw new Mismatch(call.line, `${call.name}() is to return before it is called`);
    this.#pending = { call, attempt, endUs, sinceUs: atUs };
    this.#host?.settle();
    this.#retry();
    // Without a time of its own it should return at once; a little waiting is within the tolerance.
    if (call.endUs === null && this.#pending !== null) {
      this.#advance(atUs + this.#config.toleranceUs, () => this.#pending === null);
      if (this.#pending !== null) throw new Mismatch(call.line, `${call.name}() blocks`);
    }
  }

  /** Calls run one after another, as on one thread. */
  #awaitPending(): void {
    const pending = this.#pending;
    if (pending === null) return;
    this.#advance(
      pending.endUs + this.#tolerance(pending.endUs, pending.sinceUs),
      () => this.#pending === null,
    );
    if (this.#pending !== null)
      throw new Mismatch(
        pending.call.line,
        `${pending.call.name}() still blocks at ${formatSeconds(this.#us)}`,
      );
  }

  #retrying = false;

  #retry(): void {
    const pending = this.#pending;
    if (pending === null || this.#retrying) return;
    this.#retrying = true;
    const outcome = pending.attempt();
    this.#retrying = false;
    if (outcome === null) return;
    this.#pending = null;
    const { call, endUs, sinceUs } = pending;
    const shown = outcome.errno === undefined ? '' : ` ${outcome.errno}`;
    this.#trace.push(`${formatSeconds(this.#us)} ${call.name}() = ${outcome.value}${shown}`);
    const tolerance = this.#tolerance(endUs, sinceUs);
    let wrong = this.#calls?.judge(call, outcome) ?? null;
    if (wrong === null && Math.abs(this.#us - endUs) > tolerance)
      wrong = `${call.name}(): expected to return at ${formatSeconds(endUs)}, returned at ${formatSeconds(this.#us)}`;
    if (wrong === null) return;
    if (!this.#config.nonFatalCalls) throw new Mismatch(call.line, wrong);
    this.#warnings.push(`${call.line}: ${wrong}`);
  }

  // --- commands and code

  #command(text: string, line: number): void {
    const failed = runCommand(text, this);
    if (this.#host !== null) Object.assign(this.#host.engine.tcp.limits, this.#changed());
    if (failed !== null) throw new Mismatch(line, failed);
  }

  /** Settings that take effect while the stack runs. */
  #changed(): object {
    const {
      receiveBuffer: _,
      sendBuffer: __,
      connections: ___,
      miniBlocks: ____,
      chunks: _____,
      ...rest
    } = this.settings.limits;
    return rest;
  }

  #code(text: string, line: number): void {
    const socket = this.#calls?.underTest ?? null;
    if (socket instanceof TcpSocket)
      setTcpInfo(this.#variables, socket, this.settings.dialect, Math.floor(this.#us / 1000));
    try {
      for (const printed of runPython(text, this.#variables)) this.#trace.push(printed);
    } catch (error) {
      if (error instanceof AssertionFailed) throw new Mismatch(line, error.message);
      if (!(error instanceof PythonError)) throw error;
      throw new Unsupported(line, `code: ${error.message}`);
    }
  }

  // --- what commands ask for

  sockets(): string[] {
    if (this.#host === null || this.#sockets === null) return [];
    const version = this.#config.version;
    const line = (port: number, state: string) => `root packetdrill 1 3 tcp${version} *:${port} * ${state}`;
    const lines: string[] = [];
    for (const { state, localPort } of tableStates(this.#host.engine))
      lines.push(line(localPort, stateWord(STATE_NAMES[state])));
    for (const socket of this.#sockets.all) {
      if (socket.state === 'listening')
        lines.push(line(socket.bound?.port ?? this.#config.bindPort, 'LISTEN'));
      else if (
        (socket.state === 'ended' || socket.state === 'fresh') &&
        socket.references > 0 &&
        !this.#inTable(socket.flow)
      )
        lines.push(line(socket.flow?.tuple.localPort ?? 0, 'CLOSED'));
    }
    return lines;
  }

  counters(): string[] {
    return this.#host === null ? [] : this.#nstat.read(this.#host.engine.tcp.counters);
  }

  /** Whether the stack still knows a connection, if only in TIME-WAIT. */
  #inTable(flow: Flow | null): boolean {
    if (flow === null || this.#host === null) return false;
    return tableStates(this.#host.engine).some(({ localPort }) => localPort === flow.tuple.localPort);
  }

  dropConnections(state: string): void {
    const { engine } = this.#start();
    if (state !== 'TIME_WAIT') {
      for (const found of tableStates(engine))
        if (stateWord(STATE_NAMES[found.state]) === state) engine.abort(found.conn);
      return;
    }
    while (engine.tcp.timeWaitOldest !== 0) {
      if (engine.tcp.m[engine.tcp.timeWaitOldest + TCB.STATE] !== STATE.TIME_WAIT) return;
      timeWaitRemove(engine.tcp, engine.tcp.timeWaitOldest);
    }
  }

  setRoute(route: RouteSettings): void {
    if (route.rtoMin_ms !== undefined) this.settings.limits.rtoMin_ms = route.rtoMin_ms;
    if (route.initCwnd !== undefined) this.settings.initialWindow = route.initCwnd;
    if (route.mtu !== undefined) this.setMtu(route.mtu);
    if (route.congestion !== undefined)
      this.settings.lack(`route with congestion control ${route.congestion}`);
  }

  setMtu(mtu: number): void {
    const six = this.#config.version === 6;
    if (six && mtu < MTU_MIN_6) this.settings.lack(`IPv6 over a link of ${mtu} bytes`);
    const possible = six ? Math.max(mtu, MTU_MIN_6) : mtu;
    if (this.#host === null) this.#mtu = possible;
    else this.#host.setMtu(possible);
  }

  sleep(us: number): void {
    this.#advance(this.#us + us);
  }
}

/** @throws Unsupported for packets that this stack doesn't speak */
function refuse({ line, encapsulation, inbound, tunnel, mutated }: PacketSpec): void {
  if (encapsulation.length > 0 && !inbound)
    throw new Unsupported(line, 'packets sent through a tunnel, whose end this stack is none of');
  if (tunnel !== null) throw new Unsupported(line, 'TCP over UDP');
  if (mutated) throw new Unsupported(line, 'packets that a fuzzer is to change');
}

/** An answer to ICMP, which is asked for by the way and need not be expected. */
function isAnswer(packet: LivePacket): boolean {
  return packet.protocol === 'icmp' && ICMP_ANSWERS.includes(packet.icmpType);
}

function isAside(expected: PacketSpec, packet: LivePacket): boolean {
  return isAnswer(packet) && expected.transport.protocol !== 'icmp';
}

function sameTuple(flow: Flow, tuple: Flow['tuple']): boolean {
  const a = flow.tuple;
  return (
    a.local === tuple.local &&
    a.localPort === tuple.localPort &&
    a.remote === tuple.remote &&
    a.remotePort === tuple.remotePort
  );
}

/** SYN-RECEIVED as sockstat and tcpdrop call it. */
function stateWord(name: string): string {
  if (name === 'SYN-RECEIVED') return 'SYN_RCVD';
  return name.replaceAll('-', '_');
}

/** Another address of the network. */
function neighbour4(local: string): string {
  const parts = local.split('.');
  const last = Number(parts[3]);
  return [...parts.slice(0, 3), last === 254 ? 253 : last + 1].join('.');
}

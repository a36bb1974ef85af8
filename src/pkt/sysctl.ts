/** The kernel settings that scripts change, of both systems: what each means for this stack. */
import { type Settings, SYN_LINEAR } from './settings.ts';

/** @returns false when the value asks for what this stack doesn't do */
type Apply = (settings: Settings, value: string) => boolean;

/** The largest that a window can cover (RFC 7323 2.3). */
const BUFFER_MAX = 0xffff << 14;

const nothing: Apply = () => true;
/** Only these values are what this stack does anyway. */
const only =
  (...values: readonly string[]): Apply =>
  (_, value) =>
    values.includes(value);
const number =
  (set: (settings: Settings, value: number) => void): Apply =>
  (settings, value) => {
    const n = Number(value);
    if (!Number.isFinite(n)) return false;
    set(settings, n);
    return true;
  };

/** Both systems count alike up to 3; 4 and 5 are of Linux, and agree to either kind while they ask for the classic or none. */
const ecn: Apply = (settings, value) => {
  const modes = ['off', 'on', 'passive', 'accurate', 'on', 'passive'] as const;
  const mode = modes[Number(value)];
  if (mode === undefined) return false;
  settings.limits.ecn = mode;
  // 1 and 2 agree to the classic kind only, whatever the peer offers.
  settings.classicEcn = value === '1' || value === '2';
  return true;
};

const LINUX: Readonly<Record<string, Apply>> = {
  tcp_rmem: (s, value) => {
    const [, initial, most] = value.split(/\s+/).map(Number);
    if (!(initial > 0 && most > 0)) return false;
    s.receiveBuffer = Math.floor(initial / 2);
    s.limits.receiveBufferMax = Math.min(most, BUFFER_MAX);
    return true;
  },
  tcp_wmem: (s, value) => {
    const [, initial, most] = value.split(/\s+/).map(Number);
    if (!(initial > 0 && most > 0)) return false;
    s.sendBuffer = initial;
    s.limits.sendBufferMax = Math.min(most, BUFFER_MAX);
    return true;
  },
  tcp_timestamps: number((s, n) => {
    s.limits.timestamps = n !== 0;
  }),
  tcp_sack: number((s, n) => {
    s.limits.sack = n !== 0;
  }),
  tcp_window_scaling: number((s, n) => {
    s.limits.windowScale = n !== 0;
  }),
  tcp_congestion_control: (s, value) => congestion(s, value),
  tcp_syn_retries: number((s, n) => {
    s.limits.synRetries = n + SYN_LINEAR;
  }),
  tcp_synack_retries: number((s, n) => {
    s.limits.synAckRetries = n;
  }),
  tcp_fin_timeout: number((s, n) => {
    s.limits.finWait2_ms = n * 1000;
  }),
  tcp_keepalive_time: number((s, n) => {
    s.keepIdle_s = n;
  }),
  tcp_keepalive_intvl: number((s, n) => {
    s.keepInterval_s = n;
  }),
  tcp_keepalive_probes: number((s, n) => {
    s.keepCount = n;
  }),
  tcp_rto_min_us: number((s, n) => {
    s.limits.rtoMin_ms = n / 1000;
  }),
  tcp_rto_max_ms: number((s, n) => {
    s.limits.rtoMax_ms = n;
  }),
  tcp_retries2: number((s, n) => {
    s.limits.userTimeout_ms = retriesTime(n);
  }),
  tcp_retries1: nothing,
  tcp_dsack: only('1'),
  tcp_fack: nothing,
  tcp_frto: nothing,
  tcp_reordering: only('3'),
  tcp_max_reordering: nothing,
  tcp_early_retrans: nothing,
  tcp_recovery: nothing,
  tcp_slow_start_after_idle: nothing,
  tcp_tso_win_divisor: nothing,
  tcp_min_tso_segs: nothing,
  tcp_tso_rtt_log: nothing,
  tcp_limit_output_bytes: nothing,
  tcp_pacing_ss_ratio: nothing,
  tcp_pacing_ca_ratio: nothing,
  tcp_notsent_lowat: only('4294967295', '-1'),
  tcp_no_metrics_save: nothing,
  tcp_no_ssthresh_metrics_save: nothing,
  tcp_moderate_rcvbuf: nothing,
  tcp_moderate_cwnd: nothing,
  tcp_adv_win_scale: nothing,
  tcp_app_win: nothing,
  tcp_autocorking: nothing,
  tcp_min_rtt_wlen: nothing,
  tcp_early_demux: nothing,
  tcp_max_syn_backlog: nothing,
  tcp_max_tw_buckets: nothing,
  tcp_tw_reuse: nothing,
  tcp_rfc1337: nothing,
  tcp_stdurg: only('0'),
  tcp_low_latency: nothing,
  tcp_probe_interval: nothing,
  tcp_probe_threshold: nothing,
  tcp_mtu_probing: number((s, n) => {
    s.limits.mtuProbing = n === 0 ? 'off' : n === 1 ? 'auto' : 'always';
  }),
  tcp_base_mss: nothing,
  tcp_mtu_probe_floor: nothing,
  tcp_min_snd_mss: nothing,
  tcp_challenge_ack_limit: nothing,
  tcp_invalid_ratelimit: nothing,
  tcp_abort_on_overflow: only('0'),
  tcp_workaround_signed_windows: only('0'),
  tcp_thin_linear_timeouts: only('0'),
  tcp_thin_dupack: only('0'),
  tcp_retrans_collapse: nothing,
  tcp_backlog_ack_defer: nothing,
  tcp_comp_sack_nr: nothing,
  tcp_comp_sack_delay_ns: nothing,
  tcp_comp_sack_slack_ns: nothing,
  tcp_comp_sack_rtt_percent: nothing,
  tcp_plb_enabled: only('0'),
  tcp_reflect_tos: only('0'),
  tcp_migrate_req: nothing,
  tcp_syn_linear_timeouts: nothing,
  tcp_shrink_window: only('0'),
  tcp_pingpong_thresh: nothing,
  tcp_mem: nothing,
  tcp_orphan_retries: nothing,
  tcp_ecn: ecn,
  tcp_ecn_fallback: number((s, n) => {
    s.ecnFallback = n !== 0;
  }),
  tcp_ecn_option: number((s, n) => {
    s.limits.accEcnOption = n !== 0;
  }),
  tcp_ecn_option_beacon: nothing,
  tcp_fastopen: number((s, n) => {
    s.fastOpen = n;
    if ((n & 4) !== 0) s.lack('sending data on SYNs without cookies');
  }),
  tcp_fastopen_key: (s, value) => {
    s.fastOpenKey = value.split(',')[0];
    return true;
  },
  tcp_fastopen_blackhole_timeout_sec: nothing,
  tcp_syncookies: number((s, n) => {
    s.limits.synCookies = n === 0 ? 'never' : n === 2 ? 'always' : 'auto';
  }),
  ip_no_pmtu_disc: only('0'),
  ip_local_port_range: nothing,
  ip_forward: nothing,
  ip_default_ttl: only('64'),
};

const FREEBSD: Readonly<Record<string, Apply>> = {
  'net.inet.tcp.rfc1323': number((s, n) => {
    s.limits.timestamps = n === 1 || n === 3;
    s.limits.windowScale = n === 1 || n === 2;
  }),
  'net.inet.tcp.sack.enable': number((s, n) => {
    s.limits.sack = n !== 0;
  }),
  'net.inet.tcp.recvspace': number((s, n) => {
    s.receiveBuffer = n;
  }),
  'net.inet.tcp.sendspace': number((s, n) => {
    s.sendBuffer = n;
  }),
  'kern.ipc.maxsockbuf': number((s, n) => {
    s.limits.receiveBufferMax = Math.min(n, BUFFER_MAX);
    s.limits.sendBufferMax = Math.min(n, BUFFER_MAX);
  }),
  'net.inet.tcp.delacktime': number((s, n) => {
    s.limits.delayedAck_ms = n;
  }),
  'net.inet.tcp.delayed_ack': only('1'),
  'net.inet.tcp.keepidle': number((s, n) => {
    s.keepIdle_s = n / 1000;
  }),
  'net.inet.tcp.keepintvl': number((s, n) => {
    s.keepInterval_s = n / 1000;
  }),
  'net.inet.tcp.keepcnt': number((s, n) => {
    s.keepCount = n;
  }),
  'net.inet.tcp.keepinit': number((s, n) => {
    s.keepInit_ms = n;
  }),
  'net.inet.tcp.msl': number((s, n) => {
    s.limits.timeWait_ms = 2 * n;
  }),
  'net.inet.tcp.finwait2_timeout': number((s, n) => {
    s.limits.finWait2_ms = n;
  }),
  'net.inet.tcp.rexmit_min': number((s, n) => {
    s.limits.rtoMin_ms = n;
  }),
  'net.inet.tcp.rexmit_slop': nothing,
  'net.inet.tcp.rexmit_initial': only('1000'),
  'net.inet.tcp.rexmit_drop_options': only('0'),
  'net.inet.tcp.cc.algorithm': (s, value) => congestion(s, value === 'newreno' ? 'reno' : value),
  'net.inet.tcp.blackhole': only('0'),
  'net.inet.tcp.ecn.enable': ecn,
  'net.inet.tcp.hostcache.purgenow': nothing,
  'net.inet.tcp.hostcache.enable': nothing,
  'net.inet.tcp.syncookies': number((s, n) => {
    s.limits.synCookies = n === 0 ? 'never' : 'auto';
  }),
  'net.inet.tcp.syncookies_only': number((s, n) => {
    if (n !== 0) s.limits.synCookies = 'always';
  }),
  'net.inet.tcp.insecure_rst': number((s, n) => {
    s.limits.blindReset = n !== 0;
  }),
  'net.inet.tcp.insecure_syn': number((s, n) => {
    s.limits.blindSyn = n !== 0;
  }),
  'net.inet.tcp.insecure_ack': only('0'),
  'net.inet.tcp.drop_synfin': number((s, n) => {
    s.limits.dropSynFin = n !== 0;
  }),
  'net.inet.tcp.icmp_may_rst': number((s, n) => {
    s.limits.icmpHard = n !== 0;
  }),
  'net.inet.tcp.udp_tunneling_port': only('0'),
  'net.inet.tcp.udp_tunneling_overhead': nothing,
  'net.inet.tcp.path_mtu_discovery': only('1'),
  'net.inet.tcp.pmtud_blackhole_detection': nothing,
  'net.inet.tcp.mssdflt': only('536'),
  'net.inet.tcp.v6mssdflt': only('1220'),
  'net.inet.tcp.minmss': nothing,
  'net.inet.tcp.initcwnd_segments': only('10'),
  'net.inet.tcp.rfc3042': only('1'),
  'net.inet.tcp.rfc3390': nothing,
  'net.inet.tcp.rfc3465': nothing,
  'net.inet.tcp.rfc6675_pipe': nothing,
  'net.inet.tcp.do_prr': nothing,
  'net.inet.tcp.do_prr_conservative': nothing,
  'net.inet.tcp.do_lrd': nothing,
  'net.inet.tcp.newcwv': nothing,
  'net.inet.tcp.abc_l_var': nothing,
  'net.inet.tcp.recvbuf_auto': nothing,
  'net.inet.tcp.recvbuf_max': nothing,
  'net.inet.tcp.sendbuf_auto': nothing,
  'net.inet.tcp.sendbuf_max': nothing,
  'net.inet.tcp.functions_default': only('freebsd'),
  'net.inet.tcp.ts_offset_per_conn': nothing,
  'net.inet.tcp.tolerate_missing_ts': only('0'),
  'net.inet.tcp.always_keepalive': nothing,
  'net.inet.tcp.fast_finwait2_recycle': nothing,
  'net.inet.tcp.nolocaltimewait': nothing,
  'net.inet.tcp.log_debug': nothing,
  'net.inet.tcp.log_in_vain': nothing,
  'net.inet.tcp.ack_war_cnt': nothing,
  'net.inet.tcp.ack_war_timewindow': nothing,
  'net.inet.tcp.fastopen.client_enable': nothing,
  'net.inet.tcp.fastopen.server_enable': nothing,
  'net.inet.tcp.fastopen.acceptany': only('0'),
  'net.inet.tcp.fastopen.setkey': nothing,
  'net.inet.tcp.fastopen.ccache_list': nothing,
  'net.inet.tcp.tso': nothing,
  'net.inet.tcp.reass.maxqueuelen': nothing,
  'net.inet.tcp.reass.maxsegments': nothing,
  'net.inet.tcp.reass.new_limit': nothing,
};

/** What does nothing to a test, of whole groups. */
const HARMLESS =
  /^(net\.core\.|net\.ipv4\.(conf|icmp|neigh|route|igmp|ping|udp)|net\.ipv6\.|kernel\.|vm\.|kern\.|debug\.|net\.inet6?\.(ip|ip6|icmp|icmp6|udp|raw)\.|net\.mptcp\.|net\.local\.|dev\.|security\.)/;

/** `name=value`, of any system. */
export function applySysctl(settings: Settings, name: string, value: string): void {
  const plain = name.replaceAll('/', '.');
  const linux = /^net\.ipv4\.(tcp_\w+|ip_\w+)$/.exec(plain);
  const apply = linux === null ? FREEBSD[plain] : LINUX[linux[1]];
  const trimmed = value.trim();
  if (apply === undefined) {
    if (!HARMLESS.test(plain)) settings.lack(`sysctl ${plain} is not known here`);
  } else if (!apply(settings, trimmed)) settings.lack(`sysctl ${plain}=${trimmed}`);
}

function congestion(settings: Settings, name: string): boolean {
  settings.congestion = name;
  if (name !== 'cubic' && name !== 'reno' && name !== 'bbr') return false;
  settings.limits.congestion = name;
  return true;
}

/** How long `tcp_retries2` expiries of the retransmission timer take, ms (Linux's retransmits_timed_out). */
function retriesTime(retries: number): number {
  let sum = 0;
  for (let i = 0; i <= retries; i++) sum += Math.min(200 * 2 ** i, 120_000);
  return sum;
}

/** What Linux's scripts expect of Linux: its sockets' calls, and its TCP where the RFCs leave a choice. */
import { describe, expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { ARENA_BYTES } from './host.ts';
import { runScript } from './runner.ts';

const arena = new Arena(ARENA_BYTES);

const SERVER = `
 0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
`;
const OPEN = `${SERVER}
+0 < S 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>
+0 > S. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK,nop,wscale 8>
+.1 < . 1:1(0) ack 1 win 257
+0 accept(3, ..., ...) = 4
`;

function run(script: string, settings = ''): string {
  const text = `\`./defaults.sh\n${settings}\`\n${script}`;
  const { verdict, reason } = runScript(text, { arena });
  return `${verdict} ${reason}`.trim();
}

function note(fields: string): string {
  return `recvmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 0}], msg_flags=MSG_ERRQUEUE, msg_control=[{
    cmsg_level=CMSG_LEVEL_IP, cmsg_type=CMSG_TYPE_RECVERR, cmsg_data={ee_errno=0,
    ee_origin=SO_EE_ORIGIN_ZEROCOPY, ee_type=0, ee_code=SO_EE_CODE_ZEROCOPY_COPIED, ${fields}}}]}, MSG_ERRQUEUE)`;
}

describe('sockets', () => {
  test('sends without copying are told of once acknowledged, those in a row together', () => {
    const sends = `${OPEN}
+0 setsockopt(4, SOL_SOCKET, SO_ZEROCOPY, [1], 4) = 0
+0 send(4, ..., 1000, MSG_ZEROCOPY) = 1000
+0 send(4, ..., 1000, MSG_ZEROCOPY) = 1000
+0 > . 1:1001(1000) ack 1
+0 > P. 1001:2001(1000) ack 1
+0 ${note('ee_info=0, ee_data=0')} = -1 EAGAIN
+0 < . 1:1(0) ack 2001 win 257
`;
    expect(run(`${sends}+0 ${note('ee_info=0, ee_data=1')} = 0\n+0 ${note('')} = -1 EAGAIN`)).toBe('pass');
    expect(run(`${sends}+0 ${note('ee_info=0, ee_data=2')} = 0`)).toMatch(
      /fail .*ee_data: expected 2, got 1/,
    );
  });

  test('the time of a write’s last byte: when it left, and when it was acknowledged', () => {
    const times = (us: string, info: string) => `
+0 recvmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 0}], msg_flags=MSG_ERRQUEUE|MSG_TRUNC, msg_control=[
  {cmsg_level=SOL_SOCKET, cmsg_type=SCM_TIMESTAMPING, cmsg_data={scm_sec=0,scm_nsec=${us}000}},
  {cmsg_level=CMSG_LEVEL_IP, cmsg_type=CMSG_TYPE_RECVERR, cmsg_data={ee_errno=ENOMSG,
  ee_origin=SO_EE_ORIGIN_TIMESTAMPING, ee_type=0, ee_code=0, ee_info=${info}, ee_data=1999}}]}, MSG_ERRQUEUE) = 0`;
    const write = `${OPEN}
+0 setsockopt(4, SOL_SOCKET, SO_TIMESTAMPING, [SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_TX_ACK
  | SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_ID], 4) = 0
+0 write(4, ..., 2000) = 2000
+0 > P. 1:2001(2000) ack 1
+.05 < . 1:1(0) ack 2001 win 257
`;
    const good = times('100000', 'SCM_TSTAMP_SND') + times('150000', 'SCM_TSTAMP_ACK');
    expect(run(write + good)).toBe('pass');
    expect(run(write + times('130000', 'SCM_TSTAMP_SND'))).toMatch(/fail .*time: expected/);
  });

  test('a record (MSG_EOR) ends with its segment', () => {
    const script = `${OPEN}
+0 write(4, ..., 10400) = 10400
+0 send(4, ..., 400, MSG_EOR) = 400
+0 write(4, ..., 5000) = 5000
+0 > P. 1:10001(10000) ack 1
+.01 < . 1:1(0) ack 10001 win 257
+0 > P. 10001:10801(800) ack 1
+0 > P. 10801:15801(5000) ack 1`;
    expect(run(script)).toBe('pass');
    expect(run(script.replace(', MSG_EOR', ', 0'))).toMatch(/^fail/);
  });

  test('what came before a reset is still there to be read', () => {
    const script = `${OPEN}
+0 < P. 1:501(500) ack 1 win 257
+0 < R. 501:501(0) ack 1 win 257
+0 read(4, ..., 300) = 300
+0 read(4, ..., 1000) = 200
+0 read(4, ..., 1000) = -1 ECONNRESET`;
    expect(run(script)).toBe('pass');
  });

  test('connect() to AF_UNSPEC ends a connection, and the socket begins another', () => {
    const script = `
 0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 3
+0 connect(3, ..., ...) = -1 EINPROGRESS
+0 > S 0:0(0) <...>
+0 < S. 0:0(0) ack 1 win 5000 <mss 1000>
+0 > . 1:1(0) ack 1
+0 connect(3, AF_UNSPEC, ...) = 0
+0 > R. 1:1(0) ack 1
+0 connect(3, ..., ...) = -1 EINPROGRESS
+0 > S 0:0(0) <...>`;
    expect(run(script)).toBe('pass');
  });

  test('with a cookie, connect() by TCP_FASTOPEN_CONNECT waits for data', () => {
    const first = (fd: number) => `
+0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = ${fd}
+0 setsockopt(${fd}, SOL_TCP, TCP_FASTOPEN_CONNECT, [1], 4) = 0`;
    const script = `${first(3)}
+0 connect(3, ..., ...) = -1 EINPROGRESS
+0 > S 0:0(0) <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 8,FO,nop,nop>
+0 < S. 0:0(0) ack 1 win 5000 <mss 1460,nop,nop,FO abcd1234>
+0 > . 1:1(0) ack 1
+0 close(3) = 0
+0 > F. 1:1(0) ack 1
+0 < F. 1:1(0) ack 2 win 5000
+0 > . 2:2(0) ack 2${first(4)}
+0 connect(4, ..., ...) = 0
+.1 write(4, ..., 100) = 100
+0 > S 0:100(100) <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 8,FO abcd1234,nop,nop>`;
    expect(run(script)).toBe('pass');
  });

  test('no buffer is EFAULT', () => {
    expect(run(`${OPEN}+0 write(4, NULL, 10) = -1 EFAULT\n+0 read(4, NULL, 10) = -1 EFAULT`)).toBe('pass');
  });
});

describe('TCP', () => {
  test('AccECN: every packet is ECT, and has all of the option once the peer has sent its own', () => {
    const accept = (option: string) => `${SERVER}
+0 < SEWA 0:0(0) win 32767 <mss 1050,nop,nop,sackOK,nop,wscale 8>
+0 > SW. 0:0(0) ack 1 <mss 1460,ECN e1b 1 ceb 0 e0b 1,nop,nop,nop,sackOK,nop,wscale 8>
+.05 < [ect0] W. 1:1(0) ack 1 win 264 ${option}
+0 accept(3, ..., ...) = 4
+0 < [ect0] EAP. 1:1001(1000) ack 1 win 264
+0 > [ect0] EA. 1:1(0) ack 1001 `;
    const theirs = '<ECN e0b 1 ceb 0 e1b 1,nop>';
    expect(run(`${accept(theirs)}<ECN e1b 1 ceb 0 e0b 1001,nop>`, 'sysctl -q net.ipv4.tcp_ecn=3')).toBe(
      'pass',
    );
    expect(run(`${accept('')}<>`, 'sysctl -q net.ipv4.tcp_ecn=3')).toBe('pass');
    const off = accept('').replace('ECN e1b 1 ceb 0 e0b 1,nop,nop,nop', 'nop,nop');
    expect(run(`${off}<>`, 'sysctl -q net.ipv4.tcp_ecn=3 net.ipv4.tcp_ecn_option=0')).toBe('pass');
  });

  test('a SYN goes at even intervals before they double', () => {
    const syn = '> S 0:0(0) <...>';
    expect(
      run(`
 0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 3
+0 connect(3, ..., ...) = -1 EINPROGRESS
+0 ${syn}
+1 ${syn}
+1 ${syn}
+1 ${syn}
+1 ${syn}
+1 ${syn}
+2 ${syn}`),
    ).toBe('pass');
  });

  test('a window of zero is probed without data', () => {
    const script = `${OPEN}
+0 write(4, ..., 1000) = 1000
+0 > P. 1:1001(1000) ack 1
+.1 < . 1:1(0) ack 1001 win 0
+0 write(4, ..., 1000) = 1000
+.3~+.31 > . 1000:1000(0) ack 1`;
    expect(run(script)).toBe('pass');
  });

  test('in slow start a window half used grows, by what nothing had told of before', () => {
    const script = `${OPEN}
+0 write(4, ..., 6000) = 6000
+0 > P. 1:6001(6000) ack 1
+.1 < . 1:1(0) ack 2001 win 257
+0 %{ assert tcpi_snd_cwnd == 12, tcpi_snd_cwnd }%
+0 < . 1:1(0) ack 4001 win 257
+0 %{ assert tcpi_snd_cwnd == 12, tcpi_snd_cwnd }%`;
    expect(run(script)).toBe('pass');
  });

  test('any ICMP error ends an opening; data after close is answered as by a closed port', () => {
    expect(
      run(`
 0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0...0.1 connect(3, ..., ...) = -1 EHOSTUNREACH
+0 > S 0:0(0) <...>
+.1 < icmp unreachable host_unreachable [0:0(0)]`),
    ).toBe('pass');
    expect(
      run(`${OPEN}+0 close(4) = 0\n+0 > F. 1:1(0) ack 1\n+0 < . 1:2(1) ack 1 win 257\n+0 > R 1:1(0)`),
    ).toBe('pass');
  });

  test('an ACK that tells only a window may come at any time', () => {
    const script = `${OPEN}
+0 < P. 1:2001(2000) ack 1 win 257
+0 > . 1:1(0) ack 2001
+0 < P. 2001:4001(2000) ack 1 win 257
+0 > . 1:1(0) ack 4001
+0 read(4, ..., 4000) = 4000
+.1 < P. 4001:6001(2000) ack 1 win 257
+0 > . 1:1(0) ack 6001`;
    expect(run(script)).toBe('pass');
  });
});

describe('buffers', () => {
  test('a set send buffer is filled chunk by chunk, and room is told once a third of it is free', () => {
    const script = `${OPEN}
+0 setsockopt(4, SOL_SOCKET, SO_SNDBUF, [20000], 4) = 0
+0 send(4, ..., 100000, MSG_DONTWAIT) = 42000
+0 > P. 1:10001(10000) ack 1
+0 < . 1:1(0) ack 10001 win 257
+0 > P. 10001:30001(20000) ack 1
+0 poll([{fd=4, events=POLLOUT, revents=0}], 1, 0) = 0
+0 < . 1:1(0) ack 20001 win 257
+0 > P. 30001:42001(12000) ack 1
+0 poll([{fd=4, events=POLLOUT, revents=POLLOUT}], 1, 0) = 1
`;
    expect(run(script)).toBe('pass');
  });

  test('the low-water mark holds back chunks, and room is told once half of it has left', () => {
    const script = `${OPEN}
+0 setsockopt(4, SOL_TCP, TCP_NOTSENT_LOWAT, [4000], 4) = 0
+0 epoll_create(1) = 5
+0 epoll_ctl(5, EPOLL_CTL_ADD, 4, {events=EPOLLOUT|EPOLLET, fd=4}) = 0
+0 epoll_wait(5, {events=EPOLLOUT, fd=4}, 1, 0) = 1
+0 send(4, ..., 59000, MSG_DONTWAIT) = 26000
+0 > P. 1:10001(10000) ack 1
+0 epoll_wait(5, {events=0, ptr=0}, 1, 0) = 0
+0 < . 1:1(0) ack 8001 win 257
+0 > P. 10001:26001(16000) ack 1
+0 epoll_wait(5, {events=EPOLLOUT, fd=4}, 1, 0) = 1
`;
    expect(run(script)).toBe('pass');
  });

  test('a packet for an empty queue is taken whole', () => {
    const script = `${SERVER.replace('+0 bind', '+0 setsockopt(3, SOL_SOCKET, SO_RCVBUF, [20000], 4) = 0\n+0 bind')}
+0 < S 0:0(0) win 32792 <mss 1000,nop,wscale 7>
+0 > S. 0:0(0) ack 1 win 18980 <mss 1460,nop,wscale 0>
+0 < . 1:1(0) ack 1 win 257
+0 accept(3, ..., ...) = 4
+0 < P. 1:60001(60000) ack 1 win 257
+0 > . 1:1(0) ack 60001 win 0
+0 < F. 60001:60001(0) ack 1 win 257
+0 > . 1:1(0) ack 60002 win 0
`;
    expect(run(script)).toBe('pass');
  });

  test('what MSG_MORE holds back goes with the next ACK, or after a timeout', () => {
    const script = `${OPEN}
+0 send(4, ..., 40, MSG_MORE) = 40
+.3~+.31 > P. 1:41(40) ack 1
+.01 < . 1:1(0) ack 41 win 257
`;
    expect(run(script)).toBe('pass');
    expect(run(script.replace('MSG_MORE', '0'))).toMatch(/fail .*time/);
  });

  test('reads wait for SO_RCVLOWAT, and no longer than SO_RCVTIMEO', () => {
    const script = `${OPEN}
+0 setsockopt(4, SOL_SOCKET, SO_RCVLOWAT, [2000], 4) = 0
+0 setsockopt(4, SOL_SOCKET, SO_RCVTIMEO, {tv_sec=1, tv_usec=0}, 16) = 0
+0 fcntl(4, F_SETFL, O_RDWR) = 0
+0...1 read(4, ..., 4000) = -1 EAGAIN
+1 < P. 1:1001(1000) ack 1 win 257
+0...0.05 read(4, ..., 4000) = 2000
+.05 < P. 1001:2001(1000) ack 1 win 257
`;
    expect(run(script)).toBe('pass');
  });
});

describe('TCP_INFO', () => {
  test('says what a connection was limited by, and how far data was overtaken', () => {
    const script = `${OPEN}
+0 < . 1:1(0) ack 1 win 0
+0 write(4, ..., 1000) = 1000
+.1 %{
assert 98000 <= tcpi_rwnd_limited <= 102000, tcpi_rwnd_limited
assert tcpi_busy_time == tcpi_rwnd_limited
assert tcpi_reordering == 3
assert tcpi_sndbuf_limited == 0
}%
`;
    expect(run(script)).toBe('pass');
    const overtaken = `${OPEN}
+0 write(4, ..., 8000) = 8000
+0 > P. 1:8001(8000) ack 1
+.1 < . 1:1(0) ack 1 win 257 <sack 7001:8001,nop,nop>
+.001 < . 1:1(0) ack 1 win 257 <sack 2001:3001 7001:8001,nop,nop>
+0 %{ assert tcpi_reordering == 6, tcpi_reordering }%
`;
    expect(run(overtaken)).toBe('pass');
  });
});

test('the experimental Fast Open option is answered in kind', () => {
  const script = (answer: string) => `${SERVER}
+0 setsockopt(3, SOL_TCP, TCP_FASTOPEN, [1], 4) = 0
+0 < S 0:10(10) win 32792 <mss 1460,sackOK,nop,nop,FOEXP>
+0 > S. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK,${answer} TFO_COOKIE>
`;
  expect(run(script('FOEXP'))).toBe('pass');
  expect(run(script('FO'))).toMatch(/^fail/);
});

test('AccECN’s counters on an ACK that only SACKs are read', () => {
  const script = `
 0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 4
+0 connect(4, ..., ...) = -1 EINPROGRESS
+0 > [noecn] SEWA 0:0(0) <...>
+.05 < [noecn] SW. 0:0(0) ack 1 win 32767 <mss 1016,ECN e0b 1 ceb 0 e1b 1,nop,nop,nop,sackOK,nop,wscale 8>
+0 > [ect0] W. 1:1(0) ack 1 <...>
+0 write(4, ..., 2000) = 2000
+0 > [ect0] .5 1:1005(1004) ack 1 <...>
+0 > [ect0] P.5 1005:2001(996) ack 1 <...>
+.05 < [ect0] .6 1:1(0) ack 1 win 264 <ECN e0b 1 ceb 996 e1b 1,nop,nop,nop,sack 1005:2001>
+0 %{ assert tcpi_delivered_ce == 1, tcpi_delivered_ce }%
`;
  expect(run(script, 'sysctl -q net.ipv4.tcp_ecn=3\n')).toBe('pass');
});

test('over IPv6 the link makes up for the longer header, so that the same script holds', () => {
  const text = `\`./defaults.sh\`${OPEN}`;
  expect(runScript(text, { arena, version: 6 })).toMatchObject({ verdict: 'pass' });
  expect(runScript(`--ip_version=ipv6\n${text}`, { arena })).toMatchObject({ verdict: 'pass' });
  const usual = text.replaceAll('mss 1460', 'mss 1440');
  expect(runScript(usual, { arena, version: 6 })).toMatchObject({ verdict: 'pass' });
});

describe('the link’s MTU', () => {
  const SYN = (mss: number) =>
    `+0 < S 0:0(0) win 65535 <mss 9000>\n+0 > S. 0:0(0) ack 1 <mss ${mss}>\n+0 < . 1:1(0) ack 1 win 9000\n`;
  const listen = (text: string) =>
    `0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n${text}+0 bind(3, ..., ...) = 0\n+0 listen(3, 1) = 0\n`;
  const verdict = (text: string) => runScript(text, { arena, dialect: 'linux' }).verdict;

  test('is as the program wants it (TCP_MAXSEG)', () => {
    const set = (value: number) => listen(`+0 setsockopt(3, SOL_TCP, TCP_MAXSEG, [${value}], 4) = 0\n`);
    const told = '+0 getsockopt(3, SOL_TCP, TCP_MAXSEG, [1100], [4]) = 0\n';
    const sent = '+0 accept(3, ..., ...) = 4\n+0 write(4, ..., 1200) = 1200\n+0 > . 1:1101(1100) ack 1\n';
    expect(verdict(`${set(1100)}${told}${SYN(1100)}${sent}`)).toBe('pass');
    expect(verdict(`${set(1100)}${SYN(1460)}`)).toBe('fail');
    expect(verdict(set(80))).toBe('fail');
  });

  test('changes at run time', () => {
    const change = '+0 `ip link set dev tun0 mtu 9000`\n';
    expect(verdict(`${listen(change)}${SYN(8960)}`)).toBe('pass');
    const route = '+0 `ip route add 192.0.2.1 via 192.168.0.2 dev tun0 mtu lock 640`\n';
    expect(verdict(`${listen(route)}${SYN(600)}`)).toBe('pass');
  });

  test('is none of IPv6’s below 1280', () => {
    const text = `--ip_version=ipv6\n${listen('+0 `ip link set dev tun0 mtu 660`\n')}${SYN(600)}`;
    expect(runScript(text, { arena, dialect: 'linux' })).toMatchObject({
      verdict: 'unsupported',
      reason: expect.stringContaining('IPv6 over a link of 660 bytes'),
    });
  });
});

describe('Fast Open of a client', () => {
  const WARM = `\`sysctl -q net.ipv4.tcp_timestamps=0\`
 0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0...0.010 sendto(3, ..., 500, MSG_FASTOPEN, ..., ...) = 500
+0 > S 0:0(0) <mss 1460,nop,nop,sackOK,nop,wscale *,FO,nop,nop>
+.01 < S. 9:9(0) ack 1 win 9000 <mss 1460,nop,nop,sackOK,nop,wscale 6,FO abcd1234,nop,nop>
+0 > P. 1:501(500) ack 1
+0 < . 1:1(0) ack 501 win 900
+0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 4
`;
  const SYN = 'S 0:1420(1420) <mss 1460,nop,nop,sackOK,nop,wscale *,FO abcd1234,nop,nop>';
  const verdict = (text: string) => {
    const { verdict: got, line, reason } = runScript(`${WARM}${text}`, { arena });
    return got === 'pass' ? got : `${got} ${line} ${reason}`;
  };

  test('a call that waits takes all, and fails with the connection', () => {
    const call = `+0...0.020 sendto(4, ..., 4000, MSG_FASTOPEN, ..., ...) = `;
    const taken = '+.02 < S. 7:7(0) ack 1421 win 9000 <mss 1460,nop,nop,sackOK,nop,wscale 6>\n';
    expect(verdict(`${call}4000\n+0 > ${SYN}\n${taken}+0 > P. 1421:4001(2580) ack 1\n`)).toBe('pass');
    expect(verdict(`${call}-1 ECONNREFUSED (refused)\n+0 > ${SYN}\n+.02 < R. 0:0(0) ack 1 win 0\n`)).toBe(
      'pass',
    );
    const more = '+0 sendto(4, ..., 4000, MSG_FASTOPEN|MSG_DONTWAIT, ..., ...) = 1420\n';
    expect(verdict(`${more}+0 > ${SYN}\n`)).toBe('pass');
  });

  test('data that the SYN took along in vain counts as sent again, and isn’t the small segment that others wait for', () => {
    expect(
      verdict(`+0 sendto(4, ..., 4000, MSG_FASTOPEN|MSG_DONTWAIT, ..., ...) = 1420
+0 > ${SYN}
+.02 < S. 7:7(0) ack 101 win 9000 <mss 1000,nop,nop,sackOK,nop,wscale 6>
+0 > P. 101:1421(1320) ack 1
+0 %{
assert tcpi_retrans == 2, tcpi_retrans
assert tcpi_options & TCPI_OPT_SYN_DATA == 0, tcpi_options
assert tcpi_snd_ssthresh == 0x7fffffff, tcpi_snd_ssthresh
}%
+0 write(4, ..., 1500) = 1500
+0 > P. 1421:2921(1500) ack 1
+.02 < . 1:1(0) ack 1421 win 900
+0 %{ assert tcpi_retrans == 0, tcpi_retrans }%
`),
    ).toBe('pass');
  });

  test('a cookie that wasn’t given is asked for again, and a refusal says nothing of cookies', () => {
    const ask = (
      fd: number,
      answer: string,
    ) => `+0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = ${fd}
+0 sendto(${fd}, ..., 0, MSG_FASTOPEN, ..., ...) = -1 EINPROGRESS (in progress)
+0 > S 0:0(0) <mss 1460,nop,nop,sackOK,nop,wscale *,FO,nop,nop>
+0 < S. 9:9(0) ack 1 win 9000 <mss 1460,nop,wscale 6${answer}>
+0 > . 1:1(0) ack 1
`;
    const start =
      `\`sysctl -q net.ipv4.tcp_timestamps=0\`\n${ask(3, '')}${ask(4, ',FO abcd1234,nop,nop')}`.replace(
        '+0',
        '0',
      );
    const send = (fd: number) => `+0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = ${fd}
+0 sendto(${fd}, ..., 2000, MSG_FASTOPEN, ..., ...) = 1420
+0 > ${SYN}
`;
    const text = `${start}${send(5)}+0 < R. 0:0(0) ack 1 win 0\n${send(6)}`;
    expect(runScript(text, { arena })).toMatchObject({ verdict: 'pass' });
  });

  test('a SYN-ACK may bring data and FIN, which poll() tells of at once', () => {
    expect(
      verdict(`+0 sendto(4, ..., 1420, MSG_FASTOPEN|MSG_DONTWAIT, ..., ...) = 1420
+0 > ${SYN}
+0 < SF. 9:109(100) ack 1421 win 9000 <mss 700,nop,nop,sackOK,nop,wscale 6>
+0 > . 1421:1421(0) ack 102
+0 poll([{fd=4, events=POLLIN|POLLRDHUP, revents=POLLIN|POLLRDHUP}], 1, 0) = 1
+0 %{ assert tcpi_delivered == 1, tcpi_delivered }%
`),
    ).toBe('pass');
  });
});

test('slow start ends for good at the ninth long RTT of a round trip, or once ACKs took half of one (HyStart)', () => {
  const open = (rtt: string) => `\`./defaults.sh\`
 0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>
+0 > S. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK,nop,wscale 8>
+${rtt} < . 1:1(0) ack 1 win 257
+0 accept(3, ..., ...) = 4
+0 setsockopt(4, SOL_SOCKET, SO_SNDBUF, [200000], 4) = 0
+0 write(4, ..., 30000) = 30000
+0 > P. 1:10001(10000) ack 1
+${rtt} < . 1:1(0) ack 10001 win 257
+0 > P. 10001:30001(20000) ack 1
`;
  const acks = (first: string, count: number) =>
    Array.from({ length: count }, (_, i) => {
      const time = i === 0 ? first : '.001';
      return `+${time} < . 1:1(0) ack ${12_001 + 2000 * i} win 257\n`;
    }).join('');
  const is = (cwnd: number, ssthresh: number) =>
    `+0 %{ assert (tcpi_snd_cwnd, tcpi_snd_ssthresh) == (${cwnd}, ${ssthresh}), tcpi_snd_cwnd }%\n`;
  const verdict = (text: string) => runScript(text, { arena }).verdict;
  expect(verdict(`${open('.2')}${acks('.24', 8)}${is(36, 0x7fffffff)}`)).toBe('pass');
  expect(verdict(`${open('.2')}${acks('.24', 10)}${is(36, 36)}`)).toBe('pass');
  expect(verdict(`${open('.2')}${acks('.2', 10)}${is(40, 0x7fffffff)}`)).toBe('pass');
  expect(verdict(`${open('.006')}${acks('.006', 4)}${is(28, 0x7fffffff)}`)).toBe('pass');
  expect(verdict(`${open('.006')}${acks('.006', 8)}${is(28, 28)}`)).toBe('pass');
});

test('splice() moves nothing from the urgent byte on', () => {
  const script = (last: number) => `${SERVER}+0 < S 0:0(0) win 9000 <mss 1000>
+0 > S. 0:0(0) ack 1 <...>
+0 < . 1:1(0) ack 1 win 9000
+0 accept(3, ..., ...) = 4
+0 pipe([5, 6]) = 0
+0 < U. 1:101(100) ack 1 win 9000 urg 100
+0 splice(4, NULL, 6, NULL, 200, 0) = 99
+0 splice(4, NULL, 6, NULL, 1, 0) = ${last}
`;
  expect(runScript(script(0), { arena }).verdict).toBe('pass');
  expect(runScript(script(1), { arena }).verdict).toBe('fail');
});

test('data that comes again counts for AccECN, and the option is given up once its D-SACK was told in vain', () => {
  const ecn = (e0b: number) => `ECN e1b 1 ceb 0 e0b ${e0b},nop`;
  const data = '+0 < [ect0] EAP. 1:1001(1000) ack 1 win 9 <ECN e0b 1 ceb 0 e1b 1,nop>\n';
  const script = (e0b: number) => `\`./defaults.sh
sysctl -q net.ipv4.tcp_ecn=3 net.ipv4.tcp_ecn_option=2\`
${SERVER.trim()}
+0 < SEWA 0:0(0) win 9000 <mss 1000,nop,nop,sackOK>
+0 > SW. 0:0(0) ack 1 <mss 1460,ECN e1b 1 ceb 0 e0b 1,nop,nop,nop,sackOK>
+0 < [ect0] W. 1:1(0) ack 1 win 9000 <ECN e0b 1 ceb 0 e1b 1,nop>
+0 accept(3, ..., ...) = 4
${data}+0 > [ect0] EA. 1:1(0) ack 1001 <${ecn(1001)}>
${data}+0 > [ect0] EA. 1:1(0) ack 1001 <${ecn(e0b)},nop,nop,sack 1:1001>
${data}+0 > [ect0] EA. 1:1(0) ack 1001 <nop,nop,sack 1:1001>
`;
  expect(runScript(script(2001), { arena })).toMatchObject({ reason: '', verdict: 'pass' });
  expect(runScript(script(1001), { arena }).verdict).toBe('fail');
});

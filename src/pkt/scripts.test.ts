/** The scripts beside the code pass, and none of what they expect could be otherwise. */
import { globSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { ARENA_BYTES } from './host.ts';
import { runScript } from './runner.ts';

const SRC = fileURLToPath(new URL('..', import.meta.url));
const SCRIPTS = globSync('**/*.pkt', { cwd: SRC }).map((path) => [basename(path), `${SRC}/${path}`]);
const arena = new Arena(ARENA_BYTES);

/** One change to a line that expects something; null when the line has nothing of the kind. */
const CHANGES: readonly [string, (line: string) => string | null][] = [
  [
    'payload',
    (line) =>
      replace(line, /> (\S+ )?udp \((\d+)\)/, (_, ports, n) => `> ${ports ?? ''}udp (${Number(n) + 1})`),
  ],
  [
    'seq',
    (line) =>
      replace(line, /(> .*?)(\d+):(\d+)\(/, (_, start, a, b) => `${start}${Number(a) + 1}:${Number(b) + 1}(`),
  ],
  ['ack', (line) => replace(line, /(> .*ack )(\d+)/, (_, start, n) => `${start}${Number(n) + 1}`)],
  [
    'flags',
    (line) =>
      replace(
        line,
        /(> (?:\[\w+\] )?)([SFRPEW.]+)( \d+:)/,
        (_, start, flags, end) => `${start}U${flags}${end}`,
      ),
  ],
  ['window', (line) => replace(line, /(> .*win )(\d+)/, (_, start, n) => `${start}${Number(n) - 1}`)],
  ['options', (line) => replace(line, /(> .*<)/, (_, start) => `${start}mss 99,`)],
  ['time', (line) => replace(line, /^(\S+)( > )/, (_, _time, end) => `+5~+6${end}`)],
  ['result', (line) => replace(line, /= (\d+)$/, (_, n) => `= ${Number(n) + 1}`)],
];

function replace(line: string, pattern: RegExp, by: (...groups: string[]) => string): string | null {
  return !line.startsWith('//') && pattern.test(line) ? line.replace(pattern, by) : null;
}

describe.each(SCRIPTS)('%s', (_, path) => {
  const text = readFileSync(path, 'utf8');

  test('passes', () => {
    const { verdict, line, reason } = runScript(text, { arena });
    expect(`${verdict} ${line} ${reason}`.trim()).toBe('pass 0');
  });

  test('over IPv6 too', () => {
    const { verdict, line, reason } = runScript(text, { arena, version: 6 });
    expect(`${verdict} ${line} ${reason}`.trim()).toBe('pass 0');
  });

  test('fails with anything that it expects changed, and says where', () => {
    const lines = text.split('\n');
    let changes = 0;
    for (const [i, line] of lines.entries()) {
      for (const [what, change] of CHANGES) {
        const changed = change(line);
        // Descriptors have the numbers that scripts give them, and so have the stack's SYNs.
        if (changed === null || (what === 'result' && /socket|accept/.test(line))) continue;
        if (what === 'seq' && /> S/.test(line)) continue;
        changes++;
        const result = runScript(lines.with(i, changed).join('\n'), { arena });
        expect({ changed, verdict: result.verdict, line: result.line }).toEqual({
          changed,
          verdict: 'fail',
          line: expect.any(Number),
        });
        expect(result.line).toBeGreaterThan(i);
      }
    }
    expect(changes).toBeGreaterThan(5);
  });
});

describe('what nobody expects', () => {
  const CONNECTED = [
    '0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3',
    '+0 bind(3, ..., ...) = 0',
    '+0 listen(3, 1) = 0',
    '+0 < S 0:0(0) win 65535 <mss 1000>',
    '+0 > S. 0:0(0) ack 1 <mss 1460>',
    '+0 < . 1:1(0) ack 1 win 65535',
    '+0 accept(3, ..., ...) = 4',
  ];
  const run = (...lines: string[]) => runScript([...CONNECTED, ...lines, ''].join('\n'), { arena });

  test('data that was sent before the end is missed', () => {
    expect(
      run('+0 write(4, ..., 10) = 10', '+.1 getsockopt(4, SOL_SOCKET, SO_ERROR, [0], [4]) = 0'),
    ).toMatchObject({
      verdict: 'fail',
      reason: expect.stringContaining('nothing more was expected'),
    });
  });

  test('a packet in between', () => {
    const { verdict, line, reason } = run(
      '+0 write(4, ..., 10) = 10',
      '+0 close(4) = 0',
      '+0 > F. 11:11(0) ack 1',
    );
    expect([verdict, line]).toEqual(['fail', 10]);
    expect(reason).toContain('actual: 0.000020 > P. 1:11(10) ack 1');
  });

  test('a packet that never comes', () => {
    expect(run('+.2 > . 1:1(0) ack 1')).toMatchObject({ verdict: 'fail', line: 8 });
  });

  test('a call that blocks, or doesn’t', () => {
    expect(run('+0 read(4, ..., 10) = 10').reason).toContain('read() blocks');
    expect(run('+0...1 getsockopt(4, SOL_SOCKET, SO_ERROR, [0], [4]) = 0').reason).toContain(
      'expected to return at',
    );
    expect(run('+0...1 read(4, ..., 10) = 10', '+.5 < P. 1:11(10) ack 1 win 10').verdict).toBe('fail');
    expect(run('+0...0.5 read(4, ..., 10) = 10', '+.5 < P. 1:11(10) ack 1 win 10').verdict).toBe('pass');
  });

  test('options within brackets are all there are', () => {
    expect(run('+0 < . 1:1(0) ack 5000 win 10', '+0 > . 1:1(0) ack 1 <sack 1:2>').verdict).toBe('fail');
  });
});

describe('verdicts', () => {
  const run = (text: string) => runScript(text, { arena });
  const START = '0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n';

  test('what isn’t here is unsupported, with the reason', () => {
    expect(run('0 socket(..., SOCK_SEQPACKET, IPPROTO_SCTP) = 3\n')).toMatchObject({
      verdict: 'unsupported',
      line: 1,
      reason: 'sockets of IPPROTO_SCTP',
    });
    expect(run(`${START}+0 mmap(3) = 0\n`).reason).toContain('mmap');
    expect(run(`${START}+0 < ipv4 1.1.1.1 > 2.2.2.2: S 0:0(0) win 5\n`).reason).toContain('tunnels');
  });

  test('a setting that isn’t here matters only when the script fails', () => {
    const setting = '`sysctl -w net.ipv4.tcp_dsack=0`\n';
    expect(run(`${setting}${START}`).verdict).toBe('pass');
    expect(run(`${setting}${START}+0 close(3) = 5\n`)).toMatchObject({
      verdict: 'unsupported',
      reason: expect.stringMatching(/^sysctl net.ipv4.tcp_dsack=0; without, close\(\): expected 5, got 0/),
    });
  });

  test('bad syntax fails, with the line', () => {
    expect(run(`${START}+0 close(3 = 0\n`)).toMatchObject({
      verdict: 'fail',
      line: 2,
      reason: expect.stringMatching(/^syntax: /),
    });
  });

  test('whose script it is shows', () => {
    expect(run(`\`sysctl -w net.inet.tcp.rfc1323=1\`\n${START}`).dialect).toBe('freebsd');
    expect(run(`\`./defaults.sh\`\n${START}`).dialect).toBe('linux');
    expect(run(START).dialect).toBe('linux');
  });

  test('an arena is as new for each script', () => {
    const text = readFileSync(SCRIPTS[0][1], 'utf8');
    const first = runScript(text, { arena });
    expect(runScript(text, { arena })).toEqual(first);
  });
});

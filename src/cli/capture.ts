/** `millrace capture`: prints or records what passes at a device or a capture file has, as tcpdump. */
import { Command } from 'commander';
import { BpfFilter } from '../device/bpf-filter.ts';
import { FrameTap } from '../device/frame-tap.ts';
import { DEVICE_USAGE } from '../device/open.ts';
import type { Link } from '../device/port.ts';
import { compileFilter } from '../os/libpcap.ts';
import { describeFrame } from '../wire/describe.ts';
import { integer } from './arguments.ts';
import { CaptureWriter, packetsOf } from './capture-file.ts';
import { drive, openToolPort, type PortOptions, portName, withPort } from './drive.ts';
import { StatusLine, say } from './output.ts';
import { interrupted } from './signals.ts';

interface CaptureOptions extends PortOptions {
  readonly write?: string;
  readonly count?: number;
  readonly snaplen: number;
}

const SNAP_BYTES = 262_144;
/** How long what was captured may wait to be written, ms. */
const FLUSH_MS = 500;
const FILE = 'pcap:';

export const captureCommand = withPort(
  new Command('capture')
    .description('print what passes at a device or a capture file has, or record it')
    .argument('<device>', `${DEVICE_USAGE}; a pcap:FILE is read at once, to its end`, portName)
    .argument('[filter...]', "which packets, in tcpdump's language (man pcap-filter): udp port 53")
    .option('-w, --write <file>', 'record in pcapng instead of printing; - is stdout')
    .option('-c, --count <packets>', 'end after so many', integer(1, 1e15))
    .option('-s, --snaplen <bytes>', 'record so much of each packet', integer(1, SNAP_BYTES), SNAP_BYTES),
)
  .addHelpText(
    'after',
    `
  millrace capture tap:mr0 --host 10.77.0.1/24 arp or icmp       what this host sends to the device
  millrace capture tap:mr0 -w x.pcapng -c 1000                   for Wireshark, or millrace replay
  millrace capture packet:eth0 icmp                              what eth0 receives and what this host sends by it
  millrace capture pcap:x.pcapng tcp port 80 and host 10.0.0.1   what of a file matches

Devices show what they receive, packet:INTERFACE what leaves the interface, too; a file says which was which. Packets are
as on a wire: super-segments are cut, and checksums filled in. What packet: devices send isn't seen by each other.

Filters need libpcap (Debian: apt install libpcap0.8). For a running stack's packets see its option --pcap.`,
  )
  .action(capture);

/** The file that is read by itself; with options (`,speed=2`) it is a device like others. */
function fileOf(device: string): string | null {
  return device.startsWith(FILE) && !device.includes(',') ? device.slice(FILE.length) : null;
}

async function capture(device: string, filter: string[], options: CaptureOptions): Promise<void> {
  // Who reads our output may have had enough, as head has.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(0);
  });
  const filterFor = filters(filter.join(' '), options.snaplen);
  const output =
    options.write === undefined ? null : new CaptureWriter(options.write, device, options.snaplen);
  const take = (frame: Uint8Array, link: Link, timeUs: number, direction: 'rx' | 'tx' | null): void => {
    if (output === null) console.log(`${formatTime(timeUs)} ${describeFrame(frame, link)}`);
    else output.add(frame, link, { direction, timeUs: Number.isNaN(timeUs) ? 0 : timeUs });
  };
  try {
    const file = fileOf(device);
    if (file !== null) captureFile(file, filterFor, options, take);
    else await captureDevice(device, filterFor, options, take, output);
  } finally {
    output?.close();
  }
}

type Take = (frame: Uint8Array, link: Link, timeUs: number, direction: 'rx' | 'tx' | null) => void;
type FilterFor = (link: Link) => BpfFilter | null;

/** Offsets in a packet depend on its link, so that each link has a program of its own, made when one is met. */
function filters(text: string, snapBytes: number): FilterFor {
  if (text === '') return () => null;
  const made = new Map<Link, BpfFilter>();
  return (link) => {
    const filter = made.get(link) ?? new BpfFilter(compileFilter(text, link, snapBytes));
    made.set(link, filter);
    return filter;
  };
}

function captureFile(path: string, filterFor: FilterFor, options: CaptureOptions, take: Take): void {
  const count = options.count ?? Number.POSITIVE_INFINITY;
  let read = 0;
  let matched = 0;
  let otherLinks = 0;
  for (const { bytes, length, timeUs, link, direction } of packetsOf(path)) {
    read++;
    if (link === null) {
      otherLinks++;
      continue;
    }
    const filter = filterFor(link);
    if (filter !== null && filter.run(bytes, 0, bytes.length, length) === 0) continue;
    take(bytes, link, timeUs, direction);
    if (++matched >= count) break;
  }
  say(`${matched} of ${read} packets${otherLinks > 0 ? `; ${otherLinks} of links that aren't read` : ''}`);
}

async function captureDevice(
  device: string,
  filterFor: FilterFor,
  options: CaptureOptions,
  take: Take,
  output: CaptureWriter | null,
): Promise<void> {
  const ended = interrupted();
  const port = openToolPort(device, options, 0, true);
  const status = new StatusLine();
  try {
    const { link } = port.capabilities;
    const tap = new FrameTap(
      port,
      filterFor(link),
      options.count ?? Number.POSITIVE_INFINITY,
      () => (performance.timeOrigin + performance.now()) * 1000,
      (frame, timeUs, outgoing) => take(frame, link, timeUs, outgoing ? 'tx' : 'rx'),
    );
    const tell = (): string =>
      `${tap.matched} captured of ${tap.seen} seen, ${port.counters.rxDropped} dropped by the device`;
    say(`listening on ${device}, Ctrl-C ends it`);
    const timer = setInterval(() => {
      output?.flush();
      if (output !== null) status.show(tell());
    }, FLUSH_MS);
    try {
      await drive(tap, [port], ended);
    } finally {
      clearInterval(timer);
      status.end();
    }
    say(tell());
  } finally {
    port.close();
  }
}

/** Local time, as tcpdump: 14:03:05.123456 */
function formatTime(timeUs: number): string {
  if (Number.isNaN(timeUs)) return '--:--:--.------';
  const time = new Date(timeUs / 1000);
  const two = (value: number): string => String(value).padStart(2, '0');
  const fraction = String(Math.floor(timeUs % 1e6)).padStart(6, '0');
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${fraction}`;
}

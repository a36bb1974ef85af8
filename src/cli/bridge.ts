/** `millrace bridge`: frames between two devices. */
import { Command } from 'commander';
import { Bridge } from '../device/forward.ts';
import { integer, QUEUES_OPTION } from './arguments.ts';
import { portName } from './drive.ts';
import { DEVICES_HELP, describePorts, FlowReport, lossesOf, openPorts, runPorts } from './ports.ts';

interface BridgeOptions {
  readonly mtu?: number;
  readonly queues?: number;
  readonly offload: boolean;
}

export const bridgeCommand = new Command('bridge')
  .description('pass frames between two devices; one that is full holds the other back')
  .argument('<a>', DEVICES_HELP, portName)
  .argument('<b>', 'the other, of the same link: Ethernet with Ethernet, IP with IP', portName)
  .option('--mtu <bytes>', 'largest IP packet of devices that are made here', integer(576, 65_517))
  .option(...QUEUES_OPTION)
  .option('--no-offload', 'leave no checksum undone and no segment uncut')
  .addHelpText(
    'after',
    `
Offload is used when both devices have it (tun, tap, packet and host do): then checksums and super-segments of up to
64 KiB cross undone. Frames longer than the other device's MTU are dropped and counted. A line for each second in
which something moved, and a summary at Ctrl-C.

  millrace bridge tap:a tap:b              two Ethernet interfaces, as with a cable between them
  millrace bridge tun:a tun:b              the same with IP packets
  millrace bridge packet:eth0 packet:eth1  two interfaces of this host, which goes on using them`,
  )
  .action(bridge);

async function bridge(a: string, b: string, options: BridgeOptions): Promise<void> {
  const opened = openPorts([a, b], options);
  try {
    const [left, right] = opened.ports;
    const both = new Bridge(left, right);
    const { forth, back } = both;
    const report = new FlowReport(() => [
      { name: `${a} → ${b}`, ...forth.counters, losses: lossesOf(forth.counters, right) },
      { name: `${b} → ${a}`, ...back.counters, losses: lossesOf(back.counters, left) },
    ]);
    console.log(`bridging ${describePorts(opened)}; Ctrl-C ends`);
    await runPorts(opened.ports, { turn: () => both.turn(), tick: (seconds) => report.tick(seconds) });
    report.summary();
  } finally {
    opened.close();
  }
}

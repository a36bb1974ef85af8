/** `millrace switch`: a learning Ethernet switch between devices. */
import { randomInt } from 'node:crypto';
import { Command } from 'commander';
import { createSwitch, SWITCH_PORTS_MAX } from '../device/switch.ts';
import { integer, QUEUES_OPTION } from './arguments.ts';
import { portName } from './drive.ts';
import { DEVICES_HELP, describePorts, FlowReport, lossesOf, openPorts, runPorts } from './ports.ts';

interface SwitchCommandOptions {
  readonly mtu?: number;
  readonly queues?: number;
  readonly offload: boolean;
  readonly addresses: number;
  readonly ageing: number;
}

const ENTRY_BYTES = 16;

export const switchCommand = new Command('switch')
  .description('switch Ethernet frames between devices; a full one loses its frames and holds nobody back')
  .argument('<ports...>', `two or more of: ${DEVICES_HELP}, with Ethernet`, deviceList)
  .option('--mtu <bytes>', 'largest IP packet of devices that are made here', integer(576, 65_517))
  .option(...QUEUES_OPTION)
  .option('--no-offload', 'leave no checksum undone and no segment uncut')
  .option(
    '--addresses <n>',
    'hardware addresses that it knows at most, rounded up to a power of two',
    integer(4, 2 ** 20),
    4096,
  )
  .option('--ageing <s>', 'forget those that are silent for so long', integer(1, 1_000_000), 300)
  .addHelpText(
    'after',
    `
Offload is used when all devices have it (TAP does): then checksums and super-segments of up to 64 KiB cross undone.
Frames longer than a device's MTU are dropped and counted. A line for each second in which something moved, with
what went out by each port, and a summary at Ctrl-C.

  millrace switch tap:a tap:b tap:c`,
  )
  .action(run);

function deviceList(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), portName(text)];
}

async function run(names: string[], options: SwitchCommandOptions): Promise<void> {
  if (names.length < 2 || names.length > SWITCH_PORTS_MAX)
    throw new RangeError(`a switch takes 2 to ${SWITCH_PORTS_MAX} ports, not ${names.length}`);
  const addresses = 2 ** Math.ceil(Math.log2(options.addresses));
  const opened = openPorts(names, { ...options, extraBytes: addresses * ENTRY_BYTES });
  try {
    const lan = createSwitch(opened.arena, 'switch', {
      now: () => performance.now(),
      key: randomInt(2 ** 32),
      addresses,
      ageing_s: options.ageing,
    });
    for (const port of opened.ports) lan.attach(port);
    const report = new FlowReport(() =>
      lan.ports.map(({ port, counters, out }) => ({
        name: `→ ${port.name}`,
        ...out,
        losses: { ...lossesOf(out, port), 'its ring was full': counters.dropped },
      })),
    );
    console.log(`switching ${describePorts(opened)}; Ctrl-C ends`);
    await runPorts(opened.ports, { turn: () => lan.turn(), tick: (seconds) => report.tick(seconds) });
    report.summary();
    for (const { port, counters } of lan.ports) {
      const { unicast, flooded, filtered } = counters;
      console.log(`  from ${port.name}: ${unicast} for one port, ${flooded} for all, ${filtered} for none`);
    }
    const { moves, evicted } = lan.counters;
    if (moves > 0) console.log(`  ${moves} times an address moved to another port`);
    if (evicted > 0) console.log(`  ${evicted} addresses forgotten for want of room (--addresses)`);
  } finally {
    opened.close();
  }
}

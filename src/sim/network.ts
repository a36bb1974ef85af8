/** Builds a scenario's network in a world. */
import { startCrossTraffic } from './cross-traffic.ts';
import type { Host } from './host.ts';
import type { Link } from './link.ts';
import type { Nat } from './nat.ts';
import type { Scenario } from './scenario.ts';
import type { Node, World } from './world.ts';

export interface Network {
  readonly hosts: Host[];
  /** As the scenario's `middle`. */
  readonly middle: { readonly forth: Link; readonly back: Link }[];
  readonly nat: Nat | null;
}

export function buildNetwork(world: World, s: Scenario): Network {
  const hosts = s.hosts.map((options, i) => world.addHost(`h${i}`, options));
  const middle: { forth: Link; back: Link }[] = [];
  if (s.topology === 'direct') {
    middle.push(world.join(hosts[0], hosts[1], s.middle[0].forth, s.middle[0].back));
    return { hosts, middle, nat: null };
  }
  const nat =
    s.topology === 'nat' ? world.addNat('nat', { icmp: s.icmp, timeout_ms: s.natTimeout_ms }) : null;
  const routers: Node[] = [nat ?? world.addRouter('r0', { icmp: s.icmp })];
  for (const [i, { forth, back }] of s.middle.entries()) {
    routers.push(world.addRouter(`r${i + 1}`, { icmp: s.icmp }));
    middle.push(world.join(routers[i], routers[i + 1], forth, back));
  }
  for (const [i, host] of hosts.entries()) {
    const { forth, back } = s.access[i];
    const left = i < s.left;
    const link = world.join(host, left ? routers[0] : routers[routers.length - 1], forth, back);
    if (left) nat?.addInside(link.forth);
  }
  return { hosts, middle, nat };
}

/** Sets off what is to go wrong at its time, from now on. */
export function startIncidents(
  world: World,
  s: Scenario,
  network: Network,
  restarted: (host: Host) => void,
): void {
  const { hosts, middle, nat } = network;
  if (s.cross !== null) startCrossTraffic(world, middle[0].forth, s.cross);
  for (const incident of s.incidents) {
    world.after(incident.at_ms, () => {
      switch (incident.kind) {
        case 'stall':
          hosts[incident.host].stall(incident.ms);
          return;
        case 'restart':
          hosts[incident.host].restart();
          restarted(hosts[incident.host]);
          return;
        case 'outage': {
          const { forth, back } = middle[incident.segment];
          forth.downs++;
          back.downs++;
          world.after(incident.ms, () => {
            forth.downs--;
            back.downs--;
          });
          return;
        }
        case 'mtu':
          for (const link of [middle[incident.segment].forth, middle[incident.segment].back])
            link.mtu = incident.mtu;
          return;
        case 'rebind':
          nat?.rebind();
          return;
      }
    });
  }
}

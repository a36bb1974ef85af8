/** Run by the test: joins `packet:eth0`, which stands for what takes an interface from its host, with `host:eth0`. */
import { Arena } from '../memory/arena.ts';
import { Forwarder } from './forward.ts';
import { openPort, portArenaBytes } from './open.ts';
import { PortWaiter } from './wait.ts';

const names = ['packet:eth0', 'host:eth0'];
const arena = new Arena(names.reduce((bytes, name) => bytes + portArenaBytes(name), 1 << 20));
const [wire, host] = names.map((name) => openPort(arena, name));
const ways = [new Forwarder(wire, host), new Forwarder(host, wire)];
const waiter = new PortWaiter([wire, host]);
console.log('joined');
for (;;) {
  let moved = 0;
  for (const port of [wire, host]) {
    port.rxSync();
    port.txSync();
  }
  for (const way of ways) moved += way.forward();
  for (const port of [wire, host]) port.txSync();
  if (moved === 0) await waiter.wait(100);
}

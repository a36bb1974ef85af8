/** The peer of the memif jobs: frames go round between two of DPDK's testpmd. */
import { finish, jobArguments, seconds } from './job.ts';
import { otherCpu, ownCpu, skip, socketPath, Testpmd } from './memif.ts';

const NAME = 'testpmd - testpmd';

const args = jobArguments();
const at = `socket=${socketPath()},socket-abstract=no`;
const server = await Testpmd.start(otherCpu(NAME), `role=server,${at}`, args.bytes);
const client = await Testpmd.start(ownCpu(), `role=client,${at}`, args.bytes);
if (server === null || client === null) {
  skip(NAME, 'dpdk-testpmd is missing: scripts/setup-bench.sh installs it');
}
await server.start();
await client.startWith(args.outstanding);
await seconds(args.warmup);
const before = await client.received();
await seconds(args.seconds);
const after = await client.received();
const wallNs = after.at_ns - before.at_ns;
const requests = after.frames - before.frames;
finish({
  name: NAME,
  requests,
  wallNs,
  cpuNs: wallNs,
  bytes: requests * args.bytes,
  note: 'spins, so CPU is time',
});

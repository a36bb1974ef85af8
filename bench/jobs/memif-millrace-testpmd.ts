/** Frames go round between a Millrace process and DPDK's testpmd. */
import { finish, jobArguments } from './job.ts';
import { measureBounce, openPort, otherCpu, skip, socketPath, Testpmd } from './memif.ts';

const NAME = 'millrace - testpmd';

const args = jobArguments();
const socket = socketPath();
const vdev = `role=server,socket=${socket},socket-abstract=no`;
const testpmd = await Testpmd.start(otherCpu(NAME), vdev, args.bytes);
if (testpmd === null) skip(NAME, 'dpdk-testpmd is missing: scripts/setup-bench.sh installs it');
await testpmd.start();
finish(await measureBounce(NAME, openPort(socket, 'client'), args));

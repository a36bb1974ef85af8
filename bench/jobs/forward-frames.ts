/**
 * Frames from cable to cable by exchange, on this thread: a sender that fills slots, a cable, a forwarder, a cable, a
 * receiver that gives slots back. `--outstanding`: frames in a batch.
 */
import { createCable } from '../../src/device/cable.ts';
import { Forwarder } from '../../src/device/forward.ts';
import { createFrames } from '../../src/device/frames.ts';
import { Arena } from '../../src/memory/arena.ts';
import { raiseInliningBudget } from '../../src/os/v8.ts';
import { runFrames, sendFrames, takeAll } from './frames.ts';
import { finish, jobArguments } from './job.ts';

raiseInliningBudget();
const args = jobArguments();
const arena = new Arena(1 << 26);
const pool = createFrames(arena, 'frames', 4096, 1518);
const [near, inner] = createCable(arena, 'in', { pool });
const [outer, far] = createCable(arena, 'out', { pool });
const forwarder = new Forwarder(inner, outer);
let frames = 0;
const times = runFrames(
  args,
  () => {
    sendFrames(near, args.outstanding, args.bytes);
    inner.rxSync();
    forwarder.forward();
    outer.txSync();
    const n = takeAll(far);
    frames += n;
    return n;
  },
  () => frames,
);
finish({ name: 'millrace', ...times });

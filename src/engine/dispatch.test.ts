/** What handlers may return and do. */
import { expect, test } from 'vitest';
import { B4, World } from './testing.ts';

test.each([
  ['-1, as a refused send() returns', -1],
  ['nothing', undefined as unknown as number],
  ['NaN', Number.NaN],
  ['more than was offered', 1e9],
])('a data handler that returns %s reads every byte once', (_, answer) => {
  const world = new World({ seed: 1 });
  const { a, b, arena } = world;
  let reads = 0;
  let text = '';
  b.listen(
    { port: 7 },
    {
      data(conn, at, length) {
        // Every other time the odd answer, and the same bytes have to come again unless it says that all are read.
        if (reads++ % 2 === 0) {
          if (answer > 0) text += Buffer.from(arena.u8.slice(at, at + length)).toString();
          b.resume(conn);
          world.after(1, () => b.resume(conn));
          return answer;
        }
        text += Buffer.from(arena.u8.slice(at, at + length)).toString();
        return length;
      },
      end: (conn) => b.shutdown(conn),
    },
  );
  let closed = false;
  const conn = a.connect(
    { address: B4, port: 7, noDelay: true },
    {
      end: (conn) => a.shutdown(conn),
      close: () => {
        closed = true;
      },
    },
  );
  let wanted = '';
  for (let i = 0; i < 20; i++) {
    wanted += `line ${i};`;
    a.write(conn, new TextEncoder().encode(`line ${i};`));
    world.pass(5);
  }
  a.shutdown(conn);
  world.run(() => closed, 60_000);
  expect(text).toBe(wanted);
  world.finish();
});

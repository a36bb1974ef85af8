/**
 * Network namespaces for system tests, without names: a namespace lives as long as the process that holds it
 * and those that run in it, and they all end with the test's process, whatever ends that. So nothing can be
 * left behind and nothing needs to be swept.
 *
 *     const ns = await Namespace.create();
 *     try {
 *       const server = ns.spawn('node', ['server.js']);
 *       await server.waitFor(/listening/);
 *       expect(await ns.run('curl', ['-s', 'http://127.0.0.1:8080/'])).toBe('hello');
 *     } finally {
 *       await ns.close();
 *     }
 */
import { spawnSync } from 'node:child_process';
import { Child, type SpawnOptions } from './child.ts';

export interface Support {
  /** Why not; undefined when they can be used. */
  readonly reason?: string;
  /** `unshare` options that make a namespace here: with root, or in a user namespace of our own. */
  readonly unshare: readonly string[];
}

let probed: Support | undefined;

/** Whether this process may make network namespaces, tried once. */
export function namespaceSupport(): Support {
  probed ??= probe();
  return probed;
}

function probe(): Support {
  const reasons: string[] = [];
  for (const unshare of [['-n'], ['-Urn']]) {
    const { error, status, stderr } = spawnSync('unshare', [...unshare, 'ip', 'link'], { encoding: 'utf8' });
    if (status === 0) return { unshare };
    reasons.push(`unshare ${unshare.join(' ')}: ${error?.message ?? stderr.trim()}`);
  }
  return { reason: reasons.join('; '), unshare: [] };
}

export class Namespace {
  readonly #holder: Child;
  readonly #enter: readonly string[];
  readonly #children: Child[] = [];

  private constructor(holder: Child, userNamespace: boolean) {
    this.#holder = holder;
    const user = userNamespace ? ['-U', '--preserve-credentials'] : [];
    this.#enter = ['-t', String(holder.pid), '-n', ...user, '--'];
  }

  /**
   * A fresh namespace with nothing in it but `lo`, up.
   * @param beside A namespace that this one shall be linked to: both then belong to one user namespace.
   */
  static async create(beside?: Namespace): Promise<Namespace> {
    const { reason, unshare } = namespaceSupport();
    if (reason !== undefined) throw new Error(`no network namespaces: ${reason}`);
    // The holder ends when its stdin does, which is when our process ends.
    const hold = ['sh', '-c', 'ip link set lo up && echo held && exec cat'];
    const holder =
      beside === undefined
        ? new Child('unshare', [...unshare, ...hold])
        : new Child('nsenter', [...beside.#enter, 'unshare', '-n', ...hold]);
    await holder.waitFor(/^held$/m);
    return new Namespace(holder, unshare.includes('-Urn'));
  }

  /** A process in this namespace, ended with it. Its pid is the command's own. */
  spawn(command: string, args: readonly string[], options: SpawnOptions = {}): Child {
    // setpriv comes last, as changing credentials would clear what it sets.
    const end = ['setpriv', '--pdeathsig', 'KILL', command, ...args];
    const child = new Child('nsenter', [...this.#enter, ...end], options);
    this.#children.push(child);
    return child;
  }

  /** Runs a command to its end. @returns its stdout. @throws with all it said when it fails. */
  run(
    command: string,
    args: readonly string[],
    options?: SpawnOptions & { timeoutMs?: number },
  ): Promise<string> {
    return this.spawn(command, args, { input: '', ...options }).success(options?.timeoutMs);
  }

  /** Lays a veth cable to another namespace; each end gets the name and is up. */
  async link(other: Namespace, name: string, otherName: string): Promise<void> {
    const peer = ['type', 'veth', 'peer', 'name', otherName, 'netns', String(other.#holder.pid)];
    await this.run('ip', ['link', 'add', name, ...peer]);
    await this.run('ip', ['link', 'set', name, 'up']);
    await other.run('ip', ['link', 'set', otherName, 'up']);
  }

  /** Ends every process started here; the kernel then removes the namespace and its devices. Idempotent. */
  async close(): Promise<void> {
    await Promise.all(this.#children.map((child) => child.stop()));
    this.#holder.endInput();
    await this.#holder.exit;
  }
}

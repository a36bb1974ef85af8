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

const NOBODY = '65534';
/** Runs a command without any privilege. */
const AS_NOBODY =
  process.geteuid?.() === 0
    ? ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--inh-caps=-all']
    : [];

let rootless: Support | undefined;

/** The same for namespaces of `Namespace.createRootless`. */
export function rootlessSupport(): Support {
  if (rootless !== undefined) return rootless;
  const unshare = ['-Urn'];
  const [command, ...args] = [...AS_NOBODY, 'unshare', ...unshare, process.execPath, '--version'];
  const { error, status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  const reason = `unshare -Urn as nobody: ${error?.message ?? stderr.trim()}`;
  rootless = status === 0 ? { unshare } : { reason, unshare };
  return rootless;
}

export class Namespace {
  readonly #holder: Child;
  /** What runs a command as the namespace's owner. */
  readonly #owner: readonly string[];
  /** Whether it has a user namespace, too. */
  readonly #user: boolean;
  readonly #children: Child[] = [];

  private constructor(holder: Child, owner: readonly string[], user: boolean) {
    this.#holder = holder;
    this.#owner = owner;
    this.#user = user;
  }

  /**
   * A fresh namespace with nothing in it but `lo`, up.
   * @param beside A namespace that this one shall be linked to: both then belong to one user namespace.
   */
  static async create(beside?: Namespace): Promise<Namespace> {
    if (beside !== undefined)
      return Namespace.#hold([...beside.#enter, 'unshare', '-n'], beside.#owner, beside.#user);
    const { reason, unshare } = namespaceSupport();
    if (reason !== undefined) throw new Error(`no network namespaces: ${reason}`);
    return Namespace.#hold(['unshare', ...unshare], [], unshare.includes('-Urn'));
  }

  /**
   * One whose processes may do what `unshare -Urn` lets anybody do.
   * @param nobody They are nobody's, too: what files are for root alone are not for them.
   */
  static async createRootless(nobody = true): Promise<Namespace> {
    const { reason, unshare } = rootlessSupport();
    if (reason !== undefined) throw new Error(`no rootless network namespaces: ${reason}`);
    const owner = nobody ? AS_NOBODY : [];
    return Namespace.#hold([...owner, 'unshare', ...unshare], owner, true);
  }

  static async #hold(make: readonly string[], owner: readonly string[], user: boolean): Promise<Namespace> {
    // The holder ends when its stdin does, which is when our process ends.
    const [command, ...args] = [...make, 'sh', '-c', 'ip link set lo up && echo held && exec cat'];
    const holder = new Child(command, args);
    await holder.waitFor(/^held$/m);
    return new Namespace(holder, owner, user);
  }

  /** Runs a command in here. */
  get #enter(): string[] {
    const user = this.#user ? ['-U', '--preserve-credentials'] : [];
    return [...this.#owner, 'nsenter', '-t', String(this.#holder.pid), '-n', ...user, '--'];
  }

  /** A process in this namespace, ended with it. Its pid is the command's own. */
  spawn(command: string, args: readonly string[], options: SpawnOptions = {}): Child {
    // setpriv comes last, as changing credentials would clear what it sets.
    const [first, ...rest] = [...this.#enter, 'setpriv', '--pdeathsig', 'KILL', command, ...args];
    const child = new Child(first, rest, options);
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

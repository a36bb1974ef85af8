/** What the kernel refuses an AF_XDP port, and what to do about it. */
import { ArenaFullError } from '../memory/arena.ts';
import { SystemError } from '../os/errno.ts';
import { interfaceInfo } from '../os/interface.ts';
import { UnsupportedError } from '../os/libc.ts';
import { PortError } from './port.ts';
import { rxQueuesOrOne, type XdpOptions } from './xdp-options.ts';

/** What the kernel refused, with what to do; other errors pass as they are. */
export function asXdpError(error: unknown, { name, queue }: XdpOptions): unknown {
  if (error instanceof PortError || error instanceof ArenaFullError) return error;
  if (error instanceof UnsupportedError) return new PortError(error.code, error.message, { cause: error });
  if (!(error instanceof SystemError)) return error;
  const [code, advice] = adviceOn(error, name, queue);
  return new PortError(code, `xdp:${name}: ${error.message}${advice === '' ? '' : `; ${advice}`}`, {
    cause: error,
  });
}

/** @returns the stable code, and what to do about it or '' */
function adviceOn({ code, syscall }: SystemError, name: string, queue: number | undefined): [string, string] {
  switch (code) {
    case 'ENODEV':
      return [code, `there is no interface ${name} in this network namespace (ip link)`];
    case 'ENETDOWN':
      return [code, `ip link set ${name} up`];
    case 'EPERM':
    case 'EACCES':
      return [
        'EPERM',
        'run as root, or with CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF of the host (in a user namespace bpf() is refused)',
      ];
    case 'EAFNOSUPPORT':
    case 'EOPNOTSUPP':
    case 'ENOSYS':
      return [
        'EOPNOTSUPP',
        'this kernel or this interface has no AF_XDP: Linux 5.18 or later with CONFIG_XDP_SOCKETS, or take tun:, tap: ' +
          'or packet:',
      ];
    case 'ENOBUFS':
    case 'ENOMEM':
      return [
        'ENOMEM',
        'the buffers are locked memory: raise the limit (ulimit -l unlimited), grant CAP_IPC_LOCK, or take fewer slots',
      ];
    case 'EBUSY':
    case 'EEXIST':
      return ['EBUSY', busyAdvice(name, syscall)];
    case 'EINVAL':
      return [
        code,
        syscall.startsWith('bind') && queue !== undefined
          ? `is there a queue ${queue}? ${name} has ${rxQueuesOrOne(name)}`
          : '',
      ];
    default:
      return [code, ''];
  }
}

function busyAdvice(name: string, syscall: string): string {
  if (!syscall.includes('attach')) return 'another program has this queue: end it, or take another queue';
  const program = interfaceInfo(name).xdpProgram;
  const which = program === 0 ? '' : ` (number ${program}: bpftool prog show id ${program})`;
  return (
    `another XDP program${which} is attached, and an interface takes one: end the process that it belongs to, or if it ` +
    `has none, ip link set ${name} xdp off. If it is Millrace's: one process takes all queues, by xdp:${name}, and others ` +
    `may join by packet:${name}`
  );
}

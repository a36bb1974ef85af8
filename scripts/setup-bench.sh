#!/bin/sh
# Installs what `npm run bench -- io` measures beside, on Debian and its relatives: iperf3, and a C compiler for the
# twins. What is missing is skipped by the measurements, with the reason. Safe to run again; quick when nothing is missing.
#
# usage: scripts/setup-bench.sh [--with-dpdk]
#   --with-dpdk  also DPDK's dpdk-testpmd
set -eu

# command:package
wanted='ip:iproute2 unshare:util-linux gcc:gcc iperf3:iperf3'
# The C library's headers, which gcc only recommends, have no command.
[ -e /usr/include/stdio.h ] || wanted="$wanted missing-libc-headers:libc6-dev"
for argument in "$@"; do
  case $argument in
    --with-dpdk) wanted="$wanted dpdk-testpmd:dpdk" ;;
    *) echo "setup-bench: unknown option $argument; the only one is --with-dpdk" >&2; exit 2 ;;
  esac
done

missing=''
for pair in $wanted; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
if [ -z "$missing" ]; then
  echo 'setup-bench: everything is installed'
  exit 0
fi

if ! command -v apt-get >/dev/null 2>&1; then
  echo "setup-bench: this is not Debian (no apt-get). Install these yourself:$missing" >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "setup-bench: needs root to install:$missing. Try: sudo $0 $*" >&2
  exit 1
fi

# iperf3 asks whether to start a daemon: it is not to (the answer preset in debconf is no), nor is any other.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

# Without package lists, or with stale ones, the simulation or the download fails: update, then try again.
install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; }
# shellcheck disable=SC2086 # a list of package names
if ! install -s $missing >/dev/null 2>&1 || ! install $missing; then
  apt-get update -q
  install $missing
fi

echo "setup-bench: installed$missing"

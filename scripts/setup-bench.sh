#!/bin/sh
# Installs what `npm run bench -- io` measures beside, on Debian and its relatives: iperf3, and a C compiler for the
# twins. What is missing is skipped by the measurements, with the reason. Safe to run again; quick when nothing is missing.
#
# usage: scripts/setup-bench.sh [--with-dpdk]
#   --with-dpdk  also DPDK's dpdk-testpmd (some 170 MB)
set -eu
. "$(dirname "$0")/install-missing.sh"

wanted='ip:iproute2 unshare:util-linux gcc:gcc iperf3:iperf3'
# The C library's headers, which gcc only recommends, have no command.
[ -e /usr/include/stdio.h ] || wanted="$wanted missing-libc-headers:libc6-dev"
for argument in "$@"; do
  case $argument in
    --with-dpdk) wanted="$wanted dpdk-testpmd:dpdk-dev" ;;
    *) echo "setup-bench: unknown option $argument; the only one is --with-dpdk" >&2; exit 2 ;;
  esac
done

# shellcheck disable=SC2086 # a list
install_missing $wanted

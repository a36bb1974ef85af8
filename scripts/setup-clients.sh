#!/bin/sh
# Installs the real clients and servers that `npm run test:clients` drives, on Debian and its relatives.
# Safe to run again; quick when nothing is missing. It leaves no service running or enabled that it brought.
#
# usage: scripts/setup-clients.sh [--with-tshark]
set -eu
. "$(dirname "$0")/install-missing.sh"

# `ip` and `unshare` make the network namespaces, the rest are the peers.
wanted='ip:iproute2 unshare:util-linux curl:curl wrk:wrk nginx:nginx redis-server:redis-server chromium:chromium'
# A page without any font renders as empty boxes.
command -v chromium >/dev/null 2>&1 || wanted="$wanted missing-font:fonts-liberation"
for argument in "$@"; do
  case $argument in
    --with-tshark) wanted="$wanted tshark:tshark" ;;
    *) echo "setup-clients: unknown option $argument; the only one is --with-tshark" >&2; exit 2 ;;
  esac
done

# shellcheck disable=SC2086 # a list
install_missing $wanted

# Packages enable their services even where they may not start them. Only those that came with this run.
for service in nginx redis-server; do
  case " $missing " in
    *" $service "*) update-rc.d "$service" disable >/dev/null 2>&1 || true ;;
  esac
done

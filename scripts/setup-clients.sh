#!/bin/sh
# Installs the real clients and servers that `npm run test:clients` drives, on Debian and its relatives.
# Safe to run again; quick when nothing is missing. It leaves no service running or enabled that it brought.
#
# usage: scripts/setup-clients.sh [--with-tshark]
set -eu

# command:package. `ip` and `unshare` make the network namespaces, the rest are the peers.
wanted='ip:iproute2 unshare:util-linux curl:curl wrk:wrk nginx:nginx redis-server:redis-server chromium:chromium'
for argument in "$@"; do
  case $argument in
    --with-tshark) wanted="$wanted tshark:tshark" ;;
    *) echo "setup-clients: unknown option $argument; the only one is --with-tshark" >&2; exit 2 ;;
  esac
done

# Daemons live in sbin, which a user's PATH often lacks.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

missing=''
for pair in $wanted; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
if [ -z "$missing" ]; then
  echo 'setup-clients: everything is installed'
  exit 0
fi

# A page without any font renders as empty boxes.
case $missing in *chromium*) missing="$missing fonts-liberation" ;; esac

if ! command -v apt-get >/dev/null 2>&1; then
  echo "setup-clients: this is not Debian (no apt-get). Install these yourself:$missing" >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "setup-clients: needs root to install:$missing. Try: sudo $0 $*" >&2
  exit 1
fi

# invoke-rc.d asks this program before it starts a daemon; 101 means "not allowed".
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

# Packages enable their services even where they may not start them. Only those that came with this run.
for service in nginx redis-server; do
  case " $missing " in
    *" $service "*) update-rc.d "$service" disable >/dev/null 2>&1 || true ;;
  esac
done

echo "setup-clients: installed$missing"

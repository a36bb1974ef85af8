# Sourced by setup-*.sh.
#
# install_missing COMMAND:PACKAGE...
#   Installs the Debian packages whose commands are missing, without starting a daemon that they bring, and leaves their
#   names in $missing. Ends the script when there is nothing to install, or nobody to do it.
install_missing() {
  name=$(basename "$0" .sh)
  # Daemons live in sbin, which a user's PATH often lacks.
  PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

  missing=''
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
  done
  if [ -z "$missing" ]; then
    echo "$name: everything is installed"
    exit 0
  fi

  if ! command -v apt-get >/dev/null 2>&1; then
    echo "$name: this is not Debian (no apt-get). Install these yourself:$missing" >&2
    exit 1
  fi
  if [ "$(id -u)" -ne 0 ]; then
    echo "$name: run it as root, to install:$missing" >&2
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
  # shellcheck disable=SC2086 # a list of package names
  if ! apt_install -s $missing >/dev/null 2>&1 || ! apt_install $missing; then
    apt-get update -q
    apt_install $missing
  fi
  echo "$name: installed$missing"
}

# Questions get their preset answer: iperf3's, whether to start a daemon, is no.
apt_install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; }

#!/usr/bin/env bash
# Installs the clients nobody here wrote (Qt's QWebSocket, Python's websockets, Node's ws) into .deps/, and from the
# system's packages the proxies and the browsers they come through, and Prometheus's checker of metrics.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
deps=$top/.deps
venv=$deps/venv
pyqt=6.11.0
websockets=17.4
ws=8.23.0
playwright=1.65.1
axe=4.14.1
jsqr=1.4.0
mkdir -p "$deps"

# What Qt's core and network libraries take from the system. The tests use QCoreApplication, so that none of the
# libraries for windows (GL, EGL, xkbcommon, fontconfig, D-Bus) is needed.
qt_needs="libglib2.0-0 libgssapi-krb5-2 libbrotli1 libzstd1 zlib1g libstdc++6"

# Only where continuous integration runs is anything installed into the system.
system_packages() {
    if [ -z "${CI:-}" ]; then
        echo "not installed, so that some stories are not run: $*"
        return
    fi
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "missing from the system: $*" >&2
        echo "install it and run this again, on Debian: apt-get install $*" >&2
        exit 1
    fi
    # A server that is only there for the tests must not start to serve this machine.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

installed() {
    "$venv/bin/python" -c 'from importlib.metadata import version as v; print(v("PyQt6"), v("websockets"))' 2>/dev/null
}

qt_starts() {
    QT_QPA_PLATFORM=offscreen "$venv/bin/python" -c 'from PyQt6.QtWebSockets import QWebSocket' 2>"$deps/qt-error"
}

if [ "$(installed || true)" != "$pyqt $websockets" ]; then
    python3 -c 'import ensurepip' 2>/dev/null || system_packages python3-venv
    python3 -m venv --clear "$venv"
    pip() { "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
    pip "PyQt6==$pyqt" "websockets==$websockets" || pip PyQt6 websockets
fi
qt_starts || system_packages $qt_needs
qt_starts || { cat "$deps/qt-error" >&2; exit 1; }

if ! command -v npm >/dev/null; then
    echo "the Node client and the browser's driver need node (18 or newer) with npm" >&2
    exit 1
fi
has() { grep -qs "\"version\": \"$2\"" "$deps/node/node_modules/$1/package.json"; }
if ! has ws "$ws" || ! has playwright-core "$playwright" || ! has axe-core "$axe" ||
    ! has jsqr "$jsqr"; then
    # All at once: what isn't named is removed.
    npm install --prefix "$deps/node" --no-save --no-audit --no-fund --loglevel error "ws@$ws" \
        "playwright-core@$playwright" "axe-core@$axe" "jsqr@$jsqr"
fi

missing=()
for program in nginx caddy chromium openssl; do
    # Some people's PATH leaves out where servers are.
    PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || missing+=("$program")
done
# In Debian it is the release with long support.
command -v firefox >/dev/null || missing+=(firefox-esr)
# The load balancer, what rotates logs, and what makes and takes away networks.
for program in haproxy logrotate ip; do
    PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || missing+=("${program/#ip/iproute2}")
done
# What checks /metrics comes with what reads it.
command -v promtool >/dev/null || missing+=(prometheus)
[ ${#missing[@]} -eq 0 ] || system_packages "${missing[@]}"

echo "outside clients: PyQt6 and websockets in $venv, ws, playwright-core and jsqr in $deps/node, nginx, caddy, haproxy, logrotate, chromium, firefox, promtool"

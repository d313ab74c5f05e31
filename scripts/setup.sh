#!/usr/bin/env bash
# Installs what building, testing and the demo need and this machine lacks. Fast and silent about what is there.
#
#   scripts/setup.sh          to build and to run the demo
#   scripts/setup.sh --tests  what the tests need besides (npm for one clip and hls.js, Chromium and VLC for what a
#                             viewer sees, GStreamer's RTSP server, PostgreSQL, Prometheus, libfaketime, cargo-nextest)
#
# Debian and Ubuntu packages come through apt-get (with sudo when this is not root); elsewhere it says what to install.
# Nothing is downloaded when nothing is missing, so it works offline then.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tests=false
for arg in "$@"; do
    case $arg in
    --tests) tests=true ;;
    *) echo "setup: unknown argument $arg; usage: scripts/setup.sh [--tests]" >&2 && exit 2 ;;
    esac
done

name=setup
. scripts/packages.sh

need ffmpeg ffmpeg
need ffprobe ffmpeg
need curl curl
need cc gcc libc6-dev
need setpriv util-linux
need sha256sum coreutils
need python3 python3
if ! have python3 || ! python3 -m pip --version >/dev/null 2>&1; then packages+=(python3-pip); fi
if $tests; then
    need xz xz-utils
    need npm npm
    need faketime faketime
    need chromium chromium
    need ffplay ffmpeg
    need vlc vlc-bin vlc-plugin-base
    # Only the programs, which Debian keeps out of PATH, are used: the tests make clusters of their own.
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || packages+=(postgresql)
    # Debian's own Python, whichever is first on the PATH.
    /usr/bin/python3 tests/src/live/rtsp_server.py --check 2>/dev/null ||
        packages+=(python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad)
fi

install_packages
need_rust

# The package's programs without the package, which would start a Prometheus on the workers' port.
if $tests && ! { have prometheus && have promtool; } && [ ! -x .tools/bin/promtool ]; then
    have apt-get || { say "missing (by its Debian name): prometheus; there is no apt-get here. Install it and start again." && exit 1; }
    say "Debian's prometheus and promtool into .tools/bin"
    mkdir -p .tools/bin
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    (cd "$work" && apt-get download -qq prometheus && dpkg-deb --extract prometheus_*.deb .)
    mv "$work/usr/bin/prometheus" "$work/usr/bin/promtool" .tools/bin/
fi

if $tests && ! PATH="$PWD/.tools/bin:$PATH" cargo nextest --version >/dev/null 2>&1; then
    say "building cargo-nextest into .tools/bin (once, some minutes)"
    cargo install --locked --quiet --root .tools --target-dir target/tools cargo-nextest
    rm -rf target/tools
fi

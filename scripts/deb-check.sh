#!/usr/bin/env bash
# Installs the Debian packages into a fresh Debian, starts both daemons as their units do, runs a job, and removes everything
# again. Needs root and Debian or Ubuntu, and cargo-deb; nothing of it is left but .tools/deb-check, which makes the next run
# shorter.
#
#   scripts/deb-check.sh             packages around the programs in target/debug: what `make test-deb` runs
#   scripts/deb-check.sh --release   around those in target/release, as they are given away
#
# There is no systemd in it: what a unit says of its command, user, environment and folders is read from the installed unit
# and done by hand. Its sandbox is only checked by systemd-analyze, where this machine has one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packing=--debug
debian=target/deb-check/debian
case ${1:-} in
'') ;;
--release) packing=--no-build debian=target/debian ;;
*) echo "deb-check: unknown argument $1; usage: scripts/deb-check.sh [--release]" >&2 && exit 2 ;;
esac
((EUID == 0)) || { echo "deb-check: a Debian to install into takes root" >&2 && exit 1; }
# What is mounted below is seen by nobody else, and is gone with this process.
if [ "${TVARR_DEB_CHECK:-}" != apart ]; then
    TVARR_DEB_CHECK=apart exec unshare --mount --propagation private "$0" "$@"
fi

name=deb-check
. scripts/packages.sh
need debootstrap debootstrap
need setpriv util-linux
need strip binutils
need python3 python3
install_packages

keep=.tools/deb-check
work=$(mktemp -d)
root=$work/root
daemons=()
passed=0
step() { printf '==> +%ds  %s\n' "$SECONDS" "$*"; }
ok() { passed=$((passed + 1)) && echo "ok  $*"; }
fail() { echo "FAIL: $*" >&2 && exit 1; }
finish() {
    local code=$?
    trap - EXIT
    for daemon in "${daemons[@]}"; do kill "$daemon" 2>/dev/null && wait "$daemon" || true; done
    umount "$root/proc" 2>/dev/null || true
    ((code == 0)) || tail -n 20 "$work"/*.log >&2 || true
    rm -rf --one-file-system "$work"
    exit "$code"
}
trap finish EXIT

step "packing"
scripts/deb.sh "$packing" >"$work/pack.log" 2>&1
# The newest of each.
mapfile -t packages < <(for name in coordinator ffmpegd ffmpegctl; do
    find "$debian" -maxdepth 1 -name "tvarr-${name}_*.deb" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2
done)
((${#packages[@]} == 3)) || fail "there are not three packages: ${packages[*]}"

if [ ! -f "$keep/base.tar" ]; then
    step "making a Debian"
    mkdir -p "$keep"
    debootstrap --variant=minbase bookworm "$work/base" >"$work/debootstrap.log" 2>&1
    # Packages come from wherever this machine gets its own.
    for path in sources.list sources.list.d apt.conf.d; do
        if [ -e "/etc/apt/$path" ]; then rm -rf "$work/base/etc/apt/$path" && cp -a "/etc/apt/$path" "$work/base/etc/apt/"; fi
    done
    chroot "$work/base" apt-get update -qq >>"$work/debootstrap.log" 2>&1
    # What the packages depend on is fetched once.
    chroot "$work/base" env DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends ca-certificates ffmpeg \
        >>"$work/debootstrap.log" 2>&1
    tar -C "$work/base" -cf "$keep/base.tar.part" . && mv "$keep/base.tar.part" "$keep/base.tar"
    rm -rf --one-file-system "$work/base"
fi
mkdir "$root"
tar -C "$root" -xf "$keep/base.tar"
mount -t proc proc "$root/proc"
# Devices of its own: nothing of this machine is below here, so nothing of it can be removed.
device() { [ -e "$root/dev/$1" ] || mknod -m 666 "$root/dev/$1" c "$2" "$3"; }
device null 1 3 && device zero 1 5 && device full 1 7 && device random 1 8 && device urandom 1 9
[ -e "$root/dev/fd" ] || ln -s /proc/self/fd "$root/dev/fd"
cp /etc/resolv.conf "$root/etc/"

inside() { chroot "$root" "$@"; }
everything() { inside find / -xdev \( -path /proc -o -path /dev -o -path /tmp -o -path /var/log -o -path /var/cache -o -path /var/lib/dpkg -o -path /var/lib/apt \) -prune -o -print | sort; }

step "installing"
everything >"$work/before"
cp "${packages[@]}" "$root/tmp/"
inside sh -c 'DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends /tmp/*.deb' >"$work/install.log" 2>&1
for program in coordinator ffmpegd ffmpegctl; do
    inside "/usr/bin/$program" --version >/dev/null || fail "$program does not run"
    [ -s "$root/usr/share/bash-completion/completions/$program" ] || fail "there are no completions for $program"
done
for daemon in coordinator ffmpegd; do
    [ "$(stat -c '%a %U' "$root/etc/tvarr/$daemon.env")" = "600 root" ] || fail "$daemon.env is not root's alone"
    [ -s "$root/usr/share/man/man8/$daemon.8.gz" ] || [ -s "$root/usr/share/man/man8/$daemon.8" ] || fail "no manual page of $daemon"
done
[ -z "$(find "$root/etc/systemd/system" -name 'coordinator*' -o -name 'ffmpegd*')" ] || fail "installing enabled a unit"
ok "apt installs the three packages with what they depend on, enables nothing, and their programs run"

units=$(dirname "$(find "$root/lib/systemd/system" "$root/usr/lib/systemd/system" -name coordinator.service 2>/dev/null | head -n 1)")
if have systemd-analyze; then
    for daemon in coordinator ffmpegd; do
        # Its program and its manual are not installed on this machine.
        wrong=$(systemd-analyze verify "$units/$daemon.service" 2>&1 | grep "^$daemon.service" | grep -v -e "'man " -e 'is not executable' || true)
        [ -z "$wrong" ] || fail "$wrong"
        systemd-analyze security --offline=true "$units/$daemon.service" 2>&1 | grep -o 'Overall exposure.*: [0-9.]*'
    done
    ok "systemd-analyze finds nothing wrong with the units"
fi

setting() { sed -n "s|^$2=||p" "$units/$1.service" | sed 's|%S|/var/lib|g'; }
# Starts a daemon as its unit does; with DynamicUser its user is any that nobody has.
start() {
    local daemon=$1 uid=$2 folder line variables=()
    folder=$root/var/lib/$(setting "$daemon" StateDirectory)
    mkdir -p "$folder" && chown "$uid:$uid" "$folder" && chmod "$(setting "$daemon" StateDirectoryMode)" "$folder"
    while read -r line; do variables+=("$line"); done < <(setting "$daemon" Environment)
    while read -r line; do variables+=("$line"); done < <(grep -v '^#' "$root/etc/tvarr/$daemon.env" | grep .)
    chroot "$root" setpriv --reuid "$uid" --regid "$uid" --clear-groups --bounding-set=-all --no-new-privs env -i PATH=/usr/bin:/bin "${variables[@]}" "$(setting "$daemon" ExecStart)" \
        >"$work/$daemon.log" 2>&1 &
    daemons+=($!)
}

step "running a job"
read -r http grpc metrics < <(python3 -c 'import socket
open = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(one.getsockname()[1] for one in open))')
token=$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')
printf '%s\n' "TVARR_GRPC_AUTH_TOKEN=$token" "TVARR_GRPC_BIND=127.0.0.1" "TVARR_GRPC_PORT=$grpc" "TVARR_HTTP_PORT=$http" >>"$root/etc/tvarr/coordinator.env"
printf '%s\n' "TVARR_AUTH_TOKEN=$token" "TVARR_COORDINATOR_URL=http://127.0.0.1:$grpc" "TVARR_METRICS_PORT=$metrics" >>"$root/etc/tvarr/ffmpegd.env"
start coordinator 61201
start ffmpegd 61202
healthy() { inside env TVARR_METRICS_PORT="$metrics" TVARR_STATE_DIR=/tmp ffmpegd health >/dev/null 2>&1; }
for _ in $(seq 300); do
    healthy && break
    for daemon in "${daemons[@]}"; do kill -0 "$daemon" 2>/dev/null || fail "a daemon ended"; done
    sleep 0.1
done
healthy || fail "the worker is not ready"
inside ffmpeg -v error -f lavfi -i testsrc2=size=320x180:rate=25:duration=3 -c:v libx264 -preset ultrafast /tmp/clip.mp4
inside env TVARR_API_URL="http://127.0.0.1:$http" ffmpegctl transcode /tmp/clip.mp4 -o /tmp/made.mp4 --preset h264 >"$work/job.log" 2>&1
frames=$(inside ffprobe -v error -select_streams v -count_packets -show_entries stream=nb_read_packets -of csv=p=0 /tmp/made.mp4)
[ "${frames%,}" = 75 ] || fail "the result has ${frames:-no} frames instead of 75"
ok "both daemons run as users without any right, each with its own folder, and transcode a file"
[ "$(stat -c %a "$root/var/lib/tvarr") $(stat -c %a "$root/var/lib/ffmpegd")" = "700 700" ] || fail "a daemon opened its folder to others"
for daemon in "${daemons[@]}"; do kill "$daemon"; done
for daemon in "${daemons[@]}"; do wait "$daemon" || fail "a daemon ended with $?"; done
daemons=()
ok "SIGTERM ends both well"

step "removing"
inside env DEBIAN_FRONTEND=noninteractive apt-get purge --yes tvarr-coordinator tvarr-ffmpegd tvarr-ffmpegctl >"$work/purge.log" 2>&1
everything >"$work/after"
left=$(comm -13 "$work/before" "$work/after" | grep -v -e '^/var/lib/tvarr\(/\|$\)' -e '^/var/lib/ffmpegd\(/\|$\)' || true)
[ -z "$left" ] || fail "left behind: $left"
[ -f "$root/var/lib/tvarr/jobs.sqlite" ] || fail "the jobs are gone with the package"
ok "purge leaves nothing but the data in /var/lib/tvarr and /var/lib/ffmpegd"
echo "$passed passed, 0 failed, in $SECONDS s"

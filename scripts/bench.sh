#!/usr/bin/env bash
# Sets up what the benchmarks need, builds release binaries and measures. See bench/README.md.
#
#   scripts/bench.sh                        everything
#   scripts/bench.sh latency throughput     named parts: latency, throughput, encode, upload, failover,
#                                           queue, owners, memory, pages, scrape, live, input, bucket
#   scripts/bench.sh encode --encode-pairs 5    options of the bench program: cargo run -p bench -- --help
#
# Debian and Ubuntu packages come through apt-get (with sudo when this is not root). Everything else goes into .bench/:
# Celery in a virtual environment, BullMQ in node_modules, clips, and what runs leave behind until they end.
# TVARR_BENCH_LIMIT bounds the measurements in time (seconds; 3600 unless set).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

name=bench
. scripts/packages.sh
need ffmpeg ffmpeg
need ffprobe ffmpeg
need redis-server redis-server
need cc gcc libc6-dev
need node nodejs
need npm npm
need python3 python3
need iperf3 iperf3
if ! have python3 || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then packages+=(python3-venv); fi
# Only the programs are used: the benchmarks make a cluster of their own below .bench/tmp.
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || packages+=(postgresql)
# Debian starts a Redis (and a PostgreSQL) of its own on installation; the benchmarks start theirs elsewhere.
install_packages
need_rust

mkdir -p .bench/clips .bench/tmp .bench/node

# Installed again when the pins change.
stamp() { cat "$@" | sha256sum | cut -d' ' -f1; }
celery=$(stamp bench/peers/requirements.txt)
if [[ $(cat .bench/venv/pins 2>/dev/null) != "$celery" ]]; then
    say "Celery and gRPC: $(grep -i '^celery==' bench/peers/requirements.txt)"
    python3 -m venv --clear .bench/venv
    .bench/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r bench/peers/requirements.txt
    echo "$celery" >.bench/venv/pins
fi
bullmq=$(stamp bench/peers/package.json bench/peers/package-lock.json)
if [[ $(cat .bench/node/pins 2>/dev/null) != "$bullmq" ]]; then
    say "BullMQ: $(grep -o '"bullmq": "[^"]*"' bench/peers/package.json | head -1)"
    cp bench/peers/package.json bench/peers/package-lock.json .bench/node/
    # Not npm ci: it wants the optional binaries of every platform in the lock file.
    (cd .bench/node && npm install --no-save --loglevel error --no-audit --no-fund --ignore-scripts >/dev/null)
    echo "$bullmq" >.bench/node/pins
fi
if [[ bench/peers/fsync_count.c -nt .bench/fsync_count.so ]]; then
    cc -O2 -Wall -shared -fPIC -o .bench/fsync_count.so bench/peers/fsync_count.c -ldl
fi

# 60 s of 1080p: a phone's own 1080p footage and a real stereo track, both repeated. Made at a quality far above what is
# encoded from it, at a constant rate so that its length is exact.
scripts/footage.sh
clip() { # clip FILE ARGUMENT...
    local file=.bench/clips/$1
    shift
    [[ -s $file ]] && return
    say "making ${file##*/}"
    ffmpeg -nostdin -loglevel error -y "$@" -f mp4 -movflags +faststart "$file.part"
    mv "$file.part" "$file"
}
clip 60s-1080p.mp4 -stream_loop -1 -i .footage/phone.mp4 -stream_loop -1 -i .footage/ocean.mp4 -map 0:v:0 -map 1:a:0 \
    -t 60 -vf 'fps=30,scale=1920:1080' -c:v libx264 -preset veryfast -crf 16 -pix_fmt yuv420p -c:a aac -b:a 160k
# A quarter of a second of 128x72: a job of it ends soon after it has started.
clip short.mp4 -i .footage/ocean.mp4 -t 0.25 -map 0:v:0 -vf scale=128:72 -c:v libx264 -preset veryfast -pix_fmt yuv420p

say "building release binaries"
cargo build --locked --release -p coordinator -p ffmpegd -p bench
target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')

# bench ends every process that it has started when it is told to end.
limit=${TVARR_BENCH_LIMIT:-3600}
exec timeout --foreground --signal TERM --kill-after 30 "$limit" "$target/release/bench" --binaries "$target/release" "$@"

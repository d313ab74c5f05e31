#!/usr/bin/env bash
# The whole farm on this machine: a coordinator, two workers, one real clip through the preset hls-ladder. Prints where
# the result is, what ran where, and how the time compares with ffmpeg alone. Needs what scripts/setup.sh and
# scripts/footage.sh --demo bring; `make demo` runs all three. Only the result stays, in demo-output/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

clip=.footage/demo.mp4
output=demo-output
preset=hls-ladder
target=${CARGO_TARGET_DIR:-target}

say() { printf '\n==> %s\n' "$*"; }

profile=debug
flags=()
if [[ -x $target/release/coordinator ]]; then
    profile=release
    flags=(--release)
fi
say "building ($profile)"
cargo build --locked "${flags[@]}" --bin coordinator --bin ffmpegd --bin ffmpegctl
PATH=$(cd "$target/$profile" && pwd):$PATH

scratch=$(mktemp -d)
daemons=()
# SIGTERM lets them leave in order; what has not gone after some seconds is killed.
stop() {
    trap - EXIT
    if ((${#daemons[@]})); then
        kill -TERM "${daemons[@]}" 2>/dev/null || true
        for _ in {1..50}; do
            kill -0 "${daemons[@]}" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "${daemons[@]}" 2>/dev/null || true
        wait "${daemons[@]}" 2>/dev/null || true
    fi
    rm -rf "$scratch"
}
trap 'code=$?; stop; exit $code' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# In a session of its own, so that Ctrl-C reaches this script and ffmpegctl first.
start() { # start NAME PROGRAM VARIABLE=VALUE...
    local name=$1 program=$2
    shift 2
    env "$@" setsid "$program" >"$scratch/$name.log" 2>&1 &
    daemons+=($!)
}
await() { # await WHAT COMMAND...: runs the command until it succeeds
    local what=$1
    shift
    for _ in {1..300}; do
        if "$@" >/dev/null 2>&1; then return; fi
        if ! kill -0 "${daemons[@]}" 2>/dev/null; then break; fi
        sleep 0.1
    done
    echo "gave up waiting for $what; the logs say:" >&2
    tail -n 20 "$scratch"/*.log >&2
    exit 1
}
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$scratch/ready.json" "$1"; }

say "starting a coordinator and two workers"
token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
start coordinator coordinator TVARR_HTTP_PORT=0 TVARR_GRPC_PORT=0 TVARR_GRPC_AUTH_TOKEN="$token" \
    TVARR_DATA_DIR="$scratch/data" TVARR_READY_FILE="$scratch/ready.json" TVARR_HEARTBEAT_INTERVAL=500ms
await "the coordinator" test -s "$scratch/ready.json"
http=$(field http)
grpc=$(field grpc)
export TVARR_API_URL=http://127.0.0.1:${http##*:}
for number in 1 2; do
    mkdir -p "$scratch/state/worker-$number" "$scratch/work/worker-$number"
    start "worker-$number" ffmpegd TVARR_COORDINATOR_URL="127.0.0.1:${grpc##*:}" TVARR_AUTH_TOKEN="$token" \
        TVARR_WORKER_NAME="worker-$number" TVARR_STATE_DIR="$scratch/state/worker-$number" \
        TVARR_SCRATCH_DIR="$scratch/work/worker-$number"
done
both() { [[ $(ffmpegctl workers ls --json | grep -o '"state": *"online"' | wc -l) == 2 ]]; }
await "two workers" both
echo "coordinator at $TVARR_API_URL, workers at 127.0.0.1:${grpc##*:}"

say "$clip through $preset"
begun=$EPOCHREALTIME
ffmpegctl transcode "$clip" --output "$output" --preset "$preset" --force
ended=$EPOCHREALTIME

say "what ran where"
ffmpegctl workers ls
ffmpegctl jobs ls
job=$(ffmpegctl jobs ls --json | grep -oE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}' | head -n 1)
ffmpegctl jobs show "$job"

say "the same with ffmpeg alone"
ffmpegctl jobs show "$job" --json >"$scratch/job.json"
python3 - "$scratch" "$clip" "$begun" "$ended" <<'PYTHON'
import json, os, subprocess, sys, time

scratch, clip, begun, ended = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
attempts = [attempt for task in json.load(open(f"{scratch}/job.json"))["tasks"] for attempt in task["attempts"]]
commands = [attempt["command"] for attempt in attempts if attempt["state"] == "succeeded" and attempt["command"]]
if len(commands) != 1:
    sys.exit("the job was not one ffmpeg command, so there is nothing to compare with")
command = commands[0]
if command[0].startswith("-"):
    command.insert(0, "ffmpeg")

# The same arguments, but for where the input is read from and the results go to, and without the report of progress.
folder = os.path.commonpath([os.path.dirname(word) for word in command if word.startswith(f"{scratch}/work/")])
alone, words = [], iter(command)
for word in words:
    if word == "-i":
        alone += [word, clip]
        next(words)
    elif word == "-progress":
        next(words)
    elif word.startswith(folder):
        word = f"{scratch}/alone{word[len(folder):]}"
        os.makedirs(os.path.dirname(word) if os.path.splitext(word)[1] else word, exist_ok=True)
        alone.append(word)
    else:
        alone.append(word)
start = time.monotonic()
done = subprocess.run(alone, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
seconds = time.monotonic() - start
if done.returncode:
    sys.exit(f"ffmpeg alone failed: {done.stderr.decode(errors='replace')[-2000:]}")
farm = ended - begun
change = (farm / seconds - 1) * 100
print(f"ffmpeg alone {seconds:.1f} s; the farm {farm:.1f} s, upload and download included: "
      f"{abs(change):.0f} % {'slower' if change > 0 else 'faster'}")
PYTHON

say "the result"
find "$output" -name '*.m3u8' | sort
echo "play it: ffplay $(find "$output" -name 'master.m3u8' | head -n 1)"

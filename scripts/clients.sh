#!/usr/bin/env bash
# The clients that the tests try the coordinator with, pinned, into .tools/clients/: tus-js-client from npm; tuspy, httpx,
# schemathesis and standardwebhooks from PyPI, with what they need. Safe to run twice: what is there is kept, and offline is
# fine then.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

from=tests/clients
into=.tools/clients
# What was installed last, by its pins.
pins=$(cat "$from/package-lock.json" "$from/requirements.txt" | sha256sum | cut -d' ' -f1)
[[ $(cat "$into/.pins" 2>/dev/null) == "$pins" ]] && exit 0

echo "clients: tus-js-client from npm; tuspy, httpx, schemathesis and standardwebhooks from PyPI, into $into" >&2
rm -rf "$into"
mkdir -p "$into"
cp "$from/package.json" "$from/package-lock.json" "$into"
(cd "$into" && npm ci --silent --no-audit --no-fund --ignore-scripts)
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps \
    --requirement "$from/requirements.txt" --target "$into/python"
echo "$pins" >"$into/.pins"

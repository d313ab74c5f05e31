#!/usr/bin/env bash
# The pages, into web/dist/, from where `cargo build` puts them into the coordinator. Safe to run twice: what is up to date is
# kept, and offline is fine then.
#
#   scripts/web.sh          builds them when web/ has changed
#   scripts/web.sh --tests  and runs their own tests
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tests=false
for arg in "$@"; do
    case $arg in
    --tests) tests=true ;;
    *) echo "web: unknown argument $arg; usage: scripts/web.sh [--tests]" >&2 && exit 2 ;;
    esac
done

name=web
. scripts/packages.sh
need node nodejs
need npm npm
install_packages
major=$(node --version | sed 's/^v\([0-9]*\).*/\1/')
if ((major < 18)); then
    say "Node.js 18 or newer is needed, and this is $(node --version)"
    exit 1
fi

digest() { sha256sum | cut -d' ' -f1; }
# What they are made from. The marks are beside what they tell of, so that they go with it.
pins=$(cat web/package.json web/package-lock.json | digest)
sources=$(cd web && find src public scripts index.html ./*.json ./*.ts -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | digest)

if [[ $(cat web/node_modules/.pins 2>/dev/null) != "$pins" ]]; then
    say "fetching what the pages are made with"
    # Not npm ci: it wants the optional binaries of every platform in the lock file.
    (cd web && npm install --no-save --loglevel error --no-audit --no-fund --ignore-scripts >/dev/null)
    echo "$pins" >web/node_modules/.pins
fi
if $tests; then (cd web && npm run --silent test); fi
# The coordinator is built again when this folder changes, so it is left alone when nothing has.
if [[ $(cat web/dist/.sources 2>/dev/null) != "$sources" ]]; then
    say "building the pages"
    (cd web && npm run --silent build)
    echo "$sources" >web/dist/.sources
fi

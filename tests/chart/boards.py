"""What Grafana's own library, made from the schemas of its source, does not understand of a dashboard."""

import json

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

# Grafana writes them itself when it exports a dashboard; the schemas lack them.
BEYOND_THE_SCHEMAS = {"definition", "titleFormat", "textFormat"}

register_default_plugins()


def not_understood(board):
    """Paths of what is lost or becomes something else when the library reads it and writes it again."""
    written = json.loads(JSONEncoder().encode(Dashboard.from_json(board)))
    return list(differences(board, written, ""))


def differences(before, after, path):
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key in after:
                yield from differences(value, after[key], f"{path}.{key}")
            elif key not in BEYOND_THE_SCHEMAS:
                yield f"{path}.{key}"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after)):
            yield from differences(one, other, f"{path}[{place}]")
    elif before != after:
        yield path

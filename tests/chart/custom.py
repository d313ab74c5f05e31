"""The schemas of KEDA 2.16 and of Prometheus' operator 0.80, as PyPI has them: models that were made from their
CustomResourceDefinitions. What they do not know is refused, as `kubectl apply --validate=strict` would.
"""

import functools

import jsonschema
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as operator

MODELS = {
    "keda.sh/v1alpha1": {"ScaledObject": keda.ScaledObject, "ScaledJob": keda.ScaledJob},
    "monitoring.coreos.com/v1": {
        "ServiceMonitor": operator.ServiceMonitor,
        "PodMonitor": operator.PodMonitor,
        "PrometheusRule": operator.PrometheusRule,
    },
}


def close(schema):
    """The models take keys that they do not know; an object without any properties is free on purpose."""
    if isinstance(schema, list):
        for part in schema:
            close(part)
    elif isinstance(schema, dict):
        if schema.get("type") == "object" and schema.get("properties") and "additionalProperties" not in schema:
            schema["additionalProperties"] = False
        for part in schema.values():
            close(part)
    return schema


@functools.cache
def validator(version, kind):
    return jsonschema.Draft202012Validator(close(MODELS[version][kind].model_json_schema(by_alias=True)))


def is_custom(document):
    return document["apiVersion"] in MODELS


def validate(document):
    validator(document["apiVersion"], document["kind"]).validate(document)

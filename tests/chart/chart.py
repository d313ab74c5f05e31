#!/usr/bin/env python3
"""Renders the Helm chart with Helm's own library and holds what comes out against the schemas of Kubernetes, oldest and
newest: what the chart makes by default, and with everything that its values offer. scripts/chart.sh starts it.
"""

import copy
import sys

import helm_python as helm
import kubernetes_validate
import yaml

CHART = "deploy/helm/tvarr"
VERSIONS = ["1.25", "1.35"]
FULL = {
    "imagePullSecrets": [{"name": "registry"}],
    "coordinator": {
        "token": {"existingSecret": "farm", "key": "worker"},
        "adminKey": {"existingSecret": "keys", "key": "admin"},
        "env": {"TVARR_STORAGE_URL": "s3://media/farm", "TVARR_LOG_FORMAT": "json"},
        "envFrom": [{"secretRef": {"name": "bucket"}}],
        "persistence": {"size": "5Gi", "storageClass": "fast", "accessModes": ["ReadWriteOncePod"]},
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
        "ingress": {"enabled": True, "className": "nginx", "host": "farm.example", "tlsSecret": "cert", "annotations": {"a": "b"}},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "podAnnotations": {"a": "b"},
    },
    "classes": {
        "cpu": {"replicas": 0},
        "nvidia": {
            "replicas": 2,
            "runtimeClassName": "nvidia",
            "env": {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility,video"},
            "resources": {"limits": {"nvidia.com/gpu": 1}},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        },
        "vaapi": {"image": {"repository": "tvarr-ffmpegd-vaapi"}, "podSecurityContext": {"supplementalGroups": [105]}, "maxUnavailable": None},
        "burst": {"kind": "Job", "parallelism": 8, "drainTimeoutSeconds": 600},
    },
    "networkPolicy": {
        "httpFrom": [{"namespaceSelector": {"matchLabels": {"web": "yes"}}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "workersFrom": [{"ipBlock": {"cidr": "203.0.113.0/24"}}],
    },
}
passed = 0


def rendered(chart, values):
    """Every object, by kind and name."""
    files = chart.render(copy.deepcopy(values), name="farm", namespace="media")
    documents = [document for name, text in files.items() if name.endswith(".yaml") for document in yaml.safe_load_all(text) if document]
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def ok(what):
    global passed
    passed += 1
    print(f"ok  {what}")


def env(container):
    return {entry["name"]: entry.get("value") for entry in container["env"]}


found = helm.lint(CHART)
assert not found["errors"], found["errors"]
ok("helm lint finds no error")
with helm.Chart.load(CHART) as chart:
    plain = rendered(chart, {})
    full = rendered(chart, FULL)
    for wrong in [{"classes": {"cpu": {"replica": 2}}}, {"classes": {"cpu": {"kind": "DaemonSet"}}}, {"coordinator": {"env": {"A": 1}}}]:
        try:
            chart.validate_schema(wrong)
        except helm.HelmError:
            continue
        sys.exit(f"FAIL: the values' schema takes {wrong}")
    ok("the values' schema turns down what is none of them")

for name, objects in {"by default": plain, "with everything": full}.items():
    for version in VERSIONS:
        for document in objects.values():
            kubernetes_validate.validate(document, version, strict=True)
    kinds = sorted({kind for kind, _ in objects})
    ok(f"{name}: {len(objects)} objects are what Kubernetes {' and '.join(VERSIONS)} take: {', '.join(kinds)}")

assert {kind for kind, _ in plain} == {"Service", "StatefulSet", "Deployment", "PodDisruptionBudget", "NetworkPolicy"}, list(plain)
assert ("Ingress", "farm-tvarr") in full and ("PodDisruptionBudget", "farm-tvarr-vaapi") not in full
for objects in plain, full:
    for (kind, name), document in objects.items():
        if kind not in ("StatefulSet", "Deployment", "Job"):
            continue
        pod = document["spec"]["template"]
        spec = pod["spec"]
        (container,) = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == 10001, name
        assert container["securityContext"]["readOnlyRootFilesystem"], name
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
        assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in spec["volumes"]} | {"data"}, name
        if "selector" in document["spec"]:
            wanted = document["spec"]["selector"]["matchLabels"].items()
            assert wanted <= pod["metadata"]["labels"].items(), name
        # A secret is a file, never a value.
        assert not any(word in str(env(container).values()).lower() for word in ("password", "secret")), name
ok("pods are not root, write nowhere but to their volumes, and match their selectors")

service = full["Service", "farm-tvarr"]
job = full["Job", "farm-tvarr-burst-1"]["spec"]["template"]["spec"]
gpu = full["Deployment", "farm-tvarr-nvidia"]["spec"]["template"]["spec"]
assert full["Deployment", "farm-tvarr-cpu"]["spec"]["replicas"] == 0
assert env(job["containers"][0])["TVARR_EXIT_WHEN_IDLE"] == "true" and "TVARR_EXIT_WHEN_IDLE" not in env(gpu["containers"][0])
assert job["terminationGracePeriodSeconds"] == 630 and env(job["containers"][0])["TVARR_DRAIN_TIMEOUT"] == "600s"
assert gpu["runtimeClassName"] == "nvidia" and gpu["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": 1}
port = next(port["port"] for port in service["spec"]["ports"] if port["name"] == "grpc")
assert env(gpu["containers"][0])["TVARR_COORDINATOR_URL"] == f"http://{service['metadata']['name']}:{port}"
assert full["Deployment", "farm-tvarr-vaapi"]["spec"]["template"]["spec"]["securityContext"]["supplementalGroups"] == [105]
ok("classes have their own hardware, replicas and time to drain; a Job's workers leave when idle")
for pod in job, gpu:
    (container,) = pod["containers"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"metrics": 9091}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
assert gpu["containers"][0]["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"} and "readinessProbe" not in job["containers"][0]
(allowed,) = full["NetworkPolicy", "farm-tvarr-workers"]["spec"]["ingress"]
assert allowed == {"ports": [{"port": "metrics", "protocol": "TCP"}], "from": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]}
assert "ingress" not in plain["NetworkPolicy", "farm-tvarr-workers"]["spec"]
ok("workers are asked for their health on their own port, which nobody else reaches unless that is said")
print(f"{passed} passed, 0 failed")

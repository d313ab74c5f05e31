#!/usr/bin/env python3
"""Renders the Helm chart with Helm's own library and holds what comes out against the schemas of Kubernetes, oldest and
newest: what the chart makes by default, and with everything that its values offer. scripts/chart.sh starts it.
"""

import copy
import json
import pathlib
import sys

import boards
import custom
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
        "databaseUrl": {"existingSecret": "postgres", "key": "uri"},
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
        "elastic": {"autoscale": {"max": 20, "tasksPerWorker": 2, "policies": ["prefer", "never"]}, "env": {"TVARR_LABELS": "site=berlin"}},
        "bursts": {"kind": "Job", "autoscale": {"min": 1, "max": 9, "presets": ["h264"]}, "drainTimeoutSeconds": 600},
    },
    "monitoring": {"enabled": True, "dashboards": True, "labels": {"release": "prometheus"}, "token": {"existingSecret": "farm", "key": "scrape"}},
    "networkPolicy": {
        "httpFrom": [{"namespaceSelector": {"matchLabels": {"web": "yes"}}}],
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
    for wrong in [{"classes": {"cpu": {"replica": 2}}}, {"classes": {"cpu": {"kind": "DaemonSet"}}}, {"coordinator": {"env": {"A": 1}}}, {"classes": {"cpu": {"autoscale": {"min": 1}}}}]:
        try:
            chart.validate_schema(wrong)
        except helm.HelmError:
            continue
        sys.exit(f"FAIL: the values' schema takes {wrong}")
    ok("the values' schema turns down what is none of them")

for name, objects in {"by default": plain, "with everything": full}.items():
    for version in VERSIONS:
        for document in objects.values():
            if not custom.is_custom(document):
                kubernetes_validate.validate(document, version, strict=True)
    for document in filter(custom.is_custom, objects.values()):
        custom.validate(document)
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

coordinator = full["StatefulSet", "farm-tvarr-coordinator"]["spec"]["template"]["spec"]
path = env(coordinator["containers"][0])["TVARR_DATABASE_URL_FILE"]
assert path == "/database/uri" and {"name": "database", "mountPath": "/database", "readOnly": True} in coordinator["containers"][0]["volumeMounts"]
assert next(volume for volume in coordinator["volumes"] if volume["name"] == "database")["secret"]["secretName"] == "postgres"
assert "TVARR_DATABASE_URL_FILE" not in env(plain["StatefulSet", "farm-tvarr-coordinator"]["spec"]["template"]["spec"]["containers"][0])
ok("the address of the database comes from its secret, as a file, if there is one")

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
ok("workers are asked for their health on their own port")


def ports(pod):
    return {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}


def selects(selector, labels):
    return selector["matchLabels"].items() <= labels.items()


def doors(policy):
    """Which peers a NetworkPolicy lets in, by port."""
    return {rule["ports"][0]["port"]: rule.get("from") for rule in full["NetworkPolicy", policy]["spec"]["ingress"]}


coordinator = full["StatefulSet", "farm-tvarr-coordinator"]["spec"]["template"]["spec"]
workers = {name: document["spec"]["template"] for (kind, name), document in full.items() if kind in ("Deployment", "Job")}
monitor = full["ServiceMonitor", "farm-tvarr-coordinator"]["spec"]
services = [document for (kind, _), document in full.items() if kind == "Service" and selects(monitor["selector"], document["metadata"]["labels"])]
(endpoint,) = monitor["endpoints"]
assert [service["metadata"]["name"] for service in services] == ["farm-tvarr"], "the coordinator is scraped once"
assert endpoint["port"] in {port["name"] for port in services[0]["spec"]["ports"]}
assert endpoint["authorization"]["credentials"] == {"name": "farm", "key": "scrape"}
(volume,) = [volume for volume in coordinator["volumes"] if volume["name"] == "metrics"]
assert volume["secret"]["secretName"] == "farm" and env(coordinator["containers"][0])["TVARR_METRICS_TOKEN_FILE"] == "/metrics/scrape"
monitor = full["PodMonitor", "farm-tvarr-workers"]["spec"]
for name, pod in workers.items():
    assert selects(monitor["selector"], pod["metadata"]["labels"]), name
    assert monitor["podMetricsEndpoints"][0]["port"] in ports(pod["spec"]), name
assert all(document["metadata"]["labels"]["release"] == "prometheus" for document in full.values() if document["apiVersion"] == "monitoring.coreos.com/v1")
assert {"TVARR_METRICS_TOKEN_FILE", "TVARR_SCALER_ADDRESS"}.isdisjoint(env(plain["StatefulSet", "farm-tvarr-coordinator"]["spec"]["template"]["spec"]["containers"][0]))
ok("Prometheus' operator finds the coordinator once, with its token, and every worker")

rules = [rule for group in full["PrometheusRule", "farm-tvarr"]["spec"]["groups"] for rule in group["rules"]]
files = sorted(pathlib.Path("deploy/prometheus/rules").glob("*.yml"))
assert rules == [rule for file in files for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]] and rules
dashboards = {name: document["data"] for (kind, name), document in full.items() if kind == "ConfigMap"}
for file in pathlib.Path("deploy/grafana/dashboards").glob("*.json"):
    dashboard = json.loads(file.read_text())
    assert json.loads(dashboards[f"farm-tvarr-dashboard-{file.stem}"][f"tvarr-{file.name}"]) == dashboard, file
    strange = boards.not_understood(dashboard)
    assert not strange, f"{file}: Grafana does not know {strange}"
ok(f"{len(rules)} rules and {len(dashboards)} dashboards are those of deploy/, as they are")
ok("Grafana's own library understands everything in the dashboards")

elastic, bursts = full["ScaledObject", "farm-tvarr-elastic"]["spec"], full["ScaledJob", "farm-tvarr-bursts"]["spec"]
assert ("Deployment", elastic["scaleTargetRef"]["name"]) in full and ("Job", "farm-tvarr-bursts-1") not in full
assert "replicas" not in full["Deployment", "farm-tvarr-elastic"]["spec"], "an upgrade would undo what KEDA did"
assert (elastic["minReplicaCount"], elastic["maxReplicaCount"], bursts["minReplicaCount"], bursts["maxReplicaCount"]) == (0, 20, 1, 9)
pod = bursts["jobTargetRef"]["template"]["spec"]
assert env(pod["containers"][0])["TVARR_EXIT_WHEN_IDLE"] == "true" and pod["restartPolicy"] == "OnFailure"
scaler = full["Service", "farm-tvarr-scaler"]["spec"]["ports"][0]
asked = elastic["triggers"][0]["metadata"]
assert asked == {"scalerAddress": f"farm-tvarr-scaler.media.svc:{scaler['port']}", "tasksPerWorker": "2", "policies": "prefer,never", "labels": "site=berlin"}
assert bursts["triggers"][0]["metadata"]["presets"] == "h264" and bursts["triggers"][0]["type"] == "external"
assert env(coordinator["containers"][0])["TVARR_SCALER_ADDRESS"].endswith(f":{ports(coordinator)[scaler['targetPort']]}")
ok("KEDA asks the coordinator for each elastic class by its policies, presets and labels")


def namespace(name):
    return [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}]


assert doors("farm-tvarr-coordinator")["scaler"] == namespace("keda")
assert [rule["from"] for rule in full["NetworkPolicy", "farm-tvarr-coordinator"]["spec"]["ingress"] if rule["ports"][0]["port"] == "http"] == [
    FULL["networkPolicy"]["httpFrom"],
    namespace("monitoring"),
]
assert doors("farm-tvarr-workers") == {"metrics": namespace("monitoring")}
assert "scaler" not in str(plain)
with helm.Chart.load(CHART) as chart:
    closed = rendered(chart, {"networkPolicy": {"metricsFrom": []}})
assert "ingress" not in closed["NetworkPolicy", "farm-tvarr-workers"]["spec"]
ok("only KEDA reaches the scaler, and only who monitors reaches workers")
print(f"{passed} passed, 0 failed")

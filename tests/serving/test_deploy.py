"""The files for operators: manifests that Kubernetes takes, and a dashboard of metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from starlette.testclient import TestClient

import serving
from serving.app import create_app
from serving.launch import DRAIN_SECONDS
from serving.settings import Settings
from tests.serving.talk import post

DEPLOY = Path(serving.__file__).parent / "deploy"
MANIFESTS = sorted(path for path in DEPLOY.rglob("*.yaml") if path.name != "kustomization.yaml")


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
@pytest.mark.parametrize("version", ["1.30", "1.34"])
def test_kubernetes_takes_every_manifest(path, version):
    manifest = yaml.safe_load(path.read_text())
    if path.name == "gpu.yaml":  # a patch, which lacks what it does not change
        return
    if manifest["kind"] == "Deployment":
        # kustomize adds selector and labels.
        labels = {"app.kubernetes.io/name": "protozoo"}
        manifest["spec"]["selector"] = {"matchLabels": labels}
        manifest["spec"]["template"]["metadata"]["labels"] = labels
    kubernetes_validate.validate(manifest, version, strict=True)


def test_every_file_is_named_by_the_kustomization():
    named = yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text())["resources"]
    assert sorted(named) == sorted(path.name for path in MANIFESTS if path.parent.name == "kubernetes")


def container(path="kubernetes/deployment.yaml"):
    spec = yaml.safe_load((DEPLOY / path).read_text())["spec"]["template"]["spec"]
    return spec, spec["containers"][0]


def test_the_variables_are_settings_that_there_are():
    known = {f"PROTOZOO_{name.upper()}" for name in Settings.__dataclass_fields__}
    for path in ("kubernetes/deployment.yaml", "kubernetes/gpu/gpu.yaml"):
        for variable in container(path)[1]["env"]:
            assert variable["name"] in known


def test_a_pod_has_time_to_answer_what_is_under_way():
    spec, one = container()
    wait = int(one["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["terminationGracePeriodSeconds"] > wait + DRAIN_SECONDS


def test_the_limits_of_requests_fit_into_a_pod_s_memory():
    """By what docs/serving.md says of pictures and bodies; what is left is for the processes and the model."""
    one = container()[1]
    settings = {
        variable["name"].removeprefix("PROTOZOO_").lower(): int(variable["value"])
        for variable in one["env"]
        if variable.get("value", "").isdecimal()
    }
    decoding = settings["decode_threads"] * settings["max_pixels"] * 17
    bodies = settings["max_requests"] * settings["max_body_bytes"] * 2
    memory = int(one["resources"]["limits"]["memory"].removesuffix("Mi")) << 20
    assert decoding + bodies + (512 << 20) < memory


def test_it_does_not_run_as_root_and_is_limited():
    spec, one = container()
    assert spec["securityContext"]["runAsNonRoot"]
    assert one["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert "memory" in one["resources"]["limits"]
    assert {one[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")} == {
        "/readyz",
        "/livez",
    }


def test_the_dashboard_shows_metrics_that_there_are(bundle, encode, tmp_path):
    settings = Settings(str(bundle.path), database=f"sqlite:///{tmp_path}/sets.sqlite")
    with TestClient(create_app(lambda: settings)) as client:
        post(client, encode())
        exposed = set(re.findall(r"^(protozoo_\w+)\{?", client.get("/metrics").text, flags=re.MULTILINE))
    dashboard = json.loads((DEPLOY / "grafana.json").read_text())
    used = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"protozoo_\w+", target["expr"])
    }
    assert used <= exposed
    families = {re.sub(r"_(bucket|sum|count|total|created)$", "", name) for name in exposed}
    assert {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in used} == families

"""Packages beside this one that bring models: real ones, with their metadata, installed into a folder on the path."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hub_double import environment, running_hub
from tests.tiny_bundle import edit_config
from zoo.bundle import embedded_names, find

ROOT = Path(__file__).resolve().parents[2]
OURS = "proto_resnet20_cifar.nonl_cifar10"

INSECTS = """
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock
from zoo.models.resnets import ProtoCifarResNet
from zoo.plugins import timm_cfgs

default_cfgs = generate_default_cfgs(timm_cfgs({"insects_net": {"first_conv": "conv1", "classifier": "head.fc"}}))

@register_model
def insects_net(pretrained=False, **kwargs):
    args = {"block": BasicBlock, "layers": (3, 3, 3), "embed_dim": 64, **kwargs}
    return build_model_with_cfg(ProtoCifarResNet, "insects_net", pretrained, **args)
"""
THIEF = """
from timm.models import register_model

@register_model
def resnet18(pretrained=False, **kwargs):
    raise AssertionError("the wrong resnet18")

@register_model
def thiefs_own(pretrained=False, **kwargs):
    raise AssertionError
"""
ASK = """
import json, sys, warnings
warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as caught:
    import zoo
    answer = {"light": not {"torch", "timm", "insects_zoo"} & set(sys.modules)}
    import timm, torch
    answer["warned"] = [str(warning.message) for warning in caught if "timm" not in str(warning.filename)]
answer["architectures"] = zoo.list_models("insects*")
answer["pretrained"] = zoo.list_models("*insects*", pretrained=True)
answer["timm"] = timm.list_pretrained("insects*")
image = torch.rand(1, 3, 32, 32)
logits = zoo.create_model(sys.argv[1], pretrained=True).eval()(image)
for name in answer["timm"]:
    for create in (zoo.create_model, timm.create_model):
        assert torch.equal(create(name, pretrained=True).eval()(image), logits), (name, create)
ours = zoo.create_model("proto_resnet20_cifar.nonl_insects", pretrained=True).eval()
ours_by_timm = timm.create_model("proto_resnet20_cifar.nonl_insects", pretrained=True).eval()
answer["ours"] = torch.equal(ours(image), logits) and torch.equal(ours_by_timm(image), logits)
answer["random"] = type(zoo.create_model("insects_net", num_classes=3)).__name__
answer["loaded"] = zoo.load("insects_net.nonl_hub").bundle.name
answer["resnet18"] = [type(timm.create_model("resnet18")).__name__, timm.list_pretrained("resnet18.a1*")]
print(json.dumps(answer))
"""


def install(site: Path, name: str, module: str, code: str = "") -> Path:
    """A package of one module with an entry point, as pip would leave it; returns the folder of its weights."""
    package = site / module.split(".", maxsplit=1)[0]
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").touch()
    if code:
        site.joinpath(*module.split(".")).with_suffix(".py").write_text(code)
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[protozoo.zoo]\nmodels = {module}\n")
    return package / "weights"


def rename(folder: Path, architecture: str, tag: str) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["architecture"] = architecture
        config["pretrained_cfg"]["tag"] = tag

    edit_config(folder, edit)


def beside_the_hub(config: Path, folder: Path, repository: str) -> None:
    """A folder that only says where on the Hub the bundle of this config.json is."""
    record = json.loads(config.read_text())
    record["pretrained_cfg"]["hf_hub_id"] = repository
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(record))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good package, and others with one fault each."""
    site = tmp_path_factory.mktemp("site")
    released = find(OURS)
    weights = install(site, "insects-zoo", "insects_zoo.models", INSECTS)
    rename(shutil.copytree(released, weights / "insects_net.nonl_insects"), "insects_net", "nonl_insects")
    rename(
        shutil.copytree(released, weights / "proto_resnet20_cifar.nonl_insects"), "proto_resnet20_cifar", "nonl_insects"
    )
    rename(shutil.copytree(released, site / "pushed"), "insects_net", "nonl_hub")
    beside_the_hub(site / "pushed" / "config.json", weights / "insects_net.nonl_hub", "owner/insects@v1")
    install(site, "broken-zoo", "broken_zoo.models", "import a_package_that_is_not_there")
    install(site, "gone-zoo", "gone_zoo").parent.rename(site / "elsewhere")
    shutil.copytree(released, install(site, "thief-zoo", "thief_zoo.models", THIEF) / OURS)
    (install(site, "torn-zoo", "torn_zoo") / "torn_net.x").mkdir()
    (site / "torn_zoo" / "weights" / "torn_net.x" / "config.json").write_text("{")
    return site


def python(site: Path, *words: str, **others: str) -> subprocess.CompletedProcess[str]:
    with running_hub() as hub:
        hub.commit("owner/insects", site / "pushed", branch="v1")
        others |= {"PYTHONPATH": f"{site}:{ROOT}"}
        environ = environment(hub, site / "home", **others)
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, env=environ)


REFUSED = [
    "the package gone-zoo is not, or not wholly, in the zoo: its entry point names gone_zoo, which is not",
    f"the package thief-zoo is not, or not wholly, in the zoo: its model {OURS} is left out: protozoo has one",
    "torn_net.x/config.json is not the config.json of a bundle of that name",
]
REFUSED_BY_TIMM = [
    "the package broken-zoo is not in the zoo: importing broken_zoo.models failed with ModuleNotFoundError",
    "the package thief-zoo registers an architecture resnet18, which timm.models.resnet has already: it is left out",
]


def test_models_of_packages_are_listed_with_their_place_and_faulty_packages_are_named(site):
    done = python(site, "-m", "zoo", "list", "--pretrained")
    assert done.returncode == 0, done.stderr
    places = {line.split()[0]: line.split("  ")[-1] for line in done.stdout.splitlines()[1:]}
    assert places == {
        **dict.fromkeys(embedded_names(), "in protozoo"),
        "insects_net.nonl_hub": "hf-hub:owner/insects@v1 (not cached), by insects-zoo",
        "insects_net.nonl_insects": "in insects-zoo",
        "proto_resnet20_cifar.nonl_insects": "in insects-zoo",
    }
    for refusal in REFUSED:
        assert done.stderr.count(refusal) == 1, done.stderr
    assert done.stderr.count("protozoo: the package ") == len(REFUSED)


def test_the_zoo_and_timm_load_what_packages_bring_from_their_folders_and_from_the_hub(site):
    done = python(site, "-c", ASK, OURS)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["light"]
    for refusal in [*REFUSED, *REFUSED_BY_TIMM]:
        assert sum(refusal in warning for warning in answer["warned"]) == 1, (refusal, answer["warned"])
    assert answer["architectures"] == ["insects_net"]
    assert answer["timm"] == ["insects_net.nonl_hub", "insects_net.nonl_insects"]
    assert answer["pretrained"] == [*answer["timm"], "proto_resnet20_cifar.nonl_insects"]
    assert answer["ours"]
    assert answer["random"] == "ProtoCifarResNet"
    assert answer["loaded"] == "insects_net.nonl_hub"
    assert answer["resnet18"] == ["ResNet", ["resnet18.a1_in1k"]]

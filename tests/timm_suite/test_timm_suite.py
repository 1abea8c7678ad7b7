"""timm's own tests of models, of exactly the installed version, on every architecture of the zoo.

They are in timm's source distribution alone. pip downloads it once, compares it with the index's digest, and pytest's
cache folder keeps the two files that are needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import warnings
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pytest
import timm

from tests.timm_suite.timm_suite_plugin import FIXED
from zoo.models.architectures import architectures

TESTS = {
    "test_model_forward",
    "test_model_backward",
    "test_model_default_cfgs",
    "test_prune_intermediate_layers_contract",
    "test_model_load_pretrained",
    "test_model_features_pretrained",
    "test_model_forward_torchscript",
    "test_model_forward_features",
    "test_model_forward_intermediates_features",
    "test_model_forward_intermediates",
    "test_model_forward_fx",
    "test_model_backward_fx",
    "test_model_forward_fx_torchscript",
}


QUICK = {
    "proto_resnet9_cifar",
    "proto_resnet20_cifar",
    "proto_resnet50",
    "proto_resnet18_cifar_mlp",
    "proto_swin_tiny",
    "fixed_resnet18_cifar",
}
"""One of each stem, block, head and kind of prototypes; the others differ from these in depth."""


def _marked(architecture):
    return pytest.param(architecture, marks=[] if architecture in QUICK else [pytest.mark.slow])


@pytest.mark.timm_suite
@pytest.mark.parametrize("architecture", [_marked(name) for name in (*architectures(), *FIXED)])
def test_timms_own_tests_pass(architecture, results):
    tests = results[architecture]
    assert {name.partition("[")[0] for name in tests} >= TESTS
    wrong = [f"{name}\n{message}" for name, message in tests.items() if message]
    if wrong:
        pytest.fail("\n\n".join(wrong), pytrace=False)


@pytest.fixture(scope="module")
def results(request, tmp_path_factory):
    """Architecture -> timm's test -> what it said, "" where it passed: of one process, for all that are selected."""
    selected = [item.callspec.params["architecture"] for item in request.session.items if item.module is request.module]
    report = tmp_path_factory.mktemp("timm_suite") / "report.xml"
    run(timm_tests(request.config.cache), selected, report)
    return read(report)


def timm_tests(cache):
    """The folder with timm's pyproject.toml and tests/test_models.py, downloaded where it is not yet in the cache."""
    folder = cache.mkdir(f"timm-{timm.__version__}")
    tests = folder / "test_models.py"
    if not tests.exists():
        try:
            archive = download(folder)
        except subprocess.CalledProcessError as error:
            why = error.stderr.strip().rpartition("\n")[2]
            reason = f"timm {timm.__version__}'s own tests were not run, since pip cannot download its sources: {why}"
            warnings.warn(reason, stacklevel=2)
            pytest.skip(reason)
        extract(archive, {"pyproject.toml": folder / "pyproject.toml", "tests/test_models.py": tests})
        archive.unlink()
    return folder


def download(folder):
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--retries=1", "--no-deps"]
    command += ["--no-binary=timm", f"--dest={folder}", f"timm=={timm.__version__}"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder / f"timm-{timm.__version__}.tar.gz"


def extract(archive, targets):
    with tarfile.open(archive) as sources:
        for name, target in targets.items():
            part = target.with_suffix(".part")
            part.write_bytes(sources.extractfile(f"timm-{timm.__version__}/{name}").read())
            part.replace(target)


def run(folder, names, report):
    """Run timm's tests on these architectures in a process of their own."""
    here = Path(__file__).resolve().parent
    unwanted = ("GITHUB_ACTIONS", "PYTEST_ADDOPTS")  # timm leaves tests out where the first is set
    environment = {key: value for key, value in os.environ.items() if key not in unwanted}
    environment["PYTHONPATH"] = os.pathsep.join([str(here), str(here.parent.parent)])
    environment |= {"HF_HUB_OFFLINE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "timm_suite_plugin", "-p", "no:cacheprovider"]
    command += ["-c", folder / "pyproject.toml", f"--architectures={','.join(names)}", f"--junitxml={report}"]
    command += [folder / "test_models.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert report.exists(), done.stdout + done.stderr


def read(report):
    """architecture -> timm's test -> "", or why it did not pass."""
    results = defaultdict(dict)
    for case in ElementTree.parse(report).iter("testcase"):
        test = case.get("name")
        model = test.rstrip("]").replace("[", "-").rpartition("-")[2]
        results[model.partition(".")[0]][test] = "\n".join(
            child.text or child.tag for child in case if child.tag in {"failure", "error", "skipped"}
        )
    return results

"""``protozoo bento``, and what it makes, served from an empty folder."""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import httpx
import pytest
from packaging.requirements import Requirement

import serving.bento
from benchmarks.processes import free_port, wait_until_ready
from serving.bento import requirements
from tests.tiny_bundle import make_tiny_bundle
from zoo.bundle import ProtozooError


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("bentoml")


def bento(home, *arguments):
    """``protozoo bento``, in a process of its own: BentoML reads its home once."""
    code = "import sys, serving.cli, zoo.errors\n"
    code += "try: serving.cli.bento(sys.argv[1:], standalone_mode=False)\n"
    code += "except zoo.errors.ProtozooError as error: sys.exit(f'protozoo: {error}')"
    environment = {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def built(home, bundle):
    """(tag, folder) of a Bento."""
    done = bento(home, bundle.path, "--name", "tiny")
    assert done.returncode == 0, done.stderr
    tag = done.stdout.split(": ")[0]
    return tag, home / "bentos" / tag.replace(":", "/")


def test_it_holds_the_bundle_and_the_code_that_serves_it_and_nothing_else_of_ours(built, bundle):
    _, folder = built
    packed = folder / "src" / "packed-bundle"
    assert {path.name for path in packed.iterdir()} == {path.name for path in bundle.path.iterdir()}
    assert (folder / "src/serving/service.py").is_file()
    assert (folder / "src/zoo/bundle/folder.py").is_file()
    assert not (folder / "src/zoo/weights").exists()
    assert {path.name for path in (folder / "src").iterdir()} == {"serving", "zoo", "packed-bundle", "bentofile.yaml"}


def test_the_same_bundle_and_code_are_built_once(built, home, bundle):
    again = bento(home, bundle.path, "--name", "tiny")
    assert again.returncode == 0
    assert again.stdout.startswith(f"{built[0]}: ")
    assert len([path for path in built[1].parent.iterdir() if path.is_dir()]) == 1


def test_other_weights_are_another_version(built, home, tmp_path):
    other = make_tiny_bundle(tmp_path / "other", seed=1)
    assert bento(home, other.path, "--name", "tiny").stdout.split(": ")[0] not in ("", built[0])


def test_a_name_that_bentoml_does_not_take_is_one_line(home, bundle):
    done = bento(home, bundle.path, "--name", "a b")
    assert done.returncode
    assert "Invalid Tag" in done.stderr
    assert "Traceback" not in done.stderr


def test_its_container_is_not_run_by_root_and_has_the_device_asked_for(built):
    dockerfile = (built[1] / "env/docker/Dockerfile").read_text()
    assert [line for line in dockerfile.splitlines() if line.startswith("USER ")][-1] == "USER bentoml"
    assert "PROTOZOO_DEVICE=cpu" in dockerfile


def test_it_installs_what_was_tried_here_and_no_torch():
    cpu, cuda = (
        {one.name: str(one.specifier) for one in map(Requirement, requirements(device))} for device in ("cpu", "cuda")
    )
    assert not {"torch", "timm", "protozoo"} & cpu.keys()
    assert {"numpy", "pillow", "starlette", "onnxruntime"} <= cpu.keys()
    assert all(specifier.startswith("==") for specifier in cpu.values())
    assert "onnxruntime-gpu" in cuda
    assert "onnxruntime" not in cuda


def test_it_can_use_postgresql_wherever_it_was_built(monkeypatch):
    assert [text for text in requirements("cpu") if text.startswith("psycopg[binary]==")]

    def version_of(name):
        if name == "psycopg":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(serving.bento, "version", version_of)
    assert [text for text in requirements("cpu") if text.startswith("psycopg[binary]>=")]


def test_it_serves_with_nothing_but_itself(built, home, tmp_path, encode):
    tag, folder = built
    port, log = free_port(), tmp_path / "log"
    environment = {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "bentoml", "serve", tag, "--port", str(port)]
    (tmp_path / "serving.py").write_text("raise RuntimeError('the wrong package')")
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_until_ready(server, f"http://127.0.0.1:{port}/readyz", log)
            files = {"image": encode("PNG")}
            answer = httpx.post(f"http://127.0.0.1:{port}/v1/classify", files=files, timeout=20)
        finally:
            server.terminate()
            server.wait(40)
    assert answer.status_code == 200
    assert len(answer.json()["results"]) == 1
    # Compiled by whoever imported it: the Bento's own copy, not the one that these tests run.
    assert list(folder.glob("src/serving/__pycache__/service.*.pyc"))


def test_a_bundle_that_the_environment_names_goes_before_the_packed_one(tmp_path, monkeypatch):
    from serving import settings

    package = tmp_path / "serving" / "settings.py"
    monkeypatch.setattr(settings, "__file__", str(package))
    with pytest.raises(ProtozooError, match="PROTOZOO_BUNDLE"):
        settings.Settings.from_environment({})
    (tmp_path / "packed-bundle").mkdir()
    assert settings.Settings.from_environment({}).bundle == str(tmp_path / "packed-bundle")
    assert settings.Settings.from_environment({"PROTOZOO_BUNDLE": "mine"}).bundle == "mine"

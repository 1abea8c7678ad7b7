from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from serving import launch as module
from serving.cli import serve
from serving.launch import bindable, launch
from tests.tiny_bundle import make_tiny_bundle
from zoo.bundle import BundleError, ProtozooError


@pytest.fixture
def started(monkeypatch, tmp_path):
    """What launch() would have become, with the working directory put back."""
    calls = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
    return calls


def test_bentoml_is_started_with_the_bundle_and_settings_from_the_package_s_folder(started, bundle, monkeypatch):
    monkeypatch.delenv("BENTOML_DO_NOT_TRACK", raising=False)
    monkeypatch.setattr(module, "bindable", lambda host, port: host)
    CliRunner().invoke(serve, [str(bundle.path), "--port", "3456", "--max-body-mib", "2"], catch_exceptions=False)
    (executable, arguments, environment), *more = started
    assert not more
    assert executable == sys.executable
    assert arguments[1:5] == ["-m", "bentoml", "serve", "serving.service:Protozoo"]
    assert arguments[arguments.index("--port") + 1] == "3456"
    assert arguments[arguments.index("--host") + 1] == "127.0.0.1"
    assert environment["PROTOZOO_BUNDLE"] == str(bundle.path.resolve())
    assert environment["PROTOZOO_MAX_BODY_BYTES"] == str(2 << 20)
    assert environment["BENTOML_DO_NOT_TRACK"] == "True"
    assert (Path.cwd() / "serving" / "service.py").is_file()


def test_workers_are_bentoml_s_and_its_other_options_stay(started, bundle, monkeypatch):
    monkeypatch.setattr(module, "bindable", lambda host, port: host)
    monkeypatch.setenv("BENTOML_CONFIG_OPTIONS", "services.protozoo.traffic.timeout=90")
    CliRunner().invoke(serve, [str(bundle.path), "--workers", "3"], catch_exceptions=False)
    options = started[0][2]["BENTOML_CONFIG_OPTIONS"].split()
    assert options == ["services.protozoo.traffic.timeout=90", "services.protozoo.workers=3"]
    launch(str(bundle.path), host="127.0.0.1", port=3456, device="cpu")
    assert started[1][2]["BENTOML_CONFIG_OPTIONS"] == "services.protozoo.traffic.timeout=90"


def test_a_relative_bundle_is_found_from_the_user_s_folder(started, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "bindable", lambda host, port: host)
    bundle = make_tiny_bundle(tmp_path / "mine")
    launch("mine", host="127.0.0.1", port=3456, device="cpu")
    assert started[0][2]["PROTOZOO_BUNDLE"] == str(bundle.path.resolve())


def test_the_user_s_choice_on_tracking_is_kept(started, bundle, monkeypatch):
    monkeypatch.setattr(module, "bindable", lambda host, port: host)
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "False")
    launch(str(bundle.path), host="127.0.0.1", port=3456, device="cpu")
    assert started[0][2]["BENTOML_DO_NOT_TRACK"] == "False"


def test_a_damaged_bundle_is_named_before_anything_starts(started, tmp_path):
    bundle = make_tiny_bundle(tmp_path / "b")
    (bundle.path / "model.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        launch(str(bundle.path), host="127.0.0.1", port=3456, device="cpu")
    assert not started


def test_a_port_in_use_is_a_user_s_mistake(bundle, started):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ProtozooError, match="choose another --port"):
            launch(str(bundle.path), host="127.0.0.1", port=taken.getsockname()[1], device="cpu")
    assert not started


def test_an_unknown_host_is_a_user_s_mistake():
    with pytest.raises(ProtozooError, match="--host"):
        bindable("no.such.host.invalid", 3456)


def test_help_is_quick_and_has_an_example():
    code = "import sys, serving.cli; print({'bentoml', 'onnxruntime', 'starlette', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"set()\n"
    text = CliRunner().invoke(serve, ["--help"]).output
    assert "protozoo serve ./my-bundle --port 3000" in text
    assert "[default: 20]" in " ".join(text.split())

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
from serving.launch import CHECK_PID, begin_check, bindable, finish_check, launch
from tests.tiny_bundle import make_tiny_bundle
from zoo.bundle import BundleError, ProtozooError


@pytest.fixture
def started(monkeypatch, tmp_path):
    """What launch() would have become, with the working directory put back and no check begun."""
    calls = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
    monkeypatch.setattr(module, "begin_check", lambda environment: 4321)
    return calls


@pytest.fixture
def checked(monkeypatch):
    """checked(path) -> the exit status that a check of a bundle, begun by launch(), gives BentoML."""

    def finish(path):
        monkeypatch.setenv("PROTOZOO_BUNDLE", str(path))
        monkeypatch.setenv(CHECK_PID, str(begin_check(os.environ)))
        try:
            finish_check()
        except SystemExit as end:
            return end.code
        return 0

    return finish


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


def test_the_device_is_the_environment_s_unless_one_is_given(started, bundle, monkeypatch):
    """It must not be the CPU in silence where a GPU was asked for."""
    monkeypatch.setattr(module, "bindable", lambda host, port: host)
    monkeypatch.delenv("PROTOZOO_DEVICE", raising=False)
    CliRunner().invoke(serve, [str(bundle.path)], catch_exceptions=False)
    monkeypatch.setenv("PROTOZOO_DEVICE", "cuda")
    CliRunner().invoke(serve, [str(bundle.path)], catch_exceptions=False)
    CliRunner().invoke(serve, [str(bundle.path), "--device", "cpu"], catch_exceptions=False)
    assert [call[2].get("PROTOZOO_DEVICE") for call in started] == [None, "cuda", "cpu"]


def test_workers_are_bentoml_s_and_its_other_options_stay(started, bundle, monkeypatch):
    monkeypatch.setattr(module, "bindable", lambda host, port: host)
    monkeypatch.setenv("BENTOML_CONFIG_OPTIONS", "services.protozoo.traffic.timeout=90")
    CliRunner().invoke(serve, [str(bundle.path), "--workers", "3"], catch_exceptions=False)
    options = started[0][2]["BENTOML_CONFIG_OPTIONS"].split()
    assert options == ["services.protozoo.traffic.timeout=90", "services.protozoo.workers=3"]
    launch(str(bundle.path), host="127.0.0.1", port=3456)
    assert started[1][2]["BENTOML_CONFIG_OPTIONS"] == "services.protozoo.traffic.timeout=90"


def test_a_relative_bundle_is_found_from_the_user_s_folder(started, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "bindable", lambda host, port: host)
    bundle = make_tiny_bundle(tmp_path / "mine")
    launch("mine", host="127.0.0.1", port=3456)
    assert started[0][2]["PROTOZOO_BUNDLE"] == str(bundle.path.resolve())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sqlite:///sets.sqlite", "sqlite:///{here}/sets.sqlite"),
        ("sqlite:////var/sets.sqlite", "sqlite:////var/sets.sqlite"),
        ("postgresql://user:word@host/name", "postgresql://user:word@host/name"),
    ],
)
def test_files_are_named_from_the_user_s_folder(started, bundle, tmp_path, monkeypatch, given, expected):
    """The check, the service and `protozoo sets` must open the same one."""
    monkeypatch.setattr(module, "bindable", lambda host, port: host)
    monkeypatch.setenv("PROTOZOO_DATABASE", given)
    monkeypatch.setenv("BENTOML_CONFIG", "bentoml.yaml")
    launch(str(bundle.path), host="127.0.0.1", port=3456)
    assert started[0][2]["PROTOZOO_DATABASE"] == expected.format(here=tmp_path)
    assert started[0][2]["BENTOML_CONFIG"] == str(tmp_path / "bentoml.yaml")


def test_the_user_s_choice_on_tracking_is_kept(started, bundle, monkeypatch):
    monkeypatch.setattr(module, "bindable", lambda host, port: host)
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "False")
    launch(str(bundle.path), host="127.0.0.1", port=3456)
    assert started[0][2]["BENTOML_DO_NOT_TRACK"] == "False"


def test_bentoml_waits_for_the_check_that_began_before_it(started, bundle, monkeypatch):
    monkeypatch.setattr(module, "bindable", lambda host, port: host)
    launch(str(bundle.path), host="127.0.0.1", port=3456)
    assert started[0][2][CHECK_PID] == "4321"


def test_a_damaged_bundle_is_named_and_ends_the_start(checked, tmp_path, capfd):
    bundle = make_tiny_bundle(tmp_path / "b")
    assert checked(bundle.path) == 0
    (bundle.path / "model.onnx").write_bytes(b"x")
    assert checked(bundle.path) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("protozoo: ")
    assert "model.onnx" in line


def test_a_start_without_protozoo_serve_is_checked_too(bundle, tmp_path, monkeypatch):
    """By ``bentoml serve``."""
    monkeypatch.delenv(CHECK_PID, raising=False)
    monkeypatch.setenv("PROTOZOO_BUNDLE", str(bundle.path))
    finish_check()
    monkeypatch.setenv("PROTOZOO_BUNDLE", str(tmp_path))
    with pytest.raises(SystemExit) as end:
        finish_check()
    assert end.value.code == 2


def test_a_missing_bundle_and_a_wrong_setting_are_named_at_once(started, bundle, monkeypatch):
    with pytest.raises(BundleError, match="no-such-bundle"):
        launch("no-such-bundle", host="127.0.0.1", port=3456)
    monkeypatch.setattr(module, "bindable", lambda host, port: host)
    monkeypatch.setenv("PROTOZOO_MAX_IMAGES", "many")
    with pytest.raises(ProtozooError, match="PROTOZOO_MAX_IMAGES"):
        launch(str(bundle.path), host="127.0.0.1", port=3456)
    assert not started


def test_a_port_in_use_is_a_user_s_mistake(bundle, started):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ProtozooError, match="choose another --port"):
            launch(str(bundle.path), host="127.0.0.1", port=taken.getsockname()[1])
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

"""Where BentoML's traces are switched on."""

from __future__ import annotations

import pytest

import serving.tracing as module
from serving.tracing import check_exporter, tracing
from zoo.bundle import ProtozooError

OFF = {"excluded_urls": [".*"]}


@pytest.mark.parametrize("environ", [{}, {"BENTOML_CONFIG_OPTIONS": "services.protozoo.workers=2"}])
def test_nothing_is_traced_where_nobody_said_where_to(environ):
    assert tracing(environ) == OFF


@pytest.mark.parametrize(
    "environ",
    [
        {"BENTOML_CONFIG_OPTIONS": "services.protozoo.workers=2 services.protozoo.tracing.exporter_type=otlp"},
        {"BENTOML_CONFIG_OVERRIDES": '{"services": {"tracing": {"exporter_type": "otlp"}}}'},
    ],
)
def test_an_exporter_in_the_environment_turns_traces_on(environ):
    assert tracing(environ) == {}


def test_an_exporter_in_a_file_turns_traces_on(tmp_path):
    file = tmp_path / "bentoml.yaml"
    environ = {"BENTOML_CONFIG": str(file)}
    assert tracing(environ) == OFF  # missing: BentoML says so
    file.write_text("services: {protozoo: {tracing: {sample_rate: 1.0}}}")
    assert tracing(environ) == OFF
    file.write_text("services: {protozoo: {tracing: {exporter_type: otlp}}}")
    assert tracing(environ) == {}


@pytest.mark.parametrize("kind", ["otlp", "zipkin", "jaeger"])
@pytest.mark.parametrize("there", ["opentelemetry", "opentelemetry.exporter", ""])
def test_an_exporter_that_is_not_installed_is_one_line_with_what_to_install(kind, there, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: name if name == there else None)
    for name, text in (
        ("OPTIONS", f"services.protozoo.tracing.exporter_type={kind}"),
        ("OVERRIDES", f'{{"services": {{"tracing": {{"exporter_type": "{kind}"}}}}}}'),
    ):
        with pytest.raises(ProtozooError, match=f"tracing-{kind}"):
            check_exporter({f"BENTOML_CONFIG_{name}": text})


def test_other_exporters_are_bentoml_s_business(monkeypatch):
    check_exporter({"BENTOML_CONFIG_OPTIONS": "services.protozoo.tracing.exporter_type=in_memory"})
    check_exporter({})
    monkeypatch.setattr(module, "find_spec", lambda name: name)
    check_exporter({"BENTOML_CONFIG_OPTIONS": "services.protozoo.tracing.exporter_type=otlp"})

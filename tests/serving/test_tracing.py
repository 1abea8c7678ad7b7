"""Where BentoML's traces are switched on."""

from __future__ import annotations

import pytest

from serving.tracing import tracing

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

from __future__ import annotations

import pytest

from serving.settings import Settings
from zoo.bundle import ProtozooError


def test_defaults_and_variables():
    settings = Settings.from_environment(
        {"PROTOZOO_BUNDLE": "b", "PROTOZOO_MAX_BODY_BYTES": "7", "PROTOZOO_DEVICE": "", "OTHER": "x"}
    )
    assert (settings.bundle, settings.max_body_bytes, settings.device) == ("b", 7, "cpu")
    assert Settings("b").max_body_bytes == 20 * 1024 * 1024


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "PROTOZOO_BUNDLE must name"),
        ({"PROTOZOO_BUNDLE": "b", "PROTOZOO_DEVICE": "tpu"}, "PROTOZOO_DEVICE must be one of cpu, cuda"),
        ({"PROTOZOO_BUNDLE": "b", "PROTOZOO_MAX_IMAGES": "many"}, "PROTOZOO_MAX_IMAGES must be a whole number"),
        ({"PROTOZOO_BUNDLE": "b", "PROTOZOO_MAX_BODY_BYTES": "0"}, "PROTOZOO_MAX_BODY_BYTES must be 1 or more"),
        ({"PROTOZOO_BUNDLE": "b", "PROTOZOO_GPU": "-1"}, "PROTOZOO_GPU must be 0 or more"),
        ({"PROTOZOO_BUNDLE": "b", "PROTOZOO_BODY_SECONDS": "100"}, "together must be less than 120"),
        ({"PROTOZOO_BUNDLE": "b", "PROTOZOO_MAX_QUEUE": "3"}, "PROTOZOO_MAX_QUEUE .* at least PROTOZOO_MAX_IMAGES"),
    ],
)
def test_a_wrong_setting_is_named(environ, says):
    with pytest.raises(ProtozooError, match=says):
        Settings.from_environment(environ)

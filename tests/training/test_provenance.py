from __future__ import annotations

from pathlib import Path

import pytest

from training.provenance import code_revision, recorded
from zoo import __version__


def test_a_checkout_without_git_has_the_version_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_revision() == __version__


@pytest.mark.parametrize("text", ["~50,000 photos", "~nobody-of-that-name/x", "x" * 300, "a\0b"])
def test_texts_that_can_be_no_paths_are_recorded_as_they_are(text: str) -> None:
    assert text in recorded("train", "nonl_digits", "digits", None, {"data_license": text})

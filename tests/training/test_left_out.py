"""What is left out of a folder is said by every command that measures; the log of a training has its own place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from export.bundle import export_run
from tests.training.runs import Protozoo
from zoo.errors import ProtozooWarning


@pytest.fixture(scope="module")
def bundle(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "colours"
    export_run(undisturbed, out)
    return out


@pytest.fixture
def with_phones_pictures(colours: Path, tmp_path: Path) -> Path:
    """The colours, and of one class two test images more in a format that is not read."""
    folder = Path(shutil.copytree(colours, tmp_path / "data"))
    for name in ("a.heic", "b.heic"):
        (folder / "val" / "red" / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "BUNDLE", "--data", "DATA", "--foreign", "none"),
        ("evaluate", "BUNDLE", "--data", "WHOLE", "--foreign", "DATA"),
        ("probe", "prototypes", "BUNDLE", "--data", "DATA"),
        ("probe", "cached", "BUNDLE", "--data", "DATA", "--epochs", "1"),
        ("transfer", "BUNDLE", "--data", "DATA", "--method", "prototypes"),
        ("corruptions", "BUNDLE", "--data", "DATA", "--corruption", "contrast", "--severity", "1"),
        ("plot", "RUN", "--data", "DATA", "--out", "OUT"),
    ],
    ids=lambda words: " ".join(word for word in words if word.islower() and "-" not in word[0]),
)
def test_images_of_another_format_are_said(
    protozoo: Protozoo,
    words: tuple[str, ...],
    bundle: Path,
    undisturbed: Path,
    colours: Path,
    with_phones_pictures: Path,
    tmp_path: Path,
) -> None:
    if words[0] == "corruptions":
        pytest.importorskip("corrupt_tta")
    paths = {
        "BUNDLE": bundle,
        "RUN": undisturbed,
        "DATA": with_phones_pictures,
        "WHOLE": colours,
        "OUT": tmp_path / "pictures",
    }
    with pytest.warns(ProtozooWarning, match=r"left out, for they do not end in .*: 2 of \.heic$"):
        status, _, err = protozoo(*(paths.get(word, word) for word in words))
    assert status == 0, err


def test_a_folder_of_images_alone_is_measured_without_a_word(
    protozoo: Protozoo, bundle: Path, colours: Path, recwarn: pytest.WarningsRecorder
) -> None:
    assert protozoo("evaluate", bundle, "--data", colours, "--foreign", "none")[0] == 0
    assert [warning for warning in recwarn if issubclass(warning.category, ProtozooWarning)] == []

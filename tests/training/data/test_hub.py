from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from tests.training.data.files import write_parquet
from training.data import DataError, load_data
from zoo.bundle import Preprocessing

Asked = list[dict[str, Any]]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Asked]:
    """The folder that a download ends in, and what was asked for."""
    folder = tmp_path / "snapshots" / "0123abcd"
    folder.mkdir(parents=True)
    asked: Asked = []

    def snapshot_download(name: str, **options: Any) -> str:
        asked.append({"name": name, **options})
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return folder, asked


def write(folder: Path) -> None:
    write_parquet(folder / "train-00000-of-00001.parquet", [0, 1, 1])
    write_parquet(folder / "test-00000-of-00001.parquet", [1])


@pytest.mark.parametrize("place", ["", "data", "plain_text"])
def test_a_repository_is_read_from_where_it_keeps_its_files(
    hub: tuple[Path, Asked], preprocessing: Preprocessing, place: str
) -> None:
    folder, asked = hub
    write(folder / place)
    (folder / "README.md").write_text("---\nlicense:\n- mit\n---\n# Insects\n")
    data = load_data("hfds/someone/insects", preprocessing)
    assert (data.name, data.license) == ("someone/insects", "mit")
    assert data.train.labels.tolist() == [0, 1, 1]
    assert asked[0]["name"] == "someone/insects"
    assert asked[0]["repo_type"] == "dataset"
    assert asked[0]["revision"] is None
    assert "*.parquet" in asked[0]["allow_patterns"]


def test_a_revision_may_have_slashes_and_folders_of_splits(
    hub: tuple[Path, Asked], preprocessing: Preprocessing
) -> None:
    folder, asked = hub
    write_parquet(folder / "default" / "train" / "0000.parquet", [0, 1])
    write_parquet(folder / "default" / "test" / "0000.parquet", [1])
    data = load_data("hfds/someone/insects@refs/convert/parquet", preprocessing)
    assert asked[0]["revision"] == "refs/convert/parquet"
    assert data.license == "not stated"


def test_a_repository_without_parquet_files_is_told_of_its_converted_copy(
    hub: tuple[Path, Asked], preprocessing: Preprocessing
) -> None:
    with pytest.raises(DataError, match="hfds/someone/insects@refs/convert/parquet"):
        load_data("hfds/someone/insects", preprocessing)


def test_a_repository_of_several_data_sets_is_refused_with_their_names(
    hub: tuple[Path, Asked], preprocessing: Preprocessing
) -> None:
    folder, _ = hub
    write(folder / "large")
    write(folder / "small")
    with pytest.raises(DataError, match=r"large, small.*0123abcd"):
        load_data("hfds/someone/insects", preprocessing)


def refusal(kind: type[errors.HfHubHTTPError]) -> Callable[[], Exception]:
    response: Any = SimpleNamespace(headers={}, request=None)
    return lambda: kind("401 Client Error.\n\nRepository", response=response)


FAULTS: list[tuple[Callable[[], Exception], str]] = [
    (lambda: errors.LocalEntryNotFoundError("no\nsnapshot"), "connect to the network"),
    (lambda: ConnectionError("reset by\npeer"), "connect to the network"),
    (lambda: errors.HTTPError("timed\nout"), "connect to the network"),
    (lambda: errors.HFValidationError("bad name"), "hfds/<owner>/<name>"),
    (refusal(errors.RepositoryNotFoundError), "there is no data set"),
    (refusal(errors.GatedRepoError), "accept it on its page"),
    (refusal(errors.RevisionNotFoundError), "no revision 'v1'"),
]


@pytest.mark.parametrize(("fault", "words"), FAULTS)
def test_what_keeps_a_repository_away_is_one_line(
    monkeypatch: pytest.MonkeyPatch, preprocessing: Preprocessing, fault: Callable[[], Exception], words: str
) -> None:
    def snapshot_download(name: str, **options: Any) -> str:
        raise fault()

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(DataError) as caught:
        load_data("hfds/someone/insects@v1", preprocessing)
    assert words in str(caught.value)
    assert "someone/insects" in str(caught.value)
    assert "\n" not in str(caught.value)

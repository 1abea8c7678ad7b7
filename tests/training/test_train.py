from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import training.build
from tests.training.runs import FILES, Start, assert_same_weights, result_of, rows_of
from training.metrics import collapse_optimum
from training.recipe import Recipe, RecipeError
from training.record import _told
from zoo.errors import ProtozooError


def test_run_holds_its_files_and_no_temporary_one(undisturbed: Path) -> None:
    assert {path.name for path in undisturbed.iterdir()} == FILES
    pictures = {path.name for path in (undisturbed / "pictures").iterdir()}
    assert pictures == {"reliability.png", "prototypes.png", "embeddings.png"}


def test_recipe_is_recorded_as_it_was_asked_for(undisturbed: Path, tiny: Callable[..., Recipe], colours: Path) -> None:
    record = yaml.safe_load((undisturbed / "recipe.yaml").read_text())
    assert record.pop("data") == str(colours)
    assert record.pop("code_revision") == result_of(undisturbed)["code_revision"]
    assert Recipe(**record) == tiny()


def test_metrics_have_a_row_an_epoch(undisturbed: Path) -> None:
    rows = rows_of(undisturbed)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert float(rows[0]["lr"]) == pytest.approx(0.02)  # the end of the warm-up
    assert float(rows[-1]["lr"]) < 0.001
    assert [int(row["step"]) for row in rows] == [3, 6, 9]
    assert [int(row["images"]) for row in rows] == [48, 96, 144]
    # Written with one decimal, which an epoch may stay within.
    assert 0 <= float(rows[0]["seconds"]) <= float(rows[1]["seconds"]) <= float(rows[2]["seconds"])
    assert all(0 <= float(row["test_weight_alignment"]) <= 4 for row in rows)
    assert all(float(row["images_per_second"]) > 0 and 0 <= float(row["test_accuracy"]) <= 1 for row in rows)
    log = (undisturbed / "log.txt").read_text().splitlines()
    assert [line.split("loss")[0].strip() for line in log[:-1]] == ["epoch   1/3", "epoch   2/3", "epoch   3/3"]


def test_result_says_all_that_an_export_needs(undisturbed: Path, tiny: Callable[..., Recipe]) -> None:
    result = result_of(undisturbed)
    assert result["label_names"] == ["blue", "green", "red"]
    assert (result["architecture"], result["embed_dim"], result["objective"]) == ("proto_resnet20_cifar", 8, "nonl")
    assert result["data"] == {"name": "colours", "license": "not stated", "train_images": 60, "test_images": 12}
    assert result["preprocessing"]["input_size"] == [3, 16, 16]
    assert Recipe(**result["recipe"]) == tiny()
    assert result["tag"] == "nonl_colours"
    metrics = result["metrics"]
    assert metrics["test_accuracy"] == pytest.approx(sum(metrics["test_accuracy_per_class"].values()) / 3)
    assert list(metrics["test_accuracy_per_class"]) == ["blue", "green", "red"]
    assert metrics["collapse_optimum"]["mir"] == collapse_optimum(3).mir
    assert [entry["fpr"] for entry in result["open_set"]["thresholds"]] == [0.01, 0.05, 0.1]


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"optimizer": "sgd", "lr": 0.1, "objective": "ntce"},
        {"objective": "normface", "precision": "bf16", "augmentation": "none"},
        {"objective": "ce"},
        {"objective": "etf_dr"},
        {"objective": "dynamic", "embed_dim": 2},
        {"objective": "scl", "augmentation": "contrastive", "head": "mlp"},
        {"objective": "scl_prototypes", "augmentation": "resized_crop"},
        {"batches": "balanced", "denominators": "running", "imbalance": 0.5},
    ],
    ids=lambda overrides: "-".join(str(value) for value in overrides.values()) or "nonl-muon",
)
def test_training_learns_what_colour_tells(
    start: Start, tiny: Callable[..., Recipe], tmp_path: Path, overrides: dict[str, Any]
) -> None:
    start(tiny(**{"epochs": 8, "evaluate_every": 3, **overrides}), tmp_path / "run")
    result = result_of(tmp_path / "run")
    assert result["metrics"]["train_accuracy"] > 0.8
    assert (result["open_set"] is None) == (overrides.get("objective") == "ce")
    kinds = {"ce": "learned", "scl": "class_means", "scl_prototypes": "fixed", "etf_dr": "fixed", "dynamic": "fixed"}
    assert result["prototypes"] == kinds.get(result["objective"], "learned")
    evaluated = [row["epoch"] for row in rows_of(tmp_path / "run") if row["test_accuracy"]]
    assert evaluated == ["3", "6", "8"]


def test_same_seed_gives_the_same_weights(
    start: Start, tiny: Callable[..., Recipe], tmp_path: Path, undisturbed: Path
) -> None:
    torch.manual_seed(12345)  # the state of the caller's generator must not matter
    torch.rand(7)
    start(tiny(), tmp_path / "again")
    assert_same_weights(tmp_path / "again", undisturbed)


def test_another_seed_gives_other_weights(
    start: Start, tiny: Callable[..., Recipe], tmp_path: Path, undisturbed: Path
) -> None:
    start(tiny(seed=1), tmp_path / "other")
    with pytest.raises(AssertionError):
        assert_same_weights(tmp_path / "other", undisturbed)


def test_finished_run_says_so_and_changes_nothing(
    start: Start, tiny: Callable[..., Recipe], undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def content() -> dict[str, tuple[bytes, int]]:
        files = (path for path in undisturbed.rglob("*") if path.is_file())
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    before = content()
    said = start(tiny(), undisturbed)
    assert len(said) == 1
    assert "is finished already" in said[0]
    assert content() == before


@pytest.mark.parametrize(("field", "value"), [("lr", 0.01), ("mean", (0.1, 0.2, 0.3)), ("embed_dim", None)])
def test_run_of_other_settings_is_refused_by_the_field(
    start: Start, tiny: Callable[..., Recipe], undisturbed: Path, field: str, value: Any
) -> None:
    with pytest.raises(ProtozooError, match=f"holds a run with {field} = .*choose another --out"):
        start(tiny(**{field: value}), undisturbed)


def test_foreign_data_that_are_not_there_are_refused_before_the_first_step(
    tiny: Callable[..., Recipe], start: Start, tmp_path: Path
) -> None:
    with pytest.raises(ProtozooError, match="'nowhere' is neither a folder"):
        start(tiny(), tmp_path / "run", foreign="nowhere")
    assert not (tmp_path / "run").exists()


def test_run_of_before_a_field_existed_had_its_default(
    start: Start, tiny: Callable[..., Recipe], undisturbed: Path, tmp_path: Path
) -> None:
    old = Path(shutil.copytree(undisturbed, tmp_path / "old"))
    settings = yaml.safe_load((old / "recipe.yaml").read_text())
    assert settings.pop("readout") == "cosine"
    (old / "recipe.yaml").write_text(yaml.safe_dump(settings))
    assert "is finished already" in start(tiny(), old)[0]
    with pytest.raises(ProtozooError, match="holds a run with readout = 'cosine', not 'bayes'"):
        start(tiny(readout="bayes"), old)


def test_run_on_other_data_is_refused(
    start: Start, tiny: Callable[..., Recipe], undisturbed: Path, tmp_path: Path
) -> None:
    with pytest.raises(ProtozooError, match="holds a run with data = "):
        start(tiny(), undisturbed, data=tmp_path)


def test_folder_with_something_else_is_refused_and_left_alone(
    start: Start, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ProtozooError, match="is not empty and holds no run: choose another --out"):
        start(tiny(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_folder_that_cannot_be_made_is_named(start: Start, tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProtozooError, match=r"file/run cannot be written \(.+\): make room or choose another --out"):
        start(tiny(), tmp_path / "file" / "run")


def test_unknown_architecture_names_those_that_exist(start: Start, tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no architecture 'proto_resnet21'; there are .*proto_resnet20_cifar"):
        start(tiny(architecture="proto_resnet21"), tmp_path / "run")


def test_unknown_optimizer_is_named(start: Start, tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="optimizer = 'sdg': "):
        start(tiny(optimizer="sdg"), tmp_path / "run")


def test_prototypes_biases_and_norms_do_not_decay(tiny: Callable[..., Recipe]) -> None:
    parts = training.build.build_parts(tiny(optimizer="sgd", weight_decay=0.1), np.arange(3), 3, 1)
    decay = {id(p): group["weight_decay"] for group in parts.optimizer.param_groups for p in group["params"]}
    named = dict(parts.model.named_parameters())
    assert len(decay) == len(named)
    prototypes = {id(parameter) for parameter in parts.model.get_classifier().parameters()}
    for name, parameter in named.items():
        expected = 0.1 if parameter.ndim > 1 and id(parameter) not in prototypes else 0.0
        assert decay[id(parameter)] == expected, name


def test_batch_larger_than_the_data_is_the_whole_of_it(
    start: Start, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    start(tiny(epochs=1, batch_size=4096), tmp_path / "run")
    assert result_of(tmp_path / "run")["data"]["train_images"] == 60
    (row,) = rows_of(tmp_path / "run")
    seconds = result_of(tmp_path / "run")["cost"]["train_seconds"]
    assert float(row["images_per_second"]) * max(seconds, 0.1) < 4096


def test_the_record_names_the_folder_of_the_weights_it_began_with_and_not_where_that_lies(tmp_path, tiny) -> None:
    (tmp_path / "first").mkdir()
    assert _told(tiny(pretrained=str(tmp_path / "first")))["pretrained"] == "first"
    assert (
        _told(tiny(pretrained="proto_resnet20_cifar.nonl_digits"))["pretrained"] == "proto_resnet20_cifar.nonl_digits"
    )


def test_skipped_images_are_named_in_the_log_and_counted_in_the_record(
    start: Start, tiny: Callable[..., Recipe], colours: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(colours, tmp_path / "data"))
    broken = next((data / "train" / "red").iterdir())
    broken.write_bytes(b"no image")
    (data / "val" / "red" / "notes.txt").write_text("not a picture")
    out = tmp_path / "run"
    said = start(tiny(epochs=1), out, data=data, on_bad_image="skip")
    log = (out / "log.txt").read_text().splitlines()
    for line in (f"1 image that cannot be decoded left out: {broken}", log[0]):
        assert line in said
        assert line in log
    assert log[0].endswith("1 of .txt")
    assert result_of(out)["data"]["skipped_images"] == 1

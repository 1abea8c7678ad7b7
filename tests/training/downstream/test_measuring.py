"""All classifiers of one pass are those that each probe makes by itself; VOC 2007 is read and measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.downstream.conftest import annotation
from training.data import DataError, load_data
from training.downstream import METHODS, TABLE4, measure, open_sets
from training.downstream.voc import CLASSES, labels_of, voc2007
from training.pretrained import Pretrained, open_pretrained
from training.probes import FrozenEncoder, probe_recipe
from training.probes.record import record_prototypes, record_trained
from training.recipe import Recipe


@pytest.fixture(scope="module")
def pretrained(undisturbed: Path) -> Pretrained:
    return open_pretrained(str(undisturbed))


@pytest.fixture(scope="module")
def recipe(pretrained: Pretrained) -> Callable[..., Recipe]:
    return lambda **overrides: probe_recipe("ce", pretrained, "cifar", {"epochs": 4, "lr": 0.5, **overrides})


def test_one_pass_gives_what_each_probe_gives_by_itself(
    pretrained: Pretrained, undisturbed: Path, recipe: Callable[..., Recipe]
) -> None:
    (data,) = open_sets(["digits"], pretrained.preprocessing, shots=20)
    before = {name: tensor.clone() for name, tensor in pretrained.model.state_dict().items()}
    seen: list[int] = []
    first = pretrained.model.get_submodule("conv1")
    hook = first.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    found = measure(pretrained.model, data, pretrained.preprocessing, METHODS, recipe())
    hook.remove()
    assert sum(seen) == 200 + 360
    assert (found["cost"]["passes"], found["cost"]["images"]) == (1, 200)
    assert found["measure"] == "top-1 accuracy"
    state = pretrained.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in before.items())
    given = {"epochs": 4, "lr": 0.5, "shots": 20}
    alone = record_trained(
        "cached", str(undisturbed), "digits", protocol="cifar", overrides=given, device="cpu", workers=0
    )
    expected = {"linear": alone["test_accuracy"]}
    for kind in METHODS[1:]:
        alone = record_prototypes(str(undisturbed), "digits", features=kind, device="cpu", shots=20)  # type: ignore[arg-type]
        expected[kind] = alone["test_accuracy"]
    assert {name: one["value"] for name, one in found["methods"].items()} == pytest.approx(expected)
    for one in found["methods"].values():
        low, high = one["interval"]
        assert low < one["value"] < high
        assert one["seconds"] > 0


def test_the_projection_needs_no_pass_of_its_own(pretrained: Pretrained) -> None:
    test = load_data("digits", pretrained.preprocessing).test
    encoder = FrozenEncoder(pretrained.model, "encoder")
    pooled, _ = encoder.all(test, pretrained.preprocessing)
    expected, _ = FrozenEncoder(pretrained.model, "projection").all(test, pretrained.preprocessing)
    torch.testing.assert_close(encoder.projected(pooled), expected)
    assert encoder.passes == 1


def test_voc_has_its_splits_and_the_measure_of_several_classes(
    voc: Path, pretrained: Pretrained, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    (data,) = open_sets(["voc2007"], pretrained.preprocessing)
    assert (data.train.labels.shape, data.test.labels.shape) == ((60, 20), (30, 20))
    monkeypatch.setattr("training.downstream.multilabel._RESAMPLES", 50)
    found = measure(pretrained.model, data, pretrained.preprocessing, METHODS, recipe())
    assert found["measure"] == "mean average precision"
    assert tuple(found["methods"]) == METHODS
    for one in found["methods"].values():
        low, high = one["interval"]
        assert 0 < low < high < 1


def test_a_class_of_which_all_objects_are_difficult_counts_neither_way(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(annotation([("dog", "1"), ("cat", "0"), ("cat", "1"), ("person", "1"), ("person", "0")]))
    labels = labels_of(path)
    found = {name: label for name, label in zip(CLASSES, labels.tolist(), strict=True) if label}
    assert found == {"dog": -1, "cat": 1, "person": 1}
    assert labels.dtype == np.int64


def test_a_voc_that_is_not_there_or_damaged_says_so(voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = voc / "Annotations" / "000003.xml"
    file.write_text(annotation([("unicorn", "0")]))
    with pytest.raises(DataError, match=r"000003\.xml has an object 'unicorn'"):
        voc2007()
    file.write_text("<annotation>")
    with pytest.raises(DataError, match=r"000003\.xml cannot be read as XML"):
        voc2007()

    def unreachable(*args: object, **given: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.voc.download_and_extract_archive", unreachable)
    (voc / "ImageSets" / "Main" / "trainval.txt").unlink()
    with pytest.raises(DataError, match=r"voc2007 is not complete in .*no route to host"):
        voc2007()


def test_all_sets_that_are_missing_are_named_together(pretrained: Pretrained, voc: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_sets(["cars", "digits", "voc2007", str(tmp_path / "none")], pretrained.preprocessing, shots=1)
    message = str(caught.value)
    assert message.startswith("3 of 4 data sets cannot be used: cars is not complete")
    assert "voc2007 has several classes an image and takes no --shots" in message
    assert str(tmp_path / "none") in message
    with pytest.raises(DataError, match="2 of the data sets are called scikit-learn's digits"):
        open_sets(["digits", "patches", "digits"], pretrained.preprocessing)


def test_table_4_has_eight_sets() -> None:
    assert len(set(TABLE4)) == 8

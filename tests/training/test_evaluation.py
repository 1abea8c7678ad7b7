from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import training.evaluate
from tests.tiny_bundle import make_tiny_bundle
from tests.training.runs import DataInOrder
from training.data import DataError, Split, to_input, to_tensor
from training.evaluate import evaluate_bundle
from training.evaluation import Outputs, per_class, run_model
from zoo.bundle import Preprocessing
from zoo.models.base import PrototypeModel, timm_model


@pytest.fixture(scope="module")
def model() -> PrototypeModel:
    torch.manual_seed(0)
    return timm_model("proto_resnet20_cifar", num_classes=3, embed_dim=8)


@pytest.fixture(scope="module")
def split() -> Split:
    generator = np.random.default_rng(0)
    return Split(generator.integers(0, 256, (11, 16, 16, 3), dtype=np.uint8), generator.integers(0, 3, 11))


def test_input_of_the_model_is_scaled_and_normalised_by_channel(split: Split, preprocessing: Preprocessing) -> None:
    inputs = to_input(to_tensor(split), preprocessing)
    assert inputs.shape == (11, 3, 16, 16)
    assert inputs.dtype == torch.float32
    expected = (split.images / 255 - np.array(preprocessing.mean)) / np.array(preprocessing.std)
    np.testing.assert_allclose(inputs.permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_run_model_evaluates_and_gives_the_mode_back(
    model: PrototypeModel, split: Split, preprocessing: Preprocessing, training: bool
) -> None:
    model.train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    run_model(model, split, preprocessing)
    assert model.training is training
    assert all(module.training is training for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_run_model_gives_every_image_its_logits_and_unit_embedding(
    model: PrototypeModel, split: Split, preprocessing: Preprocessing
) -> None:
    outputs = run_model(model, split, preprocessing, batch_size=4)  # 11 images: the last batch is not full
    model.eval()
    with torch.no_grad():
        inputs = to_input(to_tensor(split), preprocessing)
        torch.testing.assert_close(outputs.logits, model(inputs), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(outputs.embeddings, model.embed(inputs), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(outputs.embeddings.norm(dim=1), torch.ones(11))
    assert outputs.labels.tolist() == split.labels.tolist()


def test_accuracy_is_the_share_of_right_answers() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0]])
    assert Outputs(logits, logits, torch.tensor([0, 1, 1, 0])).accuracy() == 0.75


class ColourModel(nn.Module):
    """Embeds a picture by its brightest channel; needs no training."""

    def __init__(self) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.eye(3))

    def forward_features(self, inputs: Tensor) -> Tensor:
        return inputs.mean((2, 3)).flip(1)  # channels red, green, blue; classes blue, green, red

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        embeddings = nn.functional.normalize(features, dim=1)
        return embeddings if pre_logits else embeddings @ self.prototypes.T


def test_evaluate_measures_a_bundle_on_the_test_split(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle", size=16, dim=3, labels=("blue", "green", "red"))
    asked: list[Any] = []
    monkeypatch.setattr(training.evaluate, "load_bundle", lambda found: asked.append(found.path) or ColourModel())
    result = evaluate_bundle(str(bundle.path), str(colours), foreign="patches")
    assert asked == [bundle.path]
    assert result["test_accuracy"] == 1
    assert (result["data"], result["test_images"]) == ("colours", 12)
    assert result["test_accuracy_interval"] == [pytest.approx(0.025 ** (1 / 12)), 1]
    assert sum(row["count"] for row in result["test_calibration"]["bins"]) == 12
    assert 0 < result["test_collapse"]["inter_erank"] <= 2
    assert [row["fpr"] for row in result["thresholds"]] == [row["frr"] for row in result["rejections"]]
    assert result["foreign"]["images"] == 228
    assert result["test_accuracy_per_class"] == {"blue": 1, "green": 1, "red": 1}
    assert "test_accuracy_long_tail" not in result


def test_accuracy_by_class_is_by_hand_and_leaves_out_classes_without_images() -> None:
    logits = torch.eye(4)[[0, 1, 1, 3, 0]]
    outputs = Outputs(logits, logits, torch.tensor([0, 0, 1, 3, 3]))
    assert per_class(outputs, ("a", "b", "c", "d")) == {"a": 0.5, "b": 1.0, "d": 0.5}


def test_a_bundle_of_a_long_tail_is_measured_on_head_and_tail(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"images_per_class": {"red": 5, "green": 50, "blue": 500}}
    metrics = {"metrics": {"test_accuracy_long_tail": told}}
    # Red's prototype lies between those of the others, which are nearer to what is not red.
    between = math.sqrt(0.5)
    bundle = make_tiny_bundle(
        tmp_path / "bundle",
        size=16,
        dim=3,
        labels=("blue", "green", "red"),
        record=metrics,
        prototypes=np.array([[1, 0, 0], [0, 1, 0], [between, between, 0]], np.float32),
    )
    model = ColourModel()
    model.prototypes.data = torch.from_numpy(bundle.prototypes)
    monkeypatch.setattr(training.evaluate, "load_bundle", lambda found: model)
    found = evaluate_bundle(str(bundle.path), str(colours))["test_accuracy_long_tail"]
    assert found["training_images"] == {"largest": 500, "smallest": 5}
    assert found["by_readout"]["cosine"]["by_images"] == {
        "head": {"classes": 1, "accuracy": 1.0},
        "medium": {"classes": 1, "accuracy": 1.0},
        "tail": {"classes": 1, "accuracy": 0.0},
    }


def test_evaluate_refuses_data_of_other_classes(colours: Path, tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle", labels=("green", "blue", "pink"))
    with pytest.raises(DataError, match=r"blue, green, red.*green, blue, pink.*give data with the same classes"):
        evaluate_bundle(str(bundle.path), str(colours))


def test_evaluate_takes_the_classes_of_the_data_in_any_order(data_in_order: DataInOrder) -> None:
    """A folder's stand in the order of the alphabet, those of an enrolled set in that of their enrolment."""
    name = "proto_resnet20_cifar.nonl_digits"
    expected = evaluate_bundle(name, "digits")
    data_in_order("training.evaluate", tuple("9876543210"))
    found = evaluate_bundle(name, "digits")
    assert (found["test_accuracy"], found["test_accuracy_per_class"]) == (
        expected["test_accuracy"],
        expected["test_accuracy_per_class"],
    )

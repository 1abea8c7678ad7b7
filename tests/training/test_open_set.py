from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.data import DataError, Split, load_data
from training.evaluation import Outputs, run_model
from training.open_set import RATES, load_foreign, measure_foreign, nearest, open_set_record, rejections, thresholds
from zoo.bundle import Preprocessing
from zoo.models.base import timm_model


def unit_rows(count: int, dim: int, seed: int) -> Tensor:
    return nn.functional.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize("count", [1, 7, 100, 101, 360])
@pytest.mark.parametrize("classes", [2, 5])
def test_open_set_threshold_lets_at_most_the_rate_of_unknown_images_above_it(count: int, classes: int) -> None:
    embeddings, prototypes = unit_rows(count, 6, seed=count), unit_rows(classes, 6, seed=1)
    labels = torch.randint(0, classes, (count,), generator=torch.Generator().manual_seed(2))
    found = thresholds(embeddings, labels, prototypes)
    cosines = (embeddings @ prototypes.T).tolist()
    left_out = [max(c for k, c in enumerate(row) if k != labels[i]) for i, row in enumerate(cosines)]
    best = [max(row) for row in cosines]
    assert [entry["fpr"] for entry in found] == list(RATES)
    for entry in found:
        assert sum(cosine >= entry["cosine"] for cosine in left_out) / count <= entry["fpr"]
        # No lower cosine of an unknown image would do: the threshold is not stricter than it must be.
        lower = [cosine for cosine in left_out if cosine < entry["cosine"]]
        if lower:
            assert sum(cosine >= max(lower) for cosine in left_out) >= int(entry["fpr"] * (count - 1))
        assert entry["known_accepted"] == sum(cosine >= entry["cosine"] for cosine in best) / count


def test_open_set_threshold_leaves_out_only_the_own_prototype() -> None:
    embeddings, labels = torch.eye(3)[[0, 1, 2]], torch.tensor([0, 1, 2])
    prototypes = nn.functional.normalize(torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]), dim=1)
    for entry in thresholds(embeddings, labels, prototypes):
        assert entry["cosine"] == pytest.approx(0.6)  # image 0 without its prototype is nearest to prototype 1
        assert entry["known_accepted"] == 1


@pytest.mark.parametrize("count", [1, 7, 100, 101])
def test_a_rejection_threshold_costs_at_most_its_rate_of_known_images_and_no_higher_one_does(count: int) -> None:
    embeddings, prototypes = unit_rows(count, 6, seed=count), unit_rows(4, 6, seed=1)
    best = sorted(max(row) for row in (embeddings @ prototypes.T).tolist())
    found = rejections(embeddings, prototypes)
    assert [entry["frr"] for entry in found] == list(RATES)
    for entry in found:
        assert sum(cosine < entry["cosine"] for cosine in best) / count <= entry["frr"]
        higher = [cosine for cosine in best if cosine > entry["cosine"]]
        if higher:
            assert sum(cosine < min(higher) for cosine in best) / count > entry["frr"] - 1 / count


def test_the_area_under_the_curve_is_the_share_of_pairs_in_the_right_order() -> None:
    torch.manual_seed(0)
    model = timm_model("proto_resnet20_cifar", num_classes=3, embed_dim=8).eval()
    preprocessing = Preprocessing(16, 1.0, "bicubic", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    pixels = np.random.default_rng(0).integers(0, 256, (11, 16, 16, 3), dtype=np.uint8)
    known = run_model(model, Split(pixels, np.zeros(11, np.int64)), preprocessing)
    prototypes = model.prototypes.detach()
    strangers = load_foreign("patches", preprocessing)
    assert strangers is not None
    found = measure_foreign(model, preprocessing, known, prototypes, strangers)
    foreign = run_model(model, load_data("patches", preprocessing).test, preprocessing)
    own, other = (nearest(outputs.embeddings, prototypes).tolist() for outputs in (known, foreign))
    right = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in product(own, other))
    assert found["auroc"] == pytest.approx(right / (len(own) * len(other)))
    assert found["images"] == len(other) == 228
    assert "china.jpg" in found["data"]
    # Of 11 images the lowest is the one that 95 % reach.
    assert found["fpr_at_95_tpr"] == pytest.approx(sum(cosine >= min(own) for cosine in other) / len(other))
    # Of 60 the third: 58 reach it, and 95 % are 57.
    many = Outputs(unit_rows(60, 8, seed=4), unit_rows(60, 8, seed=4), torch.arange(60) % 3)
    least = sorted(nearest(many.embeddings, prototypes).tolist())[2]
    found = measure_foreign(model, preprocessing, many, prototypes, strangers)
    assert found["fpr_at_95_tpr"] == pytest.approx(sum(cosine >= least for cosine in other) / len(other))


def test_images_are_not_told_from_themselves() -> None:
    preprocessing = Preprocessing(16, 1.0, "bicubic", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert load_foreign("patches", preprocessing, "patches") is None  # the default: nobody asked
    with pytest.raises(DataError, match="foreign = 'digits' is what the model is to know: give data of other classes"):
        load_foreign("digits", preprocessing, "digits")
    assert load_foreign("patches", preprocessing, "digits") is not None


def test_the_record_has_both_kinds_of_thresholds_and_what_was_measured_of_foreign_images() -> None:
    embeddings, prototypes = unit_rows(20, 6, seed=0), unit_rows(3, 6, seed=1)
    outputs = Outputs(embeddings, embeddings, torch.arange(20) % 3)
    record = open_set_record(outputs, prototypes, {"auroc": 0.5})
    assert [row["fpr"] for row in record["thresholds"]] == [row["frr"] for row in record["rejections"]] == list(RATES)
    assert record["foreign"] == {"auroc": 0.5}
    assert "fpr" in record["definition"]
    assert "frr" in record["rejection_definition"]

"""A readout with offsets, from the recipe to every place where a class is chosen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from safetensors.numpy import load_file, save_file

import zoo
from export.bundle import export_run, golden_images
from export.verify import verify_bundle
from tests.tiny_bundle import edit_config, resign
from training.data import digits_split
from training.evaluate import evaluate_bundle
from training.recipe import RecipeError, load_recipe
from training.train import train
from zoo.bundle import Bundle, BundleError
from zoo.files import sha256_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs on long-tailed digits, read out by Bayes' rule."""
    out = tmp_path_factory.mktemp("runs") / "long-tailed"
    overrides = {"epochs": 2, "warmup_epochs": 0.5, "readout": "bayes", "readout_prior": "uniform", "imbalance": 0.1}
    recipe = load_recipe("ntce_digits", overrides)
    train(recipe, "digits", out, name="ntce_digits", command="protozoo train ntce_digits", say=lambda line: None)
    return out


@pytest.fixture(scope="module")
def bundle(run: Path) -> Bundle:
    return export_run(run, run.parent / "bundle")


def result_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_bytes())


def test_the_run_records_both_readouts_and_the_long_tail(run: Path) -> None:
    result = result_of(run)
    metrics = result["metrics"]
    assert set(metrics["test_accuracy_by_readout"]) == {"cosine", "bayes"}
    assert metrics["test_accuracy"] == metrics["test_accuracy_by_readout"]["bayes"]
    assert result["readout"] == {"kind": "bayes", "prior": "uniform"}
    assert result["data"]["train_images"] < 720
    assert "long-tailed (0.1)" in result["data"]["name"]


def test_offsets_stand_beside_the_prototypes_in_weights_configuration_and_graph(bundle: Bundle) -> None:
    entry = bundle.record["readout"]
    offsets = load_file(bundle.weights_path)[entry["tensor"]]
    assert (entry["kind"], entry["prior"]) == ("bayes", "uniform")
    assert offsets.any()
    assert np.array_equal(bundle.offsets, offsets)
    graph = onnx.load(bundle.onnx_path).graph
    assert [output.name for output in graph.output] == ["embeddings", "cosines", "logits"]
    (initializer,) = (onnx.numpy_helper.to_array(t) for t in graph.initializer if t.name == "offsets")
    np.testing.assert_allclose(initializer, offsets, atol=1e-6)


def test_graph_timm_and_bundle_agree_on_the_logits(bundle: Bundle) -> None:
    images = golden_images(16)
    session = onnxruntime.InferenceSession(str(bundle.onnx_path), providers=["CPUExecutionProvider"])
    cosines, logits = session.run(["cosines", "logits"], {"images": images})
    np.testing.assert_allclose(logits, cosines / bundle.temperature + bundle.offsets, atol=1e-4)
    model = timm.create_model(f"local-dir:{bundle.path}", pretrained=True).eval()
    mean, std = (np.array(values, np.float32) for values in (bundle.preprocessing.mean, bundle.preprocessing.std))
    pixels = torch.from_numpy((images / np.float32(255) - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        np.testing.assert_allclose(model(pixels).numpy(), logits, atol=1e-4)
    assert verify_bundle(bundle)


def test_every_door_gives_the_accuracy_of_the_readout(run: Path, bundle: Bundle) -> None:
    _, held_out = digits_split()
    predictions = zoo.load(bundle.path).predict([picture for picture, _ in held_out], k=1)
    expected = result_of(run)["metrics"]["test_accuracy"]
    accuracy = sum(best.index == label for (best,), (_, label) in zip(predictions, held_out, strict=True)) / 360
    assert accuracy == pytest.approx(expected, abs=1 / 360)
    assert evaluate_bundle(str(bundle.path), "digits")["test_accuracy"] == pytest.approx(expected, abs=1 / 360)


def test_probabilities_are_of_cosine_over_temperature_plus_offset(bundle: Bundle) -> None:
    picture, _ = digits_split()[1][0]
    predictions = zoo.load(bundle.path).predict(picture, k=10)
    logits = [p.cosine / bundle.temperature + bundle.offsets[p.index] for p in predictions]
    assert logits == sorted(logits, reverse=True)
    shares = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose([p.probability for p in predictions], shares, atol=1e-4)


def test_the_offsets_can_be_left_out(bundle: Bundle) -> None:
    images = torch.rand(2, 3, 16, 16)
    nearest = zoo.create_model(f"local-dir:{bundle.path}", readout="cosine").eval()
    likeliest = zoo.create_model(f"local-dir:{bundle.path}").eval()
    with torch.inference_mode():
        torch.testing.assert_close(likeliest(images) - nearest(images), torch.from_numpy(bundle.offsets).expand(2, -1))


@pytest.mark.filterwarnings("ignore:.*new and random")
@pytest.mark.parametrize("create", [zoo.create_model, timm.create_model])
def test_other_classes_leave_the_offsets_behind(bundle: Bundle, create: Any) -> None:
    model = create(f"local-dir:{bundle.path}", pretrained=True, num_classes=5)
    assert torch.equal(model.offsets, torch.zeros(5))
    assert create(f"local-dir:{bundle.path}", pretrained=True, num_classes=0)(torch.rand(2, 3, 16, 16)).shape == (2, 64)
    same = create(f"local-dir:{bundle.path}", pretrained=True)
    assert torch.equal(same.offsets, torch.from_numpy(bundle.offsets))


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.path, tmp_path / "bundle"))


def test_changed_offsets_are_refused_by_name(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    tensors["head.fc.offsets"] += 1
    save_file(tensors, copy / "model.safetensors")
    resign(copy)
    with pytest.raises(BundleError, match="the offsets are not those that"):
        Bundle.open(copy)


def test_an_unknown_readout_is_refused(copy: Path) -> None:
    edit_config(copy, lambda config: config["protozoo"].update(readout={"kind": "vote"}))
    with pytest.raises(BundleError, match="readout 'vote' is neither cosine nor bayes"):
        Bundle.open(copy)


def nearest(config: dict[str, Any]) -> None:
    config["protozoo"]["readout"] = {"kind": "cosine"}


def of_args(config: dict[str, Any]) -> None:
    config["model_args"]["readout"] = "cosine"


def test_a_readout_that_is_not_the_models_is_refused(copy: Path) -> None:
    edit_config(copy, nearest)
    with pytest.raises(BundleError, match="the readout is cosine, and bayes in model_args"):
        Bundle.open(copy)
    edit_config(copy, of_args)
    with pytest.raises(BundleError, match=r"is cosine by no offsets, and model\.safetensors has head\.fc\.offsets"):
        Bundle.open(copy)


def test_offsets_that_are_not_the_models_are_refused(copy: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["protozoo"]["weights"]["sha256"] = sha256_of(copy / "model.safetensors")
        config["protozoo"]["readout"]["tensor"] = "elsewhere"

    tensors = load_file(copy / "model.safetensors")
    save_file({**tensors, "elsewhere": tensors["head.fc.offsets"]}, copy / "model.safetensors")
    edit_config(copy, edit)
    with pytest.raises(BundleError, match=r"is bayes by elsewhere, and model\.safetensors has head\.fc\.offsets"):
        Bundle.open(copy)


def test_a_graph_does_not_verify_whose_logits_are_of_offsets_that_the_bundle_has_not(copy: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        nearest(config)
        of_args(config)
        config["protozoo"]["weights"]["sha256"] = sha256_of(copy / "model.safetensors")

    tensors = load_file(copy / "model.safetensors")
    del tensors["head.fc.offsets"]
    save_file(tensors, copy / "model.safetensors")
    edit_config(copy, edit)
    with pytest.raises(BundleError, match=r"model\.onnx: the logits differ by"):
        verify_bundle(Bundle.open(copy))


def test_a_bundle_of_before_there_were_readouts_still_opens(digits_bundle: Bundle, tmp_path: Path) -> None:
    old = Path(shutil.copytree(digits_bundle.path, tmp_path / "old"))
    edit_config(old, lambda config: config["protozoo"].pop("readout"))
    assert not Bundle.open(old).offsets.any()


def test_bayes_is_refused_for_objectives_that_compare_classes_already() -> None:
    with pytest.raises(RecipeError, match=r"normface compares classes as it is; readout = bayes is for ntce and nonl"):
        load_recipe("normface_digits", {"readout": "bayes"})


def test_logits_of_other_offsets_are_found(copy: Path) -> None:
    graph = onnx.load(copy / "model.onnx")
    (offsets,) = (tensor for tensor in graph.graph.initializer if tensor.name == "offsets")
    offsets.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(offsets) + np.float32(1), "offsets"))
    onnx.save(graph, copy / "model.onnx")
    digest = sha256_of(copy / "model.onnx")
    edit_config(copy, lambda config: config["protozoo"]["onnx"][0].update(sha256=digest))
    with pytest.raises(BundleError, match=r"model\.onnx: the logits differ by 1\.0e\+00 from cosines / temperature"):
        verify_bundle(Bundle.open(copy))


def test_nonl_has_no_offsets_for_equally_frequent_classes() -> None:
    with pytest.raises(RecipeError, match="its logits are odds: train with ntce, or leave readout_prior = uniform out"):
        load_recipe("nonl_digits", {"readout": "bayes", "readout_prior": "uniform"})

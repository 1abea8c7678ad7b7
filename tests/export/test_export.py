import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, safe_open, save_file

import zoo
from export.bundle import export_run, golden_images
from export.onnx import OPSET, run_onnx
from export.verify import verify_bundle
from tests.tiny_bundle import edit_config, resign
from training.data import digits_split
from zoo.bundle import FILES, Bundle, BundleError, ProtozooError
from zoo.files import sha256_of
from zoo.models.base import timm_model


@pytest.fixture
def copy(digits_bundle, tmp_path):
    return shutil.copytree(digits_bundle.path, tmp_path / "bundle")


def test_a_bundle_has_all_files_and_verifies(digits_bundle):
    pictures = {"reliability.png", "prototypes.png", "embeddings.png"}
    assert {path.name for path in digits_bundle.path.iterdir()} == {*FILES, *pictures, "SHA256SUMS"}
    assert set(digits_bundle.record["pictures"]) == pictures
    differences = verify_bundle(digits_bundle)
    assert [d.what for d in differences if "ONNX" in d.what]
    assert max(d.embeddings for d in differences) <= 1e-5


def test_the_graph_takes_uint8_images_and_keeps_the_prototypes_by_name(digits_bundle):
    graph = onnx.load(digits_bundle.onnx_path).graph
    (images,) = graph.input
    batch, height, width, channels = images.type.tensor_type.shape.dim
    assert images.name == "images"
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert batch.dim_param
    assert (height.dim_value, width.dim_value, channels.dim_value) == (16, 16, 3)
    assert [output.name for output in graph.output] == ["embeddings", "cosines"]
    (prototypes,) = (onnx.numpy_helper.to_array(t) for t in graph.initializer if t.name == "prototypes")
    np.testing.assert_allclose(prototypes, digits_bundle.prototypes, atol=1e-6)


def test_the_graph_names_labels_opset_and_no_path_of_the_exporting_machine(digits_bundle):
    model = onnx.load(digits_bundle.onnx_path)
    metadata = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert tuple(metadata["protozoo.labels"]) == digits_bundle.labels
    assert metadata["protozoo.weights_sha256"] == digits_bundle.sha256["model.safetensors"]
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert b".py" not in digits_bundle.onnx_path.read_bytes()


@pytest.mark.parametrize("count", [1, 3, 17])
def test_any_batch_size_gives_the_same_answer_for_an_image(digits_bundle, count):
    images = np.resize(golden_images(16), (count, 16, 16, 3))
    embeddings, cosines = run_onnx(digits_bundle.onnx_path, images)
    one, _ = run_onnx(digits_bundle.onnx_path, images[-1:])
    np.testing.assert_allclose(embeddings[-1:], one, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(cosines, embeddings @ digits_bundle.prototypes.T, atol=1e-5)


def test_weights_are_stored_with_unit_prototypes_and_say_where_they_come_from(digits_bundle):
    tensors = load_file(digits_bundle.weights_path)
    torch.testing.assert_close(tensors["head.fc.weight"].norm(dim=1), torch.ones(10))
    with safe_open(digits_bundle.weights_path, "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    assert metadata["protozoo.code_revision"] == digits_bundle.record["code_revision"]


def test_the_bundle_answers_as_the_trained_model_did(digits_run, digits_bundle):
    _, held_out = digits_split()
    predictions = zoo.load(digits_bundle.path).predict([picture for picture, _ in held_out], k=1)
    accuracy = np.mean([first.index == label for (first,), (_, label) in zip(predictions, held_out, strict=True)])
    result = json.loads((digits_run / "result.json").read_text())
    assert accuracy == pytest.approx(result["metrics"]["test_accuracy"])


def test_the_recipes_temperature_reaches_every_reader(digits_bundle):
    assert digits_bundle.temperature == 0.15
    assert zoo.create_model(f"local-dir:{digits_bundle.path}").temperature == 0.15


def test_the_card_shows_the_records_numbers_and_the_command(digits_bundle):
    card = (digits_bundle.path / "README.md").read_text()
    metrics = digits_bundle.record["metrics"]
    assert card.startswith("---\nlibrary_name: timm\n")
    assert f"{100 * metrics['test_accuracy']:.2f} %" in card
    assert f"{metrics['train_collapse']['mir']:.4f}" in card
    assert digits_bundle.record["command"] in card
    assert digits_bundle.record["data"]["license"] in card


def test_weights_of_another_model_with_fitting_digests_do_not_verify(copy):
    model = zoo.create_model(f"local-dir:{copy}")
    generator = torch.Generator().manual_seed(0)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["conv1.weight"] += 0.1 * torch.randn(state["conv1.weight"].shape, generator=generator)
    from safetensors.torch import save_file

    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((copy / "config.json").read_text())
    resign(copy)
    digest = dict(line.split("  ")[::-1] for line in (copy / "SHA256SUMS").read_text().splitlines())
    config["protozoo"]["weights"]["sha256"] = digest["model.safetensors"]
    (copy / "config.json").write_text(json.dumps(config))
    resign(copy)
    with pytest.raises(BundleError, match="torch, golden differ by"):
        verify_bundle(Bundle.open(copy))


def test_a_graph_of_another_model_with_fitting_digests_does_not_verify(copy):
    model = onnx.load(copy / "model.onnx")
    for tensor in model.graph.initializer:
        if tensor.name == "prototypes":
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor)[::-1].copy(), "prototypes"))
    onnx.save(model, copy / "model.onnx")
    edit_config(copy, lambda config: config["protozoo"]["onnx"][0].update(sha256=sha256_of(copy / "model.onnx")))
    with pytest.raises(BundleError, match="ONNX Runtime, golden differ by"):
        verify_bundle(Bundle.open(copy))


def test_an_existing_folder_is_not_overwritten(digits_run, digits_bundle):
    with pytest.raises(ProtozooError, match="exists already"):
        export_run(digits_run, digits_bundle.path)


def test_what_is_no_finished_run_is_refused(digits_run, tmp_path):
    with pytest.raises(ProtozooError, match="is no run"):
        export_run(tmp_path, tmp_path / "out")
    (tmp_path / "recipe.yaml").write_text("objective: nonl\n")
    with pytest.raises(ProtozooError, match="is not finished"):
        export_run(tmp_path, tmp_path / "out")


def test_a_run_without_prototypes_is_refused(digits_run, tmp_path):
    run = shutil.copytree(digits_run, tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    result["objective"], result["model_args"]["classifier"] = "ce", "linear"
    (run / "result.json").write_text(json.dumps(result))
    args = {**result["model_args"], "embed_dim": result["embed_dim"]}
    save_file(timm_model(result["architecture"], num_classes=10, **args).state_dict(), run / "model.safetensors")
    with pytest.raises(ProtozooError, match="no prototypes to serve"):
        export_run(run, tmp_path / "out")


def test_a_run_that_names_no_classifier_has_the_default(digits_run, tmp_path):
    run = shutil.copytree(digits_run, tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    del result["model_args"]["classifier"]
    (run / "result.json").write_text(json.dumps(result))
    bundle = export_run(run, tmp_path / "out")
    assert "classifier" not in bundle.config["model_args"]


def test_golden_images_are_the_same_everywhere():
    images = golden_images(8)
    assert images.shape == (8, 8, 8, 3)
    assert len({image.tobytes() for image in images}) == 8
    assert Image.fromarray(images[0]).mode == "RGB"

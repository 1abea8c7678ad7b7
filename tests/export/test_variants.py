import json
import shutil

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from PIL import Image

from export.bundle import export_bundle, export_run
from export.cli import export, verify
from export.compare import Measured, Reference
from export.evaluation import labelled_files
from export.onnx import run_onnx
from export.openvino import has_openvino, openvino_runner
from export.variants import Variants
from export.verify import verify_files
from tests.tiny_bundle import edit_config
from training.data import digits_split
from zoo.bundle import Bundle, BundleError, ProtozooError
from zoo.files import sha256_of
from zoo.loading import create_model
from zoo.models.pixels import PixelModel


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Digits in ImageFolder layout."""
    root = tmp_path_factory.mktemp("digits")
    for index, (picture, label) in enumerate(digits_split()[1]):
        (root / "test" / str(label)).mkdir(parents=True, exist_ok=True)
        picture.save(root / "test" / str(label) / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def all_precisions(digits_run, pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "bundle"
    return export_run(digits_run, out, Variants(("float16", "int8"), calibrate=pictures, data=pictures))


def test_every_precision_is_a_listed_file_with_what_was_measured(all_precisions):
    rows = {row["precision"]: row for row in all_precisions.record["onnx"]}
    assert list(rows) == ["float32", "float16", "int8"] == list(all_precisions.onnx_paths)
    for row in rows.values():
        assert row["sha256"] == all_precisions.sha256[row["file"]]
        assert row["bytes"] == (all_precisions.path / row["file"]).stat().st_size
    assert rows["float32"]["measured"]["embeddings"] <= 1e-5
    assert rows["float16"]["measured"]["embeddings"] <= 2e-3
    assert rows["int8"]["measured"]["top1_torch"] - rows["int8"]["measured"]["top1"] <= 0.01
    assert rows["int8"]["bytes"] < rows["float16"]["bytes"] < rows["float32"]["bytes"]


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_norm_and_cosines_are_of_float32_in_every_precision(all_precisions, precision):
    path = all_precisions.onnx_paths[precision]
    embeddings, cosines = run_onnx(path, all_precisions.golden.images)
    assert (embeddings.dtype, cosines.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(cosines, embeddings @ all_precisions.prototypes.T, atol=1e-6)
    (prototypes,) = (t for t in onnx.load(path).graph.initializer if t.name == "prototypes")
    assert prototypes.data_type == onnx.TensorProto.FLOAT


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_every_file_says_what_it_is_and_what_it_takes(all_precisions, precision):
    model = onnx.load(all_precisions.onnx_paths[precision])
    metadata = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert metadata["protozoo.precision"] == precision
    assert metadata["protozoo.opset"] == 18
    assert metadata["protozoo.inputs"] == {"images": {"type": "uint8", "shape": ["batch", 16, 16, 3]}}
    dim = all_precisions.prototypes.shape[1]
    assert metadata["protozoo.outputs"] == {
        "embeddings": {"type": "float32", "shape": ["batch", dim]},
        "cosines": {"type": "float32", "shape": ["batch", 10]},
    }
    assert metadata["protozoo.preprocessing"] == all_precisions.preprocessing.as_pretrained_cfg()
    assert metadata["protozoo.name"] == all_precisions.name
    assert metadata["protozoo.temperature"] == all_precisions.temperature
    assert metadata["protozoo.weights_sha256"] == all_precisions.sha256["model.safetensors"]
    assert metadata["protozoo.prototypes_sha256"] == all_precisions.record["prototypes"]["sha256"]


def test_the_trunks_weights_are_stored_in_the_precision(all_precisions):
    def kinds(precision):
        tensors = onnx.load(all_precisions.onnx_paths[precision]).graph.initializer
        return {t.data_type for t in tensors if len(t.dims) == 4} - {onnx.TensorProto.INT64}

    assert kinds("float16") == {onnx.TensorProto.FLOAT16}
    assert kinds("int8") == {onnx.TensorProto.INT8}


def test_the_same_source_exports_the_same_bytes(digits_run, all_precisions, pictures, tmp_path):
    variants = Variants(("float16", "int8"), calibrate=pictures, data=pictures)
    again = export_run(digits_run, tmp_path / "again", variants)
    assert again.sha256 == all_precisions.sha256


def test_a_bundle_is_exported_again_with_its_own_weights_and_card(digits_bundle, tmp_path):
    def without_table(config):
        del config["protozoo"]["onnx"]

    old = shutil.copytree(digits_bundle.path, tmp_path / "old")
    edit_config(old, without_table)
    again = export_bundle(Bundle.open(old), tmp_path / "again", Variants(("float16",)))
    assert list(again.onnx_paths) == ["float32", "float16"]
    for name in ("model.safetensors", "golden.safetensors", "README.md", "model.onnx"):
        assert again.sha256[name] == digits_bundle.sha256[name]


def test_int8_that_loses_a_point_is_refused_with_the_figure_and_nothing_is_written(digits_run, pictures, tmp_path):
    dark = tmp_path / "dark"
    dark.mkdir()
    Image.new("RGB", (16, 16)).save(dark / "black.png")
    with pytest.raises(BundleError, match=r"model.int8.onnx: of .* % right answers .* % are left, 1 point may be lost"):
        export_run(digits_run, tmp_path / "out", Variants(("int8",), calibrate=dark, data=pictures))
    assert [path.name for path in tmp_path.iterdir()] == ["dark"]


def _measured(precision, **kwargs):
    return Measured(
        "model.onnx", precision, **{"embeddings": 0, "cosines": 0, "agreement": 1, "accuracy": None} | kwargs
    )


@pytest.mark.parametrize(
    ("precision", "accuracy", "fine", "broken"),
    [
        ("float32", None, {"embeddings": 1e-5}, {"embeddings": 1.1e-5}),
        ("float16", None, {"embeddings": 2e-3}, {"embeddings": float("nan")}),
        ("int8", None, {"embeddings": 1.0, "agreement": 0.99}, {"agreement": 0.989}),
        ("int8", 0.5, {"agreement": 0.5, "accuracy": 0.49}, {"accuracy": 0.489}),
    ],
)
def test_what_each_precision_may_lose(digits_bundle, precision, accuracy, fine, broken):
    model = PixelModel(create_model(f"local-dir:{digits_bundle.path}"), digits_bundle.preprocessing)
    reference = Reference(model, digits_bundle.golden.images, None)
    reference.accuracy = accuracy
    reference.check(_measured(precision, **fine))
    with pytest.raises(BundleError, match=r"model\.onnx: "):
        reference.check(_measured(precision, **broken))


def test_verify_prints_every_file_and_its_accuracy(all_precisions, pictures):
    result = CliRunner().invoke(verify, [str(all_precisions.path), "--data", str(pictures)], catch_exceptions=False)
    lines = {line.split(",")[0]: line.split() for line in result.output.splitlines() if ", ONNX Runtime " in line}
    assert list(lines) == ["model.onnx", "model.fp16.onnx", "model.int8.onnx"]
    assert lines["model.onnx"][-4:-2] == ["100.00", "%"]
    assert f"on 360 labelled images of {pictures}" in result.output.splitlines()
    assert result.output.splitlines()[-1] == "verified"


def test_verify_refuses_a_file_of_another_model(all_precisions, tmp_path):
    copy = shutil.copytree(all_precisions.path, tmp_path / "copy")
    path = copy / "model.fp16.onnx"
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 4:
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values[::-1].copy(), tensor.name))
            break
    onnx.save(model, path)
    edit_config(copy, lambda config: config["protozoo"]["onnx"][1].update(sha256=sha256_of(path)))
    with pytest.raises(BundleError, match=r"model.fp16.onnx, ONNX Runtime: the embeddings differ"):
        list(verify_files(Bundle.open(copy)))


def test_a_digest_in_the_table_that_is_not_the_files_is_refused(all_precisions, tmp_path):
    copy = shutil.copytree(all_precisions.path, tmp_path / "copy")
    edit_config(copy, lambda config: config["protozoo"]["onnx"][1].update(sha256="0" * 64))
    with pytest.raises(BundleError, match="the ONNX files it describes"):
        Bundle.open(copy)
    edit_config(copy, lambda config: config["protozoo"]["onnx"].pop())
    with pytest.raises(BundleError, match="the ONNX files it describes"):
        Bundle.open(copy)


def test_mistakes_are_said_before_any_work(digits_bundle, pictures, tmp_path):
    with pytest.raises(ProtozooError, match="give --calibrate"):
        Variants(("int8",))
    (tmp_path / "data" / "cat").mkdir(parents=True)
    with pytest.raises(ProtozooError, match="holds no images"):
        labelled_files(tmp_path / "data", digits_bundle.labels, digits_bundle.preprocessing)
    Image.new("RGB", (16, 16)).save(tmp_path / "data" / "1.png")
    with pytest.raises(ProtozooError, match="none in a class's folder"):
        labelled_files(tmp_path / "data", digits_bundle.labels, digits_bundle.preprocessing)
    Image.new("RGB", (16, 16)).save(tmp_path / "data" / "cat" / "1.png")
    with pytest.raises(ProtozooError, match="'cat' is none of the model's classes"):
        labelled_files(tmp_path / "data", digits_bundle.labels, digits_bundle.preprocessing)
    with pytest.raises(ProtozooError, match="is no run"):
        CliRunner().invoke(export, [str(tmp_path), "--out", str(tmp_path / "out")], catch_exceptions=False)


def test_what_file_managers_leave_is_no_image(digits_bundle, tmp_path):
    for name in ("3/good.png", ".ipynb_checkpoints/a.png", "__MACOSX/b.png", "3/._good.png", "3/a.gif", "beside.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / name)
    found = labelled_files(tmp_path, digits_bundle.labels, digits_bundle.preprocessing)
    assert list(found.files) == [tmp_path / "3" / "good.png"]
    (tmp_path / "valid" / "3").mkdir(parents=True)
    (tmp_path / "3" / "good.png").rename(tmp_path / "valid" / "3" / "good.png")
    found = labelled_files(tmp_path, digits_bundle.labels, digits_bundle.preprocessing)
    assert list(found.files) == [tmp_path / "valid" / "3" / "good.png"]


@pytest.mark.skipif(not has_openvino(), reason="the extra openvino is not installed")
def test_openvino_gives_torchs_answers(digits_bundle):
    embeddings, cosines = openvino_runner(digits_bundle.onnx_path)(digits_bundle.golden.images)
    np.testing.assert_allclose(embeddings, digits_bundle.golden.embeddings, atol=1e-5)
    np.testing.assert_allclose(cosines, digits_bundle.golden.cosines, atol=1e-5)

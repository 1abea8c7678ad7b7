"""Prototype models folded into models of timm's own, and what those say where protozoo cannot be imported."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, safe_open, save_file

import export.plain
from export.cli import export as export_command
from export.fold import fold
from export.plain import Source, export_plain
from tests.export import plain_desk
from tests.tiny_bundle import edit_config
from zoo.bundle import Bundle, BundleError, Preprocessing, array_sha256
from zoo.bundle.foreign import FOLDED_FROM
from zoo.errors import ProtozooError
from zoo.files import sha256_of
from zoo.models.architectures import architectures, plain_architecture
from zoo.models.base import PrototypeModel, timm_model
from zoo.models.heads import unit

K = 6
LABELS = ("ant", "bee", "cat", "dog", "tench, Tinca tinca", "élan")
RECORD = {
    "objective": "nonl",
    "data": {"name": "noise", "license": "CC0-1.0", "train_images": 1, "test_images": 1},
    "command": "protozoo train nonl_noise",
    "metrics": {"test_accuracy": 0.5},
}
MODELS: dict[str, dict[str, Any]] = {
    "linear": {"architecture": "proto_resnet18", "size": 64, "embed_dim": 24},
    "batchnorm": {"architecture": "proto_resnet18", "size": 32, "head": "batchnorm", "prototypes": "fixed"},
    "none": {"architecture": "proto_resnet18", "size": 32, "head": "relu"},
    "bottleneck": {"architecture": "proto_resnet50", "size": 32, "head": "linear"},
    "swin": {"architecture": "proto_swin_tiny", "size": 32, "img_size": 32, "embed_dim": 32},
}


def cloth(generator: np.random.Generator, size: int, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Coloured patches, uint8 (count, size, size, 3): other than noise, they differ in their features."""
    patches = generator.integers(0, 256, (count, 4, 4, 3))
    return np.kron(patches, np.ones((1, -(-size // 4), -(-size // 4), 1)))[:, :size, :size].astype(np.uint8)


def as_if_trained(architecture: str, size: int, **kwargs: Any) -> PrototypeModel:
    """Random weights, BatchNorm's statistics away from their defaults, and prototypes among the model's embeddings."""
    torch.manual_seed(0)
    model = timm_model(architecture, num_classes=K, temperature=0.07, **kwargs)
    images = torch.from_numpy(cloth(np.random.default_rng(1), size, 16)).permute(0, 3, 1, 2) / 128.0 - 1
    with torch.no_grad():
        norms = [each for each in model.modules() if isinstance(each, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        if norms:
            model.train()(images)
        for norm in norms:
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.7, 1.4)
            norm.weight.add_(0.1 * torch.randn_like(norm.weight))
            norm.bias.add_(0.1 * torch.randn_like(norm.bias))
        embeddings = model.eval().embed(images)
        mean = unit(embeddings.mean(0))
        # Orthogonal to what all images share, which would otherwise give them all to one class.
        model.set_prototypes(unit(embeddings - (embeddings @ mean)[:, None] * mean)[:K])
    return model


def source(architecture: str, size: int, **kwargs: Any) -> Source:
    model = as_if_trained(architecture, size, **kwargs)
    preprocessing = Preprocessing(size, 0.875, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    return Source(architecture, "nonl_noise", model, preprocessing, LABELS, RECORD, "5" * 64)


@pytest.fixture(scope="module")
def sources() -> dict[str, Source]:
    return {name: source(**row) for name, row in MODELS.items()}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of another size than any model's input, so that they are resized and cropped."""
    folder = tmp_path_factory.mktemp("data") / "pictures"
    folder.mkdir()
    for index, pixels in enumerate(cloth(np.random.default_rng(2), 90, 36)):
        Image.fromarray(pixels[:80]).save(folder / f"{index:02}.png")
    return folder


@pytest.fixture(scope="module")
def folders(sources: dict[str, Source], pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("plain")
    for name, each in sources.items():
        export_plain(each, root / name, pictures if name == "linear" else None)
    return {name: root / name for name in sources}


def expected(each: Source, pictures: Path) -> torch.Tensor:
    """The source's logits for the pictures."""
    preprocessing = each.preprocessing
    images = np.stack([preprocessing.read(path, path.name) for path in sorted(pictures.iterdir())]).astype(np.float32)
    pixels = (images / 255 - np.float32(preprocessing.mean)) / np.float32(preprocessing.std)
    with torch.inference_mode():
        return each.model(torch.from_numpy(pixels).permute(0, 3, 1, 2))


@pytest.fixture(scope="module")
def elsewhere(folders: dict[str, Path], pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What timm and transformers say in a process where protozoo cannot be imported."""
    desk = tmp_path_factory.mktemp("desk")
    paths = [str(path) for path in sorted(pictures.iterdir())]
    jobs = [{"folder": str(folder), "pictures": paths} for folder in folders.values()]
    (desk / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, "-I", plain_desk.__file__, str(desk / "jobs.json"), str(desk / "logits.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=desk)
    assert done.returncode == 0, done.stderr
    with np.load(desk / "logits.npz") as found:
        return {name: {way: found[f"{index}.{way}"] for way in WAYS} for index, name in enumerate(folders)}


WAYS = ("local-dir", "transformers", "checkpoint_path", "label")


@pytest.mark.parametrize("name", MODELS)
def test_without_protozoo_every_picture_gets_the_class_of_the_source(
    name: str, sources: dict[str, Source], pictures: Path, elsewhere: dict[str, Any]
) -> None:
    ours = expected(sources[name], pictures)
    classes = ours.argmax(1)
    assert len(set(classes.tolist())) >= 3
    for way in ("local-dir", "transformers", "checkpoint_path"):
        theirs = torch.from_numpy(elsewhere[name][way])
        assert torch.equal(theirs.argmax(1), classes), way
        # Each row is the source's, times the norm of its embedding over the mean norm.
        torch.testing.assert_close(unit(theirs), unit(ours), atol=1e-4, rtol=0)
    assert elsewhere[name]["label"] == LABELS[classes[0]]


def naive(each: Source, features: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """p_c . (W x + b) for every row of features, number by number, in float64."""
    head = each.model.head
    tensors = {name: tensor.double().numpy() for name, tensor in head.state_dict().items()}
    rows = []
    for x in features:
        if head.kind == "linear":
            z = [sum(w * v for w, v in zip(row, x, strict=True)) for row in tensors["projection.weight"]]
            z = [a + b for a, b in zip(z, tensors["projection.bias"], strict=True)]
        elif head.kind == "batchnorm":
            names = ("projection.weight", "projection.bias", "projection.running_mean", "projection.running_var")
            gains, shifts, means, variances = (tensors[name] for name in names)
            columns = zip(gains, x, means, variances, shifts, strict=True)
            z = [gain * (v - mean) / (variance + 1e-5) ** 0.5 + shift for gain, v, mean, variance, shift in columns]
        else:
            z = list(x)
        prototypes = [p / np.sqrt(sum(v * v for v in p)) for p in tensors["fc.weight"]]
        rows.append([sum(a * b for a, b in zip(p, z, strict=True)) for p in prototypes])
    return np.array(rows)


@pytest.mark.parametrize("name", ["linear", "batchnorm", "none"])
def test_the_folded_layer_is_the_formula_in_float64(name: str, sources: dict[str, Source]) -> None:
    weight, bias = fold(sources[name].model.head)
    features = np.random.default_rng(3).uniform(0, 2, (4, 512))
    assert weight.dtype == bias.dtype == torch.float64
    np.testing.assert_allclose(features @ weight.numpy().T + bias.numpy(), naive(sources[name], features), atol=1e-10)


def test_learned_prototypes_count_by_their_direction_alone(sources: dict[str, Source]) -> None:
    head = sources["linear"].model.head
    weight, bias = fold(head)
    state = {key: tensor.clone() for key, tensor in head.state_dict().items()}
    head.load_state_dict({**state, "fc.weight": 3 * state["fc.weight"]})
    longer = fold(head)
    head.load_state_dict(state)
    torch.testing.assert_close(longer, (weight, bias), atol=1e-6, rtol=0)


def test_the_scale_is_the_temperature_times_the_mean_norm_of_the_images_that_are_named(
    sources: dict[str, Source], pictures: Path, folders: dict[str, Path]
) -> None:
    each = sources["linear"]
    folded = json.loads((folders["linear"] / "config.json").read_text())[FOLDED_FROM]
    head = each.model.head
    images = np.stack([each.preprocessing.read(path, path.name) for path in sorted(pictures.iterdir())])
    mean, std = torch.tensor(each.preprocessing.mean), torch.tensor(each.preprocessing.std)
    with torch.inference_mode():
        pixels = ((torch.from_numpy(images) / 255 - mean) / std).permute(0, 3, 1, 2)
        norms = head.projection(each.model.forward_features(pixels).mean((2, 3))).norm(dim=1)
    assert folded["scale"] == pytest.approx(0.07 * float(norms.mean()), rel=1e-4)
    assert folded["scaled_on"] == "36 images of pictures"
    assert (folded["checked_images"], folded["top1_agreement"]) == (36 + 8 + 32, 1.0)
    golden = json.loads((folders["none"] / "config.json").read_text())[FOLDED_FROM]
    assert (golden["scaled_on"], golden["checked_images"]) == ("8 golden images", 8 + 32)
    assert "mean norm on 8 golden images" in " ".join((folders["none"] / "README.md").read_text().split())


def test_probabilities_are_nearer_by_that_scale_than_by_half_or_twice(
    sources: dict[str, Source], pictures: Path, elsewhere: dict[str, Any]
) -> None:
    ours = expected(sources["linear"], pictures).softmax(1)
    theirs = torch.from_numpy(elsewhere["linear"]["local-dir"])
    near, flatter, sharper = (float(((factor * theirs).softmax(1) - ours).abs().mean()) for factor in (1, 0.5, 2))
    assert near < min(flatter, sharper)


@pytest.mark.parametrize("name", ["linear", "swin"])
def test_the_folder_is_timms_and_signed(name: str, folders: dict[str, Path]) -> None:
    folder, size, fixed = folders[name], MODELS[name]["size"], name == "swin"
    config = json.loads((folder / "config.json").read_text())
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["README.md", "config.json", "model.safetensors"]
    for digest, file in (line.split("  ") for line in lines):
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest
    assert config["model_args"] == ({"img_size": size} if fixed else {})
    assert config["label_names"] == list(LABELS)
    cfg = config["pretrained_cfg"]
    assert cfg["input_size"] == [3, size, size]
    assert (cfg["pool_size"], cfg["fixed_input_size"]) == ([size // 32, size // 32], fixed)
    assert cfg["classifier"] == ("head.fc" if fixed else "fc")
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "protozoo.folded_from": "5" * 64}
        assert {f"{cfg['classifier']}.bias", f"{cfg['first_conv']}.weight"} <= set(file.keys())
    assert "5" * 64 in (folder / "README.md").read_text()


def test_the_same_source_gives_the_same_bytes(
    folders: dict[str, Path], sources: dict[str, Source], tmp_path: Path
) -> None:
    export_plain(sources["batchnorm"], tmp_path / "again")
    for file in folders["batchnorm"].iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_every_architecture_without_a_stem_for_small_images_is_one_of_timms_key_by_key() -> None:
    folded = {name: plain for name in architectures() if (plain := plain_architecture(name))}
    assert set(architectures()) - set(folded) == {
        name for name in architectures() if "_cifar" in name or name == "proto_resnet18_64"
    }
    for name, plain in folded.items():
        with torch.device("meta"):
            ours, theirs = (timm.create_model(each, num_classes=3).state_dict() for each in (name, plain))
        classifier = timm.get_pretrained_cfg_value(plain, "classifier")
        shapes = {key: value.shape for key, value in ours.items() if not key.startswith("head.")}
        assert shapes == {key: v.shape for key, v in theirs.items() if not key.startswith(f"{classifier}.")}


REFUSALS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a CIFAR stem": ("proto_resnet18_cifar", {}, "no architecture with the layers of proto_resnet18_cifar"),
    "He's ResNet": ("proto_resnet20_cifar", {}, "stems for small images are protozoo's own.*train proto_resnet18"),
    "an MLP": ("proto_resnet18", {"head": "mlp"}, "an MLP head has a ReLU inside.*train with --head linear"),
    "cross-entropy": (
        "proto_resnet18",
        {"classifier": "linear"},
        "no prototypes to fold: train normface, ntce or nonl",
    ),
    "offsets": ("proto_resnet18", {"readout": "bayes"}, "adds its offsets after the division.*--readout cosine"),
    "another pooling": ("proto_resnet18", {"global_pool": "max"}, "only average pooling.*this model pools by 'max'"),
    "a stem by an argument": ("proto_resnet18", {"small_stem": True}, "do not fit timm's resnet18.*conv1.weight"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_no_plain_model_can_do_is_refused_with_the_reason(
    case: str, sources: dict[str, Source], tmp_path: Path
) -> None:
    architecture, kwargs, message = REFUSALS[case]
    model = timm_model(architecture, num_classes=K, **kwargs).eval()
    cannot = replace(sources["batchnorm"], architecture=architecture, model=model)
    with pytest.raises(ProtozooError, match=message):
        export_plain(cannot, tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_a_folded_model_that_answers_otherwise_is_not_written(
    sources: dict[str, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def turned(*args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        weight, bias = fold(*args)
        return weight.roll(1, 0), bias.roll(1, 0)

    monkeypatch.setattr(export.plain, "fold", turned)
    with pytest.raises(ProtozooError, match="another class than its source to 40 of 40 images"):
        export_plain(sources["batchnorm"], tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_a_source_without_test_images_has_no_accuracy_to_tell_of(sources: dict[str, Source], tmp_path: Path) -> None:
    each = sources["batchnorm"]
    export_plain(replace(each, record={**each.record, "metrics": {}}), tmp_path / "out")
    assert (
        "Of the source no accuracy was measured.\n\nThe probabilities" in (tmp_path / "out" / "README.md").read_text()
    )


def test_a_model_that_diverged_is_not_written(sources: dict[str, Source], tmp_path: Path) -> None:
    model = as_if_trained("proto_resnet18", 32)
    model.state_dict()["head.projection.bias"].fill_(float("nan"))
    with pytest.raises(ProtozooError, match="numbers that are not finite"):
        export_plain(replace(sources["batchnorm"], model=model), tmp_path / "out")


@pytest.fixture(scope="module")
def run(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of a real run, with an architecture that can be folded."""
    path = Path(shutil.copytree(digits_run, tmp_path_factory.mktemp("runs") / "resnet18"))
    result = json.loads((path / "result.json").read_text())
    result["architecture"] = "proto_resnet18"
    (path / "result.json").write_text(json.dumps(result))
    torch.manual_seed(0)
    model = timm_model("proto_resnet18", num_classes=10, embed_dim=result["embed_dim"], **result["model_args"])
    save_file(model.state_dict(), path / "model.safetensors")
    return path


@pytest.fixture(scope="module")
def bundle(run: Path, digits_bundle: Bundle) -> Bundle:
    """Of that run in all that is folded; its ONNX and golden outputs are another model's, which nobody runs here."""
    path = Path(shutil.copytree(digits_bundle.path, run.parent / "bundle"))
    shutil.copyfile(run / "model.safetensors", path / "model.safetensors")
    prototypes = load_file(path / "model.safetensors")["head.fc.weight"].numpy()

    def edit(config: dict[str, Any]) -> None:
        config["architecture"] = "proto_resnet18"
        config["protozoo"]["weights"]["sha256"] = sha256_of(path / "model.safetensors")
        config["protozoo"]["prototypes"]["sha256"] = array_sha256(prototypes)

    edit_config(path, edit)
    return Bundle.open(path)


@pytest.fixture
def command() -> Callable[..., Any]:
    def command(*words: object) -> Any:
        return CliRunner().invoke(export_command, [str(word) for word in words])

    return command


def test_a_run_and_a_bundle_of_the_same_weights_give_the_same_bytes(
    run: Path, bundle: Bundle, command: Callable[..., Any], tmp_path: Path
) -> None:
    for name, origin in {"of-run": run, "of-bundle": bundle.path}.items():
        done = command(origin, "--out", tmp_path / name, "--plain")
        assert done.exit_code == 0, done.output
        assert "proto_resnet18.nonl_digits as timm's resnet18" in done.output
        assert "the same class on 40 of 40 images" in done.output
    for file in (tmp_path / "of-run").iterdir():
        assert (tmp_path / "of-bundle" / file.name).read_bytes() == file.read_bytes(), file.name
    folded = json.loads((tmp_path / "of-bundle" / "config.json").read_text())[FOLDED_FROM]
    assert folded["weights_sha256"] == bundle.sha256["model.safetensors"]


def test_it_is_no_bundle(folders: dict[str, Path]) -> None:
    with pytest.raises(BundleError, match="a plain model of timm's, folded from proto_resnet18"):
        Bundle.open(folders["linear"])


def test_an_existing_folder_is_not_overwritten(sources: dict[str, Source], tmp_path: Path) -> None:
    with pytest.raises(ProtozooError, match="exists already"):
        export_plain(sources["linear"], tmp_path)


@pytest.mark.parametrize("words", [("--precision", "float16"), ("--data", ".")])
def test_plain_goes_with_nothing_that_is_for_onnx(
    words: tuple[str, str], run: Path, command: Callable[..., Any], tmp_path: Path
) -> None:
    done = command(run, "--out", tmp_path / "out", "--plain", *words)
    assert isinstance(done.exception, ProtozooError)
    assert "--plain writes no ONNX: leave --precision and --data out" in str(done.exception)
    assert not any(tmp_path.iterdir())


def test_a_model_of_the_zoo_with_a_stem_for_cifar_is_refused_by_name(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    done = command("proto_resnet20_cifar.nonl_digits", "--out", tmp_path / "out", "--plain")
    assert "no architecture with the layers of proto_resnet20_cifar" in str(done.exception)

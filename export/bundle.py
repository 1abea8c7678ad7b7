"""From a finished run, or from another bundle, to a bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import save_file as save_arrays
from timm.layers import Format, get_spatial_dim

from export.card import render_card
from export.golden import golden_images
from export.repeats import read_repeats
from export.variants import Variants, write_variants
from export.weights import weights_bytes
from zoo.bundle import FORMAT_VERSION, Bundle, Preprocessing, array_sha256, new_bundle
from zoo.errors import ProtozooError
from zoo.files import check_free, sha256_of
from zoo.loading import load_bundle
from zoo.models.base import PrototypeModel
from zoo.models.heads import unit
from zoo.models.pixels import PixelModel
from zoo.runs import FinishedRun, open_run


def export_run(run: Path, out: Path, variants: Variants | None = None, repeats: Sequence[Path] = ()) -> Bundle:
    """Write the bundle of a finished run.

    Args:
        run: folder that ``protozoo train`` wrote.
        out: folder of the bundle; must not exist.
        variants: which ONNX files it is to have; None: ``model.onnx`` in float32 alone.
        repeats: runs that differ in the seed alone, for means and deviations in the card.

    Raises:
        ProtozooError: the run is not finished, has no prototypes, or ``out`` exists; or one of the repeats is not one.
        BundleError: an ONNX file's answers are too far from torch's; nothing is written.
    """
    check_free(out)
    finished = _load_run(run)
    result, model = finished.record, finished.model
    repeated = {"repeats": read_repeats(finished, repeats)} if repeats else {}
    head = model.get_classifier(name_only=True)
    classifier, offsets = f"{head}.weight", f"{head}.offsets"
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    # Only the direction of a learned prototype means anything: stored as unit rows, the weights are the prototypes.
    state[classifier] = unit(state[classifier].double()).float().contiguous()
    model.load_state_dict(state)
    with new_bundle(out) as folder:
        weights = folder / "model.safetensors"
        weights.write_bytes(weights_bytes(state, {"protozoo.code_revision": result["code_revision"]}))
        config = _config(result, model, state, weights, classifier, offsets)
        # What was measured of the run is of this bundle too: only the length of learned prototypes may have changed.
        config["protozoo"]["weights"]["run_sha256"] = sha256_of(run / "model.safetensors")
        preprocessing = Preprocessing.from_pretrained_cfg(config["pretrained_cfg"])
        pixels = PixelModel(model, preprocessing)
        config["protozoo"]["onnx"] = write_variants(pixels, config, folder, variants or Variants())
        _write_golden(pixels, preprocessing.size, folder / "golden.safetensors")
        # Runs of before there were pictures have none.
        pictures = sorted((run / "pictures").glob("*.png"))
        for picture in pictures:
            shutil.copyfile(picture, folder / picture.name)
        config["protozoo"] |= {**repeated, "pictures": [picture.name for picture in pictures]}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(render_card(config), encoding="utf-8")
    return Bundle.open(out)


def export_bundle(bundle: Bundle, out: Path, variants: Variants) -> Bundle:
    """Write a bundle again with other ONNX files; weights, golden outputs and card stay as they are.

    Args:
        bundle: whose ``model.onnx`` is written anew as well, from the weights.
        out: folder of the new bundle; must not exist.
        variants: which ONNX files it is to have.

    Raises:
        ProtozooError: ``out`` exists.
        BundleError: an ONNX file's answers are too far from torch's; nothing is written.
    """
    check_free(out)
    pixels = PixelModel(load_bundle(bundle), bundle.preprocessing)
    with new_bundle(out) as folder:
        for name in bundle.sha256:
            if not name.endswith(".onnx"):
                shutil.copyfile(bundle.path / name, folder / name)
        onnx = write_variants(pixels, bundle.config, folder, variants)
        config = {**bundle.config, "protozoo": {**bundle.record, "onnx": onnx}}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return Bundle.open(out)


def rewrite_card(bundle: Bundle, out: Path) -> Bundle:
    """Write a bundle again with the card that this version renders from its record; all else stays as it is.

    Args:
        bundle: whose ``README.md`` is an older version's.
        out: folder of the new bundle; must not exist.

    Raises:
        ProtozooError: ``out`` exists.
    """
    return _rewritten(bundle, {}, out)


def add_evaluations(bundle: Bundle, evaluations: Sequence[Mapping[str, Any]], out: Path) -> Bundle:
    """Write a bundle again with evaluations in its record, and the card that tells of them.

    Args:
        bundle: that was measured; earlier evaluations stay, but for those of the same kind and data, and probes of the
            same settings.
        evaluations: each with its "kind", "command" and "data".
        out: folder of the new bundle; must not exist.

    Raises:
        ProtozooError: ``out`` exists.
    """
    new = {_subject(evaluation) for evaluation in evaluations}
    kept = [earlier for earlier in bundle.record.get("evaluations", []) if _subject(earlier) not in new]
    return _rewritten(bundle, {"evaluations": [*kept, *evaluations]}, out)


def _rewritten(bundle: Bundle, told: Mapping[str, Any], out: Path) -> Bundle:
    """The bundle with what is told beside its record, and the card of it; all other files as they are."""
    config = {**bundle.config, "protozoo": {**bundle.record, **told}}
    with new_bundle(out) as folder:
        for name in bundle.sha256:
            shutil.copyfile(bundle.path / name, folder / name)
        if told:
            (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(render_card(config), encoding="utf-8")
    return Bundle.open(out)


def _subject(evaluation: Mapping[str, Any]) -> tuple[str, ...]:
    subject = evaluation["kind"], evaluation["data"]
    if evaluation["kind"] != "probe":
        return subject
    return *subject, evaluation["probe"], json.dumps(evaluation["settings"], sort_keys=True)


def _load_run(path: Path) -> FinishedRun:
    run = open_run(path)
    if not run.model.head.cosine:
        raise ProtozooError(
            f"{path} was trained with {run.record['objective']}, whose linear classifier has no prototypes to serve: "
            "train normface, ntce or nonl, or take the class means of its features for prototypes by "
            f"`protozoo fit {path} --data DATA --features encoder --out OUT`"
        )
    return run


def _config(
    result: Mapping[str, Any],
    model: PrototypeModel,
    state: dict[str, torch.Tensor],
    weights: Path,
    classifier: str,
    offsets: str,
) -> dict[str, Any]:
    """config.json: timm's schema, and the key ``protozoo``, which timm ignores and keeps."""
    cfg = model.pretrained_cfg
    size = result["preprocessing"]["input_size"][-1]
    with torch.inference_mode():
        features = model.forward_features(torch.zeros(1, 3, size, size))
    pool_size = [features.shape[axis] for axis in get_spatial_dim(Format(model.head.input_fmt))]
    classes, pooling = len(result["label_names"]), model.head.global_pool.pool_type
    return {
        "architecture": result["architecture"],
        "num_classes": classes,
        "num_features": model.num_features,
        "global_pool": pooling,
        "label_names": result["label_names"],
        "model_args": {
            "num_classes": classes,
            "in_chans": 3,
            "global_pool": pooling,
            **result["model_args"],
            "embed_dim": result["embed_dim"],
        },
        "pretrained_cfg": {
            "tag": result["tag"],
            "custom_load": False,
            **result["preprocessing"],
            "fixed_input_size": bool(cfg.get("fixed_input_size")),
            "num_classes": classes,
            "pool_size": pool_size,
            "first_conv": cfg["first_conv"],
            "classifier": cfg["classifier"],
            "license": cfg["license"],
        },
        "protozoo": {
            "format_version": FORMAT_VERSION,
            "objective": result["objective"],
            "temperature": model.temperature,
            "prototypes": {
                # Runs of before this key had no other kind.
                "kind": result.get("prototypes", "learned"),
                "tensor": classifier,
                "sha256": array_sha256(state[classifier].numpy()),
            },
            "readout": _readout(result, state, offsets),
            "weights": {"file": weights.name, "sha256": sha256_of(weights), "bytes": weights.stat().st_size},
            **{
                key: result[key]
                for key in ("data", "recipe", "command", "code_revision", "cost", "metrics", "open_set")
            },
            # What a fine-tuned or fitted model goes on from.
            **({"base": result["base"]} if "base" in result else {}),
        },
    }


def _readout(result: Mapping[str, Any], state: dict[str, torch.Tensor], offsets: str) -> dict[str, Any]:
    """How cosines become an answer, and with offsets where they are and what they stand for."""
    readout: dict[str, Any] = result["readout"]
    if readout["kind"] == "cosine":
        return readout
    return {**readout, "tensor": offsets, "sha256": array_sha256(state[offsets].numpy())}


def _write_golden(model: PixelModel, size: int, path: Path) -> None:
    images = golden_images(size)
    with torch.inference_mode():
        embeddings, cosines, *_ = model(torch.from_numpy(images))
    save_arrays({"images": images, "embeddings": embeddings.numpy(), "cosines": cosines.numpy()}, path)

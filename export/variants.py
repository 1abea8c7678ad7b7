"""All ONNX files of a bundle, each compared with torch before it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from export.compare import Measured, Reference
from export.evaluation import ImageFiles, calibration_files, labelled_files
from export.golden import golden_images
from export.onnx import onnx_runner, save_onnx, write_onnx
from export.precision import FILES, to_float16, to_int8
from zoo.bundle import Preprocessing
from zoo.errors import ProtozooError
from zoo.files import sha256_of
from zoo.models.pixels import PixelModel


@dataclass(frozen=True)
class Variants:
    """Which ONNX files a bundle is to have beside float32.

    Attributes:
        precisions: of "float16" and "int8".
        calibrate: folder of images, at any depth, whose range of activations int8 takes.
        data: folder of labelled images (``<class>/``, ``test/<class>/`` or ``val/<class>/``) on which top-1 is
            compared; without it int8 is held to torch's answers on the images of ``calibrate``.

    Raises:
        ProtozooError: a precision is unknown, or int8 has no images to calibrate with.
    """

    precisions: tuple[str, ...] = ()
    calibrate: Path | None = None
    data: Path | None = None

    def __post_init__(self) -> None:
        unknown = set(self.precisions) - set(FILES)
        if unknown:
            raise ProtozooError(f"there is no precision {min(unknown)!r}: choose of {', '.join(FILES)}")
        if "int8" in self.precisions and self.calibrate is None:
            raise ProtozooError("int8 needs images like those that the model is to see: give --calibrate FOLDER")

    def evaluation(self, labels: tuple[str, ...], preprocessing: Preprocessing) -> ImageFiles | None:
        """The images on which top-1 is compared."""
        if self.data is not None:
            return labelled_files(self.data, labels, preprocessing)
        return None if self.calibrate is None else calibration_files(self.calibrate, preprocessing)


def write_variants(
    model: PixelModel, config: Mapping[str, Any], folder: Path, variants: Variants
) -> list[dict[str, object]]:
    """Write ``model.onnx`` and the other precisions into ``folder``.

    Args:
        model: on the CPU, in float32.
        config: of the bundle, complete but for the list that this returns.
        folder: where to; what lies there under the same names is replaced.
        variants: what to write.

    Returns:
        For every file its precision, sha256, size in bytes and what was measured: ``protozoo.onnx`` of config.json.

    Raises:
        BundleError: a file's answers are too far from torch's.
    """
    preprocessing = Preprocessing.from_pretrained_cfg(config["pretrained_cfg"])
    files = variants.evaluation(tuple(config["label_names"]), preprocessing)
    reference = Reference(model, golden_images(preprocessing.size), files)
    metadata = _metadata(config, preprocessing)
    float32 = folder / FILES["float32"]
    write_onnx(model, preprocessing.size, float32, metadata)
    others = [precision for precision in FILES if precision in variants.precisions and precision != "float32"]
    for precision in others:
        proto = _converted(float32, precision, variants, preprocessing)
        save_onnx(proto, folder / FILES[precision], metadata, precision=precision)
    return [_measured(folder / FILES[precision], precision, reference) for precision in ("float32", *others)]


def _converted(float32: Path, precision: str, variants: Variants, preprocessing: Preprocessing) -> onnx.ModelProto:
    if precision == "int8" and variants.calibrate is not None:  # it never comes without images
        images = calibration_files(variants.calibrate, preprocessing)
        return to_int8(float32, np.concatenate(list(images.batches())))
    return to_float16(onnx.load(float32))


def _measured(path: Path, precision: str, reference: Reference) -> dict[str, object]:
    measured = reference.measure(onnx_runner(path), path.name, precision)
    reference.check(measured)
    return {
        "precision": precision,
        "file": path.name,
        "sha256": sha256_of(path),
        "bytes": path.stat().st_size,
        "measured": _record(measured, reference),
    }


def _record(measured: Measured, reference: Reference) -> dict[str, object]:
    # Two digits: more are noise of the machine.
    record: dict[str, object] = {
        "embeddings": float(f"{measured.embeddings:.1e}"),
        "cosines": float(f"{measured.cosines:.1e}"),
    }
    if reference.files is not None:
        record |= {"images": len(reference.files.files), "top1_agreement": measured.agreement}
    if measured.accuracy is not None:
        record |= {"top1": measured.accuracy, "top1_torch": reference.accuracy}
    return record


def _metadata(config: Mapping[str, Any], preprocessing: Preprocessing) -> dict[str, object]:
    record = config["protozoo"]
    return {
        "protozoo.name": f"{config['architecture']}.{config['pretrained_cfg']['tag']}",
        "protozoo.labels": config["label_names"],
        "protozoo.preprocessing": preprocessing.as_pretrained_cfg(),
        "protozoo.temperature": record["temperature"],
        "protozoo.readout": record.get("readout", {"kind": "cosine"})["kind"],
        "protozoo.weights_sha256": record["weights"]["sha256"],
        "protozoo.prototypes_sha256": record["prototypes"]["sha256"],
    }

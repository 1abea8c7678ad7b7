"""Does a bundle still give the answers that it was exported with, in every runtime?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.check import check_graph
from export.compare import (
    TOLERANCES,
    Difference,
    Measured,
    Reference,
    a_batch,
    difference,
    images_per_second,
    torch_runner,
)
from export.evaluation import ImageFiles
from export.onnx import Runner, graph_outputs, onnx_runner
from export.openvino import has_openvino, openvino_runner
from zoo.bundle import Bundle, BundleError
from zoo.loading import load_bundle
from zoo.models.base import timm_model
from zoo.models.pixels import PixelModel

TOLERANCE = TOLERANCES["float32"]


def verify_bundle(bundle: Bundle) -> list[Difference]:
    """Replay the golden inputs through torch, plain timm and ONNX Runtime in float32.

    Args:
        bundle: opened, so that its digests agree already.

    Returns:
        The differences, all within 1e-5.

    Raises:
        BundleError: one is not; the runtime and the difference are named. Or an ONNX file has more in it than a bundle
            may (:func:`export.check.check_graph`), or logits that are not those of its readout.
    """
    for path in bundle.onnx_paths.values():
        check_graph(path)
        if bundle.readout["kind"] == "bayes" or "logits" in graph_outputs(path):
            _check_logits(bundle, path)
    golden = bundle.golden
    expected = (golden.embeddings, golden.cosines)
    by_torch, by_timm = (
        torch_runner(PixelModel(model, bundle.preprocessing))(golden.images)
        for model in (load_bundle(bundle), timm_model(f"local-dir:{bundle.path}", pretrained=True))
    )
    run = onnx_runner(bundle.onnx_path)
    by_onnx = run(golden.images)
    one_by_one = [run(image[None]) for image in golden.images]
    singly = (np.concatenate([e for e, _ in one_by_one]), np.concatenate([c for _, c in one_by_one]))
    differences = [
        difference("torch, golden", by_torch, expected),
        difference("plain timm, golden", by_timm, expected),
        difference("ONNX Runtime, golden", by_onnx, expected),
        difference("ONNX Runtime, torch", by_onnx, by_torch),
        difference("ONNX Runtime, one by one", singly, by_onnx),
    ]
    for apart in differences:
        # Written so that a NaN is not small.
        if not (apart.embeddings <= TOLERANCE and apart.cosines <= TOLERANCE):
            raise BundleError(
                f"{bundle.path}: {apart.what} differ by {apart.embeddings:.1e} in embeddings and "
                f"{apart.cosines:.1e} in cosines, {TOLERANCE:.0e} is allowed: export the model again"
            )
    return differences


def _check_logits(bundle: Bundle, path: Path) -> None:
    cosines, logits = onnx_runner(path, outputs=("cosines", "logits"))(bundle.golden.images)
    apart = float(np.abs(logits - (cosines / bundle.temperature + bundle.offsets)).max())
    allowed = TOLERANCE / min(bundle.temperature, 1)  # what a cosine's tolerance becomes
    if not apart <= allowed:
        raise BundleError(
            f"{path}: the logits differ by {apart:.1e} from cosines / temperature + offsets, {allowed:.0e} is allowed: "
            "export the model again"
        )


@dataclass(frozen=True)
class FileReport:
    """One ONNX file in one runtime.

    Attributes:
        measured: beside torch on the CPU.
        bytes: size of the file.
        speed: images a second, on a batch of 32.
    """

    measured: Measured
    bytes: int
    speed: float


def verify_files(bundle: Bundle, files: ImageFiles | None = None, device: str = "cpu") -> Iterator[FileReport]:
    """Compare every ONNX file with torch over golden and random images, one after the other.

    Args:
        bundle: that :func:`verify_bundle` has passed.
        files: labelled images, to compare top-1 on; without, int8 is measured and not judged.
        device: of ONNX Runtime, "cpu" or "cuda". On the CPU, OpenVINO runs the float32 file too where it is installed.

    Raises:
        BundleError: a file's answers are too far from torch's.
        ProtozooError: the device cannot be used.
    """
    model = PixelModel(load_bundle(bundle), bundle.preprocessing)
    reference = Reference(model, bundle.golden.images, files)
    batch = a_batch(bundle.preprocessing.size)
    for what, precision, path, run in _runners(bundle, device):
        measured = reference.measure(run, what, precision)
        reference.check(measured)
        yield FileReport(measured, path.stat().st_size, images_per_second(run, batch))


def _runners(bundle: Bundle, device: str) -> Iterator[tuple[str, str, Path, Runner]]:
    for precision, path in bundle.onnx_paths.items():
        yield f"{path.name}, ONNX Runtime", precision, path, onnx_runner(path, device)
    if device == "cpu" and has_openvino():
        yield f"{bundle.onnx_path.name}, OpenVINO", "float32", bundle.onnx_path, openvino_runner(bundle.onnx_path)

"""Images a second of every runtime that a bundle runs in, as ratios to torch in the same run.

    python -m benchmarks.export proto_resnet20_cifar.nonl_cifar10 proto_resnet18_cifar

A model is a bundle, a name of the zoo, or an architecture, which then has random weights. Runtimes: torch eager,
torch.compile, ONNX Runtime in float32, float16 and int8, and on the CPU OpenVINO where it is installed. They take
turns, round after round; a figure is the median of the rounds' ratios. int8 is calibrated on noise: its speed is
measured here, its accuracy is what ``protozoo export`` measures.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch

from export.compare import a_batch, images_per_second, torch_runner
from export.onnx import Runner, onnx_runner, save_onnx, write_onnx
from export.openvino import has_openvino, openvino_runner
from export.precision import FILES, to_float16, to_int8
from zoo.bundle import Preprocessing, find
from zoo.loading import create_model, list_models
from zoo.models.pixels import PixelModel


def pixel_model(name: str) -> tuple[PixelModel, int]:
    """The model in float32 on the CPU, and its input's height and width."""
    torch.manual_seed(0)
    known = name in list_models()
    model = create_model(name if known else f"local-dir:{find(name)}")
    cfg = {"crop_pct": 1.0, "interpolation": "bicubic", **model.pretrained_cfg}
    preprocessing = Preprocessing.from_pretrained_cfg(cfg)
    return PixelModel(model, preprocessing), preprocessing.size


def write_files(model: PixelModel, size: int, folder: Path) -> dict[str, Path]:
    """Precision -> ONNX file."""
    paths = {precision: folder / name for precision, name in FILES.items()}
    write_onnx(model, size, paths["float32"], {})
    save_onnx(to_float16(onnx.load(paths["float32"])), paths["float16"], {}, precision="float16")
    save_onnx(to_int8(paths["float32"], a_batch(size)), paths["int8"], {}, precision="int8")
    return paths


def runners(model: PixelModel, paths: dict[str, Path], device: str) -> Iterator[tuple[str, Runner]]:
    """Every runtime, torch eager first."""
    yield "torch eager", torch_runner(model.to(device))
    compiled = torch.compile(model, dynamic=False)
    yield "torch.compile", torch_runner(compiled)
    for precision, path in paths.items():
        yield f"ONNX Runtime {precision}", onnx_runner(path, device, torch.get_num_threads())
    if device == "cpu" and has_openvino():
        yield "OpenVINO float32", openvino_runner(paths["float32"], torch.get_num_threads())
        yield "OpenVINO int8", openvino_runner(paths["int8"], torch.get_num_threads())


def measure(name: str, batches: list[int], rounds: int, seconds: float, device: str) -> None:
    """Print the table of one model."""
    model, size = pixel_model(name)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_files(model, size, Path(folder))
        runs = dict(runners(model, paths, device))
        print(f"\n{name}, {size} x {size}\n\n| batch | " + " | ".join(runs) + " |")
        print("| ---: |" + " ---: |" * len(runs))
        for batch in batches:
            images = a_batch(size, batch)
            speeds = [
                {what: images_per_second(run, images, seconds) for what, run in runs.items()} for _ in range(rounds)
            ]
            eager = statistics.median(speed["torch eager"] for speed in speeds)
            ratios = {what: statistics.median(speed[what] / speed["torch eager"] for speed in speeds) for what in runs}
            cells = [f"{eager:.0f}/s", *(f"{ratio:.2f}" for what, ratio in ratios.items() if what != "torch eager")]
            print(f"| {batch} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["proto_resnet20_cifar.nonl_cifar10", "proto_resnet18_cifar"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each runtime in each round")
    parser.add_argument("--threads", type=int, help="of every runtime on the CPU; torch's number if not given")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    for name in args.models:
        measure(name, args.batches, args.rounds, args.seconds, args.device)


if __name__ == "__main__":
    main()

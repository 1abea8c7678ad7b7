"""Batches smaller than the number of classes: NONL as it is, with running denominators, and with balanced batches.

    python -m benchmarks.small_batches --data FOLDER --out small_batches.json

Trains a small network on the same number of images for every batch size and method, several seeds each; the learning
rate of a batch size is the one at which plain NONL ends with the best accuracy on seed 0, of factors of two apart until
the best has a worse one on either side. FOLDER is what ``protozoo train --data`` takes; images are resized to
``--size``. Prints a table in Markdown, and writes every run to ``--out``, from which the same command goes on after an
interruption.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.data import ImageData, Split, StoredSplit, load_data, training_batches
from training.evaluation import run_model
from training.few_shot import with_shots
from training.losses import RunningDenominators, nonl
from training.metrics import neural_collapse
from training.precision import machine_precision
from training.readout import bayes_offsets
from training.recipe import Recipe
from zoo.bundle import Preprocessing
from zoo.models.base import PrototypeModel
from zoo.models.heads import PrototypeHead

METHODS = ("batch", "balanced", "running", "running, balanced")
RATES = (0.5, 1.0, 2.0)


class SmallNetwork(PrototypeModel):
    """Four convolutions and a signed prototype head."""

    def __init__(self, classes: int, dim: int, temperature: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels, stride, pool in ((16, 2, 1), (32, 1, 2), (64, 1, 2), (128, 1, 1)):
            layers += [nn.Conv2d(before, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
            layers += [nn.MaxPool2d(pool)] if pool > 1 else []
            before = channels
        self.backbone = nn.Sequential(*layers)
        self.head = PrototypeHead(before, classes, embed_dim=dim, temperature=temperature)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.backbone(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def endless_batches(
    split: Split | StoredSplit, recipe: Recipe, preprocessing: Preprocessing
) -> Iterator[tuple[Tensor, Tensor]]:
    """Epoch after epoch of the trainer's batches."""
    for epoch in itertools.count():
        yield from training_batches(split, recipe, preprocessing, epoch=epoch, device=torch.device("cpu"))


def train(data: ImageData, preprocessing: Preprocessing, args: argparse.Namespace, **setting: Any) -> dict[str, Any]:
    """One run; its record."""
    size, method, rate, seed = (setting[name] for name in ("batch", "method", "rate", "seed"))
    torch.manual_seed(seed)
    labels = torch.from_numpy(data.train.labels)
    model = SmallNetwork(len(data.classes), args.dim, args.temperature).to(memory_format=torch.channels_last)
    objective: Callable[[Tensor, Tensor], Tensor] = nonl
    if method.startswith("running"):
        objective = RunningDenominators(labels.bincount().double(), objective="nonl", beta=args.beta)
    recipe = Recipe(
        objective="nonl",
        architecture="none of the zoo",
        input_size=args.size,
        crop_padding=args.size // 8,
        batch_size=size,
        batches="balanced" if method.endswith("balanced") else "shuffled",
        epochs=1,
        lr=args.lr,
        seed=seed,
    )
    steps = args.images // size
    # Linear in the batch, from the rate at 128.
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr * rate * size / 128, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.lr * rate * size / 128, total_steps=steps, pct_start=0.2
    )
    started = time.monotonic()
    for inputs, targets in itertools.islice(endless_batches(data.train, recipe, preprocessing), steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=machine_precision() == "bf16"):
            logits = model(inputs)
        loss = objective(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return {**setting, "seconds": round(time.monotonic() - started, 1), **measure(model, data, preprocessing)}


def measure(model: SmallNetwork, data: ImageData, preprocessing: Preprocessing) -> dict[str, float]:
    """Accuracy of both readouts, and the objective and collapse over 100 training images of each class."""
    seen = with_shots(data, 100, seed=0)
    train, test = (run_model(model, split, preprocessing) for split in (seen.train, seen.test))
    offsets = bayes_offsets(train.logits, train.labels, "nonl")
    collapse = neural_collapse(train.embeddings, train.labels, model.prototypes)
    return {
        "cosine": test.accuracy(),
        "bayes": replace(test, logits=test.logits + offsets).accuracy(),
        "population_nonl": float(nonl(train.logits, train.labels)),
        "cdnv": collapse.cdnv,
        "weight_alignment": collapse.weight_alignment,
    }


def table(runs: list[dict[str, Any]]) -> str:
    """Mean and standard deviation over the seeds, in Markdown."""
    columns = ("cosine", "bayes", "population_nonl", "cdnv", "weight_alignment")
    lines = [
        "| batch | method | rate | " + " | ".join(columns) + " |",
        "| ---: | --- | ---: |" + " ---: |" * len(columns),
    ]
    for key in dict.fromkeys((run["batch"], run["method"], run["rate"]) for run in runs):
        same = [run for run in runs if (run["batch"], run["method"], run["rate"]) == key]
        cells = []
        for column in columns:
            values = [run[column] * (100 if column in ("cosine", "bayes") else 1) for run in same]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}")
        lines.append(f"| {key[0]} | {key[1]} | {key[2]:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128, 1024])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=120_000, help="images that every run sees")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--temperature", type=float, default=0.1)
    parser.add_argument("--lr", type=float, default=0.2, help="peak learning rate at a batch of 128 and a rate of 1")
    parser.add_argument("--beta", type=float, default=0.9)
    args = parser.parse_args()
    preprocessing = Preprocessing(args.size, 1.0, "bicubic", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    data = load_data(args.data, preprocessing)
    runs: list[dict[str, Any]] = json.loads(args.out.read_text()) if args.out.is_file() else []

    def run(**setting: Any) -> dict[str, Any]:
        for done in runs:
            if all(done[name] == value for name, value in setting.items()):
                return done
        runs.append(train(data, preprocessing, args, **setting))
        print(json.dumps(runs[-1]), flush=True)
        args.out.write_text(json.dumps(runs, indent=1))
        return runs[-1]

    def best_rate(size: int) -> float:
        found = {rate: run(batch=size, method="batch", rate=rate, seed=0)["cosine"] for rate in RATES}
        while (best := max(found, key=found.__getitem__)) in (min(found), max(found)):
            further = best / 2 if best == min(found) else best * 2
            found[further] = run(batch=size, method="batch", rate=further, seed=0)["cosine"]
        return best

    for size in args.batches:
        rate = best_rate(size)
        # The others are for batches that cannot hold every class.
        methods = METHODS if size < len(data.classes) else METHODS[:1]
        for seed in range(args.seeds):
            for method in methods:
                run(batch=size, method=method, rate=rate, seed=seed)
    print(table(runs))


if __name__ == "__main__":
    main()

"""What it is worth to keep freed memory while batches go by (``zoo.memory.kept``): images a second with it and without.

    python -m benchmarks.memory nonl_cifar10 --data FOLDER --steps 20

Training steps, and evaluation, each in processes of their own, as a heap that has once kept memory stays large. The two
take turns, round after round. Prints the medians and their ratios as JSON, with the peaks of resident memory. Any
recipe's fields are options: ``--precision fp32``. Linux with glibc only.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import Any

import yaml

from training.build import build_parts, preprocessing_of
from training.data import load_data, steps_per_epoch, training_batches
from training.evaluation import run_model
from training.recipe import load_recipe
from zoo import memory


def measured(args: argparse.Namespace, fields: dict[str, Any]) -> dict[str, float]:
    """Images a second and MiB of one process."""
    recipe = load_recipe(args.recipe, fields)
    preprocessing = preprocessing_of(recipe)
    data = load_data(args.data, preprocessing, storage="memory")
    labels = data.train.labels
    parts = build_parts(recipe, labels, len(data.classes), steps_per_epoch(len(labels), recipe.batch_size))
    parts.train_mode()
    batches = training_batches(data.train, recipe, preprocessing, epoch=0, device=parts.accelerator.device)
    for step, (inputs, targets) in enumerate(itertools.islice(batches, 2 * args.steps)):
        if step == args.steps:  # those before it warm up
            began = time.perf_counter()
        parts.optimizer.zero_grad()
        parts.gradients(inputs, targets)
        parts.optimizer.step()
    training = args.steps * recipe.batch_size / (time.perf_counter() - began)
    batches.close()
    began = time.perf_counter()
    with parts.accelerator.autocast():
        run_model(parts.model, data.test, preprocessing)
    evaluation = len(data.test.labels) / (time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"training": training, "evaluation": evaluation, "peak_mib": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", default="nonl_cifar10")
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=["kept", "given_back"], help=argparse.SUPPRESS)
    args, rest = parser.parse_known_args()
    if args.one:
        if args.one == "given_back":
            memory.kept = nullcontext  # type: ignore[assignment]
        fields = {key.removeprefix("--"): yaml.safe_load(word) for key, word in zip(rest[::2], rest[1::2], strict=True)}
        print(json.dumps(measured(args, fields)))
        return
    kinds: dict[str, list[dict[str, float]]] = {"given_back": [], "kept": []}
    for _ in range(args.rounds):
        for kind, found in kinds.items():
            command = [sys.executable, "-m", "benchmarks.memory", *sys.argv[1:], "--one", kind]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found.append(json.loads(output.splitlines()[-1]))
    medians = {
        kind: {name: statistics.median(each[name] for each in found) for name in found[0]}
        for kind, found in kinds.items()
    }
    ratios = {name: medians["kept"][name] / medians["given_back"][name] for name in medians["kept"]}
    print(json.dumps({"cores": os.cpu_count(), **medians, "kept_over_given_back": ratios}, indent=1))


if __name__ == "__main__":
    main()

"""A classifier of new classes from a frozen encoder: accuracy by images a class, and seconds.

    python -m benchmarks.transfer --model proto_resnet20_cifar.nonl_cifar10 --data FOLDER --out transfer.json

Prototypes in closed form (``protozoo fit``), the papers' linear probe on features computed once
(``protozoo probe cached``), and ``protozoo finetune`` of the fitted bundle, on the same images of each class, several
choices of them. Seconds are of the fit or the training, with its passes through the encoder, on this machine. Prints a
table in Markdown, and writes every run to ``--out``, from which the same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from training.options import Options
from training.probes.record import record_prototypes, record_trained
from training.transfer.finetune import finetune, finetune_recipe
from training.transfer.fit import FitOptions, fit

METHODS = ("projection", "encoder", "whitened", "linear probe", "fine-tuned")


def measure(method: str, model: str, data: str, shots: int | None, seed: int, device: str) -> dict[str, Any]:
    """Accuracy and seconds of one run."""
    if method == "fine-tuned":
        return fine_tuned(model, data, shots, seed, device)
    if method == "linear probe":
        given = {"shots": shots, "seed": seed}
        record = record_trained("cached", model, data, protocol="cifar", overrides=given, device=device, workers=0)
    else:
        record = record_prototypes(model, data, features=method, device=device, shots=shots, seed=seed)  # type: ignore[arg-type]
    return {"accuracy": record["test_accuracy"], "seconds": record["cost"]["seconds"]}


def fine_tuned(model: str, data: str, shots: int | None, seed: int, device: str) -> dict[str, Any]:
    """Fit, then train the whole from there."""
    folder = Path(tempfile.mkdtemp())
    try:
        options = FitOptions(shots=shots, seed=seed, foreign=None, device=device)
        fitted = fit(model, data, folder / "fit", tag="fit", command="fit", say=print, options=options)
        recipe = finetune_recipe(str(fitted.path), overrides={"shots": shots, "seed": seed})
        running = Options(trackers=(), foreign=None)
        tuned = finetune(recipe, data, folder / "tuned", tag="t", command="t", say=print, options=running)
        seconds = sum(bundle.record["cost"]["train_seconds"] for bundle in (fitted, tuned))
        return {"accuracy": tuned.record["metrics"]["test_accuracy"], "seconds": seconds}
    finally:
        shutil.rmtree(folder)


def table(runs: list[dict[str, Any]]) -> str:
    """Mean and standard deviation of the accuracy in percent, and the mean of the seconds, in Markdown."""
    shots = list(dict.fromkeys(run["shots"] for run in runs))
    heads = [f"{count} a class" if count else "all" for count in shots]
    lines = [f"| | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(shots)}"]
    for method in dict.fromkeys(run["method"] for run in runs):
        cells = []
        for count in shots:
            same = [run for run in runs if (run["method"], run["shots"]) == (method, count)]
            values = [100 * run["accuracy"] for run in same]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            seconds = statistics.mean(run["seconds"] for run in same) if same else 0
            cells.append(f"{statistics.mean(values):.2f}{spread} ({seconds:.1f} s)" if same else "")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5, 10, 0], help="0: all images, one run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    runs: list[dict[str, Any]] = json.loads(args.out.read_text()) if args.out.is_file() else []
    for count in args.shots:
        for method in args.methods:
            for seed in range(args.seeds if count else 1):
                setting = {"method": method, "shots": count, "seed": seed}
                if any(setting.items() <= run.items() for run in runs):
                    continue
                runs.append({**setting, **measure(method, args.model, args.data, count or None, seed, args.device)})
                print(json.dumps(runs[-1]), flush=True)
                args.out.write_text(json.dumps(runs, indent=1))
    print(table(runs))


if __name__ == "__main__":
    main()

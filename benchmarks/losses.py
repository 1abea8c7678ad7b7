"""What the losses cost, as ratios to cross-entropy: time, memory, and bytes between ranks.

    python -m benchmarks.losses --json losses.json

One step is the forward and backward pass of the head (normalisation of M x d features and K x d prototypes, their
product) and the loss; the head is the same for all, so that only the loss differs. benchmarks/README.md says what the
columns mean.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

import torch

from benchmarks.loss_goals import LARGE_BATCH, MANY_CLASSES, Cost, Costs, goals, memory_ratio, time_ratio
from benchmarks.loss_measures import Ratio, extra_peak, in_rounds, product_speed
from benchmarks.loss_steps import Size, candidates, draw, step
from benchmarks.loss_traffic import RANKS, traffic

BATCHES, CLASSES, DIMS = (512, 2048, 8192), (10, 100, 1000, 21841), (128, 512, 2048)
SIZES = [
    Size(512, 10, 128),
    Size(512, 1000, 2048),
    MANY_CLASSES,
    Size(2048, 10, 512),
    Size(2048, 100, 512),
    Size(2048, 1000, 2048),
    LARGE_BATCH,
    Size(8192, 100, 512),
    Size(8192, 1000, 128),
]
QUICK = [Size(512, 100, 128), Size(2048, 10, 128)]


def chosen_sizes(args: argparse.Namespace) -> list[Size]:
    """The full grid over the axes that were given, or a list that ends in minutes."""
    if args.batches or args.classes or args.dims:
        axes = (args.batches or BATCHES, args.classes or CLASSES, args.dims or DIMS)
        return [Size(*point) for point in itertools.product(*axes)]
    return QUICK if args.quick else SIZES


def too_large(size: Size, *, speed: float, longest: float, memory: float) -> str | None:
    """Why a size is left out, if it is.

    Args:
        size: M, K, d.
        speed: multiplications and additions a second.
        longest: seconds that the three products of a step may take.
        memory: bytes that a step may take.
    """
    batch, classes, dim = size
    # Logits, embeddings and prototypes with their gradients and temporaries.
    needed = 4 * (6 * batch * classes + 6 * batch * dim + 4 * classes * dim)
    seconds = 6 * batch * classes * dim / speed
    if needed > memory:
        return f"a step needs about {needed / 1e9:.1f} GB (--memory {memory / 1e9:.1f})"
    if seconds > longest:
        return f"the products of a step take about {seconds:.1f} s (--longest {longest:g})"
    return None


def measure(size: Size, args: argparse.Namespace) -> dict[str, Cost]:
    """Every loss at one size."""
    names = candidates(size, args.memory * 1e9)
    inputs = draw(size, args.device)
    seconds = in_rounds({name: step(name, inputs) for name in names}, args.device, args.seconds)
    del inputs
    return {name: Cost(seconds[name], extra_peak(name, size, args.device, args.threads)) for name in names}


def rows(size: Size, costs: dict[str, Cost]) -> list[dict[str, Any]]:
    """One record a loss, as in the JSON."""
    return [
        {
            **size._asdict(),
            "loss": name,
            "seconds": cost.seconds,
            "time_ratio": time_ratio(costs, name)._asdict(),
            "extra_bytes": cost.extra_bytes,
            "memory_ratio": memory_ratio(costs, name),
        }
        for name, cost in costs.items()
    ]


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    memory = "-".rjust(18)
    if row["extra_bytes"] is not None:
        times = "-" if row["memory_ratio"] is None else f"{row['memory_ratio']:.2f}"
        memory = f"{row['extra_bytes'] / 1e6:10.1f} {times:>7}"
    size = f"{row['batch']:6} {row['classes']:6} {row['dim']:5}"
    milliseconds = 1000 * statistics.median(row["seconds"])
    return f"{size}  {row['loss']:22} {milliseconds:10.2f}  {Ratio(**row['time_ratio'])!s:24} {memory}"


HEADINGS = f"{'M':>6} {'K':>6} {'d':>5}  {'loss':22} {'ms':>10}  {'x time (least..most)':24} {'extra MB':>10} {'x':>7}"


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--batches", type=int, nargs="+", metavar="M", help=f"with this, --classes or --dims: {BATCHES}"
    )
    parser.add_argument("--classes", type=int, nargs="+", metavar="K", help=f"{CLASSES}")
    parser.add_argument("--dims", type=int, nargs="+", metavar="D", help=f"{DIMS}")
    parser.add_argument("--quick", action="store_true", help="two sizes")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch on the CPU")
    parser.add_argument("--seconds", type=float, default=15, help="of timing a size, at the least 5 rounds")
    parser.add_argument("--longest", type=float, default=3, help="seconds a step may take, else its size is left out")
    parser.add_argument("--memory", type=float, help="GB that a step may take; default: half of the device's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    return parser


def half_of_memory(device: torch.device) -> float:
    """In GB."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1] / 2e9
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2e9


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


def measure_all(args: argparse.Namespace) -> tuple[Costs, dict[Size, str]]:
    """Costs of every size that fits, printed as they come; and why the others were left out."""
    speed = product_speed(args.device)
    costs: Costs = {}
    left_out: dict[Size, str] = {}
    print(HEADINGS, flush=True)
    for size in chosen_sizes(args):
        why = too_large(size, speed=speed, longest=args.longest, memory=args.memory * 1e9)
        if why:
            left_out[size] = why
            print(f"{size} left out: {why}", flush=True)
        else:
            costs[size] = measure(size, args)
            print("\n".join(map(line, rows(size, costs[size]))), flush=True)
    return costs, left_out


def main(arguments: list[str] | None = None) -> None:
    parser = options()
    args = parser.parse_args(arguments)
    if args.device.type == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device: leave --device out")
    args.memory = args.memory or half_of_memory(args.device)
    torch.set_num_threads(args.threads)
    about = {"torch": torch.__version__, "device": device_name(args.device), "threads": args.threads}
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    print("One step: forward and backward pass of the same cosine head and the loss; x is to cross-entropy's.")
    costs, left_out = measure_all(args)
    exchanged = traffic()
    sent = [
        {**size._asdict(), "loss": name, "bytes": count}
        for name, counts in exchanged.items()
        for size, count in counts.items()
    ]
    print(f"\nBytes that the collectives of a step leave on each of {RANKS} ranks, with M samples on each")
    for row in sent:
        print(f"{row['batch']:6} {row['classes']:6} {row['dim']:5}  {row['loss']:22} {row['bytes']:10}")
    print()
    verdicts = goals(costs, exchanged)
    for goal in verdicts:
        print(f"{goal.verdict:12}  {goal.text}" + (f": {goal.detail}" if goal.detail else ""))
    if args.json:
        record = {
            **about,
            "steps": [row for size, each in costs.items() for row in rows(size, each)],
            "left_out": [{**size._asdict(), "why": why} for size, why in left_out.items()],
            "traffic": sent,
            "goals": [goal._asdict() for goal in verdicts],
        }
        args.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()

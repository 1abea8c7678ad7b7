"""Draw how a network's embeddings collapse on a sphere of three dimensions; see docs/how-it-works.md.

A ResNet-20 learns to tell the digits 0 to 3 apart by NONL. ``python docs/pictures/collapse.py`` writes collapse.png
beside itself.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from objectives import COLOURS, INK, Outcome, draw_sphere, shaded, standpoint, turn_to
from torch import Tensor

import zoo
from training.data import Split, load_data, to_input, to_tensor
from training.losses import nonl
from training.metrics import neural_collapse
from training.prototypes import class_means
from zoo.bundle import Preprocessing
from zoo.models.base import PrototypeModel

PIXELS = Preprocessing(16, 1.0, "bicubic", (0.3, 0.3, 0.3), (0.35, 0.35, 0.35))
CLASSES, BATCH, RATE = 4, 64, 0.05
SHOWN = (0, 10, 40, 300)


def labelled(split: Split) -> tuple[Tensor, Tensor]:
    """Inputs and labels of the first classes of a split."""
    part = split.subset(np.flatnonzero(split.labels < CLASSES))
    return to_input(to_tensor(part), PIXELS), torch.from_numpy(part.labels)


@torch.inference_mode()
def outcome(model: PrototypeModel, images: Tensor, labels: Tensor) -> Outcome:
    """Where the test images stand, by the statistics of a batch: those of few steps are not yet of use."""
    points, prototypes = model.train().embed(images).double(), model.prototypes.double()
    means = class_means(points, labels, CLASSES).double()
    return Outcome(points, labels, means, prototypes, neural_collapse(points, labels, prototypes))


def training() -> dict[int, Outcome]:
    """Step -> test images, of one training."""
    torch.manual_seed(0)
    data = load_data("digits", PIXELS)
    assert isinstance(data.train, Split)
    assert isinstance(data.test, Split)
    (images, labels), test = labelled(data.train), labelled(data.test)
    model = zoo.create_model("proto_resnet20_cifar", num_classes=CLASSES, embed_dim=3, temperature=0.2)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    found = {}
    for step in range(SHOWN[-1] + 1):
        if step in SHOWN:
            found[step] = outcome(model, *test)
        rows = torch.randint(len(labels), (BATCH,))
        optimizer.zero_grad()
        nonl(model.train()(images[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return found


def draw(axes: Axes, step: int, found: Outcome) -> None:
    """Test images as dots, prototypes as stars; what lies behind is pale."""
    turn = turn_to(found, standpoint(CLASSES))
    draw_sphere(axes)
    x, y, depth = (found.points.numpy() @ turn).T
    axes.scatter(x, y, 12, c=shaded(found.labels.tolist(), depth), linewidths=0, zorder=2)
    assert found.prototypes is not None
    x, y, depth = (found.prototypes.numpy() @ turn).T
    axes.scatter(x, y, 190, marker="*", c="white", edgecolors=shaded(range(CLASSES), depth), linewidths=1.3, zorder=3)
    right = ((found.points @ found.prototypes.T).argmax(1) == found.labels).double().mean()
    lines = (
        f"accuracy {right:.1%}",
        f"spread {found.metrics.trace_ratio:.3f}",
        f"angles {found.metrics.etf_cosine_error:.3f}",
    )
    axes.set_title(f"after {step} steps" if step else "before training", fontsize=10.5, color=INK, pad=4)
    axes.text(0, -1.14, "\n".join(lines), ha="center", va="top", fontsize=9.5, color=INK, linespacing=1.25)
    axes.set(xlim=(-1.08, 1.08), ylim=(-1.72, 1.08), aspect="equal")
    axes.axis("off")


def main() -> None:
    """Train, and draw."""
    plt.switch_backend("agg")
    torch.set_num_threads(1)
    figure, grid = plt.subplots(1, len(SHOWN), figsize=(10, 3.6))
    for axes, (step, found) in zip(grid, training().items(), strict=True):
        draw(axes, step, found)
    for digit, colour in enumerate(COLOURS):
        figure.text(0.41 + 0.06 * digit, 0.02, f"{digit}", color=colour, fontsize=12, weight="bold", ha="center")
    figure.subplots_adjust(left=0.01, right=0.99, top=0.92, bottom=0.05, wspace=0.06)
    path = Path(__file__).with_name("collapse.png")
    figure.savefig(path, dpi=135, facecolor="white", metadata={"Software": None}, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()

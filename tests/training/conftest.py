from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.distributed as dist
from PIL import Image

from tests.training.runs import DataInOrder, Protozoo, Said, Start, StartAndStop
from training.data import ImageData, load_data
from training.options import Options
from training.recipe import Recipe
from training.run import Run
from training.train import train
from zoo.bundle import Preprocessing
from zoo.cli import main

SIZE = 16
COLOURS = {"blue": (40, 40, 200), "green": (40, 200, 40), "red": (200, 40, 40)}


def write_picture(path: Path, colour: tuple[int, int, int], generator: np.random.Generator) -> None:
    """A noisy picture of one colour, as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = generator.integers(-40, 41, (SIZE, SIZE, 3))
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="session")
def make_folder() -> Callable[..., Path]:
    """make_folder(root, test="val", train_images=20) -> root in ImageFolder layout, a class a colour."""

    def make(root: Path, *, test: str = "val", train_images: int = 20, test_images: int = 4) -> Path:
        generator = np.random.default_rng(0)
        for name, colour in COLOURS.items():
            for split, count in (("train", train_images), (test, test_images)):
                for index in range(count):
                    write_picture(root / split / name / f"{index:02}.png", colour, generator)
        return root

    return make


@pytest.fixture(scope="session")
def colours(make_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 training and 12 test pictures of three classes that their colour tells apart."""
    return make_folder(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="session")
def preprocessing() -> Preprocessing:
    return Preprocessing(SIZE, 1.0, "bicubic", (0.5, 0.4, 0.3), (0.25, 0.2, 0.5))


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Recipe]:
    """tiny(field=value, ...) -> a recipe that trains within a second on the colours."""

    def recipe(**overrides: Any) -> Recipe:
        fields: dict[str, Any] = {
            "objective": "nonl",
            "architecture": "proto_resnet20_cifar",
            "embed_dim": 8,
            "input_size": SIZE,
            "crop_padding": 2,
            "epochs": 3,
            "batch_size": 16,
            "optimizer": "muon",
            "lr": 0.02,
            "warmup_epochs": 1,
            "precision": "fp32",
        }
        return Recipe(**{**fields, **overrides})

    return recipe


@pytest.fixture(scope="session")
def start(colours: Path) -> Start:
    """start(recipe, out) -> what the training said; of the colours, without a tracker, unless told otherwise."""

    def run(recipe: Recipe, out: Path, *, data: Path | None = None, **options: Any) -> Said:
        said: Said = []
        train(
            recipe,
            str(data or colours),
            out,
            name="nonl_colours",
            command="protozoo train",
            say=said.append,
            options=Options(**{"trackers": (), **options}),
        )
        return said

    return run


@pytest.fixture
def protozoo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Protozoo:
    """protozoo("train", ...) -> exit status, standard output, standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["protozoo", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def single_process_group(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def start_and_stop(start: Start, monkeypatch: pytest.MonkeyPatch) -> StartAndStop:
    """start_and_stop(recipe, out, after=n, ...): interrupted as soon as its n-th checkpoint is written."""

    def run(recipe: Recipe, out: Path, *, after: int, **options: Any) -> None:
        save, saved = Run.save_checkpoint, []

        def save_and_stop(*arguments: Any, **named: Any) -> None:
            save(*arguments, **named)
            saved.append(1)
            if len(saved) == after:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Run, "save_checkpoint", save_and_stop)
            with pytest.raises(KeyboardInterrupt):
                start(recipe, out, **options)

    return run


@pytest.fixture(scope="session")
def undisturbed(start: Start, tiny: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing stopped."""
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    start(tiny(), out)
    return out


@pytest.fixture
def data_in_order(monkeypatch: pytest.MonkeyPatch) -> DataInOrder:
    """data_in_order(module, labels): that module loads data whose classes stand in this order."""

    def order(module: str, labels: tuple[str, ...]) -> None:
        def load(*given: Any, **options: Any) -> ImageData:
            return load_data(*given, **options).in_order_of(labels)

        monkeypatch.setattr(f"{module}.load_data", load)

    return order

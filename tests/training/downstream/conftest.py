from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import zoo.cli
from tests.training.runs import Protozoo
from training.downstream.voc import CLASSES
from training.downstream_cli import transfer


@pytest.fixture
def protozoo(protozoo: Protozoo, monkeypatch: pytest.MonkeyPatch) -> Protozoo:
    """protozoo("transfer", ...), whether or not this checkout's commands were installed anew."""
    monkeypatch.setitem(zoo.cli.protozoo.commands, "transfer", transfer)
    return protozoo


def annotation(objects: list[tuple[str, str]]) -> str:
    """An annotation of VOC 2007, with parts of a person, which are no objects."""
    part = "<part><name>head</name></part>"
    found = "".join(
        f"<object><name>{name}</name><difficult>{hard}</difficult>{part}</object>" for name, hard in objects
    )
    return f"<annotation><folder>VOC2007</folder>{found}</annotation>"


@pytest.fixture
def voc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PROTOZOO_DATA with a VOC 2007 of 60 images to train on and 30 to test, of about six classes each."""
    monkeypatch.setenv("PROTOZOO_DATA", str(tmp_path))
    folder, generator = tmp_path / "voc2007" / "VOCdevkit" / "VOC2007", np.random.default_rng(0)
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for split, numbers in (("trainval", range(60)), ("test", range(60, 90))):
        for number in numbers:
            objects: Any = [(name, "0") for name in CLASSES if generator.random() < 0.3]
            (folder / "Annotations" / f"{number:06}.xml").write_text(annotation(objects))
            pixels = generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "JPEGImages" / f"{number:06}.jpg")
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(f"{number:06}" for number in numbers))
    return folder

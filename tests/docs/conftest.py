from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist
from PIL import Image
from sklearn.datasets import load_digits

from tests.docs.shell import Shell
from tests.hub_double import TOKEN, HubDouble, running_hub
from zoo.bundle import Bundle, find

PICTURES = ("frog.png", "ship.png", "one.jpg", "two.jpg", "three.jpg", "four.jpg", "new.jpg")
CLASSES = ("zero", "one", "two")
IMAGES_A_CLASS = 15


def write_pictures(folder: Path) -> None:
    """What the pages talk of as the reader's: single pictures, and ``my-photos/<class>/*.png``, here of digits."""
    waves = Bundle.open(find("proto_resnet20_cifar.nonl_cifar10")).golden.images
    for name, pixels in zip(PICTURES, waves, strict=False):
        Image.fromarray(pixels).save(folder / name)
    digits = load_digits()
    for digit, name in enumerate(CLASSES):
        (folder / "my-photos" / name).mkdir(parents=True)
        for index in np.flatnonzero(digits.target == digit)[:IMAGES_A_CLASS]:
            pixels = (digits.images[index] * 255 / 16).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "my-photos" / name / f"{index}.png")


@pytest.fixture(scope="session")
def hub() -> Iterator[HubDouble]:
    """A double of the Hub, for `protozoo push` and `protozoo pull`."""
    with running_hub() as hub:
        yield hub


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: HubDouble) -> Iterator[Shell]:
    """A terminal in a folder with pictures; sets and Bentos are kept there too."""
    write_pictures(tmp_path)
    environment = {"XDG_DATA_HOME": str(tmp_path / "data"), "BENTOML_HOME": str(tmp_path / "bentoml")}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    hub.clear()
    account = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hub"), "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0"}
    shell = Shell(tmp_path, {**environment, **account, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"})
    try:
        yield shell
    finally:
        shell.close()
        if dist.is_initialized():
            dist.destroy_process_group()

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from serving.app import create_app
from serving.settings import Settings
from tests.serving.sets.databases import database_url, postgresql
from tests.tiny_bundle import make_tiny_bundle
from zoo.bundle import Bundle

__all__ = ["database_url", "postgresql"]

Encode = Callable[..., bytes]
_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def client(bundle: Bundle) -> Iterator[TestClient]:
    settings = Settings(str(bundle.path), max_body_bytes=1 << 20, max_images=8)
    with TestClient(create_app(lambda: settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def name() -> str:
    """Of a set that no other test has."""
    return f"set-{next(_NUMBERS)}"


@pytest.fixture(scope="session")
def encode() -> Encode:
    """encode("JPEG", width, height, seed) -> bytes of a picture of noise."""

    def encoded(kind: str = "JPEG", width: int = 40, height: int = 30, seed: int = 0, mode: str = "RGB") -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(buffer, kind)
        return buffer.getvalue()

    return encoded


@pytest.fixture(scope="session")
def bomb() -> Callable[[int], bytes]:
    """bomb(side) -> a PNG of a few kilobytes that decodes to side x side pixels."""

    def png(side: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("1", (side, side)).save(buffer, "PNG", optimize=False)
        return buffer.getvalue()

    return png


@pytest.fixture
def empty_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder

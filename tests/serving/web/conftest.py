"""A browser that opens the page of a real service, as a user does."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.serving.test_server import process, wait_until_ready
from zoo.bundle import find

CIFAR = "proto_resnet20_cifar.nonl_cifar10"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the embedded CIFAR-10 model, served with a database of its own."""
    folder = tmp_path_factory.mktemp("page")
    log = folder / "log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROTOZOO_DATABASE", f"sqlite:///{folder / 'sets.sqlite'}")
        with process(find(CIFAR), folder / "empty", log) as (running, url):
            wait_until_ready(running, url, log)
            yield url


# Not of the session: Playwright's synchronous interface keeps an event loop, in which no other test can start one.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is untested: pip install playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("the page is untested: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, service: str) -> Iterator[Callable[..., Any]]:
    """visit(**options of a browser context) -> the opened page.

    Whatever a test does, the page asks no other host, breaks no rule of its policy and raises no error.
    """
    contexts, complaints = [], []

    def opened(before: Callable[[Any], object] = lambda page: None, **options: Any) -> Any:
        context = browser.new_context(base_url=service, reduced_motion="reduce", **options)
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if "Security" in line.text else None)
        page.on("request", lambda sent: None if _own(sent.url, service) else complaints.append(sent.url))
        before(page)
        page.goto("/")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints


def _own(url: str, service: str) -> bool:
    return url.startswith((f"{service}/", f"blob:{service}/", "data:"))


@pytest.fixture(scope="session")
def pictures() -> dict[str, bytes]:
    """Real photographs, as files: two of a flower, two of a temple."""
    samples = pytest.importorskip("sklearn.datasets", reason="the pictures are scikit-learn's")
    flower, temple = (Image.fromarray(samples.load_sample_image(name)) for name in ("flower.jpg", "china.jpg"))
    return {
        "flower.jpg": jpeg(flower.crop((150, 40, 470, 360))),
        "flower near.jpg": jpeg(flower.crop((180, 70, 440, 330))),
        "temple.jpg": jpeg(temple.crop((0, 0, 427, 427))),
        "temple's side.jpg": jpeg(temple.crop((213, 0, 640, 427))),
    }


def jpeg(picture: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


@pytest.fixture
def keep(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., None]:
    """keep(page, name) writes a screenshot into the test's folder, and to $PROTOZOO_SCREENSHOTS where that is set."""

    def kept(page: Any, name: str) -> None:
        picture = page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
        if "PROTOZOO_SCREENSHOTS" in os.environ:
            folder = Path(os.environ["PROTOZOO_SCREENSHOTS"])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.png").write_bytes(picture)

    return kept

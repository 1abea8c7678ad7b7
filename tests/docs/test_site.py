"""The pages build without a warning, and ask no other host for anything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

NAMES = ("training.losses.nonl", "zoo.load", "zoo.Classifier.predict", "serving.client.Client.enrol")


# One test, since a build takes a quarter of a minute and workers share none.
def test_the_site_is_whole_and_asks_no_other_host(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="pip install 'protozoo[dev]'")
    site = tmp_path / "html"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", str(tmp_path / "cache")]
    built = subprocess.run([*command, str(ROOT / "docs"), str(site)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = {path.relative_to(site).as_posix(): path.read_text() for path in site.rglob("*.html")}
    assert {f"{page.stem}.html" for page in PAGES if page.name != "README.md"} <= pages.keys()
    for name, text in pages.items():
        assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"(?:https?:)?//", text), name
    assert pages["objectives.html"].count("<math") > 10
    assert "\\frac" not in pages["objectives.html"]
    reference = "".join(text for name, text in pages.items() if name.startswith("api/"))
    assert [name for name in NAMES if f'id="{name}"' not in reference] == []

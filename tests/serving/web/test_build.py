"""The files in serving/static are what the sources in serving/web build to, byte for byte."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import serving

PACKAGE = Path(serving.__file__).resolve().parent
BROKEN = "run `npm ci && npm run build` in serving/web and commit serving/static"

pytestmark = [
    pytest.mark.web_build,
    pytest.mark.skipif(shutil.which("npm") is None, reason="the build is untested: install Node 20 or newer with npm"),
]


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """The sources in a folder of their own, with what they need."""
    folder = tmp_path_factory.mktemp("build") / "web"
    shutil.copytree(PACKAGE / "web", folder, ignore=shutil.ignore_patterns("node_modules"))
    npm(folder, "ci", "--no-audit", "--no-fund")
    return folder


def npm(folder, *arguments):
    done = subprocess.run(
        ["npm", *arguments], cwd=folder, env={**os.environ, "CI": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_sources_build_to_the_files_that_are_served(web):
    npm(web, "run", "build")
    built, served = contents(web.parent / "static"), contents(PACKAGE / "static")
    assert sorted(built) == sorted(served), BROKEN
    assert built == served, BROKEN


def test_the_page_s_own_tests_pass(web):
    npm(web, "test")

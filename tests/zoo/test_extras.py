"""Each extra brings what the README's table says that it is for, and no more is needed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NAME = "proto_resnet20_cifar.nonl_digits"
DIGITS = ["--data", "digits"]
ROOT = Path(__file__).resolve().parents[2]


def alone(extras: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.zoo.alone", extras, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("extras", "words", "told"),
    [
        ("", ["list", "--pretrained"], NAME),
        ("zoo", ["list"], "proto_resnet20_cifar\n"),
        ("train", ["study", "digits", "--out", "OUT", "--dry-run"], "digits.nonl, seed 0: to train"),
        ("train", ["train", "ce_digits", *DIGITS, "--out", "OUT", "--epochs", "1", "--track", "none"], "stands in"),
        ("train,export", ["fit", NAME, *DIGITS, "--out", "OUT"], "written to"),
        ("export", ["verify", NAME], "verified"),
        ("export", ["card", NAME, "--check"], "is the card of"),
    ],
)
def test_what_an_extra_is_for_works_with_it_alone(extras: str, words: list[str], told: str, tmp_path: Path) -> None:
    done = alone(extras, *[word.replace("OUT", str(tmp_path / "out")) for word in words])
    assert done.returncode == 0, done.stderr
    assert told in done.stdout


@pytest.mark.parametrize(
    ("extras", "words", "package"),
    [
        ("", ["list"], "timm"),
        ("zoo", ["study", "digits", "--out", "OUT"], "pydantic"),
        ("train", ["fit", NAME, *DIGITS, "--out", "OUT"], "onnx"),
        ("train", ["verify", NAME], "onnx"),
        ("", ["sets", "list", "--database", "sqlite:///OUT"], "starlette"),
    ],
)
def test_what_is_lacking_is_said_before_the_work(extras: str, words: list[str], package: str, tmp_path: Path) -> None:
    done = alone(extras, *[word.replace("OUT", str(tmp_path / "out")) for word in words])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"protozoo: this command needs the package {package}: pip install 'protozoo[all]'\n"


def test_the_service_needs_no_other_extra_to_open_its_database(tmp_path: Path) -> None:
    done = alone("serve", "sets", "list", "--database", f"sqlite:///{tmp_path / 'none'}")
    assert done.returncode == 2
    assert "there is no such database" in done.stderr

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.bundle import Bundle


@pytest.mark.slow
def test_the_demo_goes_the_whole_way_and_is_right_about_the_digits(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PROTOZOO_")}
    done = subprocess.run(
        [sys.executable, "-m", "zoo", "demo", "--out", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    commands = re.findall(r"^\$ protozoo (\w+)", done.stdout, re.MULTILINE)
    assert commands == ["train", "train", "export", "verify", "serve"]
    accuracy = re.search(r"^accuracy +([\d.]+)% +([\d.]+)%$", done.stdout, re.MULTILINE)
    assert accuracy is not None
    assert min(map(float, accuracy.groups())) > 95
    assert "\nverified" in done.stdout
    answers = re.findall(r"^  a (\d): nearest (\d) at [\d.]+ degrees, ", done.stdout, re.MULTILINE)
    assert len(answers) == 6
    assert sum(label == nearest for label, nearest in answers) >= 5
    assert "service stopped with status 0" in done.stdout
    assert Bundle.open(folder / "bundle").name == "proto_resnet20_cifar.nonl_digits"
    assert "Warning" not in done.stdout + done.stderr

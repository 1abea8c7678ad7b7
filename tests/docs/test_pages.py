"""What the pages show is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import DATA, PAGES, ROOT, RUN, blocks, run_page, same
from tests.docs.shell import Shell, check_options, commands, console
from zoo.bundle import Bundle, ProtozooError, embedded_names, find

pytestmark = pytest.mark.filterwarnings("ignore:a batch of one class")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_page_runs(page: Path, shell: Shell) -> None:
    run_page(page, shell)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    without = [
        f"{page.name}:{block.line} ({block.language or 'no language'})"
        for block in blocks(page)
        if block.language not in (*RUN, *DATA) and block.excuse is None
    ]
    assert not without
    reasons = re.findall(r"<!--+ *skip:.*", page.read_text())
    assert len(reasons) == sum(block.excuse is not None for block in blocks(page)), (
        f"a skip without a reason: {reasons}"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_that_are_not_run_exist(page: Path) -> None:
    for block in blocks(page):
        if block.excuse is not None and block.language == "sh":
            for line in commands(block.source):
                check_options(line)
        if block.excuse is not None and block.language == "console":
            for line, _ in console(block.source):
                check_options(line)
    for line in re.findall(r"`(protozoo [a-z][^`]*)`", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
        check_options(" ".join(line.split()))


@pytest.mark.parametrize("name", embedded_names())
def test_the_bundle_format_names_every_file_and_key(name: str) -> None:
    bundle, text = Bundle.open(find(name)), (ROOT / "docs" / "bundle.md").read_text()
    inner = [bundle.record[key] for key in ("prototypes", "readout", "weights", "data", "cost", "metrics", "open_set")]
    rows = [bundle.record["onnx"][0], bundle.record["open_set"]["thresholds"][0], *bundle.record.get("repeats", ())[:1]]
    keys = set(bundle.config).union(bundle.record, *inner, *rows, bundle.record["metrics"]["test_calibration"])
    assert [key for key in sorted(keys | set(bundle.sha256)) if f"`{key}`" not in text] == []


def test_an_option_that_does_not_exist_is_found() -> None:
    for line in (
        "protozoo train x --data y --epoks 3",
        "protozoo trian x",
        "accelerate launch -m training x --epoks 3",
    ):
        with pytest.raises(Exception, match="No such"):
            check_options(line)


@pytest.mark.parametrize(
    "text",
    [
        "```python\n1 + 1\n# 3\n```\n",
        "```console\n$ echo one\ntwo\n```\n",
        "```sh\nprotozoo list no-such-model\n```\n",
        "```sh\nls no-such-file\n```\n",
        "<!-- invisible-code-block: python\nvalue = 2\n-->\n\n```python\nassert value == 1\n```\n",
    ],
)
def test_a_page_that_is_wrong_fails(text: str, shell: Shell, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises((AssertionError, ProtozooError)):
        run_page(page, shell)
    page.write_text(f'<!-- skip: next "wrong" -->\n{text}' if text.startswith("```") else "")
    run_page(page, shell)


def test_a_number_is_compared_to_its_digits() -> None:
    assert same("a 0.97, b ...", "a 0.9652, b 3")
    assert not same("a 0.97", "a 0.942")
    assert not same("a 0.97", "b 0.97")

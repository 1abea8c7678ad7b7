"""Pages of Markdown as Sybil's documents: every fenced block, what excuses it, and how it is run."""

from __future__ import annotations

import ast
import doctest
import io
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import SkipTest

from sybil import Document, Example, Region
from sybil.parsers.abstract.lexers import LexerCollection
from sybil.parsers.markdown import SkipParser
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, FencedCodeBlockLexer

from tests.docs.shell import Shell, commands, console

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
RUN = ("python", "sh", "console")
DATA = ("yaml", "json", "text", "{toctree}")  # is shown, and does nothing

_EXCUSE = re.compile(r"<!-- skip: next \"([^\n\"]+)\" -->\s*$")
_UNCOMPARED = re.compile(r"<!-- output not compared: [^\n]+-->\s*$")
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+\.(\d+)")
_LENIENT = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    """A fenced block; ``excuse`` is the reason that stands before one that is not run."""

    language: str
    source: str
    line: int
    excuse: str | None


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order, of any language or none."""
    text = page.read_text()
    found: list[Block] = []
    for region in FencedCodeBlockLexer("[^\n]*")(Document(text, str(page))):
        excuse = _EXCUSE.search(text[: region.start])
        line = text.count("\n", 0, region.start) + 1
        language, source = (str(region.lexemes[name]) for name in ("language", "source"))
        found.append(Block(language.strip(), source, line, excuse[1] if excuse else None))
    return found


def same(want: str, got: str) -> bool:
    """Whether an output is the one that is shown: numbers to the digits that are shown, ``...`` for anything."""
    for shown, true in zip(_NUMBER.finditer(want), _NUMBER.finditer(got), strict=False):
        if abs(float(shown[0]) - float(true[0])) <= 1.01 * 10.0 ** -len(shown[1]):
            got = got.replace(true[0], shown[0], 1)
    return doctest.OutputChecker().check_output(f"{want.strip()}\n", f"{got.strip()}\n", _LENIENT)


class Blocks:
    """Sybil's parser of the blocks that are run.

    A comment ``invisible-code-block: python`` with a source prepares what the visible ones need.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._lexers = LexerCollection(
            [
                FencedCodeBlockLexer("|".join(RUN), {"language": "arguments", "source": "source"}),
                DirectiveInHTMLCommentLexer("invisible-code-block", "|".join(RUN)),
            ]
        )

    def __call__(self, document: Document) -> Iterable[Region]:
        """The regions of a page."""
        runners = {"python": self._python, "sh": self._sh, "console": self._console}
        for region in self._lexers(document):
            region.parsed, region.evaluator = region.lexemes["source"], runners[region.lexemes["arguments"]]
            yield region

    def _python(self, example: Example) -> None:
        source = self._shell.at_home(str(example.parsed))
        compare = not _UNCOMPARED.search(example.document.text[: example.region.start])
        run_python(source, example.namespace, example.path, example.line if compare else None)

    def _sh(self, example: Example) -> None:
        for line in commands(example.parsed):
            self._shell.run(line)

    def _console(self, example: Example) -> None:
        for line, want in console(example.parsed):
            got = self._shell.run(line)
            assert same(want, got), f"{example.path}:{example.line}: {line}\nprinted\n{got}\nand not\n{want}"


def run_python(source: str, namespace: dict[str, Any], path: str, line: int | None) -> None:
    """Run a block statement by statement; with ``line``, comments right under what prints, or has a value, are that."""
    lines = source.splitlines()
    for statement in ast.parse(source).body:
        printed = io.StringIO()
        value = None
        with redirect_stdout(printed):
            if isinstance(statement, ast.Expr):
                value = eval(compile(ast.Expression(statement.value), path, "eval"), namespace)
            else:
                exec(compile(ast.Module([statement], []), path, "exec"), namespace)
        want = _comments_after(lines, statement.end_lineno or 0)
        got = printed.getvalue() + ("" if value is None else repr(value))
        if line is not None and want and (got or isinstance(statement, ast.Expr)):
            assert same(want, got), f"{path}:{line + statement.lineno}: {got}\nis not\n{want}"


def _comments_after(lines: Sequence[str], end: int) -> str:
    shown: list[str] = []
    for line in lines[end:]:
        if not line.startswith("#"):
            break
        shown.append(line.removeprefix("#"))
    return "\n".join(shown)


def run_page(page: Path, shell: Shell) -> None:
    """Run every block of a page in order; those with ``skip: next`` before them are left out.

    Raises:
        Exception: whatever a block raises, or an AssertionError where it prints something else than what is shown.
    """
    for example in Document.parse(str(page), Blocks(shell), SkipParser()):
        try:
            example.evaluate()
        except SkipTest:
            continue
        except Exception as error:
            if sys.version_info >= (3, 11):
                error.add_note(f"in {page.name}, line {example.line}")
            raise

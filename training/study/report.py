"""The results of a study as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from training.study.claims import VERDICTS
from training.study.grid import Grid, Table


def report(grid: Grid, results: Mapping[str, Any]) -> str:
    """The claims, theirs and ours side by side, then tables of means and standard deviations over seeds."""
    parts = [f"# {grid.name}", *filter(None, [grid.about.strip()]), *_shortened(results)]
    if results["claims"]:
        parts += ["## Claims", _counted(results["claims"]), results["rule"], _claims(results["claims"])]
    parts += ["## Numbers", "Means and standard deviations (of the sample) over seeds."]
    for table in grid.tables:
        rows = _rows(results["cells"], table)
        if rows:
            head = [
                f"| | seeds | {' | '.join(table.columns.values())} |",
                f"| --- |{' ---: |' * (len(table.columns) + 1)}",
            ]
            parts += [f"### {table.title}", "\n".join([*head, *rows])]
    return "\n\n".join(parts) + "\n"


def _shortened(results: Mapping[str, Any]) -> list[str]:
    """What was left of the grid."""
    factor, seeds = results.get("epochs_factor", 1), results.get("seeds")
    trained = [f"for {factor:g} of the grid's epochs"] if factor != 1 else []
    trained += [f"with at most {seeds} of its seeds"] if seeds is not None else []
    return [f"Trained {' and '.join(trained)}."] if trained else []


def _rows(cells: Mapping[str, Any], table: Table) -> list[str]:
    rows = []
    for name, cell in cells.items():
        found = [cell["metrics"].get(metric) for metric in table.columns]
        done = max((len(values["values"]) for values in found if values is not None), default=0)
        if done:
            texts = [_cell(values, done, table.decimals) for values in found]
            rows.append(f"| {name} | {done} of {len(cell['seeds'])} | {' | '.join(texts)} |")
    return rows


def _cell(values: Mapping[str, Any] | None, done: int, decimals: int | None) -> str:
    if values is None:
        return ""
    count = len(values["values"])
    return _spread(values, decimals) + (f" ({count} of them)" if count < done else "")


def _spread(values: Mapping[str, Any], decimals: int | None = None) -> str:
    """Mean and deviation: two decimals of what is ten or more, else four, and of what is tiny two digits.

    What was reached by the first evaluation may have been reached sooner: ≤.
    """
    size = abs(values["mean"])
    form = ".2f" if size >= 10 else ".4f" if size >= 0.001 or not size else ".1e"
    if decimals is not None:
        form = f".{decimals}f"
    if values.get("at_most"):
        return f"≤ {values['mean']:.2f}"
    text = format(values["mean"], form)
    return text if values["std"] is None else f"{text} ± {format(values['std'], form)}"


def _counted(claims: list[Mapping[str, Any]]) -> str:
    verdicts = Counter(claim["verdict"] for claim in claims)
    counts = ", ".join(f"{verdict} {verdicts[verdict]}" for verdict in VERDICTS if verdicts[verdict])
    return f"The verdicts of {len(claims)} claims: {counts}."


def _claims(claims: list[Mapping[str, Any]]) -> str:
    lines = ["| claim | source | theirs | ours | verdict |", "| --- | --- | --- | --- | --- |"]
    for claim in claims:
        verdict = claim["verdict"]
        because = f", because {claim['because']}" if verdict == "not tested" else f" ({claim['because']})"
        cells = [claim["claim"], claim["source"], claim["theirs"], _ours(claim), f"{verdict}{because}"]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def _ours(claim: Mapping[str, Any]) -> str:
    return "; ".join(f"{row['metric']} of {row['cell']} {_spread(row)}" for row in claim.get("ours", ()))

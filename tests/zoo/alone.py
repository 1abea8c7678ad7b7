"""``python -m tests.zoo.alone EXTRA[,EXTRA] WORD...``: `protozoo` where what these extras do not bring is not there."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, PackageNotFoundError, distributions, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def brought(extras: list[str]) -> set[str]:
    """Distributions that an installation with these extras has."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [("protozoo", frozenset(extras))]
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in found:
            continue
        found.add((name, wanted))
        try:
            lines = requires(name) or []
        except PackageNotFoundError:  # of another platform
            continue
        for requirement in map(Requirement, lines):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*wanted, "")):
                waiting.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return {str(name) for name, _ in found}


def top_level(distribution: Distribution) -> set[str]:
    """Names that a distribution's modules are imported by."""
    parts = [file.parts for file in distribution.files or () if file.suffix in (".py", ".so")]
    return {path[0] if len(path) > 1 else path[0].partition(".")[0] for path in parts}


def hide(kept: set[str]) -> None:
    """Make the modules of all other distributions as if they were not installed."""
    modules: dict[bool, set[str]] = {True: set(), False: set()}  # kept or not -> their names
    for distribution in distributions():
        modules[str(canonicalize_name(distribution.name)) in kept].update(top_level(distribution))
    hidden = modules[False] - modules[True]
    find_spec = PathFinder.find_spec

    def found(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return None if name.partition(".")[0] in hidden else find_spec(name, path, target)  # type: ignore[arg-type]

    PathFinder.find_spec = found  # type: ignore[method-assign, assignment]
    for name in [name for name in sys.modules if name.partition(".")[0] in hidden]:
        del sys.modules[name]


if __name__ == "__main__":
    extras = sys.argv.pop(1)
    hide(brought(extras.split(",") if extras else []))
    from zoo.cli import main

    main()

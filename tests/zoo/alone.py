"""``python -m tests.zoo.alone EXTRA[,EXTRA] WORD...``: `protozoo` where what these extras do not bring is not there."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

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


def hide(kept: set[str]) -> None:
    """Make the modules of all other distributions as if they were not installed."""
    hidden = {
        module
        for module, names in packages_distributions().items()
        if not kept & {str(canonicalize_name(name)) for name in names}
    }
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

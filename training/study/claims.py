"""Claims as inequalities over means of cells, and whether ours bear them out.

A test compares two expressions, for example ``mean(accuracy, cifar10.nonl) - mean(accuracy, cifar10.ce) > 1``: numbers,
``mean(METRIC, CELL)`` over the seeds of a cell, ``largest_cosine(GENERATOR, K, d)`` of prototypes without a training,
``+ - * /``, ``abs``, ``min`` and ``max``, and one of ``> >= < <=``. Instead of METRIC there may be ``+ - * /`` of
metrics and numbers, of which each seed has its value: ``mean(fixed_seconds / linear_seconds, CELL)`` is not disturbed
by a seed that ran on a slower machine.

The rule: its margin is the side that is to be larger, less the other. The margin's standard error is what moving each
mean by its own standard error (deviation over seeds / sqrt of their number) changes in it, added in quadrature. The
claim *holds* where the margin is larger than twice that, else it *does not hold here*, and it is said where the margin
has the right sign but lies within the deviation. Where a cell has one seed its deviation is not known: by what error
there is, the claim *holds with one seed* or *does not hold with one seed*.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from training.study.prototypes import GENERATORS, Prototypes, largest_cosine
from zoo.errors import ProtozooError

_FUNCTIONS: dict[str, Callable[..., float]] = {"abs": abs, "min": min, "max": max}
_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}
_LARGER_LEFT = (ast.Gt, ast.GtE)
_COMPARISONS = (*_LARGER_LEFT, ast.Lt, ast.LtE)

VERDICTS = ("holds", "holds with one seed", "does not hold here", "does not hold with one seed", "not tested")

Quantity = tuple[str, str]
"""A metric, or an expression of metrics, and a cell."""


@dataclass(frozen=True)
class Inequality:
    """A test as it was written, and its parts."""

    text: str
    left: ast.expr
    right: ast.expr
    comparison: type[ast.cmpop]

    def margin(self, means: Mapping[Quantity, float]) -> float:
        """The side that is to be larger, less the other."""
        difference = _value(self.left, means) - _value(self.right, means)
        return difference if self.comparison in _LARGER_LEFT else -difference

    def met(self, means: Mapping[Quantity, float]) -> bool:
        """Whether the inequality is true."""
        margin = self.margin(means)
        return margin > 0 or (margin == 0 and self.comparison in (ast.GtE, ast.LtE))


def parse_test(text: str) -> Inequality:
    """Read a test.

    Raises:
        ProtozooError: it is not of the form above.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ProtozooError(f"the test {text!r} cannot be read: {error.msg}") from error
    if not isinstance(tree, ast.Compare) or len(tree.ops) != 1 or not isinstance(tree.ops[0], _COMPARISONS):
        raise ProtozooError(f"the test {text!r} must be one comparison by >, >=, < or <=")
    test = Inequality(text.strip(), tree.left, tree.comparators[0], type(tree.ops[0]))
    for side in (test.left, test.right):
        _check(side, text)
    return test


def quantities_of(test: Inequality) -> tuple[Quantity, ...]:
    """What a test takes the means of, each once, in its order."""
    return tuple(dict.fromkeys(found for side in (test.left, test.right) for found in _quantities(side)))


def cells_of(test: Inequality) -> tuple[str, ...]:
    """Cells that a test names."""
    return tuple(dict.fromkeys(cell for _, cell in quantities_of(test)))


def metrics_of(quantity: Quantity) -> tuple[str, ...]:
    """Metrics that a quantity is made of."""
    found = (node.id for node in ast.walk(_expression(quantity)) if isinstance(node, ast.Name))
    return tuple(dict.fromkeys(found))


def by_seed(quantity: Quantity, metrics: Mapping[str, Mapping[int, float]]) -> dict[int, float]:
    """A quantity's value of every seed that has all its metrics.

    Raises:
        ZeroDivisionError: of a seed a denominator is zero.
    """
    names, expression = metrics_of(quantity), _expression(quantity)
    seeds = [seed for seed in metrics[names[0]] if all(seed in metrics[name] for name in names)]
    return {seed: _of_seed(expression, {name: metrics[name][seed] for name in names}) for seed in seeds}


def _expression(quantity: Quantity) -> ast.expr:
    return ast.parse(quantity[0], mode="eval").body


def _of_seed(node: ast.expr, metrics: Mapping[str, float]) -> float:
    if isinstance(node, ast.Name):
        return metrics[node.id]
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]
    assert isinstance(node, ast.BinOp)
    return _OPERATORS[type(node.op)](_of_seed(node.left, metrics), _of_seed(node.right, metrics))


def prototypes_of(test: Inequality) -> tuple[Prototypes, ...]:
    """Prototypes without a training that a test takes the largest cosines of, each once, in its order."""
    nodes = (node for side in (test.left, test.right) for node in ast.walk(side))
    found = [_prototypes(node) for node in nodes if isinstance(node, ast.Call) and _name(node) == "largest_cosine"]
    return tuple(dict.fromkeys(found))


def judge(test: Inequality, seeds: Mapping[Quantity, Mapping[int, float]]) -> dict[str, Any]:
    """Whether a test holds.

    Args:
        test: of :func:`parse_test`.
        seeds: of each quantity its value by seed, not empty.

    Returns:
        "verdict" (of ``VERDICTS``; "with one seed" where a cell has no more, "not tested" where a denominator is zero),
        "because", "margin", "margin_error" (its standard error; None where no cell has two seeds), and "ours", of each
        quantity its "metric", "cell", "mean", "std" (None of one seed) and "seeds" (0 of prototypes without a training,
        whose "cell" says how they are made).
    """
    ours = [_summary(quantity, seeds[quantity]) for quantity in quantities_of(test)]
    alone = any(row["seeds"] == 1 for row in ours)
    means = {(row["metric"], row["cell"]): row["mean"] for row in ours}
    errors = {
        (row["metric"], row["cell"]): row["std"] / math.sqrt(row["seeds"]) for row in ours if row["std"] is not None
    }
    ours += [_untrained(prototypes) for prototypes in prototypes_of(test)]
    try:
        margin = test.margin(means)
        error = _margin_error(test, means, errors) if errors else None
    except ZeroDivisionError:
        return {"verdict": "not tested", "because": "a denominator is zero", "ours": ours}
    verdict, because = _verdict(test.met(means), margin, error, alone=alone)
    return {"verdict": verdict, "because": because, "margin": margin, "margin_error": error, "ours": ours}


def _verdict(met: bool, margin: float, error: float | None, *, alone: bool) -> tuple[str, str]:
    known = "" if error is None else f", standard error {error:.2g}"
    one = "; a cell has one seed, so its deviation is not known" if alone else ""
    sure = met and (not error or margin > 2 * error)
    within = ": within the deviation over seeds" if met and not sure else ""
    yes, no = ("holds with one seed", "does not hold with one seed") if alone else ("holds", "does not hold here")
    return (yes if sure else no), f"margin {margin:+.4g}{known}{one}{within}"


def _summary(quantity: Quantity, values: Mapping[int, float]) -> dict[str, Any]:
    numbers = list(values.values())
    return {
        "metric": quantity[0],
        "cell": quantity[1],
        "mean": mean(numbers),
        "std": stdev(numbers) if len(numbers) > 1 else None,
        "seeds": len(numbers),
    }


def _untrained(prototypes: Prototypes) -> dict[str, Any]:
    value = largest_cosine(*prototypes)
    name = f"{prototypes[0]}({prototypes[1]}, {prototypes[2]})"
    return {"metric": "largest_cosine", "cell": name, "mean": value, "std": None, "seeds": 0}


def _margin_error(test: Inequality, means: Mapping[Quantity, float], errors: Mapping[Quantity, float]) -> float:
    centre = test.margin(means)
    squares = []
    for quantity, error in errors.items():
        moved = [test.margin({**means, quantity: means[quantity] + sign * error}) for sign in (1, -1)]
        squares.append(max(abs(value - centre) for value in moved) ** 2)
    return math.sqrt(sum(squares))


def _value(node: ast.expr, means: Mapping[Quantity, float]) -> float:
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.UnaryOp):
        return -_value(node.operand, means)
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, means), _value(node.right, means))
    assert isinstance(node, ast.Call)
    if _name(node) == "mean":
        return means[_quantity(node)]
    if _name(node) == "largest_cosine":
        return largest_cosine(*_prototypes(node))
    return _FUNCTIONS[_name(node)](*(_value(argument, means) for argument in node.args))


def _quantities(node: ast.expr) -> Iterator[Quantity]:
    for child in ast.walk(node):
        if isinstance(child, ast.Call) and _name(child) == "mean":
            yield _quantity(child)


def _quantity(node: ast.Call) -> Quantity:
    return ast.unparse(node.args[0]), ast.unparse(node.args[1])


def _prototypes(node: ast.Call) -> Prototypes:
    return ast.unparse(node.args[0]), int(ast.unparse(node.args[1])), int(ast.unparse(node.args[2]))


def _name(node: ast.Call) -> str:
    return ast.unparse(node.func)


def _is_of_metrics(node: ast.expr) -> bool:
    return _has_values(node) and any(isinstance(part, ast.Name) for part in ast.walk(node))


def _has_values(node: ast.expr) -> bool:
    match node:
        case ast.Name() | ast.Constant(value=int() | float()):
            return True
        case ast.BinOp(op=operator) if type(operator) in _OPERATORS:
            return _has_values(node.left) and _has_values(node.right)
    return False


def _check(node: ast.expr, text: str) -> None:
    for part in _parts(node, text):
        _check(part, text)


def _parts(node: ast.expr, text: str) -> Sequence[ast.expr]:
    """What a valid expression is made of, to be checked in turn."""
    match node:
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            return ()
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return (operand,)
        case ast.BinOp(op=operator) if type(operator) in _OPERATORS:
            return (node.left, node.right)
        case ast.Call(func=ast.Name(id="mean"), args=[metric, ast.Name() | ast.Attribute()], keywords=[]) if (
            _is_of_metrics(metric)
        ):
            return ()
        case ast.Call(
            func=ast.Name(id="largest_cosine"),
            args=[ast.Name(id=generator), ast.Constant(value=int()), ast.Constant(value=int())],
            keywords=[],
        ) if generator in GENERATORS:
            return ()
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _FUNCTIONS and node.args:
            return node.args
    raise ProtozooError(
        f"the test {text!r} has {ast.unparse(node)!r}, which is neither a number, mean(METRIC, CELL), "
        f"largest_cosine(GENERATOR, K, d) of {' or '.join(GENERATORS)}, + - * / nor one of {', '.join(_FUNCTIONS)}"
    )

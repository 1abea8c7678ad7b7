"""Tests of claims: inequalities over means of cells.

A test compares two expressions, for example ``mean(accuracy, cifar10.nonl) - mean(accuracy, cifar10.ce) > 1``: numbers,
``mean(METRIC, CELL)`` over the seeds of a cell, ``largest_cosine(GENERATOR, K, d)`` of prototypes without a training,
``+ - * /``, ``abs``, ``min`` and ``max``, and one of ``> >= < <=``. Instead of METRIC there may be ``+ - * /`` of
metrics and numbers, of which each seed has its value: ``mean(fixed_seconds / linear_seconds, CELL)`` is not disturbed
by a seed that ran on a slower machine, and two measurements of the same networks are compared so, ``mean(fixed -
linear, CELL) > 0``, for they are not independent.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

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

        def leaf(node: ast.expr) -> float:
            assert isinstance(node, ast.Call)
            return means[_quantity(node)] if _name(node) == "mean" else largest_cosine(*_prototypes(node))

        difference = _value(self.left, leaf) - _value(self.right, leaf)
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

    def of(seed: int) -> float:
        return _value(expression, lambda node: metrics[ast.unparse(node)][seed])

    return {seed: of(seed) for seed in metrics[names[0]] if all(seed in metrics[name] for name in names)}


def _expression(quantity: Quantity) -> ast.expr:
    return ast.parse(quantity[0], mode="eval").body


def prototypes_of(test: Inequality) -> tuple[Prototypes, ...]:
    """Prototypes without a training that a test takes the largest cosines of, each once, in its order."""
    nodes = (node for side in (test.left, test.right) for node in ast.walk(side))
    found = [_prototypes(node) for node in nodes if isinstance(node, ast.Call) and _name(node) == "largest_cosine"]
    return tuple(dict.fromkeys(found))


def _value(node: ast.expr, leaf: Callable[[ast.expr], float]) -> float:
    """A number; ``leaf`` gives that of what is neither a number nor computed."""
    match node:
        case ast.Constant():
            return float(node.value)  # type: ignore[arg-type]
        case ast.UnaryOp():
            return -_value(node.operand, leaf)
        case ast.BinOp():
            return _OPERATORS[type(node.op)](_value(node.left, leaf), _value(node.right, leaf))
        case ast.Call(func=ast.Name(id=name)) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_value(argument, leaf) for argument in node.args))
    return leaf(node)


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
        case ast.Call(func=ast.Name(id=name), keywords=[], args=[_, *others]) if name in _FUNCTIONS and bool(
            others
        ) == (name != "abs"):
            return node.args
    raise ProtozooError(
        f"the test {text!r} has {ast.unparse(node)!r}, which is neither a number, mean(METRIC, CELL), "
        f"largest_cosine(GENERATOR, K, d) of {' or '.join(GENERATORS)}, + - * /, abs of one nor min or max of several"
    )

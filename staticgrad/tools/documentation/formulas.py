"""The derivative of a function of numbers as a formula, read from the graph that ``sg.grad`` makes.

So the page cannot contradict the derivative that is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.errors import StaticgradError
from staticgrad.extend import Constant

#: Ops that formulas write as signs: the sign, and how strongly it binds.
_SIGNS: Final = {"add": ("+", 1), "sub": ("-", 1), "mul": ("*", 2), "div": ("/", 2)}
_UNARY, _ATOM = 3, 4
_LONGEST: Final = 9  # ops of a formula that a reader takes in
_LARGEST: Final = 40  # nodes before they are simplified; beyond them none of these is left
_SHORTENED: Final = "fixpoint(simplify,cse,fold),dce"


def derivatives(function: Callable[..., Any], operands: tuple[str, ...]) -> dict[str, str]:
    """Return operand -> the derivative of ``function`` with respect to it, as text.

    Empty where the function is not one of numbers, element by element, where its derivatives are
    constants or undefined, and where a formula has more than nine operations, more than one
    ``where``, or an op without a public name.

    >>> derivatives(sg.arctan2, ("y", "x"))
    {'y': 'x / (x * x + y * y)', 'x': '-(y / (x * x + y * y))'}
    >>> derivatives(sg.floor, ("x",))
    {}
    """
    if not operands:
        return {}
    numbers = [sg.input(name, (), "float64") for name in operands]
    try:
        if not _by_elements(function(*[sg.input(name, ("n",), "float64") for name in operands])):
            return {}
        result = function(*numbers)
        slopes = dict(zip(operands, sg.grad(result, numbers), strict=True))
        graph = sg.Graph(slopes)
        if len(graph.nodes) > _LARGEST:
            return {}
        graph, _ = pipeline(_SHORTENED).run(graph)
    except (StaticgradError, TypeError, ValueError):
        return {}
    op_names = [node.op.name for node in graph.nodes if node.args]
    if len(op_names) > _LONGEST or op_names.count("where") > 1:
        return {}
    texts: dict[Any, tuple[str, int]] = {}
    for node in graph.nodes:
        text = _write_node(node, texts)
        if text is None:
            return {}
        texts[node] = text
    formulas = {name: texts[value.node][0] for name, value in graph.outputs.items()}
    return formulas if op_names else {}


def _by_elements(result: Any) -> bool:
    """Return whether a result comes from the inputs by elementwise ops alone."""
    if not isinstance(result, sg.Value):
        return False
    nodes = sg.Graph({"result": result}).nodes
    return all(not node.args or node.op.elementwise for node in nodes)


def _write_node(node: Any, texts: dict[Any, tuple[str, int]]) -> tuple[str, int] | None:
    """Format a graph node as a formula, with its operator's precedence; None if unsupported."""
    op, name = node.op, node.op.name
    if isinstance(op, Constant):
        number = float(op.data.array)
        return f"{number:.12g}", _ATOM if number >= 0 else _UNARY
    if not node.args:
        return node.label, _ATOM
    operands = [texts[value.node] for value in node.args]
    if name in _SIGNS and len(operands) == 2:
        sign, binds = _SIGNS[name]
        left, right = operands
        right_binds = binds + (sign in "-/")  # a - (b - c), a / (b * c)
        return f"{_within(left, binds)} {sign} {_within(right, right_binds)}", binds
    if name == "neg":
        return f"-{_within(operands[0], _UNARY)}", _UNARY
    options = dict(op.attributes())
    named = options.pop("function", name)
    if options or not any(hasattr(module, named) for module in (sg, sg.special, sg.nn)):
        return None
    return f"{named}({', '.join(text for text, _ in operands)})", _ATOM


def _within(text: tuple[str, int], binds: int) -> str:
    """Return the text in parentheses where it binds less strongly than its place asks."""
    return text[0] if text[1] >= binds else f"({text[0]})"

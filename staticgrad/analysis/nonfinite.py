"""A graph that finds the first operation of another graph to make a NaN or an infinity.

``Probe`` answers for every floating value in one run: has an element of it become NaN or infinite
although what it was computed from was finite? ``evidence`` and ``accusation`` say more of the one
that has. ``find_counted_elements`` says which elements count for the results: an element that every
``where`` behind it discards does not count, whatever its value, nor does an operand of a test for
finiteness.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, Literal

import numpy as np

from staticgrad.analysis.liveness import ValueKey
from staticgrad.errors import NonFiniteError, Related
from staticgrad.functions.aggregate import sum as total
from staticgrad.language.ir.graph import (
    Constant,
    Graph,
    Input,
    Node,
    Parameter,
    ParameterLeaf,
    Symbolic,
)
from staticgrad.language.ir.op import Array, Op
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import isfinite, isnan
from staticgrad.language.ops.logic import logical_and, logical_not, logical_or
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dtype import as_dtype
from staticgrad.support.records import NamedTuple, dataclass
from staticgrad.support.source import Location

#: What is looked for: what is not finite, made of finite numbers; or NaNs made of no NaN.
Kind = Literal["nonfinite", "nan"]


@dataclass(frozen=True)
class Suspect:
    """A value whose operation may make bad numbers.

    It has where ``is_made`` holds, if that is anywhere (``answer``, a count) and the
    answers ``clean`` are all 0.
    """

    value: Symbolic
    kind: Kind
    is_made: Value
    answer: str
    clean: tuple[str, ...]


class Probe:
    """The suspects of a graph, and the ``graph`` that counts their bad elements (None: no suspect).

    A value is guilty where an element of it that counts (see ``find_counted_elements``) is NaN or
    infinite and the operation's operands are finite: of an elementwise operation at that element,
    of any other everywhere. The kind "nan" looks for NaNs made of operands without NaN, infinities
    or not.
    """

    def __init__(self, graph: Graph, kind: Kind = "nonfinite") -> None:
        """``graph``: what runs, after its passes."""
        self._kind, self._nodes = kind, graph.nodes
        self._good: dict[ValueKey, Value] = {}
        self._answers: dict[str, Value] = {}
        self._names: dict[ValueKey, str] = {}
        counting = find_counted_elements(graph)
        self.suspects = [
            self._add_suspect(value, counting[value.key])
            for node in graph.nodes
            if not node.is_leaf
            for value in node.values
            if value.dtype.is_float and value.key in counting
        ]
        read = {arg.key for node in graph.nodes for arg in node.args}
        leaves = [leaf for leaf in (*graph.inputs, *graph.parameters) if leaf.key in read]
        self._leaves = [self._bad(leaf) for leaf in leaves if leaf.dtype.is_float]
        roots = [value for value in graph.roots if value.dtype.is_float]
        self._roots = [self._count(f"root{i}", isnan(value)) for i, value in enumerate(roots)]
        self.graph = Graph(self._answers, name="probe") if self.suspects else None

    def guilty(
        self, answers: Mapping[str, Any], failed_line: Location | None = None
    ) -> Suspect | None:
        """Return the first node in the graph's order that made a NaN, by the answers of a run.

        ``failed_line``: the line of a lookup that failed, so that what comes after it says nothing.
        """
        following_nodes = set() if failed_line is None else self._from(failed_line)
        for suspect in self.suspects:
            if suspect.value.node in following_nodes:
                return None
            if answers[suspect.answer] and not any(answers[name] for name in suspect.clean):
                return suspect
        return None

    def _from(self, line: Location) -> set[Node]:
        """The nodes from the first one of a line on; none of those before depends on it."""
        lines = [node.origin for node in self._nodes]
        return set(self._nodes[lines.index(line) :]) if line in lines else set()

    def is_a_mystery(self, answers: Mapping[str, Any]) -> bool:
        """Return whether a result has a NaN although all feeds and parameters are finite."""
        outside = any(answers[name] for name in self._leaves)
        return not outside and any(answers[name] for name in self._roots)

    def _add_suspect(self, value: Symbolic, mask: Mask) -> Suspect:
        """Add the test if a node makes NaN or infinity of finite operands."""
        floats = [arg for arg in value.node.args if arg.dtype.is_float]
        if not value.node.op.elementwise:
            is_made_here = logical_not(self._is_good(value))
            clean = tuple(self._bad(arg) for arg in floats)
        elif floats:
            is_made_here = reduce(logical_and, map(self._is_good, floats)) > self._is_good(value)
            clean = ()
        else:
            is_made_here, clean = logical_not(self._is_good(value)), ()
        if not isinstance(mask, bool):
            is_made_here = logical_and(is_made_here, mask)
        answer = self._count(f"suspect{len(self._answers)}", is_made_here)
        return Suspect(value, self._kind, is_made_here, answer, clean)

    def _is_good(self, value: Symbolic) -> Value:
        """Per element, whether it is none of what is looked for."""
        if value.key not in self._good:
            good = value == value if self._kind == "nan" else isfinite(value)
            self._good[value.key] = good
        return self._good[value.key]

    def _bad(self, value: Symbolic) -> str:
        """The answer to how many elements are bad."""
        if value.key not in self._names:
            name = f"bad{len(self._answers)}"
            self._names[value.key] = self._count(name, logical_not(self._is_good(value)))
        return self._names[value.key]

    def _count(self, name: str, where: Value) -> str:
        """A new answer: in how many places a bool value is true."""
        self._answers[name] = total(where)
        return name


def evidence(suspect: Suspect) -> Graph:
    """Return the graph that ``accusation`` reads: the result, the bad elements, the operands."""
    operands = {f"operand{i}": arg for i, arg in enumerate(suspect.value.node.args)}
    return Graph({"result": suspect.value, "made": suspect.is_made, **operands}, name="evidence")


class Iteration(NamedTuple):
    """The iteration of a loop or branch: ``words``, as "iteration 3", the op and its
    line."""

    words: str
    op: str
    origin: Location


def accusation(
    suspect: Suspect, seen: Mapping[str, Array], iterations: Sequence[Iteration] = ()
) -> NonFiniteError:
    """Return the error for a node that made a NaN: its line, operands and first bad element."""
    node = suspect.value.node
    operands = [
        (_name(arg, i), seen[f"operand{i}"], arg.node.origin) for i, arg in enumerate(node.args)
    ]
    where = "".join(f"in {iteration.words}, " for iteration in iterations)
    related = [(iteration.op, iteration.words, iteration.origin) for iteration in iterations]
    return nonfinite_error(
        node.op, seen["result"], seen["made"], operands,
        prefix=where + derivative(node.order), kind=suspect.kind, at=node.origin, related=related,
    )  # fmt: skip


def nonfinite_error(
    op: Op, result: Array, is_bad: Array, operands: Sequence[tuple[str, Array, Location | None]],
    *, prefix: str = "", kind: Kind = "nonfinite", at: Location | None = None,
    related: Sequence[Related] = (),
) -> NonFiniteError:  # fmt: skip
    """Return the error that names an operation which made NaNs or infinities.

    ``made`` is True where an element of ``result`` is bad although its operands are not; an operand
    has a name and its line, if it has one. ``prefix`` says where in the program.
    """
    first = np.unravel_index(int(np.argmax(is_bad)), is_bad.shape)
    what = "NaN" if np.isnan(result[first]) else "an infinity"
    source = "numbers that are not NaN" if kind == "nan" else "finite numbers"
    bad = str(result[first])
    if op.elementwise:
        elements = _elements([array for _, array, _ in operands], result.shape, first)
        bad = f"{op.name}({', '.join(elements)}) = {bad}"
    if first:
        count = f"{int(is_bad.sum())} of {is_bad.size} elements, the first at"
        bad = f"{count} {[int(i) for i in first]}: {bad}"
    rows: list[Related] = [("result", _summarize_array(result), None)]
    rows += [(name, _summarize_array(array), origin) for name, array, origin in operands]
    return NonFiniteError(
        f"{prefix}{op.name} makes {what} out of {source}",
        details=[bad],
        hint="no parameter has changed; sg.where and sg.clip keep operands out of such places",
        at=at,
        related=[*rows, *related],
    )


def derivative(order: int) -> str:
    """Return in words the derivative that ``grad`` built a node for."""
    if order == 0:
        return ""
    which = {1: "gradient", 2: "second derivative", 3: "third derivative"}
    return f"in the {which.get(order, f'derivative of order {order}')} of this line, "


def _name(value: Symbolic, position: int) -> str:
    op = value.node.op
    if isinstance(op, Input):
        return op.label
    if isinstance(op, ParameterLeaf):
        return Parameter(value.node).name
    return "constant" if isinstance(op, Constant) else f"operand {position + 1}"


def _elements(
    operands: list[Array], shape: tuple[int, ...], index: tuple[Any, ...]
) -> Iterator[str]:
    """Each operand's element that went into one of the result."""
    for array in operands:
        yield str(np.broadcast_to(array, shape)[index])


def _summarize_array(array: Array) -> str:
    """Describe an array: type, finite range, counts of zeros, infinities and NaNs."""
    kind = str(TensorType(as_dtype(array.dtype), array.shape))
    finite = array[np.isfinite(array)]
    ends = (
        dict.fromkeys(f"{end:.4g}" for end in (finite.min(), finite.max())) if finite.size else ()
    )
    parts = [" .. ".join(ends)] if ends else []
    counts = (np.sum(array == 0), np.sum(np.isinf(array)), np.sum(np.isnan(array)))
    for count, word in zip(counts, ("zero", "inf", "nan"), strict=True):
        parts += [f"{count} {word}"] if count else []
    return f"{kind}  {', '.join(parts)}"


#: A bool value of the shape that it speaks of; True: every element.
Mask = Any


def find_counted_elements(graph: Graph) -> dict[ValueKey, Mask]:
    """Return by value which elements an output depends on, for the search for NaNs.

    A value without any is missing.

    Masks go backwards through the nodes (``Op.operand_masks``); before an operation of several
    results all elements count. Near-linear in the nodes.
    """
    masks: dict[ValueKey, Mask] = {value.key: True for value in graph.roots}
    for node in reversed(graph.nodes):
        reached = [masks[value.key] for value in node.values if value.key in masks]
        if node.is_leaf or not reached:
            continue
        mask = reached[0] if len(node.types) == 1 else True
        shares = node.op.operand_masks(mask, node.values[0], *node.args)
        for arg, share in zip(node.args, shares, strict=True):
            if share is not False:
                masks[arg.key] = _either(masks.get(arg.key, False), share)
    return masks


def _either(mask: Mask, second_mask: Mask) -> Mask:
    if isinstance(mask, bool) or isinstance(second_mask, bool):
        return True if mask is True or second_mask is True else second_mask
    return logical_or(mask, second_mask)

"""Python functions as bodies: what they build is closed over what was there before.

A function is called once, with placeholder values for those of an iteration. What it builds is
newer than the trace, and becomes the body; what that reads of older values become operands of the
loop. Small constants stay in the body. What a body of a loop builds of such operands alone is built
once, before the loop, where that costs memory and cannot fail; views of them stay in the body, for
there they are free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from staticgrad.errors import CarryError, GraphError, StaticgradError
from staticgrad.errors.tracebacks import called_name
from staticgrad.errors.wording import quote
from staticgrad.functions.streams import FoldedKeys
from staticgrad.language.calls.execution import as_graph_value, in_graphs
from staticgrad.language.ir.bodies import body_input, is_body_input
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.forms import (
    Assemble,
    Contract,
    Form,
    Identity,
    Pointwise,
    Reduce,
    ReshapeForm,
    Scan,
    SearchForm,
    SortForm,
    View,
)
from staticgrad.language.ir.graph import Constant, Input, Node, ParameterLeaf, Symbolic, constant
from staticgrad.language.ir.kinds import two_kinds
from staticgrad.language.ir.nodes import ancestors, body_of_a
from staticgrad.language.ir.text import INLINE_ELEMENTS
from staticgrad.language.ops.elementwise import is_weak
from staticgrad.language.ops.operands import as_value
from staticgrad.language.trees import Tree, flatten, paths, with_complex_values
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import suggest_least_sizes
from staticgrad.language.types.dtype import I64
from staticgrad.support.building import capture
from staticgrad.support.records import dataclass

Wrapper = TypeVar("Wrapper", bound=Callable[..., Any])
#: Forms of nodes that may run once in the place of every iteration: they need memory, and never
#: fail.
_ONCE: Final = Pointwise | Reduce | Contract | Scan | SortForm | SearchForm | Assemble
#: Forms that cost nothing where they are read.
_FREE: Final = View | Identity | ReshapeForm


@dataclass(frozen=True)
class Traced:
    """A traced function: its symbolic arguments and its results."""

    inputs: tuple[Symbolic, ...]
    results: tuple[Symbolic, ...]


class Trace:
    """One or several functions traced into bodies that share operands."""

    def __init__(self) -> None:
        self.first = body_input("i", TensorType(I64, ()), capture())
        self.parts: list[Traced] = []

    def input(self, label: str, type: TensorType) -> Symbolic:
        """A value to give to a function."""
        return body_input(label, type, self.first.node.origin)

    def close(
        self, *, once: bool, folds: bool | None = None
    ) -> tuple[list[Traced], list[Symbolic]]:
        """Inputs and results of each part, free of older values; and those values."""
        folds = once if folds is None else folds
        cuts = [_Cut(part, self.first, once, folds) for part in self.parts]
        captured = {value.key: value for cut in cuts for value in cut.captured}
        closed = []
        for cut in cuts:
            stand_ins = [
                body_input(f"p{place}", value.type, value.node.origin)
                for place, value in enumerate(captured.values())
            ]
            closed.append(cut.over(dict(zip(captured, stand_ins, strict=True)), stand_ins))
        return closed, [*captured.values()]


class _Cut:
    """The nodes of a part's body, and the outer values that they read."""

    def __init__(self, part: Traced, first: Symbolic, once: bool, folds: bool) -> None:
        self.part, self.oldest = part, first.node.serial
        self.input_nodes = {value.node for value in part.inputs}
        self.nodes = self._new_nodes()
        self.keys = FoldedKeys(first, self.nodes if folds else ())
        varying = set(self.input_nodes)
        for node in self.nodes:
            stays = (
                once and isinstance(_form(node), _ONCE | _FREE) and node not in self.keys.drawing
            )
            if not stays or any(arg.node in varying for arg in node.args):
                varying.add(node)
        self.inside = self._needed_nodes(varying)
        read = [arg for node in self.nodes if node in self.inside for arg in node.args]
        read += part.results
        outer = [arg for arg in read if arg.node not in self.inside and not _is_small(arg.node)]
        self.captured = list(
            {arg.key: arg for arg in outer if arg.node not in self.input_nodes}.values()
        )

    def _new_nodes(self) -> list[Node]:
        """Return the nodes that the traced function built, in order, without leaves."""
        nodes: list[Node] = []
        for node in ancestors(self.part.results, self.input_nodes, self.oldest):
            if is_body_input(node):
                raise GraphError(
                    f"a value inside of another loop ({node.types[0]}) is used here",
                    hint="an iteration hands values on by what its function returns",
                    related=[("made for", str(node.types[0]), node.origin)],
                )
            is_constant = isinstance(node.op, Constant) and not _is_small(node)
            if not is_constant and not isinstance(node.op, Input | ParameterLeaf):
                nodes.append(node)
        return sorted(nodes, key=lambda node: node.serial)

    def _needed_nodes(self, varying: set[Node]) -> set[Node]:
        """Return a traced body's nodes: varying ones, and constants that they need."""
        needed, outer = set(varying), {node for node in self.nodes if node not in varying}
        of_constants: set[Node] = set()
        for node in self.nodes:
            if all(arg.node in of_constants or _is_small(arg.node) for arg in node.args):
                of_constants.add(node)
        for node in reversed(self.nodes):
            if node in outer and node in of_constants:
                needed.add(node)
            if node in needed:
                for arg in node.args:
                    if arg.node in outer and isinstance(_form(arg.node), _FREE):
                        needed.add(arg.node)
        for value in self.part.results:
            if value.node in outer and isinstance(_form(value.node), _FREE):
                needed.add(value.node)
        return needed

    def over(
        self, stand_ins: Mapping[tuple[Node, int], Symbolic], added: Sequence[Symbolic]
    ) -> Traced:
        """Inputs and results of the body, older values replaced."""
        new = dict(stand_ins)
        for node in self.nodes:
            if node not in self.inside or node in self.input_nodes:
                continue
            args = self.keys.fold_keys(node, [new.get(arg.key, arg) for arg in node.args])
            copy = rebuild(node, args)
            new.update(((node, v.index), v) for v in copy.values)
        results = tuple([new.get(value.key, value) for value in self.part.results])
        return Traced((*self.part.inputs, *added), results)


def _is_small(node: Node) -> bool:
    return isinstance(node.op, Constant) and node.op.data.array.size <= INLINE_ELEMENTS


def _form(node: Node) -> Form | None:
    try:
        return node.form
    except StaticgradError:  # an op without kernels
        return None


def label_values(prefix: str, values: Sequence[Symbolic]) -> dict[str, Symbolic]:
    """``c0``, ``c1`` and so on."""
    return {f"{prefix}{place}": value for place, value in enumerate(values)}


def named_after(function: Any, wrapper: Wrapper) -> Wrapper:
    """Give ``wrapper`` the name of the user's function that it calls, for error messages."""
    cast(Any, wrapper).__qualname__ = str(getattr(function, "__qualname__", function))
    return wrapper


def call_traced(function: Callable[..., Any], *arguments: Any) -> tuple[list[Any], Tree]:
    """Call a function and return the leaves and containers of its result."""
    name = called_name()
    try:
        with in_graphs(), body_of_a(name):
            leaves, tree = flatten(with_complex_values(function(*arguments)))
            return [as_graph_value(leaf) for leaf in leaves], tree
    except StaticgradError:
        raise
    except Exception as error:
        error.add_note(f"while {name} traced {getattr(function, '__qualname__', function)}")
        raise


def as_results(leaves: Sequence[Any]) -> list[Symbolic]:
    """Return what a function gave, as values of graphs; numbers and arrays are constants."""
    values = [as_value(leaf, Symbolic) for leaf in leaves]
    for value in values:
        if not isinstance(value, Symbolic):
            raise two_kinds(Symbolic, type(value))
    return values


def as_carries(leaves: Sequence[Any], like: Sequence[TensorType]) -> list[Symbolic]:
    """Return next carries as values: a number takes the dtype of its carry."""
    return [
        constant(leaf, kind.dtype) if becomes(leaf, kind) else as_results([leaf])[0]
        for leaf, kind in zip(leaves, like, strict=True)
    ]


def becomes(leaf: Any, kind: TensorType) -> bool:
    """Return whether a Python number that an iteration gives takes the dtype of its carry."""
    if not is_weak(leaf) or kind.shape:
        return False
    if isinstance(leaf, bool) or kind.dtype.is_float:
        return True
    return isinstance(leaf, int) and kind.dtype.is_integer


def check_structure(structure: Tree, expected: Tree) -> None:
    """Refuse a carry that comes back in other containers."""
    if structure != expected:
        forgotten = "a function without return gives None: it ends with return carry"
        returned = "a carry returns in the containers in which it came, cases give the same ones"
        raise CarryError(
            f"{called_name()}: the function returned {structure}, expected {expected}"
            " (? stands for a value)",
            hint=forgotten if str(structure) == "None" else returned,
        )


def check_carries(
    tree: Tree, first_carries: Sequence[Symbolic], end: Sequence[Symbolic], trace: Trace
) -> None:
    """Refuse a carry whose type changes."""
    for path, old, new in zip(paths(tree, "the carry"), first_carries, end, strict=True):
        if old.type == new.type:
            continue
        hint = (
            f"let it begin as {new.dtype.name}, or convert what the iteration returns:"
            f" .astype({old.dtype.name!r})"
        )
        if old.dtype.is_float and new.dtype.bits > old.dtype.bits:
            hint += "\nnp.float64 and float64 arrays widen what they meet, Python's floats do not"
        if old.shape != new.shape:
            hint = "an iteration returns the carry in the shape in which it got it"
            if not old.shape:
                hint += f"\nlet it begin in the other: sg.zeros({new.shape}, {new.dtype.name!r})"
            hint = suggest_least_sizes(old.shape, new.shape) or hint
        raise CarryError(
            f"{called_name()}: {path} is {old.type} when an iteration begins,"
            f" and {new.type} when it ends",
            hint=hint,
            at=new.node.origin if new.node.serial > trace.first.node.serial else None,
            related=[
                ("begins", str(old.type), old.node.origin),
                ("ends", str(new.type), new.node.origin),
            ],
        )


def check_cases(tree: Tree, first: Sequence[Symbolic], second: Sequence[Symbolic]) -> None:
    """Refuse functions of a branch that give several types."""
    for path, old, new in zip(paths(tree, "the result"), first, second, strict=True):
        if old.type != new.type:
            raise CarryError(
                f"{called_name()}: {path} is {old.type} of one function, and {new.type} of another",
                hint=suggest_least_sizes(old.shape, new.shape)
                or "whichever is taken, what follows needs one type",
                related=[
                    ("one", str(old.type), old.node.origin),
                    ("another", str(new.type), new.node.origin),
                ],
            )


def not_a_pair(result: Any) -> CarryError:
    """The error for a function of ``scan`` that does not return carry and output."""
    return CarryError(
        f"{called_name()}: the function gives {quote(result)}, not a pair",
        hint="it returns the next carry and the output of the iteration: return carry, y\n"
        "None stands for no output: return carry, None",
    )

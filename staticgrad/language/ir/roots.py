"""The roots of a graph as the user wrote them: outputs by name, updates by parameter.

Both are read and checked here, and so are the names in the graph: inputs, parameters and named
sizes may not share one among themselves. The conditions on sizes under which a graph holds are
derived here from its roots; they are never stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final
from weakref import WeakSet

from staticgrad.errors import GraphError, NameConflictError, Related
from staticgrad.errors.wording import kind_of, quote
from staticgrad.language.ir.nodes import (
    Node,
    Parameter,
    Symbolic,
    check_updates,
    hint_of,
    is_value,
    related_of,
)
from staticgrad.language.ir.op import Input
from staticgrad.language.ir.pairs import Complex, ComplexParameter, next_parts
from staticgrad.language.ir.value import Value
from staticgrad.language.types.dim import Named, named_sizes
from staticgrad.support import ranks
from staticgrad.support.traversal import reach

_PAIRS = (
    "updates map parameters to their next values: {w: w - 0.1 * dw}, or pairs of them; of two"
    " optimizers {**first, **second}"
)


def read_outputs(outputs: Any) -> dict[Any, Any]:
    """Read a graph's outputs as a dict by name; a single value is called ``"output"``."""
    if isinstance(outputs, Value):
        return {"output": outputs}
    if isinstance(outputs, Mapping) or outputs is None:
        return dict(outputs or {})
    raise GraphError(
        f"the outputs are {kind_of(outputs)}, not a dict",
        hint='name them: sg.Graph({"loss": loss, "accuracy": accuracy})',
    )


def read_updates(updates: Any) -> tuple[tuple[Any, Any], ...]:
    """Read a graph's updates as pairs of a parameter and its next value."""
    if isinstance(updates, Mapping):
        return tuple(updates.items())
    pairs = tuple(updates) if isinstance(updates, Iterable) and not is_value(updates) else (None,)
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise GraphError(f"the updates hold {quote(pair)}", hint=_PAIRS)
    return tuple((parameter, value) for parameter, value in pairs)


def real_roots(
    outputs: dict[Any, Any], updates: tuple[tuple[Any, Any], ...], inputs: Any
) -> tuple[dict[Any, Any], tuple[tuple[Any, Any], ...], Any, frozenset[str]]:
    """Replace complex outputs, updates and inputs of a graph by real ones; also name the complex
    ones.
    """
    complex_names = frozenset(name for name, value in outputs.items() if isinstance(value, Complex))
    if complex_names:
        outputs = {
            n: value.join_parts() if n in complex_names else value for n, value in outputs.items()
        }
    updates = tuple(
        (p.stored, next_parts(p, value)) if isinstance(p, ComplexParameter) else (p, value)
        for p, value in updates
    )
    if isinstance(inputs, list | tuple):
        inputs = [getattr(x, "stored", x) if isinstance(x, Complex) else x for x in inputs]
    return outputs, updates, inputs, complex_names


def check_roots(
    outputs: Mapping[Any, Any], updates: Sequence[tuple[Any, Any]], inputs: Sequence[Any]
) -> None:
    """Check the outputs, updates and inputs that a user gives a graph."""
    if not outputs and not updates:
        raise GraphError("a graph needs at least one output or update")
    for label, value in outputs.items():
        if is_value(label):
            raise GraphError(
                f"output {quote(label)} has a value for a name: outputs map names to symbolic"
                " values",
                hint="updates are an argument: sg.Graph(outputs, updates={w: its next value})",
                related=[related_of(label)],
            )
        if not isinstance(label, str) or not is_value(value):
            raise GraphError(
                f"output {label!r} is {quote(value)}: outputs map names to symbolic values",
                hint=hint_of(value) if isinstance(label, str) else "a name is a text",
            )
    check_updates(updates)
    job = ranks.running()
    if job is not None and job.ranks > 1:
        _check_equal_on_ranks(updates)
    if isinstance(inputs, Value) or not isinstance(inputs, Iterable):
        raise GraphError(f"inputs= is {kind_of(inputs)}, not a list", hint="inputs=[x]")
    for value in inputs:
        if not (is_value(value) and isinstance(value.node.op, Input)):
            raise GraphError(
                f"inputs= holds {quote(value)}, which is not an input",
                hint="list the values themselves: inputs=[x]",
            )


def check_graph_name(name: Any) -> None:
    """Check what a text form shall call a graph."""
    if not isinstance(name, str):
        raise GraphError(f"a graph's name is {quote(name)}, not a text", hint='name="step"')


def _operands_on_rank(node: Node) -> list[Node]:
    return [] if node.op.exchanges else [arg.node for arg in node.args]


def _draws_by_rank(node: Node) -> bool:
    return node.op.draws_by_rank and not node.op.exchanges


def _check_equal_on_ranks(updates: Sequence[tuple[Any, Any]]) -> None:
    """Refuse updates that mix values exchanged between ranks with random draws of each rank.

    Parameters that begin equal on all ranks would no longer be equal.
    """
    for parameter, value in updates:
        nodes = [*reach([value.node], _operands_on_rank)]
        exchanged = any(node.op.exchanges for node in nodes)
        draws = next((n for n in reversed(nodes) if _draws_by_rank(n)), None)
        if draws is not None and exchanged:
            raise GraphError(
                f"the next value of {parameter.name!r} adds random numbers, which differ between"
                " the ranks, to what the ranks exchange",
                hint="the same numbers on all ranks: sg.random.Generator(seed, shared=True)",
                related=[(draws.op.name, str(draws.types[0]), draws.origin)],
            )


_OWN_NAME: Final = {
    "input": "give each its own name",
    "parameter": "give each its own name; optimizers and generators take one: Adam(name='critic')",
}
_OF_COPIES: Final = (
    "\nwhat a pickle gives back has the names of what went in; copy.deepcopy(model) has its own"
)
Describe = Callable[["Symbolic", int], Related]


def check_names(
    inputs: Sequence[Symbolic], parameters: Sequence[Parameter], describe: Describe
) -> None:
    """Refuse duplicate names of a graph's inputs or parameters, and conflicting named sizes."""
    for what, values in (("input", inputs), ("parameter", parameters)):
        seen: dict[str, Symbolic] = {}
        for value in values:
            label = value.node.label
            if label in seen:
                lines = {leaf.node.origin.resolve() for leaf in (seen[label], value)}
                copied = what == "parameter" and len(lines) == 1
                raise NameConflictError(
                    f"two {what}s are named {label!r}",
                    hint=_OWN_NAME[what] + (_OF_COPIES if copied else ""),
                    related=[describe(seen[label], 0), describe(value, 1)],
                )
            seen[label] = value
    declared: dict[str, tuple[Named, Symbolic]] = {}
    for value in inputs:
        for named in (n for extent in value.shape for n in named_sizes(extent)):
            first = declared.setdefault(named.name, (named, value))
            if first[0] != named:
                raise NameConflictError(
                    f"size {named.name!r} is declared twice, with different bounds",
                    hint=f"declare it once, sg.dim({named.name!r}, ...), and use that object",
                    related=[describe(first[1], 0), describe(value, 1)],
                )


#: Inputs of the bodies of loops and branches that functions were traced into.
BODY_INPUTS: Final[WeakSet[Node]] = WeakSet()


def check_from_outside(inputs: Sequence[Symbolic], nodes: Iterable[Node]) -> None:
    """Refuse a graph that reads an input of a loop's or branch's body."""
    for value in inputs if BODY_INPUTS else ():
        if value.node in BODY_INPUTS:
            readers = (node for node in nodes if any(arg.node is value.node for arg in node.args))
            read = [("read at", str(n.types[0]), n.origin) for n in islice(readers, 1)]
            raise GraphError(
                f"a value inside of a loop or of vmap ({value.type}) is used outside of it",
                hint="an iteration passes values on by what its function returns: as the carry, or"
                " an output\ninside, nothing is compiled or evaluated: there are no numbers yet",
                related=[("made for", str(value.type), value.node.origin), *read],
            )


def sizes_of(nodes: Iterable[Node]) -> dict[str, Named]:
    """Return every named size of the nodes' types and ops, in order of first appearance."""
    sizes: dict[str, Named] = {}
    seen_shapes: set[int] = set()  # shapes by identity: most are those of an operand
    for node in nodes:
        shapes = [kind.shape for kind in node.types if id(kind.shape) not in seen_shapes]
        seen_shapes.update(map(id, shapes))
        extents = [extent for shape in shapes for extent in shape]
        for extent in (*extents, *node.op.sizes()):
            if not isinstance(extent, int):
                for named in named_sizes(extent):
                    sizes.setdefault(named.name, named)
    return sizes

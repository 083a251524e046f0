"""Translation validation: does a graph compute after a pass what it computed before?

Both graphs are evaluated by NumPy on small random feeds, special values among them. Where they
differ, the program is shrunk: to the first value that differs, then by putting inputs in the place
of what it is computed from, as long as the pass still gets it wrong. What is left is printed as
text that reproduces the mistake. Not a proof: sizes are small, so that many feeds can be tried.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from staticgrad.analysis.binding import check_sizes, concrete_shape, input_label
from staticgrad.analysis.evaluate import evaluate, same_bytes
from staticgrad.errors import PassMismatchError, StaticgradError
from staticgrad.language.ir.copies import NodeCopies
from staticgrad.language.ir.graph import Graph, Input, Node, Symbolic
from staticgrad.language.ir.nodes import leaf_node
from staticgrad.language.ir.op import Array
from staticgrad.language.types.arrays import convert_array
from staticgrad.language.types.dim import Named
from staticgrad.language.types.dtype import F32, F64, DType, kind_of_elements
from staticgrad.support.building import capture

#: How a result may differ: not at all; or as ``numpy.isclose`` has it where the old one is finite,
#: and so is all that it was computed from (a pass that heals a NaN may change what hid it).
EXACT, CLOSE = "exact", "close"
Transform = Callable[[Graph], Graph]
Feeds = Mapping[str, Array]

_TURNS: Final = 3  # feeds at each size: normal numbers, four times as large ones, special ones
_MOST_NODES: Final = 400  # of a program that is shrunk value by value
_SIZES: Final = (3, 2, 4, 5, 8, 1)  # values of a named size, in the order in which they are tried
#: 1e-40 is subnormal in float32.
_SPECIAL: Final = (0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1.0, 1.0)
#: Whether anything is computed in float32 -> the relative and absolute tolerance of ``close``.
_CLOSE: Final = {F32: (2e-3, 1e-4), F64: (1e-8, 1e-10)}


def validate(
    name: str, transform: Transform, original: Graph, transformed: Graph, allowed: str
) -> None:
    """Test that a pass kept the meaning: compare both graphs on several feeds."""
    if mismatch(original, transformed, allowed) is None:
        return

    def wrong(graph: Graph) -> str | None:
        try:
            return mismatch(graph, transform(graph), allowed)
        except Exception:  # of a pass from outside, on a graph that its author never saw
            return None  # another mistake than the one that is being shrunk

    smallest = _shrink_graph(original, wrong)
    difference = wrong(smallest) or mismatch(original, transformed, allowed)
    raise PassMismatchError(
        f"pass {name} changes what the graph computes",
        details=[*str(difference).splitlines(), *str(smallest).rstrip().splitlines()],
        at=next(iter(smallest.roots)).node.origin,
    )


def mismatch(original: Graph, transformed: Graph, allowed: str) -> str | None:
    """Return the first difference of two graphs on sample feeds, or None.

    Feeds that ``original`` refuses are skipped.
    """
    floats = (kind.dtype for node in original.nodes for kind in node.types if kind.dtype.is_float)
    rtol, atol = _CLOSE[min(floats, key=lambda dtype: dtype.digits, default=F64)]
    for feeds, sizes in sample_feeds(original):
        try:
            expected = _evaluate_roots(original, feeds, sizes)
        except StaticgradError:
            continue
        actual = _evaluate_roots(transformed, feeds, sizes)
        for name, array in expected.items():
            if not _results_agree(array, actual[name], allowed, rtol, atol):
                if allowed != EXACT and not _all_finite(original, feeds, sizes):
                    continue
                feeds_text = ", ".join(f"{n} = {a.tolist()}" for n, a in feeds.items())
                return f"{name}: {array.tolist()} became {actual[name].tolist()}\nwith {feeds_text}"
    return None


def sample_feeds(graph: Graph) -> Iterator[tuple[Feeds, dict[str, int]]]:
    """Yield test feeds for a graph at several sizes: ordinary numbers, then special values."""
    random = np.random.default_rng(0)
    for sizes in itertools.islice(_sample_sizes(graph), 2):
        for turn in range(_TURNS):
            yield (
                {
                    input_label(x): _random_array(
                        random, x.dtype, concrete_shape(x.shape, sizes), turn
                    )
                    for x in graph.inputs
                },
                sizes,
            )


def _sample_sizes(graph: Graph) -> Iterator[dict[str, int]]:
    """Yield values of the named sizes that a graph's guards allow, for test feeds."""
    names = list(graph.sizes.items())
    choices = [_small(named) for _, named in names]
    for values in itertools.islice(itertools.product(*choices), 200):
        sizes = {name: value for (name, _), value in zip(names, values, strict=True)}
        try:
            check_sizes(graph, sizes)
        except StaticgradError:
            continue
        yield sizes


def _small(named: Named) -> list[int]:
    step = named.multiple_of
    rounded = (max(-(-max(size, named.min) // step), 1) * step for size in _SIZES)
    fitting = (size for size in rounded if named.max is None or size <= named.max)
    return list(dict.fromkeys(fitting)) or [named.min]


def _random_array(random: Any, dtype: DType, shape: tuple[int, ...], turn: int) -> Array:
    """Return a random array of a dtype as a test feed, with special floats in the last round."""
    if dtype.is_bool:
        return np.asarray(random.integers(0, 2, shape), bool)
    if dtype.is_integer:
        return np.asarray(random.integers(0, 2, shape), dtype.numpy)
    ordinary = random.normal(size=shape) * (1.0, 4.0, 1.0)[turn]
    if turn == _TURNS - 1:
        special = np.resize(random.permutation(_SPECIAL), shape)  # each of them, if there is room
        ordinary = np.where(random.random(shape) < 0.75, special, ordinary)
    return convert_array(np.asarray(ordinary), dtype)


def _evaluate_roots(graph: Graph, feeds: Feeds, sizes: Mapping[str, int]) -> dict[str, Array]:
    outputs, updates = evaluate(graph, feeds, sizes=sizes, updates=True)
    return {
        **{f"output {name!r}": array for name, array in outputs.items()},
        **{f"update of {name!r}": array for name, array in updates.items()},
    }


def _all_finite(graph: Graph, feeds: Feeds, sizes: Mapping[str, int]) -> bool:
    """Return whether every intermediate floating value is finite."""
    inner = [v for node in graph.nodes for v in node.values if v.dtype.is_float]
    opened = Graph({str(n): value for n, value in enumerate(inner)}, inputs=graph.inputs)
    return all(np.isfinite(array).all() for array in evaluate(opened, feeds, sizes=sizes).values())


def _results_agree(expected: Array, actual: Array, allowed: str, rtol: float, atol: float) -> bool:
    """Compare two results within a pass's promise: bitwise, or finite ones by tolerance."""
    if allowed == EXACT:
        return same_bytes(actual, expected)
    if (expected.shape, expected.dtype) != (actual.shape, actual.dtype):
        return False
    if kind_of_elements(expected.dtype) != "f":
        return True
    finite = np.isfinite(expected)
    with np.errstate(all="ignore"):
        return bool(np.isclose(actual[finite], expected[finite], rtol=rtol, atol=atol).all())


# -- shrinking ------------------------------------------------------------------------------------


def _shrink_graph(graph: Graph, wrong: Callable[[Graph], str | None]) -> Graph:
    """Shrink a graph that a pass miscompiles to one value of as few nodes as possible."""
    smallest = _first_wrong_value(graph, wrong)
    for _ in range(len(smallest.nodes)):
        smaller = next(
            (cut for cut in _cuts(smallest) if len(cut.nodes) < len(smallest.nodes) and wrong(cut)),
            None,
        )
        if smaller is None:
            break
        smallest = smaller
    return smallest


def _first_wrong_value(graph: Graph, wrong: Callable[[Graph], str | None]) -> Graph:
    """Return a graph of the earliest miscompiled value; else the whole graph."""
    values = [v for node in graph.nodes[:_MOST_NODES] for v in node.values if not node.is_leaf]
    roots = [value for value in graph.roots if value.node not in graph.nodes[:_MOST_NODES]]
    for value in (*values, *roots):
        alone = Graph({"output": value}, name=graph.name)
        if wrong(alone):
            return alone
    return graph


def _cuts(graph: Graph) -> Iterator[Graph]:
    """Yield the graph with one inner value as an input; those nearest to the result first."""
    root = next(iter(graph.roots))
    for cut in reversed(graph.nodes):
        if cut.is_leaf or cut is root.node:
            continue
        yield _with_input(graph, root, cut)


def _with_input(graph: Graph, root: Symbolic, cut: Node) -> Graph:
    """Return a graph in which new inputs replace a node, to shrink it."""
    used_names = {input_label(value) for value in graph.inputs}
    names = (f"x{k}" for k in itertools.count() if f"x{k}" not in used_names)
    new: dict[tuple[Node, int], Symbolic] = {}
    for index, kind in enumerate(cut.types):
        new[(cut, index)] = Symbolic(leaf_node(Input(next(names), kind), capture()))
    (output,) = NodeCopies(new).apply([root])
    return Graph({"output": output}, name=graph.name)

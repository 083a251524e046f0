"""Results of functions of arrays alone: computed when the function is called.

``sg.pad(array, 1)`` outside of a graph gives an array, as NumPy does. The function builds its graph
as of any operands; here the NumPy oracle runs it.
"""

from __future__ import annotations

from typing import Final, TypeVar

from staticgrad.analysis.evaluate import evaluate
from staticgrad.language.ir.advances import check_without_updates
from staticgrad.language.ir.graph import Graph, Symbolic
from staticgrad.language.ir.pairs import SymbolicComplex
from staticgrad.language.trees import flatten, unflatten

T = TypeVar("T")
_IN_GRAPHS: Final = (Symbolic, SymbolicComplex)


def compute_known(result: T) -> T:
    """Return arrays in place of a function's results if these depend on constants alone.

    Where one depends on an input, a parameter or a named size, all stay values: a function among
    the arguments may close over them.
    """
    leaves, tree = flatten(result, keep_complex=True)
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, _IN_GRAPHS)]
    if not places:
        return result
    graph = Graph({str(place): leaves[place] for place in places})
    if graph.inputs or graph.parameters or graph.sizes:
        return result
    check_without_updates(graph.nodes)
    arrays = evaluate(graph)
    for place in places:
        leaves[place] = arrays[str(place)][()]  # without axes a number of NumPy, as NumPy gives
    return unflatten(tree, leaves)  # type: ignore[no-any-return]

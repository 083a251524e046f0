"""Products read what is stored in a narrow float where it lies: no wide copy is made for them.

A kernel of a product widens its factors while it packs them, so the sums are those of the copy. A
product that became part of another kernel keeps its operands: it reads them from registers, or by
vectors as they lie.
"""

from __future__ import annotations

from collections.abc import Iterator

from staticgrad.fusion.groups import Groups
from staticgrad.ir.forms import Contract
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.preparation.products import is_wide_copy, narrowest


def with_narrow_factors(groups: Groups) -> Graph:
    """The graph of these groups, of which products with kernels of their own read narrow floats.

    Their factors may have two dtypes then, which no op that users write has: the result goes to
    kernels.
    """
    products = {*_reading_copies(groups)}
    if not products:
        return groups.graph

    def narrow(node: Node, args: tuple[Symbolic, ...]) -> tuple[Symbolic, ...] | None:
        if node not in products:
            return None
        found = map(narrowest, args)
        return Node(node.op, tuple(found), node.types, node.origin, node.order).values

    return groups.graph.replace_nodes(narrow).without_dead_nodes()


def _reading_copies(groups: Groups) -> Iterator[Node]:
    for group in groups.all:
        if group.kind == "gemm":
            for node in group.nodes:
                if isinstance(node.form, Contract) and any(map(is_wide_copy, node.args)):
                    yield node

"""Products read what is stored in a narrow float where it lies: no wide copy is made for them.

A kernel of a product widens its factors while it packs them, so the sums are those of the copy. A
product that became part of another kernel keeps its operands: it reads them from registers, or by
vectors as they lie.
"""

from __future__ import annotations

from collections.abc import Iterator

from passes.dce import DeadNodes
from passes.fusion.groups import Groups
from staticgrad.ir.forms import Contract, Identity, ReshapeForm, View
from staticgrad.ir.graph import Graph, Node, Symbolic, rebuild
from staticgrad.ops.convert import Cast


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

    return DeadNodes()(groups.graph.replace_nodes(narrow))


def _reading_copies(groups: Groups) -> Iterator[Node]:
    """The products of which a factor is a wide copy, or a view of one."""
    for group in groups.all:
        if group.kind == "gemm":
            for node in group.nodes:
                if isinstance(node.form, Contract) and any(map(_is_copy, node.args)):
                    yield node


def _is_copy(value: Symbolic) -> bool:
    """Whether a value is a narrow one widened, or a view of that."""
    node = value.node
    if isinstance(node.form, View | ReshapeForm | Identity) and len(node.args) == 1:
        return _is_copy(node.args[0])
    return (
        isinstance(node.op, Cast)
        and value.dtype is not (stored := node.args[0].dtype)
        and (value.dtype is stored.compute)
    )


def narrowest(value: Symbolic) -> Symbolic:
    """The narrow value of which one is a wide copy, or the same view of it; another one itself."""
    if not _is_copy(value):
        return value
    node = value.node
    (copied,) = node.args
    if isinstance(node.op, Cast):
        return copied
    return rebuild(node, (narrowest(copied),)).values[0]

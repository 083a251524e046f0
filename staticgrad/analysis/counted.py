"""Which elements of a graph's values count for its results, as far as ``where`` decides it.

An element that every ``where`` behind it throws away counts for nothing, whatever it holds; nor
does what is only asked whether it is finite. Everything else counts. Masks are built as values of
the graph; nothing runs here.
"""

from __future__ import annotations

from typing import Any

from staticgrad.analysis.users import ValueKey
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Graph

#: A bool value of the shape that it speaks of; True: every element.
Mask = Any


def counted(graph: Graph) -> dict[ValueKey, Mask]:
    """Per value, where its elements count for an output or update; a value without any is missing.

    Masks go backwards through the nodes (``Op.counted``); before an operation of several results
    all elements count. Near-linear in the nodes.
    """
    masks: dict[ValueKey, Mask] = {value.key: True for value in graph.roots}
    for node in reversed(graph.nodes):
        reached = [masks[value.key] for value in node.values if value.key in masks]
        if node.is_leaf or not reached:
            continue
        mask = reached[0] if len(node.types) == 1 else True
        shares = node.op.counted(mask, node.values[0], *node.args)
        for arg, share in zip(node.args, shares, strict=True):
            if share is not False:
                masks[arg.key] = _either(masks.get(arg.key, False), share)
    return masks


def _either(one: Mask, two: Mask) -> Mask:
    if isinstance(one, bool) or isinstance(two, bool):
        return True if one is True or two is True else two
    return functions.logical_or(one, two)

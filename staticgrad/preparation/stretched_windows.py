"""What windows are read of has an element at every place before kernels are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from staticgrad.building import within
from staticgrad.ir.forms import WINDOWED, Identity, ReshapeForm, View
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.ir.value import Value
from staticgrad.ops.slices import Pad


def without_stretched_windows(graph: Graph) -> Graph:
    """The graph with what windows are read of as it is, element for element.

    Beyond the ends of an axis along which an operand does not move there would be its one element,
    in the place of a border.
    """

    def held(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        form = node.form
        if not isinstance(form, WINDOWED):
            return None
        count = len(form.axes)
        stretched = [_stretches(x, range(x.ndim - count, x.ndim)) for x in node.args]
        if not any(stretched):
            return None
        with within(node.origin, node.order):
            whole = [_copied(x) if wide else x for x, wide in zip(args, stretched, strict=True)]
            return (cast(Symbolic, node.op(*whole)),)

    if not any(isinstance(node.form, WINDOWED) for node in graph.nodes):
        return graph
    return graph.replace_nodes(held)


def _copied(value: Symbolic) -> Value:
    return Pad(value.shape, (0,) * value.ndim, (1,) * value.ndim)(value)


def _stretches(value: Symbolic, axes: Iterable[int]) -> bool:
    """Whether a value repeats one element along some axis of these, as far as it is a view."""
    form = value.node.form
    if isinstance(form, ReshapeForm):
        (whole,) = value.node.args
        return _stretches(whole, range(whole.ndim))
    if isinstance(form, View):
        (viewed,) = value.node.args
        named = {each.source: k for k, each in enumerate(form.axes)}
        long = [axis for axis in axes if value.shape[axis] != 1]
        if any(axis not in named for axis in long):
            return True
        return _stretches(viewed, [named[axis] for axis in long])
    return isinstance(form, Identity) and _stretches(value.node.args[0], axes)

"""Look-ups that have one place in each row: the check of the place, and the element that is set."""

from __future__ import annotations

from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Expr
from staticgrad.ir.forms import INDEXED, ScatterAlong
from staticgrad.ir.graph import Node
from staticgrad.lowering.operands import Lowering
from staticgrad.types.dtype import I64


def checked_place(low: Lowering, node: Node) -> Expr:
    """The place in the row that a node looks up, checked; it moves along the outer axes only."""
    form, index = node.form, low.groups.source(node.args[1])
    assert isinstance(form, INDEXED)
    whole = node.types[0] if isinstance(form, ScatterAlong) else node.args[0].type
    described = zip(low.axis_names(), index.type.shape, index.layout.strides, strict=True)
    at = [
        ex.literal(0, I64) if extent == 1 or stride == 0 else low.index(name)
        for name, extent, stride in described
    ]
    position = low.position(index.type.shape, at)
    return low.checked(node, low.value(index), whole.shape[form.axis], position)


def one_hot(low: Lowering, node: Node, place: Expr) -> Expr:
    """The element of a row that is zero but for one place, at which a number was added to zero."""
    value = low.widened(low.groups.source(node.args[0]))
    zero = ex.literal(0, value.dtype)
    here = low.positions(node.types[0].shape)[-1]
    return ex.select(here.eq(place), zero + value, zero).cast(node.types[0].dtype)

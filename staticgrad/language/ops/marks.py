"""Marks: identity ops that carry information for derivatives and for memory.

They stay in the graph until kernels are made of it, so that text, files and passes keep them; no
kernel meets one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgrad.language.ir.expr import Expr
from staticgrad.language.ir.forms import Form, Identity
from staticgrad.language.ir.graph import Node, Symbolic
from staticgrad.language.ir.kinds import AnyValue, ArrayLike
from staticgrad.language.ir.op import Array, Op, lift_all
from staticgrad.language.ir.ranges import Range, RangeOf
from staticgrad.language.ops.batch_axis import in_front
from staticgrad.language.ops.cotangent import ONE, Partial
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import Size


class Mark(Elementwise):
    """x itself, through which gradients flow."""

    copies = True
    rounds_once = True
    exact = True
    flops = 0

    def reference(self, x: Array) -> Any:
        return x

    def scalar(self, x: Expr) -> Expr:
        return x

    def form(self, out: TensorType, *types: TensorType) -> Form:
        """The same value: a kernel never meets the op."""
        return Identity()

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (ONE,)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x)


class StopGradient(Mark, name="stop_gradient"):
    """x itself; carries no gradient. It stays in the graph until kernels are made of it."""

    differentiable = False


class Checkpoint(Mark, name="checkpoint"):
    """x itself, kept in memory from its first computation to its last use."""

    def form(self, out: TensorType, *types: TensorType) -> Form:
        """The same value; readers fuse with its producer as if the op were not there."""
        return Identity(materialized=True)


class CheckpointName(Mark, name="checkpoint_name"):
    """x itself, under a name by which policies of recomputation know it."""

    known_as: str


class Again(Mark, name="again"):
    """Identity of x for recomputed nodes, which must not be merged with the first computation.

    ``phase`` is the derivative order of what reads it: what runs again is merged within one.
    """

    phase: int = 1


class FirstOperand(Op):
    """The first operand itself; the others are there for derivatives alone."""

    exact = True
    rounds_once = True
    flops = 0

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        """Operands as they are: nothing promotes."""
        return lift_all(args)

    def infer(self, first: TensorType, *types: TensorType) -> TensorType:
        return first

    def reference(self, first: Any, *arrays: Any) -> Any:
        return first

    def form(self, out: TensorType, *types: TensorType) -> Form:
        """The first operand: a kernel never meets the op, nor the other operands."""
        return Identity()


class Recomputed(FirstOperand, name="recomputed"):
    """The first operand; gradients recompute the nodes between it and the others.

    The last ``saved`` operands lie in between and are kept; it begins at the others.
    """

    saved: int = 0

    def vjp(self, ct: Any, out: Any, result: Any, *others: Any) -> tuple[Any, ...]:
        """The cotangent goes to the first operand; who asks for it computes again."""
        return (ct, *[None] * len(others))

    def jvp(self, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
        """The tangent of the first operand; those of the others do not count."""
        return tangents[0]

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return type(self)(self.saved)(*in_front(size, args[:1], over[:1]), *args[1:])

    def value_range(self, of: RangeOf, result: Any, *others: Any) -> Range | None:
        return of(result)


def is_for_regions(op: Op) -> bool:
    """Return whether a mark speaks of what runs again, and means nothing for what does."""
    return isinstance(op, Recomputed | CheckpointName)


def name_of(op: Op) -> str:
    """The name that a mark gives to its operand; empty of other ops."""
    return op.known_as if isinstance(op, CheckpointName) else ""


def read_again(order: int) -> Op:
    """Return the mark in front of nodes recomputed for readers of a derivative order."""
    return Again(order)


def region_behind(node: Node) -> tuple[Sequence[Symbolic], Sequence[Symbolic]] | None:
    """Return the inputs of a region, and its saved values, if the node ends one."""
    if not isinstance(node.op, Recomputed):
        return None
    others = node.args[1:]
    begins = len(others) - node.op.saved
    return others[:begins], others[begins:]


def stop_gradient(x: ArrayLike[AnyValue]) -> AnyValue:
    """x itself, through which no gradient flows.

    >>> sg.grad(lambda x: x * sg.stop_gradient(x))(3.0)
    np.float64(3.0)
    """
    return StopGradient()(x)

"""New bodies: their inputs by role, and what they read of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from staticgrad.building import here
from staticgrad.ir.bodies import body_input, body_of, inlined
from staticgrad.ir.graph import Graph, Symbolic, ancestors
from staticgrad.ir.op import Op
from staticgrad.ops.cotangent import zeros_like_type
from staticgrad.ops.loops import NUMBER
from staticgrad.types.tensor import TensorType

#: A cotangent or tangent, or None: there is none.
Found = Any

#: Groups of values by the prefix of their names; groups of one prefix are numbered through.
Roles = Sequence[tuple[str, Sequence[Symbolic]]]


class Inputs:
    """The inputs of a body that is being made, by role; those that nothing reads can be dropped."""

    def __init__(self) -> None:
        self.number = self.new("i", NUMBER)

    def new(self, label: str, type: TensorType) -> Symbolic:
        """One more."""
        return body_input(label, type, *here())

    def like(self, prefix: str, types: Iterable[TensorType]) -> list[Symbolic]:
        """One for each type."""
        return [self.new(f"{prefix}{place}", kind) for place, kind in enumerate(types)]


def closed(number: Sequence[Symbolic], given: Roles, results: Roles) -> Graph:
    """A body of these inputs and outputs, under canonical names.

    Args:
        number: the number of the iteration, where there is one.
        given: its inputs.
        results: its outputs.
    """
    outs = dict(_named(results))
    inside = body_of([*number, *(value for _, group in given for value in group)], outs)
    wanted = [*(("i", value) for value in number), *_named(given)]
    fresh = [body_input(name, v.type, v.node.origin, v.node.order) for name, v in wanted]
    return body_of(fresh, dict(zip(outs, inlined(inside, fresh), strict=True)))


def _named(roles: Roles) -> list[tuple[str, Symbolic]]:
    """The values of all groups under their names."""
    count: dict[str, int] = {}
    named = []
    for prefix, group in roles:
        first = count.get(prefix, 0)
        named += [(f"{prefix}{place}", value) for place, value in enumerate(group, first)]
        count[prefix] = first + len(group)
    return named


def apply(op: Op, operands: Sequence[Any]) -> list[Any]:
    """The results of an op, however many."""
    found: Any = op(*operands)
    return [*found] if isinstance(found, tuple) else [found]


def reading(outputs: Iterable[Symbolic], inputs: Sequence[Symbolic]) -> list[int]:
    """The places of those inputs that the outputs depend on."""
    past = set(ancestors(outputs))
    return [place for place, value in enumerate(inputs) if value.node in past]


def found_or_zeros(found: Found, type: TensorType, like: Any = None) -> Any:
    """A cotangent or tangent of that type; where there is none, zeros of the kind of ``like``."""
    return zeros_like_type(type, like) if found is None else found

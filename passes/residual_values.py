"""How values are read behind a border, what they are views of, what it takes to run them again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from staticgrad.analysis.users import ValueKey
from staticgrad.ir.forms import Contract, Identity, Pointwise, Reduce, ReshapeForm, View
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.preparation.marks import is_mark
from staticgrad.types.tensor import hint_value

#: Bytes that are worth ``flops`` operations.
WORTH_BYTES: Final = 4
#: An op of so few operations is done while others wait for memory.
CHEAP: Final = 8


def work(node: Node) -> int:
    """What it takes to run a node again: operations, by the bytes whose worth is given in them."""
    if is_mark(node) or node.op.flops <= CHEAP:
        return 0
    return node.op.flops * hint_value(node.types[0].size) * WORTH_BYTES


def through(clones: Mapping[Node, Node], args: Sequence[Symbolic]) -> tuple[Symbolic, ...]:
    """The operands, clones in the place of what they are clones of."""
    return tuple(Symbolic(clones.get(arg.node, arg.node), arg.index) for arg in args)


def below(
    args: Sequence[Symbolic], nodes: Mapping[Node, object], ends: Mapping[Node, object]
) -> set[Node]:
    """Those of ``nodes`` that the operands depend on, by way of others of them alone.

    Nothing below one of ``ends`` counts.
    """
    found: set[Node] = set()
    waiting = [arg.node for arg in args]
    while waiting:
        node = waiting.pop()
        if node in nodes and node not in found:
            found.add(node)
            if node not in ends:
                waiting += [arg.node for arg in node.args]
    return found


def reads_elements(reader: Node, arg: Symbolic) -> bool:
    """Whether a fused kernel meets the element of ``arg`` where it needs it."""
    form = reader.form
    if isinstance(form, Pointwise) or is_mark(reader):
        return arg.shape == reader.types[0].shape
    return isinstance(form, Reduce)


def bases(value: Symbolic) -> Sequence[ValueKey]:
    """The value, and what it is a view of, down to what lies in memory."""
    found = [value.key]
    while isinstance(found[-1][0].form, View | Identity | ReshapeForm):
        found.append(found[-1][0].args[0].key)
    return found


def behind_products(
    keys: Collection[ValueKey],
    graph: Graph,
    phases: Mapping[Node, int],
    phase: int,
    soon: bool = False,
) -> set[ValueKey]:
    """Those of values of which a reader of a phase waits for a product of what is made of them.

    A product is a kernel of its own phase, so that none computes such a value and all its readers.
    With ``soon`` it may also be what reads the elements of a reader that waits.
    """
    bits = {key: 1 << place for place, key in enumerate(keys)}
    made: dict[Node, int] = {}  # of which values a node is made
    waits: dict[Node, int] = {}  # and of which there is a product between
    near: dict[Node, int] = {}  # and which it reads
    found = 0
    for node in graph.nodes:
        of = through = read = 0
        behind = phases[node] >= phase
        for arg in node.args:
            own = bits.get(arg.key, 0)
            of |= made[arg.node] | own
            through |= waits[arg.node]
            read |= own | (near[arg.node] if soon and reads_elements(node, arg) else 0)
        if isinstance(node.form, Contract):
            through |= of
        if behind:
            found |= through & read
        made[node], waits[node], near[node] = of, through, read if behind else 0
    return {key for key, bit in bits.items() if found & bit}

"""What elements of a batch compute that do not take a branch: nothing that can be seen.

``vmap`` computes a case for all elements and chooses. What an element does not take must not raise,
and must not make a NaN that its gradient, which is 0, is multiplied with. So such elements compute
with other operands: zeros where every op of the case is finite for them, with finite derivatives,
else those of an element that takes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Graph
from staticgrad.ops.loops import Loop
from staticgrad.types.dim import Size

#: Ops that never raise; of finite operands, derivatives of every order are finite, overflow apart.
_NAMES: Final = """
    abs add again at_least at_most bit_and bit_not bit_or bit_xor broadcast cast ceil checkpoint
    checkpoint_name concat
    constant cos cumsum eq erf floor ge gt input iota le logical_and logical_not logical_or
    logical_xor lt matmul max maximum min minimum mul ne neg pad random_bits reshape rint sigmoid
    sign sin size slice stop_gradient sub sum tanh transpose trunc where
"""
_TAME: Final = frozenset(_NAMES.split())


def is_tame(body: Graph) -> bool:
    """Whether every op of a body is, and of the bodies of its loops."""
    return all(
        node.op.name in _TAME or (isinstance(node.op, Loop) and is_tame(node.op.body))
        for node in body.nodes
    )


def for_all(
    takes: Any, tame: bool, args: Sequence[Any], over: Sequence[bool], size: Size
) -> list[Any]:
    """Operands of which elements that do not take the case have harmless ones.

    Args:
        takes: which elements take it, bool [size]. If the case is not tame, one at least does.
        tame: as ``is_tame`` says of the case.
        args: the operands.
        over: which of them have the batch axis.
        size: the size of the batch.
    """
    if tame:
        return [
            chosen(takes, arg, functions.zeros_like(arg)) if has and arg.dtype.is_float else arg
            for arg, has in zip(args, over, strict=True)
        ]
    number = functions.iota((size,), like=takes)
    one = functions.max(functions.where(takes, number, functions.zeros_like(number)), initial=0)
    found = []
    for arg, has in zip(args, over, strict=True):
        if has:
            other = functions.broadcast_to(functions.take(arg, one, axis=0), arg.shape)
            arg = chosen(takes, arg, functions.stop_gradient(other))
        found.append(arg)
    return found


def takers(index: Any, place: int, count: int) -> Any:
    """Which elements of a batch take the case at ``place`` of ``count``, by their indices."""
    if place == 0:
        return functions.less_equal(index, 0)
    if place == count - 1:
        return functions.greater_equal(index, place)
    return functions.equal(index, place)


def chosen(flags: Any, new: Any, old: Any) -> Any:
    """``new`` for the elements of the batch that ``flags`` marks, else ``old``."""
    shape = (flags.shape[0], *(1,) * (new.ndim - 1))
    return functions.where(functions.reshape(flags, shape), new, old)

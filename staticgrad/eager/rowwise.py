"""Functions by rows on tensors: one node that keeps the operands, and recomputes block by block.

What a library of tensors has as one operation (a normalisation, an activation, attention) is here
written with many. Recorded one by one, each would keep its result; as one, the operands are kept,
and the rest exists for a block of rows at a time, forwards as backwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from staticgrad.eager import tape
from staticgrad.eager.modes import checking, enable_grad, no_grad, recording
from staticgrad.eager.tensor import Tensor
from staticgrad.errors.calls import carries
from staticgrad.functions.rowwise import Rowwise

#: Bytes of the first operand in one block: small enough for a cache, large beside a call.
_BLOCK: Final = 1 << 16


@carries
def by_rows(function: Rowwise, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result, recorded as one operation where that keeps less; else as it is written."""
    worth = recording.innermost() and args[0].array.nbytes > _BLOCK and not checking.innermost()
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    plain = not worth or all(t.edge is None for t in tensors) or not function.cuts(args, kwargs)
    if plain:
        return function.function(*args, **kwargs)
    with no_grad():
        out = _joined(
            [function.function(*part, **kwargs).array for part in _parts(function, args)],
            args[0].shape[0],
        )
    result = Tensor.of(out)
    node: Any = tape.named_node(RowsNode, function.function.__name__.title().replace("_", ""))
    node(function, args, kwargs, tensors, result)
    return result


def _parts(function: Rowwise, args: Sequence[Any]) -> Iterator[list[Any]]:
    """The arguments for each block of rows, the cut ones as views that need no gradient."""
    for rows in _blocks(args):
        yield [
            Tensor.of(arg.array[rows]) if k < function.rows else _detached(arg)
            for k, arg in enumerate(args)
        ]


def _blocks(args: Sequence[Any]) -> Iterator[slice]:
    array = args[0].array
    each = max(1, _BLOCK * len(array) // array.nbytes)
    return (slice(k, k + each) for k in range(0, len(array), each))


def _detached(arg: Any) -> Any:
    return arg.detach() if isinstance(arg, Tensor) else arg


def _joined(parts: list[Any], count: int) -> Any:
    """The parts along axis 0; each is let go of once it is copied."""
    out = np.empty((count, *parts[0].shape[1:]), parts[0].dtype)
    begin = 0
    for part in parts:
        out[begin : begin + len(part)] = part
        begin += len(part)
    return out


class RowsNode(tape.TapeNode):
    """One call of a function by rows."""

    __slots__ = ("args", "function", "kwargs")

    takes_symbols = True

    def __init__(
        self,
        function: Rowwise,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        operands: list[Tensor],
        out: Tensor,
    ) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        super().__init__(tuple([t.edge for t in operands]), (out,), operands)

    def saved(self) -> tuple[Tensor, ...]:
        """The operands: all are read when the function runs again."""
        return tuple([arg for arg in self.args if isinstance(arg, Tensor)])

    def shares(self, cts: Sequence[Any], needed: tuple[bool, ...]) -> Sequence[Any]:
        """Run block by block again, and back; as a whole where the walk itself is recorded."""
        ct = cts[0]
        if recording.innermost() or not isinstance(ct, Tensor):
            return self._recorded(ct, needed)
        places = [k for k, arg in enumerate(self.args) if isinstance(arg, Tensor)]
        moved = [k for k, need in zip(places, needed, strict=True) if need]
        found: dict[int, Any] = {}
        for rows, part in zip(_blocks(self.args), _parts(self.function, self.args), strict=True):
            for k, slope in self._slopes(part, Tensor.of(ct.array[rows]), moved):
                self._collect(found, k, rows, slope.array)
        return [Tensor.of(found[k]) if k in found else None for k in places]

    def _slopes(
        self, part: list[Any], ct: Tensor, moved: Sequence[int]
    ) -> list[tuple[int, Tensor]]:
        """The gradients of one block by the arguments ``moved``; nothing else of it is kept."""
        for k in moved:
            part[k].requires_grad = True
        edges = [part[k].edge for k in moved]
        with enable_grad():
            out = self.function.function(*part, **self.kwargs)
        part.clear()
        sweep = tape.TapeSweep(tape.nodes_behind([out.edge]), edges, release=True)
        slopes = sweep.run([(out.edge, ct)])
        return [(k, slopes[edge]) for k, edge in zip(moved, edges, strict=True) if edge in slopes]

    def _collect(self, found: dict[int, Any], k: int, rows: slice, slope: Any) -> None:
        """Put the gradient of a block in its place, or add it to that of the blocks before."""
        if k < self.function.rows:
            if k not in found:
                found[k] = np.zeros_like(self.args[k].array, order="C")
            found[k][rows] = slope
        elif k in found:
            with np.errstate(all="ignore"):
                found[k] += slope
        else:
            found[k] = slope.copy()

    def _recorded(self, ct: Any, needed: tuple[bool, ...]) -> Sequence[Any]:
        since = next(tape.serials)
        with enable_grad():
            out = self.function.function(*self.args, **self.kwargs)
        edges = self.operands
        targets = [edge for edge, need in zip(edges, needed, strict=True) if need and edge]
        sweep = tape.TapeSweep(tape.nodes_behind([out.edge], since), targets)
        sweep.through([(out.edge, ct)], sweep.nodes)
        return [None if edge is None else sweep.pending.get(edge) for edge in edges]

    def release(self) -> None:
        """Let go of the operands."""
        super().release()
        self.args, self.kwargs = (), {}

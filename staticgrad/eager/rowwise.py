"""Functions by rows on tensors as one node, and gradients of all elements of a tensor.

What a library of tensors has as one operation (a normalisation, an activation, attention) is here
written with many. Recorded one by one, each would keep its result; as one, the operands are kept,
and the rest exists for a block of rows at a time, forwards as backwards.

**All gradients.** The walk is made once, with a value that stands for the unit cotangent of one
element; what it builds is computed for the elements of a batch at a time, op by op, as under
``sg.vmap``. Rules that want numbers, and hooks, get the cotangents of one element after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from staticgrad.eager import tape
from staticgrad.eager.tape import checking, enable_grad, no_grad, recording
from staticgrad.eager.tensor import Tensor
from staticgrad.errors import SymbolicValueError
from staticgrad.functions.rowwise import Rowwise
from staticgrad.language.ir.op import Array
from staticgrad.language.ops.indexing import concatenate, stack
from staticgrad.language.types.arrays import convert_array
from staticgrad.language.types.dtype import DType

#: Bytes of the first operand in one block: small enough for a cache, large beside a call.
_BLOCK: Final = 1 << 16


def by_rows(function: Rowwise, /, *args: Any, **kwargs: Any) -> Any:
    """Run a rowwise function as one tape node over blocks of rows, where that stores less."""
    worth = recording.innermost() and args[0].array.nbytes > _BLOCK and not checking.innermost()
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    plain = not worth or all(t.edge is None for t in tensors) or not function.cuts(args, kwargs)
    if plain:
        return function.function(*args, **kwargs)
    with no_grad():
        parts = [
            function.function(*part, **kwargs).array for part in _cut_arguments(function, args)
        ]
    out = np.empty((args[0].shape[0], *parts[0].shape[1:]), parts[0].dtype)
    begin = 0
    for part in parts:
        out[begin : begin + len(part)] = part
        begin += len(part)
    result = Tensor.of(out)
    node: Any = tape.named_node(RowsNode, function.function.__name__.title().replace("_", ""))
    node(function, args, kwargs, tensors, result)
    return result


def _cut_arguments(function: Rowwise, args: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield the arguments for each block of rows, as views that need no gradient."""
    for rows in _blocks(args):
        yield [
            Tensor.of(arg.array[rows])
            if k < function.rows
            else (arg.detach() if isinstance(arg, Tensor) else arg)
            for k, arg in enumerate(args)
        ]


def _blocks(args: Sequence[Any]) -> Iterator[slice]:
    array = args[0].array
    rows = max(1, _BLOCK * len(array) // array.nbytes)
    return (slice(k, k + rows) for k in range(0, len(array), rows))


class RowsNode(tape.TapeNode):
    """One recorded call of a row-wise function."""

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

    def read_saved(self) -> tuple[Tensor, ...]:
        """The operands: all are read when the function runs again."""
        return tuple([arg for arg in self.args if isinstance(arg, Tensor)])

    def shares(self, cts: Sequence[Any], needed: tuple[bool, ...]) -> Sequence[Any]:
        """Recompute and differentiate a rowwise function by blocks; whole for higher orders."""
        ct = cts[0]
        if recording.innermost() or not isinstance(ct, Tensor):
            since = next(tape.serials)
            with enable_grad():
                out = self.function.function(*self.args, **self.kwargs)
            return self.shares_of_rerun([out], since, cts, needed)
        places = [k for k, arg in enumerate(self.args) if isinstance(arg, Tensor)]
        variables = [k for k, need in zip(places, needed, strict=True) if need]
        gradients: dict[int, Any] = {}
        for rows, part in zip(
            _blocks(self.args), _cut_arguments(self.function, self.args), strict=True
        ):
            for k, slope in self._slopes(part, Tensor.of(ct.array[rows]), variables):
                if k < self.function.rows:
                    if k not in gradients:
                        gradients[k] = np.zeros_like(self.args[k].array, order="C")
                    gradients[k][rows] = slope.array
                elif k in gradients:
                    with np.errstate(all="ignore"):
                        gradients[k] += slope.array
                else:  # what blocks add up to is rounded to a narrow float at the end
                    gradients[k] = np.array(_in_dtype(slope.array, self.args[k].dtype.compute))
        return [
            Tensor.of(_in_dtype(gradients[k], self.args[k].dtype)) if k in gradients else None
            for k in places
        ]

    def _slopes(
        self, part: list[Any], ct: Tensor, variables: Sequence[int]
    ) -> list[tuple[int, Tensor]]:
        """Compute the gradients of one block of rows by some arguments, and free its tape."""
        for k in variables:
            part[k].requires_grad = True
        edges = [part[k].edge for k in variables]
        with enable_grad():
            out = self.function.function(*part, **self.kwargs)
        part.clear()
        sweep = tape.TapeSweep(tape.nodes_behind([out.edge]), edges, release=True)
        slopes = sweep.run([(out.edge, ct)])
        return [
            (k, slopes[edge]) for k, edge in zip(variables, edges, strict=True) if edge in slopes
        ]

    def release(self) -> None:
        """Let go of the operands."""
        super().release()
        self.args, self.kwargs = (), {}


def _in_dtype(array: Array, dtype: DType) -> Array:
    return array if array.dtype == dtype.numpy else convert_array(array, dtype)


#: Elements of the largest array of a batch, at most: what a walk makes stays in a cache.
MOST: Final = 1 << 20

#: Elements from which on they are taken together: fewer walks are shorter than building one.
FEWEST: Final = 8

#: From a cotangent of the tensor to those of what it is differentiated by, zeros where none is.
Walk = Callable[[Any], Sequence[Any]]
Absent = Callable[[Tensor], Tensor]


def stacked_rows(y: Tensor, by: Sequence[Tensor], walk_one: Walk, absent: Absent) -> list[Tensor]:
    """Compute the gradients of every element of a tensor by rows, stacked along a first axis.

    ``one`` gives those for one cotangent, ``absent`` that by what ``y`` does not depend on.
    """
    edges = [tensor.edge for tensor in by]
    nodes = tape.nodes_behind([y.edge])
    count = int(y.size)
    result_edges = [edge() for node in nodes for edge in node.outs]
    seen = [edge for edge in (*result_edges, *(e for node in nodes for e in node.operands)) if edge]
    symbols = all(node.takes_symbols for node in nodes) and not any(edge.hooks for edge in seen)
    if count >= FEWEST and None not in edges and symbols:
        # Few tensors are differentiated by their elements.
        from staticgrad.functions.batching import over_elements

        sizes: list[Any] = [edge.type.size for edge in (*result_edges, *edges) if edge]
        rows_at_once = max(1, MOST // max(sizes))

        def walk(unit: Any) -> list[Any]:
            cotangents = tape.TapeSweep(nodes, [e for e in edges if e]).run([(y.edge, unit)])  # type: ignore[list-item]
            return [cotangents[x.edge] if x.edge in cotangents else absent(x) for x in by]

        try:
            parts = [
                over_elements(walk, (_units(y, k, k + rows_at_once),), {}, (0, 0), None)
                for k in range(0, count, rows_at_once)
            ]
        except SymbolicValueError:
            pass  # a rule of the user's that asks for numbers
        else:
            if len(parts) == 1:
                return list(parts[0])
            return [concatenate(list(part)) for part in zip(*parts, strict=True)]
    rows = [walk_one(_units(y, k, k + 1)[0]) for k in range(count)]
    return [stack(list(row)) for row in zip(*rows, strict=True)]


def _units(tensor: Tensor, first: int, past: int) -> Tensor:
    """The unit cotangents of a range of elements, stacked."""
    size, past = int(tensor.size), min(past, int(tensor.size))
    units: Array = np.zeros((past - first, size), tensor.dtype.compute.numpy)
    units[np.arange(past - first), np.arange(first, past)] = 1
    return Tensor(units.reshape((past - first, *tensor.shape)))


Tensor.of_rows = staticmethod(by_rows)

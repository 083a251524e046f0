"""Recomputation: run a function without keeping what is inside it, and run it again for gradients.

Chen et al., "Training deep nets with sublinear memory cost", arXiv 1604.06174.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from staticgrad.eager import tape
from staticgrad.eager.modes import enable_grad, modes
from staticgrad.eager.random import replayed, states
from staticgrad.eager.tensor import Tensor
from staticgrad.errors import ArgumentError


def checkpoint(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)``; in the backward pass the function runs once more.

    Only what it reads from outside is kept: its arguments, and tensors it finds by itself, such as
    the parameters of a layer, which get their gradients as well. Random numbers come out the same
    both times: those of ``staticgrad.eager.Generator`` and of NumPy's global state.

    Args:
        function: gives a tensor or a tuple of tensors; must compute the same both times.
        args: passed on as they are.

    Raises:
        ArgumentError: it gives something else.
    """
    if not modes.recording:
        return function(*args)
    since, before = next(tape.serials), states()
    found = function(*args)
    results = _results(found)
    outs = tuple([result.detach() for result in results])
    outside = _read_from_outside(results, since)
    if outside:
        call = _Call(function, args, before, isinstance(found, tuple))
        node = CheckpointBackward(call, outside, outs)
        for out in outs:
            out.recorded_by(node)
    return outs if isinstance(found, tuple) else outs[0]


class _Call:
    """What it takes to run the function again."""

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], before: Any, several: bool
    ) -> None:
        self.function, self.args, self.before = function, args, before
        self.several = several

    def again(self) -> tuple[Tensor, ...]:
        """The results, recorded, from the same random numbers as the first time."""
        with replayed(self.before), enable_grad():
            return _results(self.function(*self.args))


class CheckpointBackward(tape.Node):
    """A function that runs again when its cotangents arrive."""

    __slots__ = ("call",)

    def __init__(self, call: _Call, args: tuple[Tensor, ...], outs: tuple[Tensor, ...]) -> None:
        self.call: _Call | None = call
        super().__init__(args, outs)

    def shares(
        self, cts: Sequence[Any], outs: Sequence[Any], wanted: tuple[bool, ...]
    ) -> Sequence[Any]:
        """Record the function once more, and walk back over that as far as it reaches."""
        args, since = self.saved_tensors, next(tape.serials)
        results = self.call.again() if self.call is not None else ()
        needed = [arg for arg, want in zip(args, wanted, strict=True) if want]
        sweep = tape.Sweep(tape.nodes_behind(results, since), needed)
        sweep.through(
            (result, ct)
            for result, ct in zip(results, cts, strict=True)
            if ct is not None and result.requires_grad
        )
        return [sweep.pending.get(id(arg)) for arg in args]

    def release(self) -> None:
        """Let go of the function and its operands."""
        super().release()
        self.call = None


def _results(found: Any) -> tuple[Tensor, ...]:
    results = found if isinstance(found, tuple) else (found,)
    if not all(isinstance(result, Tensor) for result in results):
        raise ArgumentError(f"checkpoint: the function gives {found!r}, no tensor or tuple of them")
    return results


def _read_from_outside(results: Iterable[Tensor], since: int) -> tuple[Tensor, ...]:
    """The tensors needing gradients, older than node number ``since``, that results depend on."""
    reached = [*results]
    reached += [arg for node in tape.nodes_behind(results, since) for arg in node.saved_tensors]
    return tuple(
        t
        for t in {id(t): t for t in reached}.values()
        if t.requires_grad and (t.grad_fn is None or t.grad_fn.serial < since)
    )

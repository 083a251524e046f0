"""Recomputation: run a function without keeping what is inside it, and run it again for gradients.

Chen et al., "Training deep nets with sublinear memory cost", arXiv 1604.06174.

A policy is applied to every operation of the first run, and the arrays to keep are stored by
operation number. The second run uses these arrays instead of computing them. It must consist of the
same operations, which is checked when an array is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any
from weakref import ref

import numpy as np

from staticgrad.eager import tape
from staticgrad.eager.binding import Application, silent
from staticgrad.eager.tape import enable_grad, recording, watch_runner
from staticgrad.eager.tensor import Tensor
from staticgrad.errors import ArgumentError, TapeError
from staticgrad.errors.wording import quote
from staticgrad.functions.checkpoints.marks import (
    SAME_BYTES,
    check_names,
    is_saved,
)
from staticgrad.functions.checkpoints.saveable import Saveable, parts_of
from staticgrad.functions.streams import GENERATORS
from staticgrad.language.ir.op import Array, Op
from staticgrad.language.ops.marks import name_of
from staticgrad.language.trees import flatten, unflatten
from staticgrad.language.types.arrays import TensorType
from staticgrad.support.contexts import Block
from staticgrad.support.records import NamedTuple


class KeptResult(NamedTuple):
    """An operation, the types of its operands, and its result."""

    op: Op
    types: tuple[TensorType, ...]
    result: Any


class _RecordedOperation(NamedTuple):
    """An operation of the first run: ``get_result`` returns None once nobody holds the array."""

    op: Op
    types: tuple[TensorType, ...]
    get_result: Callable[[], Any]
    base: int | None  # the operation whose bytes it gives


class Recording:
    """The first run of a function: computes everything, and stores what the policy saves."""

    def __init__(self, policy: Saveable) -> None:
        self.policy, self.parts = policy, parts_of(policy)
        self.saved_results: dict[int, KeptResult] = {}
        self._done: list[_RecordedOperation] = []
        self._producers: dict[int, int] = {}  # id of an array -> the operation that gave it last
        self._names: dict[str, None] = {}

    def run(self, applied: Application, op: Op, arrays: Sequence[Array]) -> Any:
        """Run an operation of a checkpointed function; store its result if the policy saves it."""
        result = silent.context.run(applied.run, op, *arrays)
        number = len(self._done)
        saved = is_saved(self.parts, op, applied.types)
        if saved:
            self.saved_results[number] = KeptResult(op, applied.types, result)
        base = self._producers.get(id(arrays[0])) if isinstance(op, SAME_BYTES) else None
        self._done.append(_RecordedOperation(op, applied.types, _held_weakly(result), base))
        if name_of(op):
            self._names[name_of(op)] = None
            if saved:
                self._keep(base)
        if isinstance(result, np.ndarray):
            self._producers[id(result)] = number
        return result

    def _keep(self, number: int | None) -> None:
        """Store a named result of a checkpointed function, and the values that it is a view of."""
        while number is not None:
            done = self._done[number]
            result = done.get_result()
            if result is not None:
                self.saved_results[number] = KeptResult(done.op, done.types, result)
            number = done.base

    def finish(self) -> Mapping[int, KeptResult]:
        """Return the kept results by operation number."""
        check_names(self.policy, self._names)
        return self.saved_results


class Taking:
    """The second run: takes what is kept, and computes the rest."""

    def __init__(self, stored: Mapping[int, KeptResult]) -> None:
        self.saved_results = stored
        self._numbers = count()

    def run(self, applied: Application, op: Op, arrays: Sequence[Array]) -> Any:
        """Return the stored result of an operation in the recomputation, or compute it again."""
        stored = self.saved_results.get(next(self._numbers))
        if stored is None:
            return silent.context.run(applied.run, op, *arrays)
        if stored.op != op or stored.types != applied.types:
            raise TapeError(
                f"checkpoint: the function runs {op.name} where it ran {stored.op.name} first",
                hint="it must compute the same both times: a policy stores results of the first",
            )
        return stored.result


def _held_weakly(result: Any) -> Callable[[], Any]:
    return ref(result) if isinstance(result, np.ndarray) else lambda: result


#: Generators with their steps and the number of their draws, and NumPy's global state.
State = tuple[list[tuple[Any, Any, int]], Any]


def states() -> State:
    """Return the state of every generator, and NumPy's global state."""
    states = [
        (generator, generator.step.value, generator.streams) for generator in list(GENERATORS)
    ]
    return states, np.random.get_state()


@contextmanager
def replay_draws(state: State) -> Iterator[None]:
    """Draw random numbers from a stored ``state`` again, then restore all generators."""
    now = states()
    try:
        _restore(state)
        yield
    finally:
        _restore(now)


def _restore(state: State) -> None:
    for generator, step, streams in state[0]:
        generator.streams = streams
        if generator.step.value != step:  # a parameter, which a running program may hold
            generator.step.value = step
    np.random.set_state(state[1])


def checkpoint(function: Callable[..., Any], *args: Any) -> Any:
    """Run ``function(*args)``; in the backward pass the function runs once more.

    Only what it reads from outside is stored: its arguments, and captured tensors such as the
    parameters of a layer, which get gradients too. Random numbers are equal in both runs:
    those of ``sg.random.Generator`` and of NumPy's global state.

    Args:
        function: gives a tensor, or tensors in containers; must compute equal results in both runs.
        args: passed to the function.

    Raises:
        ArgumentError: the result is something else.

    >>> from staticgrad.eager import Tensor
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> checkpoint(lambda x: x * x, x).sum().backward()
    >>> x.grad
    array([2., 4.], dtype=float32)
    """
    return run_checkpointed(function, args)


def run_checkpointed(
    function: Callable[..., Any], args: tuple[Any, ...], policy: Saveable | None = None
) -> Any:
    """Run a checkpointed function on the tape; results that ``policy`` saves are not recomputed."""
    if not recording.innermost():
        return function(*args)
    since, state = next(tape.serials), states()
    selection = None if policy is None else Recording(policy)
    with Block[Any](tape.selection, watch_runner(selection)):
        outputs = function(*args)
    stored = {} if selection is None else selection.finish()
    results = _results(outputs)
    outs = tuple([result.detach() for result in results])
    # The edges older than node number `since` that results depend on.
    reached = [result.edge for result in results]
    reached += [edge for node in tape.nodes_behind(reached, since) for edge in node.operands]
    outside = tuple(
        edge
        for edge in dict.fromkeys(reached)
        if edge is not None and (edge.node is None or edge.node.serial < since)
    )

    def again() -> tuple[Tensor, ...]:
        """The results, recorded, from the same random numbers as the first time."""
        chosen = Taking(stored) if stored else None
        with replay_draws(state), enable_grad(), Block[Any](tape.selection, watch_runner(chosen)):
            return _results(function(*args))

    if outside:
        owners = [edge.tensor() for edge in outside]
        read = [arg for arg in (*args, *owners) if isinstance(arg, Tensor)]
        CheckpointBackward(again, outside, outs, read)
    return unflatten(flatten(outputs)[1], outs)


class CheckpointBackward(tape.TapeNode):
    """A function that runs again when its cotangents arrive."""

    __slots__ = ("again",)

    def __init__(
        self,
        again: Callable[[], tuple[Tensor, ...]],
        edges: tape.Edges,
        outs: tuple[Tensor, ...],
        read: Sequence[Tensor],
    ) -> None:
        self.again: Callable[[], tuple[Tensor, ...]] | None = again
        super().__init__(edges, outs, read)

    def shares(self, cts: Sequence[Any], needed: tuple[bool, ...]) -> Sequence[Any]:
        """Record the function once more, and walk back over that as far as it reaches."""
        since = next(tape.serials)
        results = self.again() if self.again is not None else ()
        return self.shares_of_rerun(results, since, cts, needed)

    def release(self) -> None:
        super().release()
        self.again = None


def _results(outputs: Any) -> tuple[Tensor, ...]:
    results = tuple(flatten(outputs)[0])
    if not results or not all(isinstance(result, Tensor) for result in results):
        raise ArgumentError(f"checkpoint: the function gives {quote(outputs)}, not tensors alone")
    return results


Tensor.run_checkpointed = staticmethod(run_checkpointed)

"""Ops that run graphs of their own: a loop of so many iterations, one while a test holds, a branch.

A body is a closed graph (``ir/bodies.py``). What a user's function closed over are operands of the
op like any other: a loop hands the same *invariants* to every iteration. The functions that make
bodies of Python functions stand in ``functions/loops/loops.py``; derivatives are those of the
bodies, and are made where derivatives of graphs are (``autodiff/bodies.py``).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any, Protocol, Self

import numpy as np

from staticgrad.language.ir.forms import BodyForm, Form
from staticgrad.language.ir.graph import BodyOp, Graph, Input, Node
from staticgrad.language.ir.op import Array, lift_all
from staticgrad.language.ir.rounded import rounded
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import BOOL, I64
from staticgrad.support.errors import DTypeError, OpDefinitionError, RankError, ShapeError
from staticgrad.support.upward import up

NUMBER = TensorType(I64, ())
TRUTH = TensorType(BOOL, ())


class Interpreter(Protocol):
    """The interface of an interpreter that runs bodies on arrays."""

    def run(self, body: Graph, arrays: Sequence[Array]) -> list[Array]:
        """The outputs of a body, given its inputs."""

    def empty(self, of: TensorType, iterations: int) -> Array:
        """Room for a result of every iteration."""


class _ControlFlow(BodyOp):
    """A loop or branch: how its bodies run, and are differentiated and batched."""

    flops = 0

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        """Operands as they are: nothing promotes."""
        return lift_all(args)

    @abstractmethod
    def interpreted(self, interpreter: Interpreter, *arrays: Any) -> tuple[Any, ...]:
        """Compute the result in NumPy with an interpreter of the bodies. Sizes are integers."""

    def reference(self, *arrays: Any) -> Any:
        return single(self.interpreted(_Literal(), *arrays))

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        cts = ct if isinstance(ct, tuple) else (ct,)
        given = [None if isinstance(each, float) else each for each in cts]
        wanted = [need and arg.dtype.is_float for need, arg in zip(needed, args, strict=True)]
        return tuple(_derivatives().cotangents(self, given, args, wanted))

    def jvp(self, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
        """Return the tangents, computed together with the results of the bodies."""
        return single(tuple(_derivatives().tangents(self, tangents, args)))

    def batched(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """Batch the bodies, run by an op of this family."""
        return import_module("staticgrad.language.ops.batching").of_bodies(self, size, args, over)

    def refuse(self, what: str, at: Node | None = None) -> OpDefinitionError:
        """The error for operands and bodies that do not fit each other."""
        return OpDefinitionError(f"{self.name}: {what}", at=at.origin if at else None)


class Loop(_ControlFlow, name="loop"):
    """A body run ``iterations`` times: carries go from iteration to iteration, slices in and
    outputs out by iteration.

    Operands are the first ``carries`` carries, then ``slices`` arrays with ``iterations`` slices
    along their first axis, then invariants. The body takes the number of the iteration (int64), the
    carries, a slice of each array, and the invariants; it gives the next carries, then outputs.
    Results are the last carries, then each output stacked along a new first axis. With ``reverse``
    the number of the iteration falls from iterations - 1 to 0: it always is the index of the slice
    read and written. Without an iteration the last carries are the first ones.

    In graphs of which kernels are made, carries may be ``logged``: the result holds every
    intermediate carry, ``iterations + 1`` rows; the first, or with ``reverse`` the last, is the
    initial one.
    """

    kink = "as in the body"
    body: Graph
    iterations: Size
    carries: int
    slices: int
    reverse: bool = False
    logged: tuple[int, ...] = ()

    @property
    def bodies(self) -> tuple[Graph, ...]:
        return (self.body,)

    def with_bodies(self, bodies: Sequence[Graph]) -> Self:
        (body,) = bodies
        return replace(self, body=body)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return BodyForm(
            "loop", self.iterations, self.carries, self.slices, self.reverse, self.logged
        )

    def infer(self, *types: TensorType) -> tuple[TensorType, ...] | TensorType:
        inner = [NUMBER]
        for place, kind in enumerate(types):
            sliced = self.carries <= place < self.carries + self.slices
            inner.append(self._slice_of(kind) if sliced else kind)
        _check_inputs(self, self.body, inner)
        given = output_types(self.body)
        if given[: self.carries] != [*types[: self.carries]]:
            raise self.refuse(
                f"the carries {_listed(types[: self.carries])} become {_listed(given)}"
            )
        if isinstance(self.iterations, int) and self.iterations < 0:
            raise self.refuse(f"{self.iterations} iterations")
        stacked = [
            kind.with_shape((self.iterations, *kind.shape)) for kind in given[self.carries :]
        ]
        last = [
            kind.with_shape((self.iterations + 1, *kind.shape)) if place in self.logged else kind
            for place, kind in enumerate(types[: self.carries])
        ]
        return single((*last, *stacked))

    def _slice_of(self, kind: TensorType) -> TensorType:
        if not kind.shape:
            raise RankError(f"{self.name}: {kind} has no axis of slices")
        text = f"{self.name}: {kind.shape[0]} slices in {kind}, and {self.iterations} iterations"
        if not dims.equal(kind.shape[0], self.iterations, text):
            raise ShapeError(text)
        return kind.with_shape(kind.shape[1:])

    def interpreted(self, interpreter: Interpreter, *arrays: Any) -> tuple[Any, ...]:
        """Iteration after iteration."""
        ends = self.carries, self.carries + self.slices
        carries, sliced, rest = arrays[: ends[0]], arrays[ends[0] : ends[1]], arrays[ends[1] :]
        iterations = int(self.iterations)
        stacks = [interpreter.empty(t, iterations) for t in output_types(self.body)[self.carries :]]
        states = [carries]
        for i in reversed(range(iterations)) if self.reverse else range(iterations):
            given = [np.asarray(i), *states[-1], *(each[i] for each in sliced), *rest]
            found = interpreter.run(self.body, given)
            carries = tuple(found[: self.carries])
            states = [*states, carries] if self.logged else [carries]
            for stack, array in zip(stacks, found[self.carries :], strict=True):
                stack[i] = array
        last = list(carries)
        for place in self.logged:
            rows = [each[place] for each in states]
            last[place] = np.stack(rows[::-1] if self.reverse else rows)
        return (*last, *stacks)


class While(_ControlFlow, name="while"):
    """A body run as long as a test of its carries holds, ``most`` times if that is said.

    Operands are the first ``carries`` carries, then invariants. Test and body take the number of
    the iteration (int64), the carries and the invariants; the test gives a bool, the body the next
    carries. Results are the last carries, and the number of iterations (int64). The reverse
    derivative runs a loop of ``most`` iterations, so it needs that number.
    """

    kink = "as in the body: the number of iterations counts as given"
    test: Graph
    body: Graph
    carries: int
    most: Size | None = None

    @property
    def bodies(self) -> tuple[Graph, ...]:
        return (self.test, self.body)

    def with_bodies(self, bodies: Sequence[Graph]) -> Self:
        test, body = bodies
        return replace(self, test=test, body=body)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return BodyForm("while", self.most, self.carries)

    def infer(self, *types: TensorType) -> tuple[TensorType, ...] | TensorType:
        for body in self.bodies:
            _check_inputs(self, body, [NUMBER, *types])
        if output_types(self.test) != [TRUTH]:
            raise self.refuse(f"the test gives {_listed(output_types(self.test))}, not one bool")
        given = output_types(self.body)
        if given != [*types[: self.carries]]:
            raise self.refuse(
                f"the carries {_listed(types[: self.carries])} become {_listed(given)}"
            )
        return single((*given, NUMBER))

    def interpreted(self, interpreter: Interpreter, *arrays: Any) -> tuple[Any, ...]:
        """Test, body, test, body."""
        carries, rest, done = arrays[: self.carries], arrays[self.carries :], 0
        while self.most is None or done < int(self.most):
            given = [np.asarray(done), *carries, *rest]
            if not interpreter.run(self.test, given)[0]:
                break
            carries, done = tuple(interpreter.run(self.body, given)), done + 1
        return (*carries, np.asarray(done))


class Branch(_ControlFlow, name="branch"):
    """One of several bodies, by an index that is held between the first and the last.

    Operands are the index (int64), then what every case takes; cases give equal types. Only the
    case that is taken runs.
    """

    kink = "as in the case that is taken"
    cases: tuple[Graph, ...]

    @property
    def bodies(self) -> tuple[Graph, ...]:
        return self.cases

    def with_bodies(self, bodies: Sequence[Graph]) -> Self:
        return replace(self, cases=tuple(bodies))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return BodyForm("branch")

    def infer(self, index: TensorType, *types: TensorType) -> tuple[TensorType, ...] | TensorType:
        if index != NUMBER:
            raise DTypeError(f"{self.name}: the index is {index}, not {NUMBER}")
        if not self.cases:
            raise self.refuse("there is no case")
        for case in self.cases:
            _check_inputs(self, case, types)
            if output_types(case) != output_types(self.cases[0]):
                both = [_listed(output_types(each)) for each in (self.cases[0], case)]
                raise self.refuse(f"one case gives {both[0]}, another {both[1]}")
        return single(tuple(output_types(self.cases[0])))

    def interpreted(self, interpreter: Interpreter, *arrays: Any) -> tuple[Any, ...]:
        """The case taken."""
        place = min(max(int(arrays[0]), 0), len(self.cases) - 1)
        return tuple(interpreter.run(self.cases[place], arrays[1:]))


class _Literal:
    """Runs bodies in which every size is an integer."""

    def run(self, body: Graph, arrays: Sequence[Array]) -> list[Array]:
        """Node after node."""
        known = dict(zip((value.key for value in body.inputs), arrays, strict=True))
        for node in body.nodes:
            if isinstance(node.op, Input):
                continue
            run = rounded(node.op.reference, node.op, [a.type for a in node.args], node.types)
            found = run(*[known[arg.key] for arg in node.args])
            results = found if isinstance(found, tuple) else (found,)
            known.update(((node, i), np.asarray(array)) for i, array in enumerate(results))
        return [known[value.key] for value in body.outputs.values()]

    def empty(self, of: TensorType, iterations: int) -> Array:
        """Return an empty array for ``iterations`` values of the declared shape."""
        return np.empty((iterations, *(int(size) for size in of.shape)), of.dtype.numpy)


def single(results: tuple[Any, ...]) -> Any:
    """Return what ops give: the result itself where there is one."""
    return results[0] if len(results) == 1 else results


def output_types(body: Graph) -> list[TensorType]:
    """Return the types of a body's outputs, in order."""
    return [value.type for value in body.outputs.values()]


def _check_inputs(op: _ControlFlow, body: Graph, types: Sequence[TensorType]) -> None:
    wanted = [value.type for value in body.inputs]
    if wanted != [*types]:
        raise op.refuse(f"a body takes {_listed(wanted)}, the operands give {_listed(types)}")
    if body.parameters or body.updates:
        raise op.refuse("a body reads or writes a parameter: it is an operand instead")


def _listed(types: Sequence[TensorType]) -> str:
    return "(" + ", ".join(map(str, types)) + ")"


def _changed(carries: Sequence[TensorType], given: Sequence[TensorType]) -> str:
    return f"the carries {_listed(carries)} become {_listed(given)}"


def _derivatives() -> Any:
    """Return the module that differentiates graphs; it is in a layer above the ops."""
    return up("staticgrad.autodiff.bodies")

"""Modes that look at each operation of the tape while it runs: for NaNs, for seconds and bytes.

Both run the operations themselves (``tape.selection``), so that nothing is looked at, and nothing
costs time, outside of them. Operations of a backward pass belong to the line of the operation whose
gradient they compute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Final
from weakref import ref

import numpy as np

from staticgrad.eager import tape
from staticgrad.eager.binding import Application, silent
from staticgrad.eager.tape import NodeLine, TapeNode
from staticgrad.language.ir.op import Array, Op
from staticgrad.support.building import capture
from staticgrad.support.contexts import Block, Decorator
from staticgrad.support.records import dataclass
from staticgrad.support.source import Location

FORWARD: Final = "forward"
BACKWARD: Final = "backward"
#: Called after each operation: what ran, its operands, its results, and the seconds it took.
Look = Callable[["Watcher", Op, Sequence[Array], Sequence[Array], float], None]


class Watcher:
    """Runs operations, and calls ``look`` after each.

    Attributes:
        node: the operation whose gradient is being computed; None in a forward pass.
        inner: what runs the operations instead, as where a checkpoint keeps results.
    """

    def __init__(self, look: Look, inner: Any = None) -> None:
        self.look, self.inner = look, inner
        self.node: TapeNode | None = None

    def run(self, applied: Application, op: Op, arrays: Sequence[Array]) -> Any:
        """Run an operation of the tape, measure its time, and pass results to the watcher."""
        begin = perf_counter()
        if self.inner is None:
            result = silent.context.run(applied.run, op, *arrays)
        else:
            result = self.inner.run(applied, op, arrays)
        spent = perf_counter() - begin
        self.look(self, op, arrays, [*result] if applied.is_tuple else [result], spent)
        return result

    def around(self, runner: Any) -> Watcher:
        """Return what looks in the same way at operations that ``runner`` runs."""
        return Watcher(self.look, runner)

    def enter_node(self, node: TapeNode | None) -> None:
        """Note that the walk back has come to a node, or to its end."""
        self.node = node
        if self.inner is not None and hasattr(self.inner, "enter_node"):
            self.inner.enter_node(node)

    @property
    def line(self) -> Location:
        """The line of the program that runs, or whose gradient is computed."""
        seal = None if self.node is None else self.node.seal
        origin: Location = capture() if seal is None else seal.origin
        return origin


class _Mode(Decorator):
    """A block inside of which each operation is looked at; recorded ones keep their line."""

    def __init__(self) -> None:
        self._blocks: list[tuple[Block[Any], Block[Any]]] = []

    def look(
        self,
        watch: Watcher,
        op: Op,
        arrays: Sequence[Array],
        results: Sequence[Array],
        spent: float,
    ) -> None:
        """Observe an operation of the tape that has run; watchers override this."""

    def __enter__(self) -> Any:
        checking = Block[Any](tape.checking, tape.checking.innermost() or NodeLine)
        watch = Block[Any](tape.selection, Watcher(self.look, tape.selection.innermost()))
        checking.__enter__()
        watch.__enter__()
        self._blocks.append((checking, watch))
        return self

    def __exit__(self, *exc: object) -> None:
        for block in self._blocks.pop():
            block.__exit__(*exc)


class detect_anomaly(_Mode):  # noqa: N801 - the name this idea has in PyTorch
    """Inside, an operation that makes NaN or an infinity out of finite numbers is an error.

    Forward and backward: the error names the operation, its line, its operands and the first bad
    element, as ``sg.compile(graph, debug="nan")`` does. A tape does not know what is discarded
    later, so an element that ``sg.where`` will not choose counts, too. Costs a pass over every
    array.

    Raises:
        NonFiniteError (an ArithmeticError): from the operation.

    >>> import staticgrad as sg
    >>> from staticgrad.eager import Tensor
    >>> with detect_anomaly():
    ...     try:
    ...         sg.log(Tensor([1.0, 0.0]))
    ...     except sg.errors.NonFiniteError as error:
    ...         print(error.headline)
    log makes an infinity out of finite numbers
    """

    def look(
        self,
        watch: Watcher,
        op: Op,
        arrays: Sequence[Array],
        results: Sequence[Array],
        spent: float,
    ) -> None:
        """Look for new NaN or infinity in an operation's results; raise an error with its line."""
        for result in map(np.asarray, results):
            if result.dtype.kind not in "fc" and result.dtype.name != "bfloat16":
                continue
            good = np.isfinite(result)
            if good.all():
                continue
            clean = [np.isfinite(array) for array in arrays if array.dtype.kind in "fc"]
            if op.elementwise:
                is_new = ~good
                for is_finite in clean:
                    is_new = is_new & is_finite
            elif all(is_finite.all() for is_finite in clean):
                is_new = ~good
            else:
                continue
            if is_new.any():
                from staticgrad.analysis.nonfinite import (
                    derivative,
                    nonfinite_error,
                )  # one is enough

                operands = [(f"operand {k}", array, None) for k, array in enumerate(arrays, 1)]
                prefix = derivative(int(watch.node is not None))
                raise nonfinite_error(op, result, is_new, operands, prefix=prefix, at=watch.line)


@dataclass(frozen=True)
class Ran:
    """One operation that ran: bytes are those that it made, and those of all arrays afterwards."""

    op: str
    phase: str
    origin: Location
    seconds: float
    nbytes: int
    held: int


class profile(_Mode):  # noqa: N801 - a block, as the others
    """Inside, each operation of the tape is measured: its time, and the memory of its results.

    Memory is counted in arrays that operations made inside the block and that are still there: what
    the tape saved, gradients, and what the program holds. Arrays that live only within an operation
    do not count, nor do Python's objects. ``print`` shows the operations, those of a line together,
    and a notebook draws the memory over the operations. It has looked at the last block alone.

    Attributes:
        operations: what ran, in its order.
        memory_allocated: the bytes of arrays that are there now.
        peak_bytes: the most that were there at the same time.
        timeline: those bytes after each operation.

    >>> import numpy as np
    >>> from staticgrad.eager import Tensor
    >>> x = Tensor(np.ones(1000), requires_grad=True)
    >>> with profile() as seen:
    ...     y = x * x
    ...     z = y + 1.0
    >>> [ran.op for ran in seen.operations], seen.memory_allocated
    (['mul', 'add'], 16000)
    """

    def __init__(self) -> None:
        super().__init__()
        self._clear()

    def _clear(self) -> None:
        self.operations: list[Ran] = []
        self.memory_allocated = self.peak_bytes = 0
        self._alive: dict[int, Any] = {}

    def __enter__(self) -> Any:
        if not self._blocks:
            self._clear()
        return super().__enter__()

    @property
    def timeline(self) -> list[int]:
        """The bytes of arrays after each operation."""
        return [ran.held for ran in self.operations]

    @property
    def seconds(self) -> float:
        """The time of all operations together."""
        return sum(ran.seconds for ran in self.operations)

    def look(
        self,
        watch: Watcher,
        op: Op,
        arrays: Sequence[Array],
        results: Sequence[Array],
        spent: float,
    ) -> None:
        """Record an operation's time, result bytes and memory in the tape's profile."""
        operand_ids = {id(_owner(array)) for array in arrays}
        values: list[Any] = [*results]
        owners = [_owner(value) for value in values if isinstance(value, np.ndarray)]
        size = 0
        for owner in owners:
            size += self._new(owner, operand_ids)
        phase = FORWARD if watch.node is None else BACKWARD
        self.operations.append(Ran(op.name, phase, watch.line, spent, size, self.memory_allocated))

    def _new(self, owner: Array, operand_ids: set[int]) -> int:
        """Count a new array of the profile until it is freed; return its bytes or 0."""
        key, size = id(owner), owner.nbytes
        if key in operand_ids or key in self._alive:
            return 0
        alive = self._alive

        def gone(_: object) -> None:
            if alive.pop(key, None) is not None and alive is self._alive:
                self.memory_allocated -= size

        alive[key] = ref(owner, gone)
        self.memory_allocated += size
        self.peak_bytes = max(self.peak_bytes, self.memory_allocated)
        return size

    def rows(self) -> list[tuple[str, ...]]:
        """Group the profiled operations by line, name and phase, the longest first."""
        from staticgrad.support.pictures.markup import nbytes, seconds  # loaded to be shown

        groups: dict[tuple[str, str, str], list[Ran]] = {}
        for ran in self.operations:
            key = (ran.origin.resolve().short, ran.op, ran.phase)
            groups.setdefault(key, []).append(ran)
        spent = sorted(groups.items(), key=lambda item: -sum(ran.seconds for ran in item[1]))
        return [
            (
                seconds(sum(ran.seconds for ran in runs)), str(len(runs)),
                nbytes(sum(ran.nbytes for ran in runs)), phase, name, line,
            )
            for (line, name, phase), runs in spent
        ]  # fmt: skip

    def _title(self) -> str:
        from staticgrad.support.pictures.markup import nbytes, seconds

        return (
            f"{len(self.operations):,} operations in {seconds(self.seconds)};"
            f" {nbytes(self.memory_allocated)} allocated, {nbytes(self.peak_bytes)} at most"
        )

    def __str__(self) -> str:
        from staticgrad.support.pictures.markup import text_table

        return "\n".join([self._title(), *text_table(_HEADS, self.rows(), range(3))])

    def _repr_html_(self) -> str:
        """Show the profile as HTML: a chart of the memory over operations, and the table."""
        from staticgrad.support.pictures import charts
        from staticgrad.support.pictures.markup import details, fragment, nbytes, on_screens, table

        points = [(float(k), float(nbytes_held)) for k, nbytes_held in enumerate(self.timeline, 1)]
        switch = sum(ran.phase == FORWARD for ran in self.operations)
        parts = [("forward", points[:switch]), ("backward", points[max(switch - 1, 0) :])]
        series = [
            charts.Line(name, points_of_phase) for name, points_of_phase in parts if points_of_phase
        ]

        def draw(width: int) -> str:
            return charts.lines(
                series, "operation", "bytes of arrays", show_y=nbytes, log_x=False, log_y=False,
                class_of="ea", width=width,
            )  # fmt: skip

        chart = on_screens(draw) if series else ""
        rows = details("table", table(_HEADS, self.rows(), range(3)), opened=True)
        return fragment(f"<p>{self._title()}</p>", f'<div class="chart">{chart}</div>', rows)


_HEADS: Final = ("time", "times", "bytes made", "phase", "operation", "line")


def _owner(array: Any) -> Array:
    """The array that has the bytes of a view."""
    owner: Array = np.asarray(array)
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    return owner

"""The two ways of running a program: a tape written while it runs, and a graph compiled before.

Both start from the same values, see the same batches, draw the same random numbers and update by
the same rules. Each has ``call`` (one batch in, results out, parameters updated) and ``forward``
(the loss alone, of a program that is trained), which are what is timed; ``step``, the number of a
call; and ``values``.

``agreement`` says whether both compute equal results, or why not. The two ways add in different
orders, so figures agree only up to rounding; ``TOLERANCE`` states what counts as agreement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Final

import numpy as np

import staticgrad as sg
from staticgrad.comparison import training
from staticgrad.comparison.limits import limit_time
from staticgrad.comparison.programs import (
    BATCH,
    Array,
    Batch,
    ComparedProgram,
    as_number,
    module_arguments,
)
from staticgrad.comparison.report import Agreement
from staticgrad.eager import no_grad
from staticgrad.errors import ArgumentError, ProgramError, StaticgradError
from staticgrad.extend.programs import bind_sizes
from staticgrad.extend.reports import Plan
from staticgrad.nn import Module, Sequential


class DefineByRun:
    """A program on the tape, computed line by line on NumPy arrays from the start values."""

    def __init__(self, program: ComparedProgram) -> None:
        self._program = program
        program.restore()

    def step(self, batch: Batch) -> float:
        """Call it once; return the first of its results, or the mean of that."""
        return as_number(self.call(batch))

    def call(self, batch: Batch) -> object:
        """Call it once and return its results."""
        return self._program.at_once(batch)

    def forward(self, batch: Batch) -> object:
        """Return the loss, with nothing recorded."""
        assert self._program.loss is not None
        with no_grad():
            return self._program.loss.eagerly(*batch.values())

    def values(self) -> Mapping[str, Array]:
        """Return the current values of the parameters."""
        return {p.name: p.value for p in self._program.graph.parameters if p.dtype.is_float}


class Checkpointed(DefineByRun):
    """The same, of a module whose parts ``sg.checkpoint`` runs again for their gradients.

    A ``Sequential`` of n layers has about sqrt(n) parts; another module those in its lists.
    """

    def __init__(self, program: ComparedProgram) -> None:
        """Prepare the step.

        Raises:
            ArgumentError: the program is no module with parts.
        """
        super().__init__(program)
        self._run = program.trace(_make_checkpointed_step(program)).eagerly

    def call(self, batch: Batch) -> object:
        """Call it once and return its loss."""
        return self._run(*batch.values())


def _make_checkpointed_step(program: ComparedProgram) -> Any:
    """Return the tape's training step of a module whose blocks are checkpointed."""
    if program.trained is None:
        raise ArgumentError("only modules have parts that are computed again")
    module, loss, rule = program.trained
    if isinstance(module, Sequential) and len(module) >= _LEAST_LAYERS:
        layers, count = [*module], round(len(module) ** 0.5)
        size = -(-len(layers) // count)
        parts = [sg.checkpoint(_in_turn(layers[k : k + size])) for k in range(0, len(layers), size)]
        run: Any = _in_turn(parts)
    else:
        lists = [
            attribute for attribute in vars(module).values() if isinstance(attribute, list | tuple)
        ]
        blocks = [
            element for elements in lists for element in elements if isinstance(element, Module)
        ]
        if len(blocks) < 2:
            raise ArgumentError("the module has no list of modules")
        run = _with_checkpoints(module, blocks)
    count = len(module_arguments(module))
    return training.step_of(training.loss_of(run, loss or training.usual_loss, count), rule)


def _in_turn(functions: Sequence[Any]) -> Any:
    def run(x: Any) -> Any:
        for function in functions:
            x = function(x)
        return x

    return run


def _with_checkpoints(module: Module, blocks: Sequence[Module]) -> Any:
    """Return a call of a module during which its blocks are checkpointed."""

    def run(*inputs: Any) -> Any:
        """Call the module with ``sg.checkpoint`` around the forward of each block."""
        for block in blocks:
            vars(block)["forward"] = sg.checkpoint(block.forward)
        try:
            return module(*inputs)
        finally:
            for block in blocks:
                del vars(block)["forward"]

    return run


class DefineThenRun:
    """The graph: differentiated and compiled as a whole, over parameters of its own."""

    def __init__(
        self, program: ComparedProgram, checkpoint: str = "store_all", called: bool = False
    ) -> None:
        """Prepare it; what is not asked for is not compiled.

        Args:
            program: what is compared.
            checkpoint: the policy of recomputation.
            called: run steps through a call of ``sg.function``, as the tape's steps are, over the
                program's parameters. To time both through the same call.
        """
        self._program, self._called = program, program.retraces or called
        self._checkpoint, self._retraces = checkpoint, program.retraces

    @cached_property
    def graph(self) -> sg.Graph:
        """The graph over parameters of its own."""
        return self._program.own_graph()

    @cached_property
    def compiled(self) -> sg.Compiled:
        """The graph, compiled."""
        return sg.compile(self.graph, checkpoint=self._checkpoint, threads=1)

    def call_with_plan(self, plan: Plan) -> Callable[[Batch], object]:
        """Return a call of the compiled step by one of its plans, which it makes first.

        A plan that ``sg.tradeoff`` found need not be sought again.
        """
        executor = self.compiled._executor.with_plan(plan)

        def call(batch: Batch) -> object:  # the native entry first, as ``Compiled.run`` does
            entered: object = executor.enter(batch)
            return executor.run(batch) if entered is None else entered

        return call

    def step(self, batch: Batch) -> float:
        """Call it once; return the loss."""
        results: Any = self.call(batch)
        return as_number(results if self._called else results["loss"])

    def call(self, batch: Batch) -> object:
        """Call the compiled program, or that for these sizes if each has a graph."""
        if self._called:
            return self._program.function(*batch.values())
        return self.compiled.run(batch)

    def forward(self, batch: Batch) -> object:
        """Call the compiled loss once."""
        if self._called and self._program.loss is not None:
            return self._program.loss(*batch.values())
        return self._forward.run(batch)["loss"]

    def sizes(self, size: int) -> dict[str, int]:
        """Return the named sizes of a batch of ``size`` examples."""
        if {*self.graph.sizes} <= {BATCH}:
            return dict.fromkeys(self.graph.sizes, size)
        batch = self._program.draw(size, np.random.default_rng(0))
        return bind_sizes(self.graph, {name: array.shape for name, array in batch.items()})

    def plan(self, size: int) -> Plan:
        """Return the plan of a step at a batch size, known without running it."""
        return self.compiled.plan(**self.sizes(size))

    def values(self) -> Mapping[str, Array]:
        """Return the current values of the parameters."""
        graph = self._program.graph if self._retraces else self.graph
        return {p.name: p.value for p in graph.parameters if p.dtype.is_float}

    @cached_property
    def _forward(self) -> sg.Compiled:
        outputs = {"loss": self.graph.outputs["loss"]}
        return sg.compile(sg.Graph(outputs, inputs=self.graph.inputs, name="forward"), threads=1)


_LEAST_LAYERS: Final = 4  # of a Sequential, below which parts are not worth computing again
STEPS: Final = 20
#: The allowed relative difference of losses, by element type.
TOLERANCE: Final = {"float32": 1e-4, "float64": 1e-9}


def agreement(chosen: ComparedProgram, compiled: DefineThenRun) -> Agreement:
    """Train tape and compiled program on the same batches for ``STEPS`` steps; compare losses.

    The losses decide, which depend on the parameters: a parameter whose gradient is rounding alone
    differs where optimizers divide by its size.

    Raises:
        ProgramError: a step after the first one fails, which says at which step.
    """
    tape, draw = DefineByRun(chosen), np.random.default_rng(0)
    batches = [chosen.draw(chosen.batch_size, draw) for _ in range(STEPS)]
    taped: list[float] = []
    for batch in batches:
        with limit_time(chosen.name, chosen.origin), _add_losses_to_errors(taped, chosen.name):
            taped.append(tape.step(batch))
    values = {name: np.array(value) for name, value in tape.values().items()}
    chosen.restore()
    ran = tuple(map(compiled.step, batches))
    losses = max(_difference(a, b) for a, b in zip(taped, ran, strict=True))
    kinds = [array.dtype.name for array in chosen.parameters.values()]
    default = TOLERANCE["float32"]
    tolerance = max((TOLERANCE.get(kind, default) for kind in kinds), default=default)
    problem = chosen.describe_frozen() or _describe_divergence(taped, ran)
    if not problem and not losses <= tolerance:
        problem = f"the losses differ by {losses:.1e}, relatively"
    return Agreement(
        tuple(taped), ran, losses, _measure_distance(values, compiled.values()), problem
    )


@contextmanager
def _add_losses_to_errors(losses: Sequence[float], name: str) -> Iterator[None]:
    """Add to errors of training after which losses they come."""
    try:
        yield
    except StaticgradError as error:
        if not losses:
            raise
        raise ProgramError(
            f"{name} fails at step {len(losses) + 1} of {STEPS}: {error.headline}",
            details=[f"losses until then: {', '.join(f'{loss:.4g}' for loss in losses[-4:])}"],
            hint="it may diverge: a smaller learning rate, optimizer=sg.optim.SGD(1e-3)",
            at=error.at,
        ) from error


def _describe_divergence(by_run: Sequence[float], then_run: Sequence[float]) -> str:
    """Say at which step the losses of tape and compiled program diverge."""
    tape, graph = (
        next((k for k, loss in enumerate(losses, 1) if not math.isfinite(loss)), math.inf)
        for losses in (by_run, then_run)
    )
    step = min(tape, graph)
    if step == math.inf:
        return ""
    tape_loss, graph_loss = by_run[int(step) - 1], then_run[int(step) - 1]
    if tape == graph:
        kind = "NaN" if math.isnan(by_run[-1]) else "infinity"
        return (
            f"diverged to {kind} on both sides: the loss is {tape_loss} at step"
            f" {step} of {len(by_run)}; try a smaller learning rate"
        )
    return f"at step {step} the tape's loss is {tape_loss}, the compiled one's {graph_loss}"


def _difference(loss: float, other_loss: float) -> float:
    """Return the relative difference; 0 if both are equal, or both NaN."""
    if loss == other_loss or (math.isnan(loss) and math.isnan(other_loss)):
        return 0.0
    difference = abs(loss - other_loss) / max(abs(loss), abs(other_loss))
    return difference if math.isfinite(difference) else math.inf


def _measure_distance(
    values: Mapping[str, Array], other_values: Mapping[str, Array]
) -> float | None:
    """Return the largest relative Euclidean distance of two sets of values; None if undefined."""
    distances = []
    for name, array in values.items():
        a, b = np.float64(array).ravel(), np.float64(other_values[name]).ravel()
        if np.array_equal(a, b, equal_nan=True):
            distances.append(0.0)
            continue
        with np.errstate(all="ignore"):
            distance = float(np.linalg.norm(a - b) / max(np.linalg.norm(a), np.linalg.norm(b)))
        distances.append(distance if math.isfinite(distance) else math.inf)
    return max(distances, default=None)

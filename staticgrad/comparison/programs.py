"""Compared programs: a module or a function, with the arrays that it is run on.

A module is trained on its loss; a function that steps its parameters itself runs as it is;
a loss is trained if it reads parameters, otherwise differentiated by its arguments; for any other
function the results are compared. Parameters start with their current values, which are restored
afterwards.
"""

from __future__ import annotations

import inspect
import pickle
import random
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import staticgrad as sg
from staticgrad.comparison import training
from staticgrad.comparison.axes import (
    CHANGING,
    Asked,
    BatchAxes,
    assume_first_axes,
    find,
    find_named_axes,
    read_asked_axes,
    twice,
)
from staticgrad.comparison.imported import (
    ImportedProgram,
    has_arrays_of_jax,
    import_function,
    import_module,
    is_torch_module,
)
from staticgrad.comparison.limits import limit_time
from staticgrad.comparison.report import Refusal, refusal_of
from staticgrad.eager import Tensor
from staticgrad.errors import (
    ArgumentError,
    GradientError,
    ProgramError,
    StaticgradError,
    TracingWarning,
)
from staticgrad.extend import Constant, Graph, Parameter, kind_of, quote
from staticgrad.extend.building import Location, Origin, capture, is_user_file, within
from staticgrad.extend.parameters import write_all
from staticgrad.extend.programs import CallArguments, Function
from staticgrad.extend.tensors import at_once
from staticgrad.extend.trees import first_part, flatten, is_named_tuple, map_leaves
from staticgrad.nn import Module
from staticgrad.nn.module import as_scopes
from staticgrad.optim import SGD, Optimizer

Array = npt.NDArray[Any]
Batch = Mapping[str, Array]
#: The size that examples are counted by, in the shapes of inputs.
BATCH: Final = "batch"
_PACKAGE: Final = str(Path(sg.__file__).parent)
_RATE: Final = 0.05
#: What is the same loss, relative to what a change of the arrays does: in float64, on the tape.
_EXACT: Final = 1e-6
_ROUNDING: Final = 1e-3
_SOON: Final = 2.0  # seconds of a step with changed numbers, on the tape
#: The words of ``sg.function`` for a function that takes no named sizes.
_REFUSES: Final = "which it refuses: "
LITERAL: Final = (
    "the graph serves these sizes alone: the program has the number of examples as a literal;"
    " read it from an array, x.shape[0], and one graph serves all"
)
_TRACED: Final = "JAX traces a function for the sizes of its arrays"
_THESE_SIZES: Final = "the graph serves these sizes alone, as a trace of JAX does"
_EACH_SIZE: Final = (
    "each new size is traced and compiled again; written with sg.scan and sg.scatter_add one graph"
    " serves all sizes"
)
_FROZEN: Final = (
    "the loss gives another graph each time it is called: a number of Python's (random, a"
    " counter, a clock) is frozen where a graph is built, and new in every step of a tape;"
    " draw from sg.random.Generator(seed), or feed the number"
)
Step = Callable[..., Any]
Draw = Callable[[np.random.Generator], Batch]
_POSITIONAL: Final = inspect.Parameter.POSITIONAL_ONLY


class ComparedProgram:
    """A function of arrays to compare.

    Attributes:
        name: the text that tables and pages show.
        plain: the step as Python has it, ``wrap(evaluate)``; ``evaluate`` gives its loss.
        function: the step as ``sg.function`` traces it.
        loss: the loss alone, where ``wrap`` adds to it.
        graph: its graph, whose first result is called ``loss``; None if there is none.
        batch: the axes that count examples, and how they are known.
        batch_size: how many examples the arrays hold.
        changes: whether sizes may differ from step to step.
        parameters: the start values of the parameters, by name.
        rule: how parameters are updated, in words.
        warned: what tracing warned of; empty if nothing.
        refusal: the reason why there is no graph, or why it serves only these sizes.
        updates, is_loss: for a program without a graph whether a run on the tape updated
            parameters, and whether its result is a loss.
        trained: for a module: it, its loss (None: the usual one) and its optimizer.
        written: the module or function that the user wrote.
        optimizer: for a module or loss that is trained; None for a step that trains by itself.
        gradient_arguments: for a loss that is differentiated by its arguments the numbers of these.
        in_torch, in_jax: the same in its own library, of a program that was imported.
    """

    trained: tuple[Module, Callable[..., Any] | None, Optimizer] | None = None
    optimizer: Optimizer | None = None
    gradient_arguments: Sequence[int] = ()
    in_torch: Any = None
    in_jax: Any = None

    def __init__(
        self, evaluate: Step, example: Batch, drawn: Draw | None, made_of: Any, rule: str,
        wrap: Callable[[Step], Step] | None = None, loss: Callable[..., Any] | None = None,
        batch: BatchAxes | None = None, parameters: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Trace it.

        Args:
            batch: the axes that count examples, None to look for them.
            parameters: the arrays that carry no data, as far as the arguments say it.
        """
        self._without_data = parameters
        self.name, self._blamed = _name_of(made_of), _inner(loss or made_of)
        self.origin = function_line(_inner(made_of))
        self.written = _inner(made_of)
        self.rule, self._evaluate, self._wrap = rule, evaluate, wrap or (lambda step: step)
        self.plain = self._wrap(evaluate)
        self._example, self._drawn_arrays, self.changes = example, drawn, drawn is not None
        self.batch = batch or assume_first_axes(example)
        if drawn is not None:
            self.batch = BatchAxes(self.batch.axes, CHANGING)
        self._look_for_axes = batch is None and drawn is None
        if not self.batch_size:
            raise ArgumentError(f"compare: the arrays of {self.name} are empty: no example to draw")
        self.modules = _modules_of(made_of)
        self.refusal: Refusal | None = None
        self.warned = ""
        self.updates = self.is_loss = False
        self.read: list[Parameter] = []
        self.graph: Any = None
        self._start: list[tuple[Parameter, Array]] = []
        self._sizes: Mapping[str, Sequence[str | None]] = {}
        self._trace()
        self.loss = wrap and self._make_function(evaluate, self._sizes)
        self.parameters = {p.name: np.array(p.value) for p, _ in self._start}

    @property
    def batch_size(self) -> int:
        return self.batch.size(self._example)

    @property
    def size(self) -> int:
        """Count the floating numbers of parameters that the compared program depends on.

        State of optimizers, running statistics of training and generators are left out. The second
        update of a step reads the state of the first: what is called ``<parameter>.<slot>``.
        """
        read: Sequence[Parameter] = self.read
        if self.graph is not None:
            nodes = {*Graph(self.graph.outputs).nodes}
            read = [p for p in self.graph.parameters if p.node in nodes]
        names = {p.name for p in read}
        read = [p for p in read if p.name.rpartition(".")[0] not in names]
        return sum(np.size(p.value) for p in read if p.dtype.is_float or p.dtype.is_complex)

    @property
    def retraces(self) -> bool:
        """True if sizes change and each needs a separate graph."""
        return self.changes and self.refusal is not None

    def draw(self, size: int, draw: np.random.Generator) -> Batch:
        """Draw ``size`` examples; all examples in order if ``size`` is their number."""
        if self._drawn_arrays is not None:
            return self._drawn_arrays(draw)
        count = self.batch_size
        return self._of_rows(np.arange(count) if size == count else draw.integers(0, count, size))

    def _of_rows(self, rows: npt.NDArray[Any]) -> Batch:
        return {
            name: array.take(rows, self.batch.axes[name]) if name in self.batch.axes else array
            for name, array in self._example.items()
        }

    def fresh(self, size: int, draw: np.random.Generator) -> Batch:
        """Draw ``size`` examples with replacement, so that each step has a new batch."""
        if self._drawn_arrays is not None:
            return self._drawn_arrays(draw)
        rows = draw.integers(0, self.batch_size, size)
        return self._of_rows(rows)

    def at_once(self, batch: Batch) -> Any:
        """Return the result of the function, computed line by line."""
        with code_errors(self.name, self._blamed):
            return self.function.eagerly(*batch.values())

    def new_function(self, change: Step | None = None) -> Function[..., Any]:
        """Return the compared step as a fresh function, its loss passed through ``change``."""
        if change is None:
            return self._make_function(self.plain, self._sizes)

        def change_result(*arrays: Any) -> Any:
            result = self._evaluate(*arrays)
            with within(self.origin):
                return change(first_part(result))

        step = self._wrap(change_result)
        step.__name__ = self.name
        return self._make_function(step, self._sizes)

    def trace(self, step: Step) -> Function[..., Any]:
        """Return another step of the same arrays as a function that has not been traced."""
        return self._make_function(step, self._sizes)

    def describe_frozen(self) -> str:
        """Describe numbers that tracing froze as constants of the compared program, if any."""
        if self.warned or self.retraces:
            return self.warned
        with python_random_kept(), warnings.catch_warnings(), as_scopes(*self.modules):
            warnings.simplefilter("ignore")
            traces = [self._make_function(self._evaluate, self._sizes) for _ in range(2)]
            graphs = [trace.graph(*self._example.values()) for trace in traces]
        numbers = [[n.op for n in graph.nodes if isinstance(n.op, Constant)] for graph in graphs]
        return "" if numbers[0] == numbers[1] else _FROZEN

    def restore(self) -> None:
        """Write the start values to the parameters."""
        write_all([(p.store, value) for p, value in self._start])

    def own_graph(self) -> Graph:
        """Return the graph over its own parameters, with the start values."""
        graph: Graph = pickle.loads(self._copy)
        return graph

    def _trace(self) -> None:
        """Trace the compared program with literal sizes, then a named batch; else use the tape."""
        self.function, self._sizes = self._make_function(self.plain, {}), {}
        try:
            self.graph, self.warned = self._drawn()
        except GradientError:
            raise  # it has no derivative on the tape either
        except Exception as error:
            if not self._runs_on_the_tape():
                raise
            self._start = [(p, np.array(p.value)) for p in self._touched]
            self.refusal = refusal_of(error, self.origin)
            if self._look_for_axes:
                self.batch = find(
                    self._example,
                    self._on_the_tape,
                    _ROUNDING,
                    lambda axes: None,
                    self._without_data,
                )
            return
        self._start = [(p, np.array(p.value)) for p in self.graph.parameters]
        if self.changes:
            self.refusal = self._refused_names()
        else:
            if self._look_for_axes:
                self.batch = find(
                    self._example, self._in_float64, _EXACT, self._repeat, self._without_data
                )
            self._name_examples()
        self._copy = pickle.dumps(self.graph)

    def _name_examples(self) -> None:
        """Trace the compared program with a named batch size, if it accepts one."""
        literal = self.function, self.graph, self.warned
        self._sizes = self._names(self.batch.axes)
        self.function = self._make_function(self.plain, self._sizes)
        try:
            self.graph, self.warned = self._drawn()
        except Exception as error:
            self.refusal = refusal_of(error, self.origin, LITERAL)
            self._sizes = {}
            self.function, self.graph, self.warned = literal

    def _names(self, axes: Mapping[str, int]) -> dict[str, tuple[str | None, ...]]:
        """Return the names of sizes: one for that of these axes, for no other."""
        return {
            name: tuple(BATCH if k == axis else None for k in range(self._example[name].ndim))
            for name, axis in axes.items()
        }

    def _in_float64(self, arrays: Batch, graph: Graph | None = None) -> float:
        """Compute the compared program's loss in float64, from the first parameters."""
        graph = graph or self.graph
        read = Graph({"loss": graph.outputs["loss"]}).inputs
        feeds = {leaf.node.label: arrays[leaf.node.label] for leaf in read}
        with np.errstate(all="ignore"):
            loss = sg.evaluate(graph.outputs["loss"], feeds, dtype="float64")
        return float(np.mean(loss, dtype=np.float64))

    def _on_the_tape(self, arrays: Batch) -> float:
        """Compute the compared program's loss on the tape, from the first parameters.

        Raises:
            ProgramError: it has not ended soon: with other numbers a loop may never end.
        """
        with (
            limit_time(self.name, self.origin, _SOON), python_random_kept(),
            np.errstate(all="ignore"), at_once([*arrays.values()]) as run,
        ):  # fmt: skip
            try:
                return as_number(self._evaluate(*run.noted.inputs or ()))
            finally:
                run.restore()

    def _repeat(self, axes: Mapping[str, int]) -> tuple[float, float] | None:
        """Return the losses of the graph with each example twice, and with others after them.

        One that refuses a named batch size does not serve other sizes, which is said elsewhere.
        """
        function = self._make_function(self._evaluate, self._names(axes))
        try:
            with python_random_kept(), warnings.catch_warnings(), as_scopes(*self.modules):
                warnings.simplefilter("ignore")
                graph = self._name_loss(function.graph(*self._example.values()), self._names(axes))
            left, right = (self._in_float64(batch, graph) for batch in twice(self._example, axes))
        except Exception:
            return None
        return left, right

    def _make_function(
        self, step: Step, sizes: Mapping[str, Sequence[str | None]]
    ) -> Function[..., Any]:
        """Return the compared step as ``sg.function`` with names for arrays and sizes."""

        def named_step(*arrays: Any) -> Any:
            return step(*arrays)

        kinds = [inspect.Parameter(n, _POSITIONAL) for n in self._example]
        named_step.__signature__ = inspect.Signature(kinds)  # type: ignore[attr-defined]
        named_step.__name__ = named_step.__qualname__ = getattr(step, "__name__", "step")
        return sg.function(named_step, sizes=sizes, threads=1)

    def _drawn(self) -> tuple[Graph, str]:
        """Trace the graph of the compared program, and collect its warnings."""
        arrays = [*self._example.values()]
        with (
            warnings.catch_warnings(record=True) as caught, python_random_kept(),
            as_scopes(*self.modules), code_errors(self.name, self._blamed),
        ):  # fmt: skip
            warnings.simplefilter("always")
            graph = self.function.graph(*arrays)
            if not graph.outputs:
                raise ArgumentError(
                    f"{self.name} gives no result that depends on its arrays", at=self.origin
                )
        texts = [
            str(warning.message)
            for warning in caught
            if issubclass(warning.category, TracingWarning)
        ]
        return self._name_loss(graph), texts[0] if texts else ""

    def _name_loss(
        self, graph: Graph, sizes: Mapping[str, Sequence[str | None]] | None = None
    ) -> Graph:
        """Rename the graph's first floating result to "loss", and add unread arrays as inputs.

        Arrays that it does not read are inputs, too, so that it takes whole batches. ``sizes``: the
        names that it was traced with, by default the program's.
        """
        sizes = self._sizes if sizes is None else sizes
        results = list(graph.outputs.values())
        first = next((v for v in results if v.type.dtype.is_float), results[0])
        further = {f"result{k}": v for k, v in enumerate(results) if v is not first}
        inputs: dict[str, Any] = {value.node.label: value for value in graph.inputs}
        for name, array in self._example.items():
            if name not in inputs and not self.changes:
                names = sizes.get(name, (None,) * array.ndim)
                shape = [label or size for label, size in zip(names, array.shape, strict=True)]
                inputs[name] = sg.input(name, shape, array.dtype)
        inputs = {name: inputs[name] for name in self._example if name in inputs}
        outputs = {"loss": first, **further}
        return Graph(outputs, graph.updates, inputs=[*inputs.values()], name="step")

    def _refused_names(self) -> Refusal | None:
        """Trace at further batch sizes; return why the program refuses a named size, if it does."""
        for seed in (1, 2, 3):
            batch = self.draw(self.batch_size, np.random.default_rng(seed))
            with warnings.catch_warnings(), code_errors(self.name, self._blamed):
                warnings.simplefilter("ignore")
                graph = self.function.graph(*batch.values())
        refused = [reason for reason in self.function.stats.reasons if _REFUSES in reason]
        if not refused:
            self.graph = self._name_loss(graph)
            return None
        try:
            with (
                python_random_kept(),
                warnings.catch_warnings(),
                code_errors(self.name, self._blamed),
            ):
                warnings.simplefilter("ignore")
                self._make_function(self.plain, self._changing()).graph(*self._example.values())
        except StaticgradError as error:
            return refusal_of(error, self.origin, _EACH_SIZE)
        where = self.origin.resolve()  # with other names the function is not refused
        message = refused[-1].partition(_REFUSES)[2]
        return Refusal(message, where.short, where.text.strip(), _EACH_SIZE)

    def _changing(self) -> Mapping[str, Sequence[str | None]]:
        """Name the axes whose sizes change between batches; equal sizes share a name."""
        drawn = [self.draw(self.batch_size, np.random.default_rng(seed)) for seed in range(4)]
        named: dict[tuple[int, ...], str] = {}
        labels: dict[str, list[str | None]] = {}
        for name, array in self._example.items():
            labels[name] = []
            for axis in range(array.ndim):
                sizes = tuple(batch[name].shape[axis] for batch in drawn)
                is_one = len({*sizes}) == 1
                label = None if is_one else named.setdefault(sizes, f"{name}_{axis}")
                labels[name].append(label)
        return labels

    def _runs_on_the_tape(self) -> bool:
        """Run the compared program once on the tape, and record the parameters that it reads."""
        with limit_time(self.name, self.origin):
            try:
                with python_random_kept(), at_once([*self._example.values()]) as run:
                    results = self.plain(*run.noted.inputs or ())
                    read, pending = [*run.noted.read_stores], [p for p, _ in run.noted.updates]
                    run.restore()
            except Exception:
                return False
        leaves = [leaf for leaf in flatten(results)[0] if isinstance(leaf, Tensor)]
        updated = [*run.updated.values(), *pending]
        self.updates = any(p.dtype.is_float for p in updated)
        self.is_loss = len(leaves) == 1 and leaves[0].size == 1 and leaves[0].dtype.is_float
        self.read = [p for store in read if (p := store.leaf.parameter) is not None]
        self._touched = [*{p.node: p for p in (*self.read, *updated)}.values()]
        return bool(leaves)


def program(
    what: Any,
    arrays: Sequence[Any],
    loss: Callable[..., Any] | None = None,
    optimizer: Optimizer | None = None,
    batch_axis: Asked | BatchAxes | None = None,
) -> ComparedProgram:
    """Return a module or function with example arrays as it is compared.

    Modules of PyTorch and functions of JAX are traced.
    """
    is_function = callable(what) and not isinstance(what, type | Module | Function)
    if is_function and arrays and not inspect.isroutine(arrays[0]):
        if is_torch_module(what):
            with code_errors(type(what).__name__, what):
                imported = import_module(what, arrays, loss)
            return _of_imported(imported, optimizer, batch_axis)
        if loss is None and has_arrays_of_jax(arrays):
            return _of_imported(import_function(what, arrays), optimizer, batch_axis)
    try:
        return _of_ours(what, arrays, loss, optimizer, batch_axis)
    except GradientError:
        raise
    except Exception:
        of_jax: ImportedProgram | None = None
        if is_function and loss is None and arrays:
            with suppress(Exception):  # of what is no function of JAX the first error holds
                of_jax = import_function(what, arrays)
        if of_jax is None:
            raise
    return _of_imported(of_jax, optimizer, batch_axis)


def _of_imported(
    imported: ImportedProgram,
    optimizer: Optimizer | None,
    batch_axis: Asked | BatchAxes | None,
) -> ComparedProgram:
    """Return a program of another library as it is compared, with itself beside."""
    compared = _of_ours(imported.function, imported.arrays, None, optimizer, batch_axis)
    names = [*compared.draw(compared.batch_size, np.random.default_rng(0))]
    axes = {names.index(name): axis for name, axis in compared.batch.axes.items()}
    if compared.refusal is not None and imported.import_free and axes != imported.free:
        with suppress(StaticgradError):  # its sizes cannot be free
            function = imported.import_free(axes)
            compared = _of_ours(function, imported.arrays, None, optimizer, compared.batch)
    if compared.refusal is not None and imported.import_free is None:
        compared.refusal = replace(compared.refusal, message=_TRACED, cure=_THESE_SIZES)
    compared.in_torch, compared.in_jax = imported.in_torch, imported.in_jax
    return compared


def _of_ours(
    what: Any,
    arrays: Sequence[Any],
    loss: Callable[..., Any] | None,
    optimizer: Optimizer | None,
    batch_axis: Asked | BatchAxes | None,
) -> ComparedProgram:
    """Return a module or function of values with example arrays as it is compared."""
    if not callable(what) or isinstance(what, type):
        raise ArgumentError(
            f"compare takes a module or a function, not {quote(what)}, {kind_of(what)}",
            hint="an object of a class of modules: compare(Net(), x, y)",
        )
    if not arrays:
        raise ArgumentError(
            f"{_name_of(what)} needs arrays to be called with", at=function_line(_inner(what)),
            hint="compare(model, x, y), or in a file: def name(): return model, x, y",
        )  # fmt: skip
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise ArgumentError(
            f"optimizer is {kind_of(optimizer)}, not one of sg.optim", hint="sg.optim.Adam(1e-3)"
        )
    steps = optimizer or SGD(_RATE)
    rule = type(steps).__name__ if optimizer else f"plain gradient descent, learning rate {_RATE:g}"
    drawn: Draw | None = None
    if len(arrays) == 1 and inspect.isroutine(arrays[0]):

        def drawn_arguments(random: np.random.Generator) -> tuple[Any, ...]:
            arguments = arguments_of(random)
            return arguments if isinstance(arguments, tuple) else (arguments,)

        def drawn_batch(random: np.random.Generator) -> Batch:
            return _in_a_row(names, drawn_arguments(random))[0]

        arguments_of, drawn = arrays[0], drawn_batch
        with code_errors(f"the draw of {_name_of(what)}", arguments_of):
            arrays = drawn_arguments(np.random.default_rng(0))
    if isinstance(what, Module):
        evaluate, names = _of_module(what, arrays, loss)
    elif loss is not None:
        raise ArgumentError("a function is compared as it is: loss= is for modules")
    else:
        evaluate, names = _inner(what), _names_of(_inner(what), len(arrays))
    example, in_a_row = _in_a_row(names, arrays)
    evaluate = in_a_row(evaluate)
    if drawn is not None and not isinstance(batch_axis, BatchAxes | None):
        raise ArgumentError(
            "batch_axis is of arrays, and a function draws the arrays of each step",
            hint="the sizes that change are found; leave batch_axis out",
        )
    batch = None if drawn is not None else _given_axes(what, example, batch_axis)
    if not isinstance(what, Module):
        parameters = [*example][: _count_parameters(arrays)]
        return _of_function(what, evaluate, example, drawn, steps, rule, batch, parameters)
    wrap = lambda f: training.step_of(f, steps)  # noqa: E731
    compared = ComparedProgram(evaluate, example, drawn, what, rule, wrap, loss, batch)
    compared.trained, compared.optimizer = (what, loss, steps), steps
    return compared


def _given_axes(
    what: Any, example: Batch, batch_axis: Asked | BatchAxes | None
) -> BatchAxes | None:
    """Return the batch axes that the user gives for a compared program."""
    if isinstance(batch_axis, BatchAxes):
        return batch_axis
    if batch_axis is not None:
        return read_asked_axes(batch_axis, example)
    return find_named_axes(what.sizes, example) if isinstance(what, Function) else None


def _of_module(
    module: Module, arrays: Sequence[Any], loss: Callable[..., Any] | None
) -> tuple[Step, list[str]]:
    """Return a module's loss as a function of all arrays, for the comparison."""
    parameters = module_arguments(module)
    count = min(max(len(parameters), 1), len(arrays))
    targets = len(arrays) - count
    if loss is None and targets != 1:
        raise ArgumentError(
            f"{_name_of(module)} is given {len(arrays)} arrays, of which forward takes {count}:"
            f" {targets} are left for the loss",
            hint="compare(module, x, target), or loss=lambda output, *rest: ...",
        )
    names = [*(parameters[:count] or ["x"]), *(["target"] if targets == 1 else [])]
    names += [f"target{k}" for k in range(len(arrays) - len(names))]
    return training.loss_of(module, loss or training.usual_loss, count), names


def module_arguments(module: Module) -> list[str]:
    """Return the names of the arrays that ``forward`` needs."""
    parameters = inspect.signature(module.forward).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind in kinds]


def _of_function(
    what: Any, evaluate: Step, example: Batch, drawn: Draw | None, steps: Optimizer, rule: str,
    batch: BatchAxes | None, parameters: Sequence[str],
) -> ComparedProgram:  # fmt: skip
    """Return a user's function as a step: unchanged if it trains, else with an update."""
    as_is = ComparedProgram(
        evaluate, example, drawn, what, "as the function does it", batch=batch,
        parameters=parameters,
    )  # fmt: skip
    is_loss, updates, free = as_is.is_loss, as_is.updates, as_is.read
    steps_itself = updates
    graph = as_is.graph
    if graph is not None:
        result = graph.outputs["loss"]
        is_loss = all(size == 1 for size in result.shape) and result.type.dtype.is_float
        is_loss &= len(graph.outputs) == 1 and not any(node.order for node in graph.nodes)
        read = set(Graph(result).nodes)
        free = [p for p in graph.parameters if p.node in read]
        updates = bool(graph.updates)
        steps_itself = any(p.dtype.is_float and p.node in read for p, _ in graph.updates)
    if steps_itself or not is_loss:
        as_is.rule = as_is.rule if updates else "nothing: results alone are compared"
        return as_is
    if any(p.dtype.is_float for p in free):
        wrap = lambda f: training.step_of(f, steps)  # noqa: E731
        compared = ComparedProgram(evaluate, example, drawn, what, rule, wrap, batch=as_is.batch)
        compared.optimizer = steps
        return compared
    floats = [k for k, a in enumerate(example.values()) if a.dtype.kind == "f"]
    if not floats:
        return as_is
    rule = "nothing: the value and its gradient are compared"
    wrap = lambda f: training.gradient_of(f, floats)  # noqa: E731
    compared = ComparedProgram(evaluate, example, drawn, what, rule, wrap, batch=as_is.batch)
    compared.gradient_arguments = floats
    return compared


# -- arguments ------------------------------------------------------------------------------------


def _count_parameters(arguments: Sequence[Any]) -> int:
    """Return how many arrays the first of several arguments has, if it holds parameters.

    That is a container of floating arrays, as in ``loss(params, x, y)``.
    """
    first = _with_arrays(arguments[0])
    leaves, _ = flatten(first)
    holds = len(arguments) > 1 and not any(leaf is first for leaf in leaves)
    kinds = [leaf.dtype.kind if isinstance(leaf, np.ndarray) else "" for leaf in leaves]
    return len(leaves) if holds and {*kinds} <= {"f", "c"} else 0


def _in_a_row(
    names: Sequence[str], arguments: Sequence[Any]
) -> tuple[dict[str, Array], Callable[[Step], Step]]:
    """Flatten arguments to named arrays, and adapt functions to take them in a row.

    An array in a container is named by the path to it, ``batch['x']`` as ``batch_x``.
    """
    takes = inspect.Signature([inspect.Parameter(n, _POSITIONAL) for n in names])
    call = CallArguments(takes.bind(*map(_with_arrays, arguments)), ())
    array_names = [re.sub(r"\W+", "_", name).strip("_") for name in call.arrays]
    if len({*array_names}) < len(array_names):
        array_names = [f"{name}_{k}" for k, name in enumerate(array_names)]

    def in_a_row(function: Step) -> Step:
        """Adapt a function to take its arrays in a row instead of in containers."""
        if [*call.arrays] == [*names]:
            return function

        def evaluate(*arrays: Any) -> Any:
            return call.call(function, arrays)[0]

        evaluate.__name__ = evaluate.__qualname__ = getattr(function, "__name__", "evaluate")
        return evaluate

    return dict(zip(array_names, call.arrays.values(), strict=True)), in_a_row


def _with_arrays(tree: Any) -> Any:
    """Convert numbers, lists of numbers and tensors of other libraries in a tree to arrays."""
    if isinstance(tree, dict):
        return {key: _with_arrays(part) for key, part in tree.items()}
    if isinstance(tree, list | tuple) and not is_named_tuple(type(tree)):
        leaves, _ = flatten(tree)
        if leaves and all(isinstance(leaf, int | float | np.generic) for leaf in leaves):
            return np.asarray(tree)
        return type(tree)(map(_with_arrays, tree))

    def as_array(leaf: Any) -> Any:
        is_kept = isinstance(leaf, str | bytes | np.ndarray)
        return leaf if is_kept else np.asarray(getattr(leaf, "data", leaf))

    return map_leaves(as_array, tree)


def _names_of(function: Any, count: int) -> list[str]:
    """Return the names of a function's first arguments, for the compared arrays."""
    try:
        signature = inspect.signature(function)
        signature.bind(*range(count))
    except TypeError as error:
        raise ArgumentError(
            f"{_name_of(function)} is given {count} arrays: {error}", at=function_line(function)
        ) from None
    except ValueError:  # built in, without a signature
        return [f"x{k}" for k in range(count)]
    parameters = [p.name for p in signature.parameters.values() if p.kind is not p.VAR_POSITIONAL]
    return [parameters[k] if k < len(parameters) else f"x{k}" for k in range(count)]


def as_number(result: Any) -> float:
    """Return the first floating array of a result as one number."""
    leaves, _ = flatten(result)
    arrays = [np.asarray(leaf.data if isinstance(leaf, Tensor) else leaf) for leaf in leaves]
    first = next((a for a in arrays if a.dtype.kind == "f"), arrays[0])
    return float(first.item() if first.size == 1 else np.mean(first, dtype=np.float64))


def _name_of(what: Any) -> str:
    inner = _inner(what)
    if isinstance(inner, Module) and hasattr(inner, "class_name"):  # of another library
        return str(inner.class_name)
    return getattr(inner, "__name__", None) or type(inner).__name__


def _inner(what: Any) -> Any:
    return inspect.unwrap(what) if isinstance(what, Function) else what


def _modules_of(what: Any) -> list[Module]:
    """Return the modules that a compared program trains: itself, or those that it reads."""
    if isinstance(what, Module):
        return [what]
    try:
        around = inspect.getclosurevars(_inner(what))
    except TypeError:
        return []
    referenced = [*around.nonlocals.values(), *around.globals.values()]
    return [value for value in referenced if isinstance(value, Module)]


@contextmanager
def restore_afterwards(chosen: ComparedProgram) -> Iterator[None]:
    """Restore the parameters of a program at the end."""
    try:
        yield
    finally:
        chosen.restore()


@contextmanager
def python_random_kept() -> Iterator[None]:
    """Restore the state of Python's and NumPy's global random numbers at the end."""
    states = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def function_line(function: Any) -> Location:
    """Return the first line of a function of the user's, otherwise the running line."""
    while isinstance(function, partial):
        function = function.func
    inner = inspect.unwrap(function) if callable(function) else function
    if not hasattr(inner, "__code__"):
        kind: Any = type(inner)  # of an object that is called, a module perhaps
        inner = getattr(kind, "forward", None) or vars(kind).get("__call__")
    code = getattr(inner, "__code__", None)
    if code is None or not is_user_file(code.co_filename):
        return capture()
    return Origin((code, 0, ""))


@contextmanager
def code_errors(what: str, function: Any) -> Iterator[None]:
    """Turn errors inside of the user's function into coded errors with the user's lines."""
    try:
        yield
    except StaticgradError as error:
        if error.at.resolve().file == training.__file__:  # a step that the user has not written
            error.at = function_line(function)
        raise
    except Exception as error:
        passed = traceback.extract_tb(error.__traceback__)
        frames = [f for f in passed if not f.filename.startswith(_PACKAGE) and f.line]
        lines = [f"{f.filename}:{f.lineno}, in {f.name}: {f.line}" for f in frames[-3:]]
        raise ProgramError(
            f"{what} fails: {type(error).__name__}: {error}", details=lines,
            at=function_line(function),
        ) from None  # fmt: skip

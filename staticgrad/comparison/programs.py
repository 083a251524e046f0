"""Compared programs other than a Model: a module or a function, with example arrays.

A module is trained on a loss; a function that steps its parameters itself runs as it is; a loss is
trained if it reads parameters, otherwise differentiated by its arguments; for any other function
the results are compared. Parameters start with their current values, which are restored
afterwards.
"""

from __future__ import annotations

import inspect
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

import staticgrad as sg
from staticgrad.comparison import training
from staticgrad.comparison.examples import Examples
from staticgrad.comparison.model import BATCH, Array, Batch, Model, function_line, named
from staticgrad.comparison.report import Refusal, refusal_of
from staticgrad.eager import Tensor
from staticgrad.eager.at_once import eager_mode
from staticgrad.eager.tensor import TapeLeaf
from staticgrad.errors import ArgumentError, TracingWarning
from staticgrad.errors.wording import kind_of, shown
from staticgrad.functions.trees import flatten
from staticgrad.ir.execution import Session, traced_in
from staticgrad.ir.graph import Graph, Parameter, Symbolic
from staticgrad.nn.module import Module, as_scopes
from staticgrad.optim import SGD, Optimizer
from staticgrad.programs.function import Function
from staticgrad.records import dataclass
from staticgrad.source import Location
from staticgrad.storage.parameter import write_all

_RATE: Final = 0.05
#: What ``sg.function`` says where a function takes no named sizes.
_REFUSES: Final = "which it refuses: "
LITERAL: Final = (
    "the graph serves these sizes alone: the program has the number of examples as a literal;"
    " read it from an array, x.shape[0], and one graph serves all"
)
_EACH_SIZE: Final = (
    "each new size is traced and compiled again; written with sg.scan and sg.scatter_add one graph"
    " serves all sizes"
)
Step = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class ExampleSource:
    """The source of arrays: ``example``, or ``drawn(size, random)`` for each step.

    ``name``, ``size`` and ``note`` are those of a model.
    """

    example: dict[str, Array]
    drawn: Callable[[int, np.random.Generator], Batch] | None = None
    name: str = ""
    size: int = 0
    note: str = ""


class ComparedProgram:
    """A function of arrays to compare.

    Attributes:
        name: what tables and pages call it.
        plain: the step as Python has it.
        function: the step, traced and run at once by ``sg.function``.
        graph: its graph, whose first result is called ``loss``.
        batch_size: how many examples the arrays hold.
        parameters: the start values of the parameters, by name.
        rule: how parameters are updated, in words.
        frozen: what tracing warned of, empty if nothing.
        refusal: why there is no graph of it, or why its graph serves only these sizes.
        has_graph: whether there is one.
        steps, is_loss: what a run on the tape showed where there is none: whether it updates
            parameters, and whether its result is a loss.
        changes: whether arrays are drawn for each step, of sizes that may differ.
    """

    depth: int | None = None
    is_random = False
    #: Of a module: it, its loss (None: the usual one) and its optimizer.
    trained: tuple[Module, Callable[..., Any] | None, Optimizer] | None = None

    def __init__(self, step: Step, source: ExampleSource, made_of: Any, rule: str) -> None:
        self.name = source.name or _called(made_of)
        self.note = source.note
        self._made_of = _inner(made_of)
        self.origin: Location = function_line(self._made_of)
        self.rule = rule
        self._example, self._source = source.example, source
        self.changes = source.drawn is not None
        self.batch_size = source.size or next(
            (a.shape[0] for a in self._example.values() if a.ndim), 1
        )
        self.plain = step
        self.modules = _modules_of(made_of)
        self.refusal: Refusal | None = None
        self.frozen, self.has_graph = "", False
        self.steps = self.is_loss = False
        self.read: list[Parameter] = []
        self.graph: Any = None
        self._trace(self.modules)
        self._copy = pickle.dumps(self.graph) if self.has_graph else b""
        self.parameters = {p.name: np.array(p.value) for p, _ in self._start}

    @property
    def retraces(self) -> bool:
        """True if sizes change and each needs a separate graph."""
        return self.changes and self.refusal is not None

    def draw(self, size: int, draw: np.random.Generator) -> Batch:
        """Draw ``size`` examples; all examples in order if ``size`` is their number."""
        if self._source.drawn is not None:
            return self._source.drawn(size, draw)
        count = self.batch_size
        rows = np.arange(count) if size == count else draw.integers(0, count, size)
        return {
            name: array[rows] if _counts(array, count) else array
            for name, array in self._example.items()
        }

    def at_once(self, batch: Batch) -> Any:
        """Return the result of the function, computed line by line."""
        with named(self.name, self._made_of):
            return self.function.eagerly(*batch.values())

    def new_function(self) -> Function[..., Any]:
        """The step as a traced function that has seen nothing yet."""
        return _traced(self.plain, self._example, {})

    def restore(self) -> None:
        """The parameters as they were."""
        write_all([(p.store, value) for p, value in self._start])

    def own_graph(self) -> Graph:
        """Return the graph over its own parameters, with the start values."""
        found: Graph = pickle.loads(self._copy)
        return found

    def _trace(self, modules: Sequence[Module]) -> None:
        """Trace with a named size for the examples; without; or run on the tape alone.

        Raises:
            ProgramError, StaticgradError: it runs on the tape neither.
        """
        attempts = [{}] if self.changes else [_counted(self._example, self.batch_size), {}]
        first: Exception | None = None
        for sizes in attempts:
            self.function = _traced(self.plain, self._example, sizes)
            try:
                self.graph, self.frozen = self._drawn(modules)
            except Exception as error:
                first = first or error
                continue
            self.has_graph = True
            self._start = [(p, np.array(p.value)) for p in self.graph.parameters]
            if first is not None:
                self.refusal = refusal_of(first, self.origin, LITERAL)
            elif self.changes:
                self.refusal = self._refused_names()
            return
        assert first is not None
        ran = self._on_the_tape()
        if ran is None:
            raise first
        self.read = ran
        self._start = [(p, np.array(p.value)) for p in ran]
        self.refusal = refusal_of(first, self.origin)

    def _refused_names(self) -> Refusal | None:
        """Let the function see further sizes; why it does not take names for them, if so."""
        for seed in (1, 2, 3):
            batch = self.draw(self.batch_size, np.random.default_rng(seed))
            with warnings.catch_warnings(), named(self.name, self._made_of):
                warnings.simplefilter("ignore")
                found = self.function.graph(*batch.values())
        refused = [each for each in self.function.stats.reasons if _REFUSES in each]
        if not refused:
            self.graph = _named(found)
            return None
        where = self.origin.resolve()
        message = refused[-1].partition(_REFUSES)[2]
        return Refusal(message, where.short, where.text.strip(), _EACH_SIZE)

    def _on_the_tape(self) -> list[Parameter] | None:
        """The parameters that a run on the tape reads; None: it fails there as well."""
        noted = Session(computes=True)
        try:
            with traced_in(noted), eager_mode():
                found = self.plain(*map(_floating_leaf, self._example.values()))
        except Exception:
            return None
        leaves = [leaf for leaf in flatten(found)[0] if isinstance(leaf, Tensor)]
        if not leaves:
            return None
        self.steps = any(p.dtype.is_float for p, _ in noted.updates)
        self.is_loss = len(leaves) == 1 and leaves[0].size == 1 and leaves[0].dtype.is_float
        read = {p.node: p for p, _ in noted.updates}
        for leaf in noted.present.values():
            if isinstance(leaf, TapeLeaf) and leaf.parameter is not None:
                read[leaf.parameter.node] = leaf.parameter
        return [*read.values()]

    def _drawn(self, modules: Sequence[Module]) -> tuple[Graph, str]:
        """The graph, and what the tracer warned of."""
        arrays = [*self._example.values()]
        with warnings.catch_warnings(record=True) as said, as_scopes(*modules):
            warnings.simplefilter("always")
            with named(self.name, self._made_of):
                found = self.function.graph(*arrays)
        if not found.outputs:
            raise ArgumentError(
                f"{self.name} gives no result that depends on its arrays", at=self.origin
            )
        texts = [str(each.message) for each in said if issubclass(each.category, TracingWarning)]
        return _named(found), texts[0] if texts else ""


def _named(found: Graph) -> Graph:
    """The graph with its first floating result under the name ``loss``."""
    results = list(found.outputs.values())
    first = next((v for v in results if v.type.dtype.is_float), results[0])
    rest = {f"result{k}": v for k, v in enumerate(results) if v is not first}
    return Graph({"loss": first, **rest}, found.updates, inputs=found.inputs, name="step")


def _floating_leaf(array: Array) -> Tensor:
    tensor = Tensor.of(array)
    tensor.requires_grad = tensor.type.dtype.is_float
    return tensor


def program(
    what: Any,
    arrays: Sequence[Any],
    loss: Callable[..., Any] | None = None,
    optimizer: Optimizer | None = None,
) -> ComparedProgram:
    """A module or function with example arrays, as it is compared.

    Args:
        what: a module, which takes as many arrays as its ``forward`` needs, the rest being given
            to the loss; or a function of all arrays, also one that ``sg.function`` made.
        arrays: what it is called with: arrays, or dicts, lists, tuples and dataclasses of arrays;
            the first axis of those that are as long as the first one counts examples.
        loss: of a module, ``loss(output, *rest)``: by default cross entropy where the target has
            whole numbers, else the mean square.
        optimizer: one of ``sg.optim``, by default plain descent.

    Raises:
        ArgumentError: something that cannot be called, no arrays, or no loss.
        ProgramError: the function fails by itself.
    """
    if not callable(what) or isinstance(what, type):
        raise ArgumentError(
            f"compare takes a Model, a module or a function, not {shown(what)}, {kind_of(what)}",
            hint="an object of a class of modules: compare(Net(), x, y)",
        )
    if not arrays:
        raise ArgumentError(
            f"{_called(what)} needs arrays to be called with", at=function_line(_inner(what)),
            hint="compare(model, x, y), or in a file: def name(): return model, x, y",
        )  # fmt: skip
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise ArgumentError(
            f"optimizer is {kind_of(optimizer)}, not one of sg.optim", hint="sg.optim.Adam(1e-3)"
        )
    steps = optimizer or SGD(_RATE)
    rule = type(steps).__name__ if optimizer else f"plain gradient descent, learning rate {_RATE:g}"
    drawn = None
    if len(arrays) == 1 and inspect.isroutine(arrays[0]):
        drawn = arrays[0]
        with named(f"the draw of {_called(what)}", drawn):
            arrays = _in_a_tuple(drawn(np.random.default_rng(0)))
    if isinstance(what, Module):
        evaluate, names = _of_module(what, arrays, loss)
        examples = Examples.named(names, arrays)
        step = training.step_of(examples.in_a_row(evaluate), steps)
        made = ComparedProgram(step, _source(names, examples, drawn), what, rule)
        made.trained = what, loss, steps
        return made
    if loss is not None:
        raise ArgumentError("a function is compared as it is: loss= is for modules")
    names = _names_of(_inner(what), len(arrays))
    examples = Examples.named(names, arrays)
    plain, source = examples.in_a_row(_inner(what)), _source(names, examples, drawn)
    return _of_function(what, plain, source, steps, rule)


def _in_a_tuple(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)


def _source(
    names: Sequence[str], examples: Examples, drawn: Callable[..., Any] | None
) -> ExampleSource:
    if drawn is None:
        return ExampleSource(examples.arrays)

    def again(size: int, draw: np.random.Generator) -> Batch:
        return Examples.named(names, _in_a_tuple(drawn(draw))).arrays

    return ExampleSource(examples.arrays, again)


def _of_module(
    module: Module, arrays: Sequence[Any], loss: Callable[..., Any] | None
) -> tuple[Step, list[str]]:
    """The loss of a module as a function of all arrays, and the names of these."""
    takes = [
        p for p in inspect.signature(module.forward).parameters.values() if p.default is p.empty
    ]
    wanted = [p.name for p in takes if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    count = min(max(len(wanted), 1), len(arrays))
    targets = arrays[count:]
    if loss is None and len(targets) != 1:
        raise ArgumentError(
            f"{_called(module)} is given {len(arrays)} arrays, of which forward takes {count}:"
            f" {len(targets)} are left for the loss",
            hint="compare(module, x, target), or loss=lambda output, *rest: ...",
        )
    names = [*(wanted[:count] or ["x"]), *(["target"] if len(targets) == 1 else [])]
    names += [f"target{k}" for k in range(len(arrays) - len(names))]
    both = training.loss_of(module, loss or training.usual_loss)

    def evaluate(*given: Any) -> Any:
        return both(given[:count], given[count:])

    return evaluate, names


def _of_function(
    what: Any, plain: Step, source: ExampleSource, steps: Optimizer, rule: str
) -> ComparedProgram:
    """A step as it is, a loss with its gradient, or another function."""
    as_is = ComparedProgram(plain, source, what, "as the function does it")
    if as_is.has_graph:
        result, graph = as_is.graph.outputs["loss"], as_is.graph
        is_loss = all(size == 1 for size in result.shape) and result.type.dtype.is_float
        free = [p for p in graph.parameters if p.dtype.is_float and _reaches(result, p)]
        steps_itself = any(p.node in {q.node for q in free} for p, _ in graph.updates)
        if any(node.order for node in graph.nodes) or len(graph.outputs) > 1:
            is_loss = False
    else:
        is_loss, steps_itself = as_is.is_loss, as_is.steps
        free = [p for p in as_is.read if p.dtype.is_float]
    if steps_itself or not is_loss:
        updates = as_is.graph.updates if as_is.has_graph else as_is.steps
        as_is.rule = as_is.rule if updates else "nothing: results alone are compared"
        return as_is
    if free:
        return ComparedProgram(training.step_of(plain, steps), source, what, rule)
    wanted = [k for k, a in enumerate(source.example.values()) if a.dtype.kind == "f"]
    if not wanted:
        return as_is
    rule = "nothing: the value and its gradient are compared"
    return ComparedProgram(training.gradient_of(plain, wanted), source, what, rule)


def of_model(model: Model) -> ComparedProgram:
    """A model whose sizes change from step to step, or whose loss makes no graph, as a program."""
    parameters = {name: sg.parameter(name, array) for name, array in model.parameters.items()}
    random, optimizer = sg.random.Generator(0), model.optimizer or SGD(model.learning_rate)
    example = model.draw(model.batch_size, np.random.default_rng(0))

    def loss(*arrays: Any) -> Any:
        return model.loss_of(parameters, dict(zip(example, arrays, strict=True)), random)

    step = training.step_of(loss, optimizer, [*parameters.values()], model.max_norm)
    source = ExampleSource(dict(example), model.draw, model.name, model.batch_size, model.note)
    return ComparedProgram(step, source, model.loss, model.rule)


def _reaches(result: Symbolic, parameter: Symbolic) -> bool:
    return parameter.node in set(Graph(result).nodes)


def _traced(step: Step, example: dict[str, Array], sizes: Any) -> Function[..., Any]:
    """The step as a function of arrays of these names and named sizes."""
    inner = step

    def named_step(*arrays: Any) -> Any:
        return inner(*arrays)

    kinds = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_ONLY) for n in example]
    named_step.__signature__ = inspect.Signature(kinds)  # type: ignore[attr-defined]
    named_step.__name__ = named_step.__qualname__ = getattr(step, "__name__", "step")
    return sg.function(named_step, sizes=sizes, threads=1)


def _counted(example: dict[str, Array], count: int) -> dict[str, tuple[str | None, ...]]:
    """The names of axes, for arrays whose first axis counts the examples."""
    return {
        name: (BATCH, *(None,) * (a.ndim - 1)) for name, a in example.items() if _counts(a, count)
    }


def _counts(array: Array, count: int) -> bool:
    """Return whether the first axis of an array counts the examples."""
    return array.ndim > 0 and array.shape[0] == count


def _names_of(function: Any, count: int) -> list[str]:
    """The names of a function's first arguments, as far as it says them."""
    try:
        takes = inspect.signature(function)
        takes.bind(*range(count))
    except TypeError as error:
        raise ArgumentError(
            f"{_called(function)} is given {count} arrays: {error}", at=function_line(function)
        ) from None
    except ValueError:  # built in, without a signature
        return [f"x{k}" for k in range(count)]
    own = [p.name for p in takes.parameters.values() if p.kind is not p.VAR_POSITIONAL]
    return [own[k] if k < len(own) else f"x{k}" for k in range(count)]


def _called(what: Any) -> str:
    inner = _inner(what)
    return getattr(inner, "__name__", None) or type(inner).__name__


def _inner(what: Any) -> Any:
    """The plain function."""
    return inspect.unwrap(what) if isinstance(what, Function) else what


def _modules_of(what: Any) -> list[Module]:
    """Return a module itself, or the modules that a function reads."""
    if isinstance(what, Module):
        return [what]
    try:
        around = inspect.getclosurevars(_inner(what))
    except TypeError:
        return []
    held = [*around.nonlocals.values(), *around.globals.values()]
    return [each for each in held if isinstance(each, Module)]


@contextmanager
def unchanged(chosen: object) -> Iterator[None]:
    """Afterwards the parameters of a program have the values that they had before."""
    try:
        yield
    finally:
        if isinstance(chosen, ComparedProgram):
            chosen.restore()

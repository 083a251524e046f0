"""What is compared where it is no Model: a module, or a function of arrays, with example arrays.

A module is trained on a loss; a function that steps its parameters itself runs as it is; a loss is
trained where it reads parameters, else differentiated by its arguments; of any other function the
results are compared. Its parameters take part with the values that they have, and have them again
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
from staticgrad.comparison.model import BATCH, Array, Batch, function_line, named
from staticgrad.errors import ArgumentError, TracingWarning
from staticgrad.errors.wording import kind_of, shown
from staticgrad.ir.graph import Graph, Symbolic
from staticgrad.nn.module import Module
from staticgrad.nn.scopes import as_scopes
from staticgrad.optim import SGD, Optimizer
from staticgrad.programs.function import Function
from staticgrad.source import Location
from staticgrad.storage.parameter import write_all

_RATE: Final = 0.05
Step = Callable[..., Any]


class ComparedProgram:
    """A function of arrays as it is compared.

    Attributes:
        name: what tables and pages call it.
        plain: the step as Python has it.
        function: the step, traced and run at once by ``sg.function``.
        graph: its graph, whose first result is called ``loss``.
        batch_size: how many examples the arrays hold.
        parameters: the start values of the parameters, by name.
        rule: how parameters are updated, in words.
        frozen: what tracing warned of, empty if nothing.
    """

    note = ""
    depth: int | None = None
    is_random = False

    def __init__(self, step: Step, example: dict[str, Array], made_of: Any, rule: str) -> None:
        self.name = _called(made_of)
        self._made_of = _inner(made_of)
        self.origin: Location = function_line(self._made_of)
        self.rule = rule
        self._example = example
        self.batch_size = next((a.shape[0] for a in example.values() if a.ndim), 1)
        self.plain = step
        self.function = _traced(step, example, self.batch_size)
        self.graph, self.frozen = self._drawn(_modules_of(made_of))
        self._start = [(p.store, np.array(p.value)) for p in self.graph.parameters]
        self.parameters = {p.name: np.array(p.value) for p in self.graph.parameters}
        self._copy = pickle.dumps(self.graph)

    def draw(self, size: int, draw: np.random.Generator) -> Batch:
        """So many of the examples, some of them several times where there are fewer."""
        count = self.batch_size
        rows = np.arange(count) if size == count else draw.integers(0, count, size)
        return {
            name: array[rows] if _counts(array, count) else array
            for name, array in self._example.items()
        }

    def at_once(self, batch: Batch) -> Any:
        """What the function gives, computed line by line."""
        with named(self.name, self._made_of):
            return self.function.eagerly(*batch.values())

    def restore(self) -> None:
        """The parameters as they were."""
        write_all(self._start)

    def own_graph(self) -> Graph:
        """The graph over parameters of its own, with the start values."""
        found: Graph = pickle.loads(self._copy)
        return found

    def _drawn(self, modules: Sequence[Module]) -> tuple[Graph, str]:
        """The graph, and what the tracer warned of."""
        arrays = [*self._example.values()]
        with warnings.catch_warnings(record=True) as said, as_scopes(*modules):
            warnings.simplefilter("always")
            with named(self.name, self._made_of):
                found = self.function.graph(*arrays)
        results = list(found.outputs.values())
        if not results:
            raise ArgumentError(
                f"{self.name} gives no result that depends on its arrays", at=self.origin
            )
        first = next((v for v in results if v.type.dtype.is_float), results[0])
        rest = {f"result{k}": v for k, v in enumerate(results) if v is not first}
        outputs = {"loss": first, **rest}
        graph = Graph(outputs, found.updates, inputs=found.inputs, name="step")
        texts = [str(each.message) for each in said if issubclass(each.category, TracingWarning)]
        return graph, texts[0] if texts else ""


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
    if isinstance(what, Module):
        evaluate, example = _of_module(what, arrays, loss)
        return ComparedProgram(training.step_of(evaluate, steps), example, what, rule)
    if loss is not None:
        raise ArgumentError("a function is compared as it is: loss= is for modules")
    return _of_function(what, arrays, steps, rule)


def _of_module(
    module: Module, arrays: Sequence[Any], loss: Callable[..., Any] | None
) -> tuple[Step, dict[str, Array]]:
    """The loss of a module as a function of all arrays, which are named."""
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

    examples = Examples.named(names, arrays)
    return examples.in_a_row(evaluate), examples.arrays


def _of_function(what: Any, arrays: Sequence[Any], steps: Optimizer, rule: str) -> ComparedProgram:
    """A step as it is, a loss with its gradient, or another function."""
    examples = Examples.named(_names_of(_inner(what), len(arrays)), arrays)
    plain, example = examples.in_a_row(_inner(what)), examples.arrays
    as_is = ComparedProgram(plain, example, what, "as the function does it")
    graph = as_is.graph
    result = graph.outputs["loss"]
    is_loss = all(size == 1 for size in result.shape) and result.type.dtype.is_float
    if any(node.order for node in graph.nodes) or len(graph.outputs) > 1 or not is_loss:
        as_is.rule = as_is.rule if graph.updates else "nothing: results alone are compared"
        return as_is
    if any(p.dtype.is_float for p in graph.parameters if _reaches(result, p)):
        return ComparedProgram(training.step_of(plain, steps), example, what, rule)
    wanted = [k for k, (name, a) in enumerate(example.items()) if a.dtype.kind == "f"]
    if not wanted:
        return as_is
    rule = "nothing: the value and its gradient are compared"
    return ComparedProgram(training.gradient_of(plain, wanted), example, what, rule)


def _reaches(result: Symbolic, parameter: Symbolic) -> bool:
    return parameter.node in set(Graph(result).nodes)


def _traced(step: Step, example: dict[str, Array], count: int) -> Function[..., Any]:
    """The step as a function of arrays of these names, whose examples are counted."""
    inner = step

    def named_step(*arrays: Any) -> Any:
        return inner(*arrays)

    kinds = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_ONLY) for n in example]
    named_step.__signature__ = inspect.Signature(kinds)  # type: ignore[attr-defined]
    named_step.__name__ = named_step.__qualname__ = getattr(step, "__name__", "step")
    sizes = {
        name: (BATCH, *(None,) * (a.ndim - 1))
        for name, a in example.items()
        if _counts(a, count)
    }  # fmt: skip
    return sg.function(named_step, sizes=sizes, threads=1)


def _counts(array: Array, count: int) -> bool:
    """Whether the first axis of an array counts the examples."""
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
    """A module itself, or those that a function reads."""
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

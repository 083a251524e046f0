"""A model to train: a loss written once for any kind of value, and the data for it.

The loss of a model is an ordinary function of parameters and a batch; it runs on tensors as it does
on symbolic values. Errors in the user's functions are reported here, with their own lines.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import staticgrad as sg
from staticgrad.building import capture
from staticgrad.errors import ArgumentError, ProgramError, ShapeError, StaticgradError
from staticgrad.ir.value import Value
from staticgrad.optim import Optimizer
from staticgrad.records import dataclass
from staticgrad.source import Location, Origin

Array = npt.NDArray[Any]
Values = Mapping[str, Any]
Batch = Mapping[str, Array]
_PACKAGE: Final = str(Path(sg.__file__).parent)
#: The size that batches are counted by, in the shapes of inputs.
BATCH = "batch"


@dataclass(frozen=True, eq=False)
class Model:
    """A training problem.

    Attributes:
        name: what tables and pages call it.
        parameters: initial values by name; floating arrays.
        loss: ``loss(parameters, batch)``, both by name: a value of one element, written with ``sg``
            functions and operators, so that it runs on symbolic values and on eager tensors.
            ``loss(parameters, batch, random)`` is also given a generator of ``sg.random``, from
            which both ways draw the same numbers.
        batch: ``batch(size, draw)``: arrays by name, for a batch of so many examples; ``draw`` is a
            ``numpy.random.Generator``. An axis that is one longer for one example more is the
            batch axis, wherever it stands; all others, and 0-d arrays, have literal sizes.
        batch_size: the usual one.
        learning_rate: of plain gradient descent, where there is no optimizer.
        depth: how many layers it has, where that can be chosen.
        note: a line on where the data comes from.
        optimizer: one of ``sg.optim``; the same rules run on the tape.
        max_norm: clip the gradients together to this norm before the update.
        shapes: the shape of a feed, if it is not as ``batch`` says: sizes, and ``"batch"``.
    """

    name: str
    parameters: Mapping[str, Array]
    loss: Callable[..., Any]
    batch: Callable[[int, np.random.Generator], Batch]
    batch_size: int = 64
    learning_rate: float = 0.05
    depth: int | None = None
    note: str = ""
    optimizer: Optimizer | None = None
    max_norm: float | None = None
    shapes: Mapping[str, Sequence[int | str]] = field(default_factory=dict)

    @property
    def origin(self) -> Location:
        """The line of the loss."""
        return function_line(self.loss)

    @cached_property
    def is_random(self) -> bool:
        """True if the loss takes a generator of random numbers."""
        return _takes(self.loss, 3) and not _takes(self.loss, 2)

    @property
    def rule(self) -> str:
        """The update rule of the parameters, in words."""
        clipped = "" if self.max_norm is None else f", gradients clipped to norm {self.max_norm:g}"
        if self.optimizer is None:
            return f"plain gradient descent, learning rate {self.learning_rate:g}{clipped}"
        return f"{type(self.optimizer).__name__}{clipped}"

    def loss_of(self, parameters: Values, batch: Values, random: Any) -> Any:
        """The loss of a batch. Raises ProgramError where the user's function fails."""
        given = (parameters, batch, random) if self.is_random else (parameters, batch)
        with named(f"the loss of {self.name!r}", self.loss):
            loss = self.loss(*given)
        if not isinstance(loss, Value):
            raise ArgumentError(
                f"the loss of {self.name!r} gives {type(loss).__name__}, not a value",
                hint="write it with sg functions and operators", at=self.origin,
            )  # fmt: skip
        return loss

    def draw(self, size: int, draw: np.random.Generator) -> Batch:
        """A batch. Raises ProgramError where the user's function fails."""
        with named(f"the batch of {self.name!r}", self.batch):
            found = self.batch(size, draw)
        if not isinstance(found, Mapping):
            raise ArgumentError(
                f"batch gives {type(found).__name__}, not arrays by name",
                at=function_line(self.batch),
            )
        return {name: np.asarray(array) for name, array in found.items()}

    def input_shapes(self, batch: Batch) -> dict[str, tuple[int | str, ...]]:
        """The shape of each feed of a usual batch; the axis that counts examples is ``BATCH``.

        Raises:
            ShapeError: an axis that neither stays nor counts the examples.
        """
        size = self.batch_size
        longer = self.draw(size + 1, np.random.default_rng(0))
        found: dict[str, tuple[int | str, ...]] = {}
        for name, array in batch.items():
            if name in self.shapes:
                found[name] = tuple(self.shapes[name])
                continue
            more = longer[name].shape if name in longer else ()
            pairs = [*zip(array.shape, more, strict=False)]
            known = all(a == b or (a, b) == (size, size + 1) for a, b in pairs)
            if len(more) != array.ndim or not known:
                raise ShapeError(
                    f"feed {name!r} has shape {array.shape} for {size} examples, {more} for one"
                    " more: an axis stays as it is, or counts the examples",
                    hint='Model(shapes={"name": ("batch", 3)}) says it outright',
                    at=function_line(self.batch),
                )
            found[name] = tuple([BATCH if a != b else a for a, b in pairs])
        return found


def checked(model: Model) -> Model:
    """Return the model if its parts are valid.

    Raises:
        ArgumentError: a part of another kind, or functions that take something else.
    """

    def require(holds: bool, message: str, hint: str = "", function: Any = model.loss) -> None:
        if not holds:
            raise ArgumentError(message, hint=hint, at=function_line(function))

    require(bool(model.parameters), f"model {model.name!r} has no parameters")
    for name, array in model.parameters.items():
        dtype = np.asarray(array).dtype
        require(
            dtype.kind == "f", f"parameter {name!r} is {dtype}, not floating",
            'np.zeros(3, "float32")',
        )  # fmt: skip
    require(
        _takes(model.loss, 2) or _takes(model.loss, 3),
        f"the loss of {model.name!r} takes {_signature(model.loss)}",
        "loss(parameters, batch), or loss(parameters, batch, random)",
    )
    require(
        _takes(model.batch, 2), f"the batch of {model.name!r} takes {_signature(model.batch)}",
        "batch(size, draw): arrays by name", model.batch,
    )  # fmt: skip
    require(
        type(model.batch_size) is int and model.batch_size >= 1,
        f"batch_size must be an integer >= 1, got {model.batch_size!r}",
    )
    require(
        model.optimizer is None or isinstance(model.optimizer, Optimizer),
        f"optimizer is {type(model.optimizer).__name__}, not one of sg.optim",
        "sg.optim.Adam(1e-3); those of sg.eager have no graph",
    )
    return model


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except ValueError:  # built in, without a signature
        return None


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Return whether a function accepts this number of arguments; True if it is unknown."""
    signature = _signature(function)
    try:
        return signature is None or bool(signature.bind(*range(count)))
    except TypeError:
        return False


def function_line(function: Any) -> Location:
    """Return the first line of a function, otherwise the running line."""
    while isinstance(function, partial):
        function = function.func
    inner = inspect.unwrap(function) if callable(function) else function
    if not hasattr(inner, "__code__"):
        kind: Any = type(inner)  # of an object that is called, a module perhaps
        inner = getattr(kind, "forward", None) or vars(kind).get("__call__")
    code = getattr(inner, "__code__", None)
    return capture() if code is None else Origin((code, 0, ""))


@contextmanager
def named(what: str, function: Any) -> Iterator[None]:
    """Errors of the user's own function as one coded error with its lines, innermost last."""
    try:
        yield
    except StaticgradError:
        raise
    except Exception as error:
        passed = traceback.extract_tb(error.__traceback__)
        frames = [f for f in passed if not f.filename.startswith(_PACKAGE) and f.line]
        lines = [f"{f.filename}:{f.lineno}, in {f.name}: {f.line}" for f in frames[-3:]]
        raise ProgramError(
            f"{what} fails: {type(error).__name__}: {error}", details=lines,
            at=function_line(function),
        ) from None  # fmt: skip

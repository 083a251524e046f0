"""Every error and warning of staticgrad, and one code per kind of mistake.

A message reports the user's own line first, then the operands (name, type, where each was made),
then what to do, in at most twelve lines (``wording.py``). ``CODES`` lists the codes.

    >>> raise ShapeError("matmul: inner sizes differ, 784 != 512", hint="transpose w")
    Traceback (most recent call last):
    staticgrad.errors.ShapeError: [SG101] matmul: inner sizes differ, 784 != 512
    ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import ClassVar, Self

from staticgrad.errors.wording import (
    DeprecatedNameWarning as DeprecatedNameWarning,
    EvaluationModeWarning as EvaluationModeWarning,
    KernelCacheWarning as KernelCacheWarning,
    LargeConstantWarning as LargeConstantWarning,
    PassWarning as PassWarning,
    PluginWarning as PluginWarning,
    Related as Related,
    SettingWarning as SettingWarning,
    ShapeAsValueWarning as ShapeAsValueWarning,
    StaticgradWarning as StaticgradWarning,
    TracingWarning as TracingWarning,
    UnrunDrawWarning as UnrunDrawWarning,
    message,
    warn as warn,
)
from staticgrad.support.building import capture
from staticgrad.support.source import Location, SourceLine


class StaticgradError(Exception):
    """Any mistake that staticgrad reports.

    ``headline`` says what is wrong in one line; ``details`` are further lines; ``hint`` says what
    to do: text, or a function that finds it when it is read (``hasattr`` does not read it); ``at``
    is the place to blame, by default the user's line that is running now; ``related`` are operands
    as (name, type text, where made). ``str`` gives the whole message.
    """

    code: ClassVar[str] = "SG100"

    def __init__(
        self,
        headline: str,
        *,
        details: Sequence[str] = (),
        hint: str | Callable[[], str] = "",
        at: Location | None = None,
        related: Sequence[Related] = (),
    ) -> None:
        super().__init__(headline)
        self.headline = headline
        self.details = tuple(details)
        self._hint = hint
        self.at: Location = capture(skip=1) if at is None else at
        self.related = tuple(related)

    @property
    def hint(self) -> str:
        """Return what to do about it; empty if unknown."""
        if not isinstance(self._hint, str):
            self._hint = self._hint()
        return self._hint

    @hint.setter
    def hint(self, text: str) -> None:
        self._hint = text

    def __str__(self) -> str:
        headline = f"[{self.code}] {self.headline}"
        return message(headline, self.at, self.related, self.details, self.hint)

    def with_related(self, related: Sequence[Related]) -> Self:
        """Return the error, with these related operands unless it has some already.

        For a caller that has the operands' source lines, which the raiser lacks.
        """
        self.related = self.related or tuple(related)
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args), {**self.__dict__, "_hint": self.hint}


def _rebuild(kind: type[StaticgradError], args: tuple[object, ...]) -> StaticgradError:
    """An error without its ``__init__``: unpickling restores the rest from the attributes."""
    return Exception.__new__(kind, *args)


# Building a graph


class ShapeError(StaticgradError, ValueError):
    """Shapes that do not fit together."""

    code = "SG101"


class DTypeError(StaticgradError, TypeError):
    """An element type that the operation does not take."""

    code = "SG102"


class AxisError(StaticgradError, ValueError, IndexError):
    """An axis that the operand does not have, or one named twice; both bases as in NumPy."""

    code = "SG103"


class RankError(StaticgradError, ValueError, TypeError):
    """The wrong number of axes; a TypeError, too, as Python has for ``iter(x)`` without axes."""

    code = "SG104"


class NameConflictError(StaticgradError, ValueError):
    """A name that is already taken."""

    code = "SG105"


class UnknownNameError(StaticgradError, KeyError):
    """A name that nobody has defined."""

    code = "SG106"


class SymbolicValueError(StaticgradError, TypeError):
    """The number, truth or array of a value that has none before the graph runs.

    ``numbers`` names arguments that are Python numbers, where the value is computed of these.
    """

    code = "SG107"
    numbers: tuple[str, ...] = ()


class ArgumentError(StaticgradError, ValueError):
    """An argument or attribute outside what the operation accepts."""

    code = "SG108"


class ParameterValueError(StaticgradError, ValueError):
    """A value assigned to a parameter that does not fit its shape or element type."""

    code = "SG109"


class UnknownAttributeError(StaticgradError, AttributeError):
    """An attribute, method or function that does not exist."""

    code = "SG110"


class ImmutableError(StaticgradError, TypeError):
    """An attempt to write into something that never changes: a value of a graph, a graph."""

    code = "SG111"


class UnknownArgumentError(StaticgradError, TypeError):
    """An argument that a function does not have, one that it lacks, or one given twice."""

    code = "SG112"


class MaskedArrayError(StaticgradError, TypeError, ValueError):
    """A masked array, whose mask no kernel reads."""

    code = "SG113"


class CarryError(StaticgradError, TypeError):
    """A carry that changes its type from iteration to iteration, or cases that give several
    types."""

    code = "SG114"


# Graphs, text, passes


class GraphError(StaticgradError, ValueError):
    """A graph that cannot be: its outputs, inputs or updates contradict each other."""

    code = "SG201"


class ParseError(StaticgradError, ValueError):
    """Text that does not parse as a graph, schedule, plan or pipeline.

    ``line`` and ``column`` count from 1 and point into the text, which the message shows; ``at``
    is that place.
    """

    code = "SG202"

    def __init__(
        self,
        headline: str,
        *,
        text: str,
        line: int,
        column: int,
        width: int = 1,
        file: str = "<text>",
        details: Sequence[str] = (),
        hint: str = "",
    ) -> None:
        rows = text.splitlines()
        shown = rows[line - 1] if 0 < line <= len(rows) else ""
        # An error at the end of a line has no character to point at: it points behind the last one.
        shown += " " * max(column - 1 + width - len(shown), 0)
        at = SourceLine(file, line, column - 1, column - 1 + width, line, shown)
        super().__init__(headline, details=details, hint=hint, at=at)
        self.line = line
        self.column = column


class VerifyError(StaticgradError):
    """An invariant of a graph, schedule or plan that does not hold."""

    code = "SG203"


class PassMismatchError(StaticgradError):
    """A pass that changed what the graph computes."""

    code = "SG204"


class PipelineError(StaticgradError, ValueError):
    """A pipeline whose passes do not follow each other, or an option that a pass refuses."""

    code = "SG205"


class OpDefinitionError(StaticgradError, TypeError):
    """The definition of an op that contradicts itself."""

    code = "SG206"


class CheckError(StaticgradError, AssertionError):
    """A check of a derivative, an op or a graph that fails; see ``staticgrad.testing``."""

    code = "SG207"


class PassInterfaceError(StaticgradError):
    """A pass that changed inputs, outputs, updates or their types, or that gave no graph."""

    code = "SG208"


class PassError(StaticgradError):
    """A pass of staticgrad that failed, and without which no program compiles."""

    code = "SG210"


class PolicyError(StaticgradError, ValueError):
    """A policy of recomputation that proposes something else than valid sequences of steps."""

    code = "SG209"


# Derivatives


class GradientError(StaticgradError, ValueError):
    """A derivative that does not exist or was not defined."""

    code = "SG301"


class DisconnectedError(GradientError):
    """A wanted gradient that no differentiable path leads to."""

    code = "SG302"


class TapeError(StaticgradError, RuntimeError):
    """A backward pass over a tape that was not recorded, was released, or no longer holds."""

    code = "SG303"


# Running


class FeedError(StaticgradError, ValueError):
    """A feed that does not fit the graph."""

    code = "SG401"


class MissingFeedError(FeedError):
    """An input without a feed."""

    code = "SG402"


class UnknownFeedError(FeedError):
    """A feed for an input that the graph does not have."""

    code = "SG403"


class FeedShapeError(FeedError):
    """A feed of the wrong shape."""

    code = "SG404"


class FeedDTypeError(FeedError, TypeError):
    """A feed of the wrong element type."""

    code = "SG405"


class SizeGuardError(FeedError):
    """Named sizes that must agree, or be divisible, and are not; or beyond all memory."""

    code = "SG406"


class IndexOutOfRange(StaticgradError, IndexError):  # noqa: N818  # IndexError is in its bases
    """An index or class label outside its axis."""

    code = "SG407"


class OutputArrayError(StaticgradError, ValueError):
    """An output array that the result does not fit."""

    code = "SG408"


class EmptyReductionError(StaticgradError, ValueError):
    """A reduction that has no value over no elements."""

    code = "SG409"


class OutOfMemory(StaticgradError, MemoryError):  # noqa: N818  # MemoryError is in its bases
    """Memory that the system does not give."""

    code = "SG410"


class KernelAccessError(StaticgradError, RuntimeError):
    """A kernel that touches memory which is not its own; looked for with ``debug=True``."""

    code = "SG411"


class NonFiniteError(StaticgradError, FloatingPointError):
    """A NaN or an infinity made of finite numbers; looked for with ``debug="nan"``."""

    code = "SG412"


class ReentryError(StaticgradError, RuntimeError):
    """An access that would wait for the code that it interrupts: a step of the same thread."""

    code = "SG413"


class CallError(StaticgradError, RuntimeError):
    """A call of a library, or of a user's function, that fails inside a compiled step."""

    code = "SG414"


class LinearAlgebraError(CallError, ValueError):
    """A matrix without the requested inverse, factor or decomposition."""

    code = "SG415"


class DistributedError(StaticgradError, RuntimeError):
    """Ranks of one job that do different things, or one that waits for another in vain."""

    code = "SG416"


class ConvergenceError(CallError):
    """A loop of a solver that used up its iterations before it reached its end."""

    code = "SG417"


# Compiling and installing


class CompileError(StaticgradError, RuntimeError):
    """A kernel that could not be compiled."""

    code = "SG501"


class CPUError(StaticgradError, RuntimeError):
    """A processor that staticgrad does not compile for."""

    code = "SG502"


class BudgetInfeasible(StaticgradError, ValueError):  # noqa: N818  # the planner's term
    """A memory budget below what the graph needs.

    In bytes: the ``budget``, the ``smallest_peak`` of any plan found, and a proven ``lower_bound``
    of every plan; ``marked_bound`` is one of every plan that keeps what ``sg.checkpoint`` marks, 0
    where no mark is in the way; ``copied_feeds`` has the bytes of feeds that are copied, by input.
    """

    code = "SG503"
    budget: int = 0
    smallest_peak: int = 0
    lower_bound: int = 0
    marked_bound: int = 0
    copied_feeds: Mapping[str, int] = MappingProxyType({})


class SelfTestError(StaticgradError, RuntimeError):
    """An installation whose generated code fails its own test."""

    code = "SG504"


class ShadowedPackageError(StaticgradError, ImportError):
    """A folder of the user that hides one of staticgrad's packages."""

    code = "SG505"


class MissingPackageError(StaticgradError, ImportError):
    """An optional package that is not installed."""

    code = "SG506"


class MeasurementError(StaticgradError, RuntimeError):
    """A measurement whose process failed."""

    code = "SG507"


class ProgramError(StaticgradError, RuntimeError):
    """A function of the user's, called by staticgrad, raised an error of its own."""

    code = "SG508"


class SavedFileError(StaticgradError, ValueError):
    """A file of saved arrays that cannot be read, or does not fit."""

    code = "SG509"


class ExportError(StaticgradError, ValueError):
    """A part of a program that an exported file cannot have."""

    code = "SG510"


class ConfigError(StaticgradError, ValueError):
    """A setting with a wrong value."""

    code = "SG601"


class UnknownSettingError(ConfigError):
    """A setting that does not exist."""

    code = "SG602"


_CLASSES = {
    name: thing
    for name, thing in globals().items()
    if isinstance(thing, type) and issubclass(thing, StaticgradError | StaticgradWarning)
}
#: Code -> what went wrong. A code never changes its meaning; a retired one is not used again.
CODES: dict[str, str] = {
    kind.code: " ".join(str(kind.__doc__).partition("\n\n")[0].split())
    for kind in sorted(_CLASSES.values(), key=lambda kind: kind.code)
}
__all__ = ["CODES", *sorted(_CLASSES)]


def __getattr__(name: str) -> object:
    hints = import_module(f"{__name__}.hints")  # which imports this module
    raise hints.as_imported(hints.no_such_name("sg.errors", name, __all__))


def __dir__() -> list[str]:
    return sorted(__all__)

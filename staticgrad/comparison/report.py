"""What a comparison found, as data: every figure that tables and pages show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

#: Counts up when a field of the JSON document changes its meaning or goes.
SCHEMA = 1


@dataclass(frozen=True)
class Timing:
    """Seconds of one step: the median of ``steps`` steps and the quartiles round it."""

    median: float
    lower: float
    upper: float
    steps: int


@dataclass(frozen=True)
class Pair:
    """One step at ``at`` (a batch size, or a depth), both ways, measured in turns."""

    at: int
    by_run: Timing
    then_run: Timing

    @property
    def ratio(self) -> float:
        """How many times as long the tape takes."""
        return self.by_run.median / self.then_run.median


@dataclass(frozen=True)
class FirstResult:
    """Seconds from the start of a fresh process to the first loss, by part.

    ``imports``: starting Python and importing the package (fetching data is left out); ``build``:
    the model, for the graph also its gradient; ``compile``: passes, kernels, driver; ``step``: the
    first step, its plan included.
    """

    imports: float
    build: float
    compile: float
    step: float

    @property
    def total(self) -> float:
        return self.imports + self.build + self.compile + self.step


@dataclass(frozen=True)
class Agreement:
    """Losses of both ways over the same steps, and the largest relative difference."""

    by_run: tuple[float, ...]
    then_run: tuple[float, ...]
    largest_difference: float


@dataclass(frozen=True)
class Bytes:
    """Memory of one step beside parameters and batch.

    ``tape``: the peak of NumPy's allocations in a step of the tape, measured. ``arena``: per policy
    the planned peak of the compiled step, which is what it uses; ``times``: the predicted time of
    that plan, relative to the first policy's.
    """

    tape: int
    arena: Mapping[str, int]
    times: Mapping[str, float]


@dataclass(frozen=True)
class Work:
    """What one step executes: operations or kernels, bytes of results, FLOPs."""

    name: str
    operations: int
    nbytes: int
    flops: int


@dataclass(frozen=True)
class Ability:
    """Something that one may want to do, and what each way answers."""

    wish: str
    by_run: bool
    then_run: bool
    reason: str


@dataclass(frozen=True)
class Comparison:
    """One model, both ways."""

    model: str
    note: str
    parameters: int
    batch_size: int
    machine: str
    agreement: Agreement
    batches: tuple[Pair, ...]
    depths: tuple[Pair, ...]
    first: Mapping[str, FirstResult]
    memory: Bytes
    work: tuple[Work, ...]
    abilities: tuple[Ability, ...]

    @property
    def usual(self) -> Pair:
        """The step at the usual batch size."""
        return next(pair for pair in self.batches if pair.at == self.batch_size)

    @property
    def break_even(self) -> Mapping[str, float | None]:
        """The step after which compiling has paid for itself, by state of the kernel cache.

        None: never, the tape is quicker per step.
        """
        gain = self.usual.by_run.median - self.usual.then_run.median
        late = {state: self.first[state].total - self.first["tape"].total for state in _STATES}
        return {
            state: max(seconds / gain, 0.0) if gain > 0 else None for state, seconds in late.items()
        }

    def as_json(self) -> dict[str, Any]:
        """The comparison as JSON has it."""
        return {
            "schema": SCHEMA,
            **asdict(self),
            "break_even": dict(self.break_even),
            "ratios": {str(pair.at): pair.ratio for pair in self.batches},
        }


#: The states of the kernel cache in which a first result is measured.
_STATES = ("compiled, empty cache", "compiled, warm cache")
TAPE, EMPTY, WARM = "tape", *_STATES

"""The base class of recomputation policies, and the problem that a policy solves.

A policy is a frozen dataclass with a ``name``; its fields are its options. It proposes sequences
of steps, in which a step may occur several times. The planner lays out each one in the real arena
and takes the lowest. A policy cannot cause wrong results: sequences are checked, and lifetimes are
derived from them. User-defined classes are registered by name when they are defined.

A search takes a second, so recomputation is planned at canonical sizes: each named size rounded to
the nearest power of 16, by ratio. Sizes near those reuse the sequences and recount bytes and
seconds, if the sequences cost no more there than at canonical sizes (``Front.is_as_cheap``). If
not, sequences are sought at exactly the sizes of the plan. Plans thus depend only on the schedule,
the sizes and the budget, never on what was planned before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from math import fsum
from operator import index
from typing import Any, ClassVar, Final, dataclass_transform

from staticgrad.analysis.liveness import Flow, SizeNumbers
from staticgrad.analysis.plan_report import ArenaLayout, Timeline
from staticgrad.analysis.repeats import Repeats
from staticgrad.errors import ArgumentError, PolicyError
from staticgrad.errors.wording import did_you_mean, kind_of, quote
from staticgrad.language.ir.value import Value
from staticgrad.support.caches import cached_property
from staticgrad.support.deprecations import deprecated_attribute
from staticgrad.support.records import Immutable, dataclass

Steps = Sequence[int]
_REGISTRY: dict[str, type[Policy]] = {}


@dataclass_transform(frozen_default=True)
class Policy(Immutable):
    """A recomputation policy: proposes sequences of a schedule's steps at concrete sizes.

    Subclasses are frozen dataclasses.

    >>> class Nothing(Policy, name="nothing"):
    ...     def sequences(self, problem):
    ...         return [problem.order]
    >>> as_policy("nothing") == Nothing()
    True
    """

    name: ClassVar[str] = ""

    def __init_subclass__(cls, name: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True)(cls)
        if name:
            registered = _REGISTRY.setdefault(name, cls)
            if (registered.__module__, registered.__qualname__) != (
                cls.__module__,
                cls.__qualname__,
            ):
                raise ArgumentError(f"a policy named {name!r} exists already: {registered!r}")
            cls.name = name
            _REGISTRY[name] = cls

    def sequences(self, problem: Problem) -> Iterable[Steps]:
        """Sequences to choose from; invalid ones are passed over, the lowest arena is taken."""
        raise PolicyError(
            f"policy {self!r} does not say what runs again", hint="define sequences(self, problem)"
        )


def as_policy(policy: object) -> Policy:
    """Return a recomputation policy, or the registered one of that name with its defaults.

    Raises:
        ArgumentError: neither.
    """
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, str) and policy in _REGISTRY:
        return _REGISTRY[policy]()
    if isinstance(policy, Value):
        hint = "a value is marked to be kept where it is made: h = sg.checkpoint(h)\n"
    elif isinstance(policy, type) and issubclass(policy, Policy):
        hint = f"a policy is an object: checkpoint={policy.__name__}()\n"
    else:
        hint = did_you_mean(policy, _REGISTRY)
    raise ArgumentError(
        f"checkpoint={policy!r} is not a policy",
        hint=hint
        + f"there are {', '.join(map(repr, _REGISTRY))}, and objects of passes.remat.base.Policy",
    )


@dataclass
class Problem:
    """A schedule at concrete sizes, for recomputation policies. Steps and buffers are numbers.

    Attributes:
        flow: accesses and conflicts; ``flow.schedule`` is the schedule.
        repeats: what may run again, and what that takes.
        numbers: bytes of buffers; ``numbers.arena_bytes(buffer)`` is what one takes in the arena.
        staged: inputs that are copied into the arena.
        orders: valid orders without repetition.
        seconds: predicted seconds of each step.
        retained: buffers that the user retains; no policy drops them.
    """

    flow: Flow
    repeats: Repeats
    numbers: SizeNumbers
    staged: frozenset[int]
    orders: Sequence[Steps]
    seconds: Sequence[float]
    retained: frozenset[int] = frozenset()

    kept = deprecated_attribute("0.2", "retained")

    @cached_property
    def order(self) -> Steps:
        """The order of the lowest peak, and among those of the fewest bytes on average."""
        layouts = [self.layout(order) for order in self.orders]
        best = min(layouts, key=lambda layout: (layout.load, sum(layout.loads)))
        return best.timeline.sequence

    @cached_property
    def last_phase(self) -> int:
        """The phase of the steps that everything before is recomputed for."""
        return max((step.phase for step in self.flow.schedule.steps), default=0)

    def layout(self, sequence: Steps) -> ArenaLayout:
        """Lives and loads of a valid sequence with recomputed steps, in-place results included."""
        return Timeline(self.flow, sequence, self.staged).layout(self.numbers)

    def cost(self, sequence: Steps) -> float:
        """Predicted seconds of a sequence; equal for orders of the same steps, to the last bit."""
        return fsum(map(self.seconds.__getitem__, sequence))

    def cost_with(self, again: Iterable[int]) -> float:
        """Return exactly the ``cost`` of a sequence of all steps in which these run again."""
        return fsum((*self._once, *map(self.seconds.__getitem__, again)))

    @cached_property
    def _once(self) -> tuple[float, ...]:
        """A few numbers whose exact sum is that of the seconds of all steps; a single number would
        be rounded."""
        parts: list[float] = []
        while other_steps := fsum((*self.seconds, *(-part for part in parts))):
            parts.append(other_steps)
        return tuple(parts)

    def droppable(self, buffer: int) -> bool:
        """Return whether a buffer holds a value that may be recomputed."""
        writer = self.repeats.writer.get(buffer)
        return (
            writer is not None and buffer not in self.retained and self.repeats.repeatable[writer]
        )


#: Canonical sizes are powers of it. Of 2, 4, 16 and 64 it takes the fewest searches among those
#: with plans no dearer than by searches at exactly their sizes: 80 for 9 models at 9 batches from
#: 3 to 1,500, with 0.04 % less time; 4 takes 87, and 64 takes 75 with 0.37 % more (November 2026).
CANONICAL: Final = 16
#: Largest ratio between the changes in bytes of two buffers, from given to canonical sizes: if the
#: batch changes by a factor, weights do not change, and scores change by its square.
SPREAD: Final = 8.0


def canonical_sizes(sizes: Mapping[str, int]) -> dict[str, int]:
    """Return each size rounded to the nearest power of 16, by ratio."""
    return {name: _round_to_power(size) for name, size in sizes.items()}


def _round_to_power(size: int) -> int:
    """Return the canonical power nearest to a size by ratio; sizes below one are unchanged."""
    if size < 1:
        return size
    below = 1
    while below * CANONICAL <= size:
        below *= CANONICAL
    return below if size * size < below * below * CANONICAL else below * CANONICAL


def are_alike(numbers: SizeNumbers, canonical: SizeNumbers, arena: tuple[bool, ...]) -> bool:
    """Return True if step sequences found at other sizes suit these sizes.

    Buffers of the arena are empty at both or at neither, and their changes differ by at most a
    factor of ``SPREAD``.
    """
    pairs = {
        *compress(zip(numbers.all_aligned, canonical.all_aligned, strict=True), arena),
        (1, 1),
    } - {(0, 0)}
    if any(size <= 0 or canonical_size <= 0 for size, canonical_size in pairs):
        return False
    ratios = [canonical_size / size for size, canonical_size in pairs]
    return max(ratios) <= SPREAD * min(ratios)


_HINT: Final = "each step must run, after what it reads; see passes.remat.base.Policy"


def propose_sequences(policy: Policy, problem: Problem) -> list[Steps]:
    """Return the valid sequences of steps that a recomputation policy proposes.

    Raises:
        PolicyError: they are no sequences of step numbers, or none of them is valid.
    """
    valid: list[Steps] = []
    broken = ""
    for number, proposal in enumerate(_call_policy(policy, problem)):
        sequence = _check_proposal(policy, problem, number, proposal)
        fault = problem.repeats.fault(sequence)
        if fault is None:
            valid.append(sequence)
        elif not broken:
            broken = f"sequence {number}: {fault}"
    if not valid:
        raise PolicyError(
            f"policy {policy!r} proposed no valid sequence",
            details=[broken or "it proposed no sequence at all"],
            hint=_HINT,
        )
    return valid


def _call_policy(policy: Policy, problem: Problem) -> list[object]:
    """Call a recomputation policy, and check that it returns sequences of steps."""
    try:
        sequences: object = policy.sequences(problem)
        if isinstance(sequences, Iterable) and not isinstance(sequences, str | bytes):
            return list(sequences)
    except Exception as error:
        error.add_note(f"policy {policy!r} was proposing sequences")
        raise
    raise PolicyError(
        f"policy {policy!r} returned {kind_of(sequences)} instead of sequences of steps",
        hint="sequences(problem) returns, or yields, orders like problem.order",
    )


def _check_proposal(policy: Policy, problem: Problem, number: int, proposal: object) -> Steps:
    """Check a sequence that a policy proposed: integers that are steps of the schedule."""
    if not isinstance(proposal, Iterable) or isinstance(proposal, str | bytes):
        raise PolicyError(
            f"policy {policy!r}: sequence {number} is {kind_of(proposal)}, no sequence of steps",
            hint="sequences(problem) returns a list of sequences, also where it is one",
        )
    steps: list[int] = []
    count = len(problem.flow.schedule.steps)
    for at, step in enumerate(proposal):
        if isinstance(step, bool) or not hasattr(step, "__index__"):
            wrong = f"{kind_of(step)} {quote(step)}, not the number of a step"
        elif not 0 <= index(step) < count:
            wrong = f"{index(step)}, and the steps are 0 to {count - 1}"
        else:
            steps.append(index(step))
            continue
        raise PolicyError(f"policy {policy!r}: sequence {number} has at position {at} {wrong}")
    return tuple(steps)

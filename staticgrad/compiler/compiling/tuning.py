"""The choice of each kernel's directives by measurement, for ``sg.compile(tune=True)``.

A kernel is run alone, on memory of its own, at the sizes of its step: first as lowering made it,
then with a few other sets of directives (``CANDIDATES``). They take turns, so that a machine that
is slow for a while is slow for all of them. The fastest is taken if it beats the default by
``MARGIN`` twice. Results never change: no bit depends on directives. Choices are kept in the kernel
cache, by what the kernel computes, its class of sizes and the processor.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import perf_counter_ns
from typing import Any, Final

import numpy as np

from staticgrad import native
from staticgrad.backends import source_of
from staticgrad.compiler.nest.directives import describe
from staticgrad.errors import CompileError
from staticgrad.language.ir.bodies import BodyStep
from staticgrad.language.ir.kernels.directives import (
    Directives,
    Interleave,
    Prefetch,
    Stream,
    Strips,
)
from staticgrad.language.ir.kernels.kernel import Kernel, Outer
from staticgrad.language.ir.kernels.legality import IllegalDirectiveError, with_directives
from staticgrad.language.ir.kernels.stages import Map, Store, nested_stages, statements
from staticgrad.language.ir.schedule import Buffer, KernelStep, Schedule, Step
from staticgrad.language.types.arrays import convert_array, hint_value, typical_value
from staticgrad.language.types.dim import Size, evaluate, named_sizes
from staticgrad.native import cache, loader
from staticgrad.support import config
from staticgrad.support.records import dataclass, replace

#: A choice must take less than this part of the default's time.
MARGIN: Final = 0.95
#: Rounds of a measurement, and nanoseconds that all runs of a set in one measurement may take.
ROUNDS: Final = (5, 40)
BUDGET: Final = 4_000_000
#: Nanoseconds of a run below which a kernel keeps its default: the call takes as long.
LEAST: Final = 3_000
#: Sets that are tried beside the default, at most.
MOST: Final = 4
#: Bytes of operands beyond which a kernel keeps its default: they are allocated once more.
MOST_BYTES: Final = 1 << 30
#: Integers are drawn below this: indices that most operands have.
SMALL: Final = 8
#: Elements beyond the end of each operand that prefetches and masked loads may touch.
_MARGIN_ELEMENTS: Final = 4096
_CALL: Final = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)


@dataclass(frozen=True)
class ScheduleChoice:
    """The measurement of one kernel.

    Attributes:
        label: the operations of the step.
        chosen: the directives that it runs with, as text.
        nanoseconds: the least time of a run with each set, by its text; lowering's choice first.
    """

    label: str
    chosen: str
    nanoseconds: Mapping[str, int]

    def __str__(self) -> str:
        default = next(iter(self.nanoseconds), "")
        times = "; ".join(f"{text}: {ns / 1e3:.1f} us" for text, ns in self.nanoseconds.items())
        chosen = "as lowered" if self.chosen == default else self.chosen
        return f"{self.label}: {chosen} (as lowered {times})"


# -- sets that are tried --------------------------------------------------------------------------


def _drop_kinds(directives: Directives, *kinds: type) -> Directives:
    return tuple(d for d in directives if not isinstance(d, kinds))


def _rows(count: int) -> Callable[[Kernel, Directives], Directives]:
    def set_rows(kernel: Kernel, default: Directives) -> Directives:
        others = _drop_kinds(default, Strips)
        others = tuple(d for d in others if not (isinstance(d, Interleave) and d.axis == "o"))
        return (Interleave("o", count), *others) if count > 1 else others

    return set_rows


def _prefetch_ahead(vectors: int, rows: int) -> Callable[[Kernel, Directives], Directives]:
    """Return a candidate that prefetches the longest map, some vectors or rows ahead."""

    def set_prefetch(kernel: Kernel, default: Directives) -> Directives:
        """Return a kernel's directives with this prefetch distance for its last map."""
        others = _drop_kinds(default, Prefetch)
        maps = [
            (number, stage)
            for number, (stage, around) in enumerate(nested_stages(kernel.stages))
            if isinstance(stage, Map) and not around
        ]
        if not maps or not vectors:
            return others
        number, stage = maps[-1]
        if kernel.axes:
            return (*others, Prefetch(kernel.axes[-1].name, rows, number))
        return (*others, Prefetch(stage.axis.name, vectors * kernel.lanes, number))

    return set_prefetch


def _stream_stores(kernel: Kernel, default: Directives) -> Directives:
    others = _drop_kinds(default, Stream)
    if others != default:
        return others
    stores = [s for stage in kernel.stages for s in statements(stage) if isinstance(s, Store)]
    return (*default, *map(Stream, sorted({store.access.operand for store in stores})))


def _in_strips(kernel: Kernel, default: Directives) -> Directives:
    others = _drop_kinds(default, Strips)
    return others if others != default else (*default, Strips())


#: Changes for iterations of one row, and for adjacent rows that are loaded as whole cache lines.
_OF_ROWS: Final = (
    _rows(4),
    _prefetch_ahead(32, 4),
    _rows(1),
    _rows(2),
    _prefetch_ahead(0, 0),
    _in_strips,
)

#: The unit of outer iterations (``Kernel.outer``) -> changes of the default, the likeliest first.
CANDIDATES: Final[Mapping[Outer, Sequence[Callable[[Kernel, Directives], Directives]]]] = {
    "elements": (
        _prefetch_ahead(32, 0),
        _prefetch_ahead(0, 0),
        _stream_stores,
        _prefetch_ahead(128, 0),
    ),
    "axes": _OF_ROWS,
    "squares": _OF_ROWS,
    "groups": (
        _rows(4),
        _rows(1),
        _prefetch_ahead(32, 16),
        _rows(2),
        _in_strips,
        _prefetch_ahead(0, 0),
    ),
}


def candidates(kernel: Kernel, most: int = MOST) -> dict[Directives, Kernel]:
    """Yield a kernel with its default directives, then with up to ``most`` other legal sets."""
    default = kernel.directives
    kernels = {default: kernel}
    for change in CANDIDATES.get(kernel.outer, ()):
        if len(kernels) <= most:
            try:
                changed = with_directives(kernel, change(kernel, default))
            except IllegalDirectiveError:
                continue
            kernels.setdefault(changed.directives, changed)
    return kernels


# -- measuring ------------------------------------------------------------------------------------


class TimedOperands:
    """The operands of a kernel, filled with numbers near 1 and small indices, and its arguments."""

    def __init__(
        self, kernels: Sequence[Kernel], arguments: Sequence[int], elements: Sequence[int]
    ) -> None:
        # the same numbers for each candidate, and in each process
        random = np.random.default_rng(0)
        rooms = [kernel.room(arguments) for kernel in kernels]
        self._arrays: list[np.ndarray[Any, Any]] = []
        self._changed: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = []
        shared: list[int] = []
        scratch: list[int] = []
        for operand, size in zip(kernels[0].operands, elements, strict=True):
            if operand.mode == "scratch":
                size = max(hint_value(room.get(operand.name, 0)) for room in rooms)
            array = np.zeros(size + _MARGIN_ELEMENTS, operand.dtype.numpy)
            if operand.mode == "check":
                array[0] = -1
            elif operand.mode in ("in", "inout"):
                drawn = random.random(array.size, "float32")
                # from 0.5 to 1.5: products of many neither overflow nor become subnormal, which is
                # slow
                drawn = drawn + 0.5 if operand.dtype.is_float else np.floor(drawn * SMALL)
                array[:] = convert_array(drawn, operand.dtype)
            if operand.mode == "inout":
                self._changed.append((array, array.copy()))
            self._arrays.append(array)
            (scratch if operand.is_own else shared).append(array.ctypes.data)
        self._table = np.array([*shared, *arguments], np.int64)
        self._scratch_table = np.array([*scratch, 0], np.int64)
        self._iterations = hint_value(kernels[0].iterations(arguments))

    def time_once(self, address: int) -> int:
        """Run a candidate kernel at an address once; return the nanoseconds that it took."""
        for array, initial in self._changed:
            array[:] = initial
        call, words = _CALL(address), (self._table.ctypes.data, self._scratch_table.ctypes.data)
        start = perf_counter_ns()
        call(*words, 0, self._iterations)
        return perf_counter_ns() - start


def measure(
    codes: Mapping[Directives, native.Code], operands: TimedOperands
) -> dict[Directives, list[int]]:
    """Time the candidates of a kernel in interleaved rounds; return nanoseconds of each."""
    native.wait()
    first = {directives: operands.time_once(code.address) for directives, code in codes.items()}
    least, most = ROUNDS
    rounds = min(max(BUDGET // max(*first.values(), 1), least), most)
    times: dict[Directives, list[int]] = {directives: [] for directives in codes}
    for _ in range(rounds):
        for directives, code in codes.items():
            times[directives].append(operands.time_once(code.address))
    return times


def find_fastest(
    sets: Mapping[Directives, Kernel], arguments: Sequence[int], elements: Sequence[int]
) -> tuple[Directives, dict[Directives, int]]:
    """Return the fastest set of directives, the default unless another is faster twice.

    Args:
        sets: one kernel with each of them, the default first.
        arguments: the values of its integer arguments.
        elements: the number of elements of each operand.
    """
    codes = {}
    for directives, kernel in sets.items():
        try:
            codes[directives] = native.kernel(source_of(kernel))
        except CompileError:  # of a set that this machine does not take
            continue
    default, operands = next(iter(sets)), TimedOperands([*sets.values()], arguments, elements)
    least = {d: min(times) for d, times in measure(codes, operands).items()}
    best = min(least, key=lambda d: least[d])
    if best == default or least[default] < LEAST or least[best] > MARGIN * least[default]:
        return default, least
    again = measure({d: codes[d] for d in (default, best)}, operands)
    return best if min(again[best]) <= MARGIN * min(again[default]) else default, least


#: What was measured in this process, by key, where there is no cache on disk.
_choice_texts: Final[dict[str, str]] = {}


def _key(kernel: Kernel, arguments: Sequence[int], elements: Sequence[int]) -> str:
    classes = [n.bit_length() for n in (*arguments, *elements)]
    return cache.key(f"directives\0{with_directives(kernel, ()).text}\0{classes}", loader.host())


def recall_choice(key: str, label: str) -> ScheduleChoice | None:
    """Return the choice that was made before, in this process or by one with the same cache."""
    text = _choice_texts.get(key) or cache.recall(key)
    return None if text is None else ScheduleChoice(label, *json.loads(text))


def choose(kernel: Kernel, label: str, arguments: Sequence[int], elements: Sequence[int]) -> Kernel:
    """Return a kernel with its fastest directives at these sizes, measured now or before.

    Args:
        kernel: the kernel as lowering made it.
        label: its operations, for people.
        arguments: the values of its integer arguments.
        elements: the number of elements of each operand.
    """
    sets = candidates(kernel)
    nbytes = (n * o.dtype.itemsize for o, n in zip(kernel.operands, elements, strict=True))
    if len(sets) == 1 or sum(nbytes) > MOST_BYTES:
        return kernel
    by_text = {describe(directives): variant for directives, variant in sets.items()}
    key = _key(kernel, arguments, elements)
    choice = recall_choice(key, label)
    if choice is not None and choice.chosen in by_text:
        return by_text[choice.chosen]
    best, least = find_fastest(sets, arguments, elements)
    _choice_texts[key] = json.dumps(
        [describe(best), {describe(directives): ns for directives, ns in least.items()}]
    )
    cache.remember(key, _choice_texts[key])
    return sets[best]


# -- schedules ------------------------------------------------------------------------------------


def tune_schedule(schedule: Schedule, sizes: Mapping[str, int]) -> Schedule:
    """Return the schedule with the fastest directives of each kernel at these sizes.

    Args:
        schedule: what lowering made.
        sizes: values of named sizes; others are taken at their hints.
    """
    if not config.current().jit:
        return schedule
    buffers = schedule.by_name
    steps = [_tuned_step(step, buffers, sizes) for step in schedule.steps]
    rooms: dict[str, Size] = {}
    for step in steps:
        if isinstance(step, KernelStep):
            room = step.kernel.room(step.arguments)
            for operand, binding in zip(step.kernel.operands, step.operands, strict=True):
                if operand.mode == "scratch" and operand.name in room:
                    rooms[binding.buffer] = room[operand.name]
    return replace(
        schedule,
        steps=tuple(steps),
        buffers=tuple(replace(b, size=rooms.get(b.name, b.size)) for b in schedule.buffers),
    )


def _tuned_step(step: Step, buffers: Mapping[str, Buffer], sizes: Mapping[str, int]) -> Step:
    """Return a step whose kernel has its fastest directives, those of bodies too."""
    if isinstance(step, BodyStep):
        return replace(step, schedules=tuple(tune_schedule(body, sizes) for body in step.schedules))
    if not isinstance(step, KernelStep):
        return step
    kernel = choose(step.kernel, step.label, *sizes_of(step, buffers, sizes))
    if kernel is step.kernel:
        return step
    about = step.phase, step.label, step.origins
    return KernelStep.of(kernel, step.operands, step.arguments, *about)


def choices(schedule: Schedule, sizes: Mapping[str, int]) -> Iterator[ScheduleChoice]:
    """Yield the tuning measurements of a schedule's kernels at these sizes."""
    for step in schedule.steps if config.current().jit else ():
        for body in step.bodies():
            yield from choices(body.schedule, sizes)
        if isinstance(step, KernelStep):
            choice = recall_choice(
                _key(step.kernel, *sizes_of(step, schedule.by_name, sizes)), step.label
            )
            yield from [] if choice is None else [choice]


def sizes_of(
    step: KernelStep, buffers: Mapping[str, Buffer], sizes: Mapping[str, int]
) -> tuple[list[int], list[int]]:
    """Return the arguments of a step's kernel and the elements of its operands at these sizes."""

    def number(size: Size) -> int:
        names = () if isinstance(size, int) else named_sizes(size)
        return evaluate(size, {n.name: sizes.get(n.name, typical_value(n)) for n in names})

    elements = [number(buffers[binding.buffer].size) for binding in step.operands]
    return [number(argument) for argument in step.arguments], elements

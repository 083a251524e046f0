"""The predicted seconds of steps, plans and schedules.

Seconds follow the roofline model of Williams et al. (CACM 2009), with a bandwidth for each level of
the caches, and a fixed price per step: ``max(operations, bytes / bandwidth) + launch``. Operations
are those of products, of vectors (whose last one may be partly filled), of loops that wait for the
iteration before; and elements that lie apart, which are read or written one by one, and rows, whose
loops are entered one by one. What several operands read of one buffer counts once.
Predictions choose between plans; no result depends on them, and no clock is read.
``python -m benchmarks prices`` shows them beside measured times.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import exp, log
from operator import mul
from typing import Final

from staticgrad.analysis.kernel_work import count_work, total, work_of
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.plan import Plan
from staticgrad.language.ir.schedule import Call, KernelStep, OperandPlace, Step
from staticgrad.language.types.arrays import hint_value, typical_value
from staticgrad.language.types.dim import Named, evaluate, named_sizes
from staticgrad.native.machine import current
from staticgrad.support.records import dataclass, replace


@dataclass(frozen=True)
class Rates:
    """The rates that predictions are made with: all constants of the machine that they have.

    The defaults are round figures of one core of a server with 512-bit vectors, between those that
    fit 684 kernels of the corpus of ``benchmarks`` best on Emerald Rapids and the peaks of Zen 4.

    Args:
        product_flops: operations by the second of matrix products of f32 (half of it for f64).
        map_flops: elsewhere, of vectors of f32; all lanes of vectors that are full once count.
        serial_flops: of loops whose iterations wait for each other.
        bandwidths: bytes by the second of L2, of L3, and of memory.
        element: seconds of an element that is loaded or stored at a distance from the next one.
        row: seconds of entering a loop over a row that does not go on where the last one ended.
        launch: seconds of a step whose code and operands other steps have driven out of the caches.
        near_launch: the same in a schedule whose traffic fits in L2.
        again: the same of what runs in each iteration of a loop; it finds what iterations before it
            have touched in a cache, which gives ``cached`` bytes by the second.
        fills_vectors: every lane that is computed is counted as one that is needed.
    """

    product_flops: float = 120e9
    map_flops: float = 75e9
    serial_flops: float = 5e9
    bandwidths: tuple[float, float, float] = (50e9, 30e9, 10e9)
    element: float = 1.2e-10
    row: float = 4e-9
    launch: float = 1e-6
    near_launch: float = 2e-8
    cached: float = 60e9
    again: float = 2e-8
    fills_vectors: bool = False

    def level(self, nbytes: float) -> float:
        """Return the bandwidth of the first level that holds so many bytes, or of memory."""
        host = current()
        second, third, memory = self.bandwidths
        return second if nbytes <= host.l2 else third if nbytes <= host.l3 else memory


DEFAULT: Final = Rates()
#: One processor at its best: rows take at least what is predicted with it.
FASTEST: Final = Rates(
    200e9, 60e9, 60e9, (40e9, 40e9, 40e9), 0.0, 0.0,
    launch=0.0, near_launch=0.0, cached=200e9, again=0.0, fills_vectors=True,
)  # fmt: skip
#: A slow processor, whose launch is a jump, as the driver's is: rows take hardly more.
ROWS: Final = Rates(
    60e9, 20e9, 20e9, (8e9, 8e9, 8e9), 0.0, 0.0,
    launch=5e-9, near_launch=5e-9, again=5e-9, fills_vectors=True,
)  # fmt: skip
#: What copying a vector of elements takes, in multiplications of vectors inside of a product.
#: Measured on Zen 3 and Zen 4: 12 to 15.
COPIED: Final = 14
#: Parts of the typical values of named sizes at which schedules are compared.
SCALES: Final = (0.125, 1.0, 8.0)
#: Seconds that any prediction is taken for at least, so that ratios are numbers.
_LEAST: Final = 1e-12
#: Bytes of an operand in all iterations of a loop that stay in a processor's cache, at most.
NEAR: Final = 1 << 20


def call_seconds(
    call: Call, machine: Rates = DEFAULT, in_place: bool = False, repeated: float = 0.0
) -> float:
    """Predicted seconds of one run of a kernel or routine; for ``in_place`` see ``work_of``.

    ``repeated``: bytes that are counted for several operands, and moved once.
    """
    if call.places:
        return _repeated_seconds(call, machine)
    if isinstance(call.kernel, Kernel):
        return step_seconds(call.kernel, call.arguments, machine, in_place, repeated)
    return call.operations / machine.map_flops + machine.launch


def _repeated_seconds(call: Call, machine: Rates) -> float:
    """Predict the seconds of one kernel run inside of a loop, which writes entries in place.

    An operand is fetched anew where all iterations together touch too much of it for a cache.
    """
    kernel = call.kernel
    if not isinstance(kernel, Kernel):
        return call.operations / machine.map_flops + machine.again
    parts = {o.name: place.parts for o, place in zip(kernel.operands, call.places, strict=True)}
    traffic = count_work(kernel, True).lines
    moving = 0.0
    for count, (operand, _) in zip(traffic, work_of(kernel, True).touched, strict=True):
        nbytes = total((count,), call.arguments)
        far = nbytes * parts[operand] > NEAR
        level = machine.level(nbytes * parts[operand]) if far else machine.cached
        moving += nbytes / level
    return max(_busy_seconds(kernel, call.arguments, machine, True), moving) + machine.again


def step_seconds(
    kernel: Kernel,
    arguments: Sequence[int],
    machine: Rates = DEFAULT,
    in_place: bool = False,
    repeated: float = 0.0,
) -> float:
    """Predicted seconds of one run of ``kernel`` with these values of its integer arguments."""
    nbytes = total(count_work(kernel, in_place).lines, arguments) - repeated
    busy = _busy_seconds(kernel, arguments, machine, in_place)
    return max(busy, nbytes / machine.level(nbytes)) + machine.launch


def _busy_seconds(
    kernel: Kernel, arguments: Sequence[int], machine: Rates, in_place: bool
) -> float:
    """Predict the seconds of a kernel whose operands are in registers."""
    work = count_work(kernel, in_place)
    seconds = total(work.products, arguments) / machine.product_flops
    seconds += total(work.serial, arguments) / machine.serial_flops
    seconds += total(work.elements, arguments) * machine.element
    seconds += total(work.rows, arguments) * machine.row
    operations = 0.0
    for (factor, places), lanes, width in work.vectors:
        for place in places:
            factor *= arguments[place]
        count = lanes if isinstance(lanes, int) else arguments[lanes[0]]
        is_packed = machine.fills_vectors or count < width
        operations += factor * (count if is_packed else -(-count // width) * width)
    return seconds + operations / machine.map_flops


@dataclass(frozen=True)
class Counted:
    """The operations and moved bytes of a step at its arguments' values."""

    products: float
    maps: float
    nbytes: float


def counted_work(step: Step, arguments: tuple[int, ...]) -> Counted:
    """Count the operations and bytes of one run of a step, all its calls together."""
    products = maps = nbytes = 0.0
    for call in step.calls(arguments):
        if not isinstance(call.kernel, Kernel):
            maps += call.times * call.operations
            continue
        work = count_work(call.kernel, bool(call.places))
        products += call.times * total(work.products, call.arguments)
        maps += call.times * total(work.maps, call.arguments)
        nbytes += call.times * total(work.traffic, call.arguments)
    return Counted(products, maps, nbytes)


def all_seconds(
    steps: Sequence[Step],
    arguments: Sequence[tuple[int, ...]],
    machine: Rates = DEFAULT,
    in_place: bool = False,
    counts: Sequence[int] | None = None,
) -> tuple[float, ...]:
    """Predict the seconds of one run of many steps with these values of their arguments.

    Those of equal kernels are computed once. For ``in_place`` see ``work_of``. ``counts``: how many
    equal steps each one stands for; the traffic of all together decides what a launch takes.
    """
    calls = [step.calls(values) for step, values in zip(steps, arguments, strict=True)]
    counts = counts or [1] * len(calls)
    traffic = sum(
        count * sum(map(_traffic_of, of_step)) for count, of_step in zip(counts, calls, strict=True)
    )
    if traffic <= current().l2:
        machine = replace(machine, launch=machine.near_launch)
    seconds_by_call: dict[tuple[Call, float], float] = {}

    def seconds(call: Call, nbytes: float) -> float:
        places = call.places if call.times > 1 else ()
        unnamed = tuple(OperandPlace("", parts) for _, parts in places)
        key = call._replace(times=1, places=unnamed), nbytes
        if key not in seconds_by_call:
            seconds_by_call[key] = call_seconds(key[0], machine, in_place, nbytes)
        return call.times * seconds_by_call[key]

    repeated: dict[Hashable, float] = {}

    def repeated_bytes(step: Step, values: tuple[int, ...]) -> float:
        if not isinstance(step, KernelStep):
            return 0.0
        numbers: dict[str, int] = {}
        places = [(numbers.setdefault(b.buffer, len(numbers)), b.offset) for b in step.operands]
        if len(numbers) == len(places):
            return 0.0
        key = step.kernel, values, tuple(places)
        if key not in repeated:
            repeated[key] = _repeated_bytes(step, values)
        return repeated[key]

    totals = []
    for step, values, of_step in zip(steps, arguments, calls, strict=True):
        nbytes = repeated_bytes(step, values)
        totals.append(sum([seconds(call, nbytes) for call in of_step]))
    return tuple(totals)


def _traffic_of(call: Call) -> float:
    """Return the bytes that one run of a kernel moves; of a routine, nothing."""
    if not isinstance(call.kernel, Kernel):
        return 0.0
    return total(count_work(call.kernel, bool(call.places)).traffic, call.arguments)


def _repeated_bytes(step: KernelStep, arguments: tuple[int, ...]) -> float:
    """Return the bytes that several operands of a step read, beyond once: parts that overlap."""
    touched = zip(work_of(step.kernel).touched, count_work(step.kernel, False).lines, strict=True)
    nbytes_by_operand = {
        name: total((count,), arguments) for (name, written), count in touched if not written
    }
    ranges_by_buffer: dict[str, list[tuple[float, float]]] = {}
    nbytes_by_buffer: dict[str, float] = {}
    reaches = step.reaches(arguments)
    for operand, binding, reach in zip(step.kernel.operands, step.operands, reaches, strict=True):
        if operand.name in nbytes_by_operand and reach is not None:
            begin = hint_value(binding.offset) * operand.dtype.itemsize
            ranges_by_buffer.setdefault(binding.buffer, []).append(
                (begin + reach[0], begin + reach[1])
            )
            nbytes_by_buffer[binding.buffer] = (
                nbytes_by_buffer.get(binding.buffer, 0.0) + nbytes_by_operand[operand.name]
            )
    return sum(
        max(0.0, nbytes_by_buffer[name] - _length(ranges))
        for name, ranges in ranges_by_buffer.items()
    )


def _length(intervals: Sequence[tuple[float, float]]) -> float:
    """Return the length of the union of intervals."""
    length, last = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        length += max(0.0, end - max(begin, last))
        last = max(last, end)
    return length


def seconds_at_scales(
    steps: Sequence[Step], machine: Rates = DEFAULT, counts: Sequence[int] | None = None
) -> tuple[float, ...]:
    """Predict the seconds of a schedule's steps at several values of its named sizes.

    One prediction if no size has a name. A copy of what a result may be written over has no work.
    ``counts``: how many equal steps each one stands for.
    """
    counts = counts or [1] * len(steps)
    names = {n.name: n for s in steps for size in s.arguments for n in named_sizes(size)}
    predictions = []
    for scale in SCALES if names else (1.0,):
        sizes = {name: _scale_size(named, scale) for name, named in names.items()}
        arguments = [tuple([evaluate(size, sizes) for size in s.arguments]) for s in steps]
        seconds = all_seconds(steps, arguments, machine, in_place=True, counts=counts)
        predictions.append(sum(map(mul, counts, seconds)))
    return tuple(predictions)


def _scale_size(named: Named, scale: float) -> int:
    """Return the typical value of a named size times ``scale``, within its bounds."""
    scaled = round(typical_value(named) * scale)
    return typical_value(replace(named, hint=None), max(1, scaled))


def compare_seconds(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the mean ratio of two predictions at the same scales: below 1 if the first is less."""
    pairs = zip(first, second, strict=True)
    return exp(sum(log(max(a, _LEAST) / max(b, _LEAST)) for a, b in pairs) / len(first))


def plan_seconds(plan: Plan, machine: Rates = DEFAULT) -> float:
    """Predicted seconds of one run of a plan, repeated steps counted as often as they run."""
    steps = [plan.schedule.steps[planned.step] for planned in plan.steps]
    return sum(all_seconds(steps, [planned.arguments for planned in plan.steps], machine))

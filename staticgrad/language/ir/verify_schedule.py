"""The invariants of a schedule, one small function each; linear, once per distinct kernel.

A broken invariant is a VerifyError that shows the step as text and blames the user's line. What
depends on order and bytes at concrete sizes is the plan's, and checked there; here the listed order
must be one that computes what it says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, NoReturn

from staticgrad.errors import VerifyError
from staticgrad.language.ir.index_checks import first_checks
from staticgrad.language.ir.kernels.bodies import stores_apart
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.verify import verify_kernel
from staticgrad.language.ir.schedule import (
    BoundStep,
    Buffer,
    KernelStep,
    Schedule,
    Step,
    StepBody,
    buffer_text,
    kernel_names,
    step_text,
)
from staticgrad.language.types.dim import Named, Size, bounds, is_at_least, named_sizes

_LABELLED: Final = ("input", "parameter", "output")
#: What a kernel may do, by mode, with a buffer of each role.
_ROLES: Final = {
    "in": ("input", "parameter", "constant", "temp", "output"),
    "out": ("parameter", "temp", "output"),
    "inout": ("parameter", "temp", "output"),
    "scratch": ("scratch",),
    "check": ("check",),
}

#: What a step with bodies may do with what an input, an output or a check of theirs is bound to.
_BOUND: Final = {
    "input": ("in", "inout"),
    "output": ("out", "inout", "scratch"),
    "check": ("check",),
}


def verify_schedule(schedule: Schedule) -> None:
    """Check every invariant, and those of every kernel."""
    for check in CHECKS:
        check(schedule)


def _fail(schedule: Schedule, headline: str, at: Step | Buffer | None = None) -> NoReturn:
    """Raise the VerifyError of a schedule's broken invariant, with its buffer or step."""
    where = f"schedule {schedule.name!r}"
    if at is None:
        raise VerifyError(f"{where}: {headline}")
    if isinstance(at, Buffer):
        raise VerifyError(f"{where}: {headline}", details=[buffer_text(at)], at=at.origin)
    text = step_text(at, kernel_names(schedule))
    number = next(n for n, step in enumerate(schedule.steps) if step is at)
    label = f" ({at.label})" if at.label else ""
    raise VerifyError(
        f"{where}, step {number}{label}: {headline}",
        details=[text],
        at=at.origins[0] if at.origins else None,
    )


# -- buffers --------------------------------------------------------------------------------------


def buffers_are_unique(schedule: Schedule) -> None:
    """Check that no two buffers share a name, nor two inputs, parameters or outputs a label."""
    names: set[str] = set()
    labels: set[tuple[str, str]] = set()
    for buffer in schedule.buffers:
        if buffer.name in names:
            _fail(schedule, f"two buffers are called {buffer.name!r}", buffer)
        names.add(buffer.name)
        if buffer.role in _LABELLED:
            if (buffer.role, buffer.label) in labels:
                _fail(schedule, f"two buffers are {buffer.role} {buffer.label!r}", buffer)
            labels.add((buffer.role, buffer.label))


def constants_have_data(schedule: Schedule) -> None:
    """Check that constant buffers of a schedule, and no others, have data, of their type."""
    for buffer in schedule.buffers:
        if (buffer.role == "constant") != (buffer.data is not None):
            _fail(schedule, "a constant has data, and nothing else has", buffer)
        if buffer.data is None:
            continue
        actual = (buffer.data.dtype, buffer.data.array.size)
        if actual != (buffer.dtype, buffer.size):
            _fail(schedule, f"its data are {actual[1]} elements of {actual[0].code}", buffer)


def sizes_are_possible(schedule: Schedule) -> None:
    """Check that no size or number of iterations is negative for all values of the names."""
    for buffer in schedule.buffers:
        if _is_negative(buffer.size):
            _fail(schedule, "the size of a buffer is negative", buffer)
    for step in schedule.steps:
        if _is_negative(step.total):
            _fail(schedule, f"{step.total} iterations", step)
        if step.grain < 0 or step.phase < 0:
            _fail(schedule, f"grain {step.grain}, phase {step.phase}", step)


def _is_negative(size: Size) -> bool:
    high = size if isinstance(size, int) else bounds(size)[1]
    return high is not None and high < 0


def size_names_agree(schedule: Schedule) -> None:
    """One named size has one set of promises, wherever it occurs."""
    declared: dict[str, Named] = {}
    for size in dict.fromkeys(schedule.sizes()):
        for named in named_sizes(size):
            if declared.setdefault(named.name, named) != named:
                _fail(schedule, f"size {named.name!r} is declared twice, with different bounds")


# -- steps ----------------------------------------------------------------------------------------


def kernels_are_sound(schedule: Schedule) -> None:
    """Check that every kernel of a schedule keeps the invariants of kernels."""
    seen: set[Kernel] = set()
    for step in schedule.steps:
        for kernel in step.kernels():
            if kernel in seen:
                continue
            seen.add(kernel)
            try:
                verify_kernel(kernel)
            except VerifyError as error:
                names = kernel_names(schedule)
                raise VerifyError(
                    f"schedule {schedule.name!r}, {names[kernel]} ({step.label}): {error.headline}",
                    details=[*error.details, step_text(step, names)],
                    at=step.origins[0] if step.origins else None,
                ) from None


def steps_bind_everything(schedule: Schedule) -> None:
    """Check that a step binds every operand to a buffer, and every argument to a size."""
    for step in schedule.steps:
        if isinstance(step, BoundStep):  # first: accesses are of operands that are bound
            expected = len([*step.operand_types()])
            if expected != len(step.operands):
                given_text = f"{len(step.operands)} are given"
                _fail(schedule, f"what it runs has {expected} operands, {given_text}", step)
        if isinstance(step, KernelStep) and len(step.arguments) != len(step.kernel.arguments):
            expected = len(step.kernel.arguments)
            given_text = f"{len(step.arguments)} are given"
            _fail(schedule, f"the kernel has {expected} arguments, {given_text}", step)
        for access in step.accesses():
            if access.buffer not in schedule.by_name:
                _fail(schedule, f"there is no buffer {access.buffer!r}", step)


def steps_run_what_their_kernels_count(schedule: Schedule) -> None:
    """Check that a step's iterations and grain are those of its kernel."""
    counts: dict[tuple[Kernel, tuple[Size, ...]], tuple[Size, int]] = {}
    for step in schedule.steps:
        if not isinstance(step, KernelStep):
            continue
        key = (step.kernel, step.arguments)
        if key not in counts:
            counts[key] = (step.kernel.iterations(key[1]), step.kernel.grain(key[1]))
        if (step.total, step.grain) != counts[key]:
            expected = "total {} grain {}".format(*counts[key])
            wrong = f"total {step.total} grain {step.grain}"
            _fail(schedule, f"its kernel and arguments make {expected}, not {wrong}", step)


def sizes_are_as_known(schedule: Schedule) -> None:
    """Check that the facts a kernel relies on hold for the sizes of every step that runs it."""
    for step in schedule.steps:
        if isinstance(step, KernelStep) and step.kernel.facts:
            sizes = dict(zip(step.kernel.arguments, step.arguments, strict=True))
            for fact in step.kernel.facts:
                if not fact.holds(sizes[fact.name]):
                    size = f"{fact.name} is {sizes[fact.name]}"
                    _fail(schedule, f"{size}, which is not what its kernel relies on", step)


def bodies_are_sound(schedule: Schedule) -> None:
    """Check that a step's bodies are valid schedules, bound to buffers with the right access.

    They write no parameter, and the step has scratch for their arenas.
    """
    for step in schedule.steps:
        written: set[int] = set()  # accesses that an earlier body has written
        for body in step.bodies():
            for check in CHECKS:
                if check is not kernels_are_sound:  # those of bodies are the step's
                    check(body.schedule)
            _check_outside(schedule, step, body, written)
        if bool(step.bodies()) != any(scratch.per == "bodies" for scratch in step.scratch()):
            _fail(schedule, "bodies, and they alone, have scratch for their arenas", step)


def _check_outside(schedule: Schedule, step: Step, body: StepBody, written: set[int]) -> None:
    """Check how a body's inputs and outputs are bound to buffers outside of a loop or branch."""
    accesses, outside = step.accesses(), dict(body.outside)
    for buffer in body.schedule.buffers:
        if buffer.role == "parameter":
            _fail(schedule, f"a body has {buffer.name!r}, of role {buffer.role}", step)
        bound = buffer.name in outside or buffer.name == body.number
        if (buffer.role in ("input", "output", "check")) != bound:
            _fail(schedule, f"inputs and outputs of bodies are bound: {buffer.name!r}", step)
        if buffer.name in outside:
            number = outside[buffer.name]
            access = accesses[number]
            modes = _BOUND[buffer.role]
            fits = access.mode in modes or (buffer.role == "input" and number in written)
            if not fits or access.dtype is not buffer.dtype:
                wrong = f"{buffer.role} {buffer.name!r} of a body"
                _fail(schedule, f"{wrong} is {access.mode} {access.buffer!r}", step)
    written.update(outside[b.name] for b in body.schedule.buffers if b.role == "output")


def operands_fit_their_buffers(schedule: Schedule) -> None:
    """Check that a step's operand has its buffer's dtype, and an access that the role allows."""
    for step in schedule.steps:
        for access in step.accesses():
            buffer = schedule.by_name[access.buffer]
            if access.dtype is not buffer.dtype:
                wrong, buffer_dtype = f"{access.name} is {access.dtype.code}", buffer.dtype.code
                _fail(schedule, f"{wrong}, {buffer.name!r} is {buffer_dtype}", step)
            if buffer.role not in _ROLES[access.mode]:
                wrong = f"{access.mode} operand {access.name} is {buffer.role} {buffer.name!r}"
                _fail(schedule, wrong, step)


def scratch_has_room(schedule: Schedule) -> None:
    """Check that a schedule's scratch buffers are large enough for their kernels, for all sizes."""
    for step in schedule.steps:
        if not isinstance(step, KernelStep) or not step.scratch():
            continue
        room = step.kernel.room(step.arguments)
        for operand, binding in zip(step.kernel.operands, step.operands, strict=True):
            if operand.mode == "scratch":
                available = schedule.by_name[binding.buffer].size - binding.offset
                if not is_at_least(available, room[operand.name]):
                    wrong = f"{operand.name} needs {room[operand.name]} elements"
                    _fail(schedule, f"{wrong}, more than {binding.buffer!r} has", step)


def steps_do_not_overwrite_what_they_read(schedule: Schedule) -> None:
    """Check that a written buffer is bound once in a step, unless its kernel works in place."""
    for step in schedule.steps:
        accesses = step.accesses()
        uses: dict[str, list[int]] = {}
        for number, access in enumerate(accesses):
            uses.setdefault(access.buffer, []).append(number)
        for buffer, numbers in uses.items():
            written = [n for n in numbers if accesses[n].mode != "in"]
            if not written or len(numbers) == 1:
                continue
            if len(written) > 1:
                disjoint = isinstance(step, KernelStep) and stores_apart(
                    step.kernel,
                    step.arguments,
                    [step.kernel.operands[number].name for number in written],
                    [step.operands[number].offset for number in written],
                )
                if not disjoint:
                    _fail(schedule, f"it writes {buffer!r} through two operands", step)
            out, pairs = written[0], step.in_place()
            place = (accesses[out].begin, accesses[out].updated)
            for n in numbers:
                if n not in written and (
                    (out, n) not in pairs or (accesses[n].begin, accesses[n].updated) != place
                ):
                    _fail(schedule, f"it reads {buffer!r} while it writes it", step)


# -- order ----------------------------------------------------------------------------------------


def values_are_written_before_they_are_read(schedule: Schedule) -> None:
    """Check that an earlier step writes what a step reads from a temp or output."""
    written: set[str] = set()
    for step in schedule.steps:
        for name in step.reads():
            if schedule.by_name[name].role in ("temp", "output") and name not in written:
                _fail(schedule, f"it reads {name!r}, which no earlier step writes", step)
        written.update(step.writes())


def carries_are_overwritten_after_their_last_read(schedule: Schedule) -> None:
    """Check that no step reads an input in whose place an earlier step has written."""
    over = {buffer.name: buffer.over for buffer in schedule.buffers if buffer.over}
    gone: set[str] = set()
    for step in schedule.steps:
        for name in step.reads():
            if name in gone:
                _fail(schedule, f"it reads {name!r} after it was written over", step)
        for name in step.writes():
            if name in over:
                gone.add(over[name])
    for name, old in over.items():
        inputs = [b for b in schedule.buffers if b.name == old and b.role == "input"]
        new = schedule.by_name[name]
        if not inputs or (inputs[0].dtype, inputs[0].size) != (new.dtype, new.size):
            _fail(schedule, f"{name!r} is over {old!r}, which is no input like it")


def parameters_are_overwritten_after_their_last_read(schedule: Schedule) -> None:
    """Check that a schedule overwrites each parameter after its last read.

    The old value of a parameter is read before any step writes it, the new one after all of
    them; after a parameter was written no index is checked that none before it has checked.
    """
    parameters = {b.name for b in schedule.buffers if b.role == "parameter"}
    left = Counter(
        name for step in schedule.steps for name in set(step.writes()) if name in parameters
    )
    written: set[str] = set()
    checking = first_checks(schedule)
    for number, step in enumerate(schedule.steps):
        for access in step.accesses():
            name = access.buffer
            if access.updated and (access.mode != "in" or name not in parameters):
                _fail(schedule, f"{name!r} has no new value to be read", step)
            if access.updated and (left[name] or name not in written):
                _fail(schedule, f"it reads the new value of {name!r} before it is there", step)
            if access.mode == "in" and name in written and not access.updated:
                _fail(schedule, f"it reads {name!r} after it was written", step)
        overwritten = parameters.intersection(step.writes())
        if number in checking and (written or overwritten):
            _fail(schedule, "it checks an index after a parameter was written", step)
        written |= overwritten
        left.subtract(overwritten)


def outputs_are_written(schedule: Schedule) -> None:
    """Check that a schedule's outputs have unique names, and that some step writes each."""
    written = {name for step in schedule.steps for name in step.writes()}
    returned = [name for name, _ in schedule.outputs]
    if len(set(returned)) != len(returned):
        _fail(schedule, "two outputs share a name")
    for name, buffer_name in schedule.outputs:
        buffer = schedule.by_name.get(buffer_name)
        if buffer is None or buffer.role != "output":
            _fail(schedule, f"output {name!r} is {buffer_name!r}, no buffer of role output", buffer)
        if buffer_name not in written:
            _fail(schedule, f"no step writes output {name!r}", buffer)
    for buffer in schedule.buffers:
        if buffer.role == "output" and (buffer.label, buffer.name) not in schedule.outputs:
            _fail(schedule, f"output {buffer.label!r} is not returned", buffer)


#: Every invariant, in an order in which each may rely on those before it.
CHECKS: Final[tuple[Callable[[Schedule], None], ...]] = (
    buffers_are_unique,
    constants_have_data,
    sizes_are_possible,
    steps_bind_everything,
    size_names_agree,
    kernels_are_sound,
    bodies_are_sound,
    steps_run_what_their_kernels_count,
    sizes_are_as_known,
    operands_fit_their_buffers,
    scratch_has_room,
    steps_do_not_overwrite_what_they_read,
    values_are_written_before_they_are_read,
    carries_are_overwritten_after_their_last_read,
    parameters_are_overwritten_after_their_last_read,
    outputs_are_written,
)

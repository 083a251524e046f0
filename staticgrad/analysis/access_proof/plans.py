"""The proof of a plan: its steps in order, over which elements of each buffer are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from types import MappingProxyType
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from staticgrad.analysis.access_proof.kernels import (
    AccessFaultError,
    KernelProof,
    prove_kernel,
)
from staticgrad.errors import VerifyError
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.plan import Plan, PlannedStep
from staticgrad.language.ir.schedule import (
    Buffer,
    CallStep,
    KernelStep,
    Step,
    StepBody,
    kernel_names,
    step_text,
)
from staticgrad.support.caches import BoundedCache

Array = NDArray[Any]
#: Positions of the loops around an access, at most; a kernel with more is not walked.
MOST_POSITIONS: Final = 1 << 16
#: Elements of a buffer, at most, of which each has a note whether it was written.
MOST_ELEMENTS: Final = 1 << 26
#: Bytes of proofs that a process keeps: programs repeat kernels at the same sizes.
_PROOF_BYTES: Final = 1 << 24


@dataclass(frozen=True)
class PlanProof:
    """Proof of a plan: counts, and what is not proved, with the reason.

    ``kernels`` counts the steps that run a kernel, ``accesses`` the reads and writes of their
    records that were walked.
    """

    kernels: int
    accesses: int
    unproved: tuple[str, ...]


class _Contents:
    """Elements of a buffer that hold a value: the old one of a parameter, and the new one.

    A buffer of more than ``MOST_ELEMENTS`` elements is not followed: nothing is noted of it, and
    none of its elements is missing.
    """

    def __init__(self, size: int, is_given: bool) -> None:
        """Begin with all elements written, or none."""
        self.is_followed = size <= MOST_ELEMENTS
        followed = size if self.is_followed else 0
        self._is_written = np.full(followed, is_given)
        self._is_updated = np.zeros(followed, bool)

    def flags(self, updated: bool) -> Array:
        """Return for each followed element whether it has a value, or its new one."""
        return self._is_updated if updated else self._is_written

    def everything(self) -> Array:
        """Return all elements that are followed."""
        return np.arange(self._is_written.size)

    def missing(self, elements: Array, updated: bool = False) -> Array:
        """Return those of the elements that have no value, or no new one."""
        followed = self._select_followed(elements)
        return followed[~self.flags(updated)[followed]]

    def write(self, elements: Array, *, updates: bool) -> None:
        """Note that elements were written, those of a parameter with their new values."""
        followed = self._select_followed(elements)
        self._is_updated[followed] = updates
        self._is_written[followed] = not updates

    def overwrite(self, elements: Array) -> None:
        """Note that elements were lost, since another buffer is in their place."""
        self._is_written[self._select_followed(elements)] = False

    def _select_followed(self, elements: Array) -> Array:
        return elements if self.is_followed else elements[:0]


def prove_plan(plan: Plan, *, most_positions: int = MOST_POSITIONS) -> PlanProof:
    """Prove every access of a plan's steps; see the package.

    Args:
        plan: a plan at concrete sizes.
        most_positions: kernels with more positions of their loops are not walked.

    Raises:
        VerifyError: an access is wrong. It shows the step as text and names the user's line.
    """
    walk = _PlanWalk(plan, most_positions)
    walk.run()
    return PlanProof(walk.kernels, walk.accesses, tuple(dict.fromkeys(walk.unproved)))


class _PlanWalk:
    """The steps of one plan, in order."""

    def __init__(
        self,
        plan: Plan,
        most_positions: int,
        outside: Mapping[str, int] = MappingProxyType({}),
        numbers: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Take a plan; of a body, the bytes that its buffers have outside, and known inputs."""
        self._plan, self._schedule = plan, plan.schedule
        self._most_positions, self._numbers = most_positions, numbers
        self.kernels = self.accesses = 0
        self.unproved: list[str] = []
        nbytes = {**dict(plan.buffer_bytes), **outside}
        self._sizes = {b.name: nbytes[b.name] // b.dtype.itemsize for b in plan.schedule.buffers}
        self._contents = {b.name: self._begin(b) for b in plan.schedule.buffers}

    def _begin(self, buffer: Buffer) -> _Contents:
        size = self._sizes[buffer.name]
        contents = _Contents(size, buffer.role in ("input", "parameter", "constant", "check"))
        if not contents.is_followed:
            self.unproved.append(f"{buffer.name}: a buffer of {size} elements is not followed")
        return contents

    def run(self) -> None:
        """Prove each step, and that every output is written whole."""
        for planned in self._plan.steps:
            step = self._schedule.steps[planned.step]
            if planned.fails:
                return  # the run ends there, at an index into an axis without elements
            if isinstance(step, KernelStep):
                self._prove_kernel_step(step, planned)
            elif step.bodies():
                self._prove_bodies(step, planned)
            elif isinstance(step, CallStep):
                self._prove_call(step)
        for buffer in self._schedule.buffers:
            if buffer.role == "output":
                contents = self._contents[buffer.name]
                missing = contents.missing(contents.everything())
                if missing.size:
                    self._fail(f"no step writes element {missing[0]} of output {buffer.name!r}")

    def _fail(self, headline: str, step: Step | None = None) -> NoReturn:
        where = f"plan of {self._schedule.name!r}"
        if step is None:
            raise VerifyError(f"{where}: {headline}")
        text = step_text(step, kernel_names(self._schedule))
        kernels = [str(kernel) for kernel in step.kernels()] if not step.bodies() else []
        origin = step.origins[0] if step.origins else None
        label = f" ({step.label})" if step.label else ""
        raise VerifyError(f"{where}{label}: {headline}", details=[text, *kernels], at=origin)

    # -- kernels ----------------------------------------------------------------------------------

    def _prove_kernel_step(self, step: KernelStep, planned: PlannedStep) -> None:
        bindings = {
            operand.name: binding
            for operand, binding in zip(step.kernel.operands, step.operands, strict=True)
        }
        offsets = {
            operand.name: nbytes // operand.dtype.itemsize
            for operand, nbytes in zip(step.kernel.operands, planned.offsets, strict=True)
        }
        rooms = {name: self._sizes[binding.buffer] for name, binding in bindings.items()}
        constants = {
            name: content
            for name, binding in bindings.items()
            if (content := self._find_constant(binding.buffer)) is not None
        }
        try:
            proof = self._kernel_proof(step.kernel, planned.arguments, rooms, offsets, constants)
        except AccessFaultError as fault:
            self._fail(str(fault), step)
        self.kernels += 1
        self.accesses += proof.accesses
        self.unproved += [f"{step.label}: {reason}" for reason in proof.unproved]
        is_empty = not planned.total and not any(p.written.size for p in proof.operands.values())
        if proof.iterations not in (None, planned.total) and not is_empty:
            self._fail(f"it has {proof.iterations} iterations, not {planned.total}", step)
        if not proof.operands:  # loops too long to look at every element
            for access in step.accesses():
                self._mark_whole(access.buffer, access.mode)
            return
        for name, binding in bindings.items():
            needed = proof.operands[name].needed
            self._check_needed(step, name, binding.buffer, needed, binding.updated)
        self._check_shared_buffers(step, proof, offsets)
        for name, binding in bindings.items():
            self._mark(binding.buffer, proof.operands[name].written)

    def _find_constant(self, name: str) -> Array | None:
        """Return the integers of a buffer that never changes; None if it is another one."""
        buffer = self._schedule.by_name[name]
        if name in self._numbers:
            return np.array([self._numbers[name]])
        if buffer.data is None or buffer.dtype.kind not in "iub":
            return None
        return buffer.data.array.reshape(-1).astype(np.int64)

    def _kernel_proof(
        self,
        kernel: Kernel,
        arguments: tuple[int, ...],
        rooms: Mapping[str, int],
        offsets: Mapping[str, int],
        constants: Mapping[str, Array],
    ) -> KernelProof:
        """Return the proof of a kernel, from the cache if it was proved at these sizes before."""
        contents = tuple([(name, array.tobytes()) for name, array in constants.items()])
        places = tuple(rooms.items()), tuple(offsets.values())
        key = (kernel, arguments, places, contents, self._most_positions)
        proof = _PROOFS.get(key)
        if proof is None:
            most = self._most_positions
            proof = prove_kernel(kernel, arguments, rooms, offsets, constants, most)
            arrays = [(p.needed, p.written) for p in proof.operands.values()]
            nbytes = 500 + sum(len(text) for _, text in contents)
            nbytes += sum(a.nbytes + b.nbytes + 200 for a, b in arrays)
            _PROOFS.store(key, proof, nbytes)
        return proof

    def _check_needed(
        self, step: Step, name: str, buffer: str, elements: Array, updated: bool
    ) -> None:
        missing = self._contents[buffer].missing(elements, updated)
        if missing.size:
            value = "new value" if updated else "value"
            text = f"it reads element {missing[0]} of {buffer!r} ({name})"
            self._fail(f"{text}, which has no {value} there", step)

    def _check_shared_buffers(
        self, step: KernelStep, proof: KernelProof, offsets: Mapping[str, int]
    ) -> None:
        """Check that operands in one buffer touch other elements, but for a pair in place."""
        pairs = [*zip(step.kernel.operands, step.operands, strict=True)]
        for (operand, binding), (second, second_binding) in permutations(pairs, 2):
            if binding.buffer == second_binding.buffer and operand.mode in ("out", "inout"):
                written = proof.operands[operand.name].written
                is_pair = (operand.name, second.name) in step.kernel.in_place
                if is_pair and offsets[operand.name] == offsets[second.name]:
                    continue
                touched = proof.operands[second.name]
                for elements in (touched.needed, touched.written):
                    if np.intersect1d(elements, written).size:
                        text = f"{operand.name} and {second.name} are one buffer"
                        self._fail(f"{text}, and one writes what the other touches", step)

    def _mark(self, name: str, elements: Array) -> None:
        """Note that elements of a buffer were written."""
        buffer = self._schedule.by_name[name]
        self._contents[name].write(elements, updates=buffer.role == "parameter")
        if buffer.over:
            self._contents[buffer.over].overwrite(elements)

    def _mark_whole(self, name: str, mode: str) -> None:
        if mode in ("out", "inout"):
            self._mark(name, self._contents[name].everything())

    # -- other steps ------------------------------------------------------------------------------

    def _prove_call(self, step: CallStep) -> None:
        """Check that all that a routine reads is there: no record says which elements it reads."""
        self.unproved.append(f"{step.label}: {step.routine.name} is a routine of a library")
        for access in step.accesses():
            is_temp = self._schedule.by_name[access.buffer].role == "temp"
            if access.mode == "in" and is_temp:
                everything = self._contents[access.buffer].everything()
                self._check_needed(step, access.name, access.buffer, everything, access.updated)
        for access in step.accesses():
            self._mark_whole(access.buffer, access.mode)

    def _prove_bodies(self, step: Step, planned: PlannedStep) -> None:
        """Prove the plans of a loop or a branch, and that their buffers fit into those outside."""
        accesses = step.accesses()
        iterations = planned.arguments[0] if step.control.kind != "branch" else 1
        for body, plan in zip(step.bodies(), planned.bodies, strict=True):
            for iteration in dict.fromkeys([0, iterations - 1] if iterations else []):
                outside = self._find_outside(step, planned, body, plan, iteration)
                if iteration and not body.number:
                    continue  # it does what the first one does, with buffers as large
                numbers = {body.number: iteration} if body.number else {}
                walk = _PlanWalk(plan, self._most_positions, outside, numbers)
                walk.run()
                self.kernels += walk.kernels
                self.accesses += walk.accesses
                self.unproved += walk.unproved
        for number, access in enumerate(accesses):
            if access.mode == "in" and iterations:
                self._check_whole(step, number)
        for access in accesses:
            self._mark_whole(access.buffer, access.mode)

    def _check_whole(self, step: Step, number: int) -> None:
        """Check that a value which goes into a loop or a branch was written."""
        access = step.accesses()[number]
        contents = self._contents[access.buffer]
        is_there = contents.flags(access.updated)
        first = access.begin if isinstance(access.begin, int) else 0
        if not is_there[first // access.dtype.itemsize :].any() and is_there.size:
            self._fail(f"it reads {access.buffer!r}, which nothing has written", step)

    def _find_outside(
        self, step: Step, planned: PlannedStep, body: StepBody, plan: Plan, iteration: int
    ) -> dict[str, int]:
        """Return the bytes that buffers of a body have outside of it, in an iteration.

        Each iteration has its own row of some of them. The last row may be shorter: there the
        body's buffer ends where the one outside does.
        """
        accesses, nbytes = step.accesses(), dict(plan.buffer_bytes)
        logged = {name for name, number in body.carried if number in step.control.logged}
        outside = {}
        for name, number in body.outside:
            access, row = accesses[number], nbytes[name]
            available = self._sizes[access.buffer] * access.dtype.itemsize - planned.offsets[number]
            first = iteration * row if name in body.rows else 0
            if name in logged and body.schedule.by_name[name].role == "output":
                first = (iteration + 1) * row
            outside[name] = min(row, available - first)
            if outside[name] < row and not (body.number and name in body.rows):
                text = f"bytes {first} to {first + row} of {name!r}"
                self._fail(f"{text} are not inside of {access.buffer!r}", step)
        return outside


_PROOFS: Final[BoundedCache[object, KernelProof]] = BoundedCache(_PROOF_BYTES)

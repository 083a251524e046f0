"""What a policy proposes, checked: sequences of step numbers, of which at least one is valid.

A policy is somebody's program. What it returns may be of any kind; an error names the policy and
the rule that it broke.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import index

from passes.remat.base import Policy, Problem, Steps
from staticgrad.errors import PolicyError
from staticgrad.errors.wording import kind_of, shown

_HINT = "each step must run, after what it reads; see passes.remat.base.Policy"


def proposed(policy: Policy, problem: Problem) -> list[Steps]:
    """The valid ones of the sequences that a policy proposes.

    Raises:
        PolicyError: they are no sequences of step numbers, or none of them is valid.
    """
    found: list[Steps] = []
    broken = ""
    for number, given in enumerate(_given(policy, problem)):
        sequence = _steps(policy, problem, number, given)
        fault = problem.repeats.fault(sequence)
        if fault is None:
            found.append(sequence)
        elif not broken:
            broken = f"sequence {number}: {fault}"
    if not found:
        raise PolicyError(
            f"policy {policy!r} proposed no valid sequence",
            details=[broken or "it proposed no sequence at all"],
            hint=_HINT,
        )
    return found


def _given(policy: Policy, problem: Problem) -> list[object]:
    try:
        given: object = policy.sequences(problem)
        if isinstance(given, Iterable) and not isinstance(given, str | bytes):
            return list(given)
    except Exception as error:
        error.add_note(f"policy {policy!r} was proposing sequences")
        raise
    raise PolicyError(
        f"policy {policy!r} returned {kind_of(given)} instead of sequences of steps",
        hint="sequences(problem) returns, or yields, orders like problem.order",
    )


def _steps(policy: Policy, problem: Problem, number: int, given: object) -> Steps:
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        raise PolicyError(
            f"policy {policy!r}: sequence {number} is {kind_of(given)}, no sequence of steps",
            hint="sequences(problem) returns a list of sequences, also where it is one",
        )
    steps: list[int] = []
    count = len(problem.flow.schedule.steps)
    for at, step in enumerate(given):
        if isinstance(step, bool) or not hasattr(step, "__index__"):
            wrong = f"{kind_of(step)} {shown(step)}, not the number of a step"
        elif not 0 <= index(step) < count:
            wrong = f"{index(step)}, and the steps are 0 to {count - 1}"
        else:
            steps.append(index(step))
            continue
        raise PolicyError(f"policy {policy!r}: sequence {number} has at position {at} {wrong}")
    return tuple(steps)

"""The steps of groups that call a routine: operands, results and scratch as they are bound."""

from __future__ import annotations

from staticgrad.fusion.groups import CheckBuffer, Group, Groups, Home, Key
from staticgrad.ir.forms import CallForm
from staticgrad.ir.kernels.stages import Mode
from staticgrad.ir.routine import Routine
from staticgrad.records import dataclass
from staticgrad.types.dim import Size
from staticgrad.types.dtype import I64, DType


@dataclass(frozen=True)
class LoweredCall:
    """A routine, and what its operands stand for: values from an element on.

    ``scratch``: element types and sizes of the operands that follow. ``checks``: two words for what
    failed come last.
    """

    routine: Routine
    operands: tuple[tuple[Key, Size], ...]
    scratch: tuple[tuple[DType, Size], ...]
    check: CheckBuffer | None
    form: CallForm
    reads: tuple[Key, ...]
    writes: tuple[Key, ...]


def lower_call(groups: Groups, group: Group) -> LoweredCall:
    """The call that computes a group of kind ``call``."""
    (node,) = group.nodes
    form = node.form
    assert isinstance(form, CallForm)
    modes: list[tuple[Mode, DType]] = [("in", arg.type.dtype) for arg in node.args]
    modes += [("out", kind.dtype) for kind in node.types]
    modes += [("scratch", dtype) for dtype, _ in form.scratch]
    modes += [("check", I64)] if form.checks else []
    read = groups.places_of_operands(group)
    results = [Home(node, number) for number in range(len(node.types))]
    return LoweredCall(
        Routine(form.routine, tuple(modes), form.alone),
        (*read, *((key, 0) for key in results)),
        form.scratch,
        CheckBuffer(node) if form.checks else None,
        form,
        tuple(dict.fromkeys(key for key, _ in read)),
        tuple(results),
    )

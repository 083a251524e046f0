"""Policies of ``sg.checkpoint(f, policy=...)``: predicates over ops, under the names of JAX.

A policy is called with an op and the types of its operands, and says whether the result is kept
from forward to backward: ``policy(op, *types)``. Everything else that the function computes runs
again. Any function of that form will do; these are the usual ones. Public as
``sg.checkpoint_policies``.
"""

from __future__ import annotations

from typing import Final

from staticgrad.functions.checkpoints.saveable import (
    EitherRule,
    OnlyNames,
    Saveable,
    maker,
    names_given,
    parts_of,
)
from staticgrad.language.calls.arguments import namespace
from staticgrad.language.ir.op import Op
from staticgrad.language.types.arrays import TensorType

__all__ = [
    "dots_saveable", "dots_with_no_batch_dims_saveable", "everything_saveable", "nothing_saveable",
    "save_from_both_policies", "save_only_these_names",
]  # fmt: skip

_DOTS: Final = ("matmul", "conv", "conv_filter", "conv_image")


def everything_saveable(op: Op, *types: TensorType) -> bool:
    """Save everything; nothing is recomputed."""
    return True


def nothing_saveable(op: Op, *types: TensorType) -> bool:
    """Save only the arguments of the function."""
    return False


def dots_saveable(op: Op, *types: TensorType) -> bool:
    """Products of matrices and convolutions are kept: they take the longest to run again."""
    return op.name in _DOTS


def dots_with_no_batch_dims_saveable(op: Op, *types: TensorType) -> bool:
    """Products of two matrices are kept, those of stacks of matrices run again.

    Of a transformer that keeps its linear layers, and not the scores of its attention. A stack
    times one matrix is one product of two matrices.
    """
    return op.name == "matmul" and all(len(operand.shape) == 2 for operand in types)


@maker
def save_only_these_names(*names: str) -> Saveable:
    """Values with one of these names (``sg.checkpoint_name``) are kept, and nothing else."""
    return OnlyNames(names_given("save_only_these_names", names))


@maker
def save_from_both_policies(*policies: Saveable) -> Saveable:
    """Save what at least one of the policies saves."""
    return EitherRule(tuple(part for policy in policies for part in parts_of(policy)))


namespace(globals(), operands=None)

"""Extremes of floats to source: by integers that are ordered as the floats are.

To join two floats so that NaN wins and -0 is below +0 takes several instructions, each of which
waits for the one before: 14 cycles for every vector of a row. The bits of a float, those of
negative ones turned over, are an integer whose order is that of the floats; a NaN becomes the one
that wins. Of integers the larger one is found in a cycle; the winner is turned back at the end.
"""

from __future__ import annotations

import numpy as np

from staticgrad.codegen.expressions import Lines, element, number
from staticgrad.ir.forms import COMBINERS
from staticgrad.ir.kernels.stages import Accumulate
from staticgrad.types.dtype import DType

#: The primitives that such integers stand for.
_EXTREMES = ("maximum", "minimum")


def is_by_key(statement: Accumulate) -> bool:
    """Whether a reduction is one of floats that integers can stand for."""
    return statement.value.dtype.is_float and COMBINERS[statement.kind].combine in _EXTREMES


def key_dtype(statement: Accumulate) -> DType:
    """The element type of the accumulators: of keys, or of the values themselves."""
    dtype = statement.value.dtype
    return dtype.signed if is_by_key(statement) else dtype


def write_key(out: Lines, name: str, statement: Accumulate) -> str:
    """Lines that turn the vector ``name`` into keys, where they are reduced so; their name."""
    if not is_by_key(statement):
        return name
    dtype, code = statement.value.dtype.signed, element(statement.value.dtype.signed)
    most = (1 << (dtype.bits - 1)) - 1
    winner = most if COMBINERS[statement.kind].combine == "maximum" else -most - 1
    out.add(f"{name}_i = bitcast_{code}({name})")
    out.add(f"{name}_k = {name}_i ^ (({name}_i >> {dtype.bits - 1}) & {most})")
    out.add(f"{name}_k = select({name} == {name}, {name}_k, like({name}_k, {winner}))")
    return f"{name}_k"


def neutral_key(statement: Accumulate) -> str:
    """The identity of the reduction as an accumulator holds it, as a literal."""
    dtype = statement.value.dtype
    identity = COMBINERS[statement.kind].identity(dtype)
    if not is_by_key(statement):
        return number(identity)
    bits = int(np.asarray(identity, dtype.numpy).view(dtype.signed.numpy))
    return number(bits ^ ((1 << (dtype.bits - 1)) - 1) if bits < 0 else bits)


def from_key(statement: Accumulate, key: str) -> str:
    """What a key stands for, as source; ``key`` is a name."""
    if not is_by_key(statement):
        return key
    dtype = statement.value.dtype.signed
    most, last = (1 << (dtype.bits - 1)) - 1, dtype.bits - 1
    return f"bitcast_{element(statement.value.dtype)}({key} ^ (({key} >> {last}) & {most}))"

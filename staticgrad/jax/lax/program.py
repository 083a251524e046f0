"""A program of JAX as plain data, and what computes it: each call by its row.

``reading.py`` makes it of jaxprs. It does not mention JAX, so a function of it is pickled and
loaded where JAX is not installed. Keys of random numbers are arrays of their two words.
"""

from __future__ import annotations

from typing import Any

import staticgrad.functions as sg
from staticgrad.bridges.operands import ForeignType
from staticgrad.bridges.programs import NO_FACTS, Facts, ForeignProgram
from staticgrad.bridges.tables import ForeignOperator, OperatorTable
from staticgrad.jax.lax.calls import CALLS
from staticgrad.jax.lax.primitives import PRIMITIVES


class LaxProgram(ForeignProgram):
    """A jaxpr; arrays that it contains are constants behind the inputs."""

    table = PRIMITIVES

    @classmethod
    def table_of(cls, op: ForeignOperator) -> OperatorTable:
        return CALLS if op.name in CALLS else PRIMITIVES

    @classmethod
    def apply(cls, op: ForeignOperator, operands: Any, out: Any, facts: Facts = NO_FACTS) -> Any:
        """Compute the results; what moves keys is applied to each of their two words."""
        are_keys = op.attributes.get("key_operands")
        if are_keys is None or op.name in CALLS:
            return super().apply(op, operands, out, facts)
        kinds = tuple([ForeignType("uint32", kind.shape[:-1]) for kind in out])
        halves = []
        for half in (0, 1):
            parts = [x[..., half] if key else x for x, key in zip(operands, are_keys, strict=True)]
            halves.append(super().apply(op, parts, kinds, facts))
        return [sg.stack(pair, -1) for pair in zip(*halves, strict=True)]

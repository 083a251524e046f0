"""Checksums of what an operation read and made, for ``detect_mutation``: has it changed since?

A derivative is computed from the arrays of the forward pass; one that was written to in between
gives a wrong gradient without any sign of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any
from weakref import ref

from staticgrad import source
from staticgrad.errors import TapeError


class Seal:
    """The operands of a node with their checksums, those of its results, and the line.

    It keeps all operands, also those that the rule does not read.
    """

    def __init__(self, operands: Sequence[Any], outs: Sequence[Any]) -> None:
        self.origin = source.capture()
        self.operands = [(tensor, _checksum(tensor)) for tensor in operands]
        self.outs = [(ref(out), _checksum(out)) for out in outs]

    def check(self, name: str) -> None:
        """Raise TapeError if an array has changed since operation ``name``."""
        named = [(f"operand {i}", *pair) for i, pair in enumerate(self.operands, 1)]
        named += [("the result", out(), sealed) for out, sealed in self.outs]
        for what, tensor, sealed in named:
            if tensor is not None and _checksum(tensor) != sealed:
                raise TapeError(
                    f"{name}: the data of {what} changed between forward and backward",
                    hint="its derivative would be wrong; write to arrays after the backward pass",
                    at=self.origin,
                )


def _checksum(tensor: Any) -> tuple[Any, ...]:
    data = tensor.data
    return data.shape, data.dtype.str, zlib.crc32(data.tobytes())

"""Checksums of what an operation read and made, for ``detect_mutation``: has it changed since?

A derivative is computed from the arrays of the forward pass; one that was written to in between
gives a wrong gradient without any sign of it.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from staticgrad import source
from staticgrad.errors import TapeError

if TYPE_CHECKING:
    from staticgrad.eager.tape import Node


class Seal:
    """Checksums of a node's arrays, and the line that made it."""

    def __init__(self, node: Node) -> None:
        self.origin = source.capture()
        self.sums = list(map(_checksum, node.saved_tensors))
        self.outs = [_checksum(out()) for out in node.outs]

    def check(self, node: Node) -> None:
        """Raise TapeError if an array has changed."""
        pairs = list(zip(node.saved_tensors, self.sums, strict=True))
        named = [(f"operand {i}", *pair) for i, pair in enumerate(pairs, 1)]
        for out, sealed in zip(node.outs, self.outs, strict=True):
            if (tensor := out()) is not None:
                named.append(("the result", tensor, sealed))
        for what, tensor, sealed in named:
            if _checksum(tensor) != sealed:
                raise TapeError(
                    f"{node.name}: the data of {what} changed between forward and backward",
                    hint="its derivative would be wrong; write to arrays after the backward pass",
                    at=self.origin,
                )


def _checksum(tensor: Any) -> tuple[Any, ...]:
    data = tensor.data
    return data.shape, data.dtype.str, zlib.crc32(data.tobytes())

"""What happens when an operation runs: record it or not, check its arrays or not.

Each mode is a context manager and a decorator, and belongs to the thread, or the task of asyncio,
that enters it. A derivative is computed from the arrays of the forward pass; ``detect_mutation``
compares checksums of them.

    >>> from staticgrad.eager import Tensor
    >>> x = Tensor([1.0], requires_grad=True)
    >>> with no_grad():
    ...     (x * 2.0).requires_grad
    False
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final
from weakref import ref

from staticgrad.blocks import Block, Nested
from staticgrad.building import capture
from staticgrad.errors import TapeError
from staticgrad.ir.calls import public

#: Whether operations are recorded.
recording: Final = Nested("staticgrad_recording", True)
#: Whether each operation keeps checksums of its arrays.
checking: Final = Nested("staticgrad_checking", False)
#: Of ``selection.py``: what is kept of what runs; None: operations run as they are.
selection: Final = Nested[Any]("staticgrad_selection", None)


class no_grad(Block[bool]):  # noqa: N801 - the name this idea has everywhere
    """Inside, nothing is recorded: ``with no_grad(): ...``, or ``@no_grad()`` on a function.

    >>> from staticgrad.eager import Tensor
    >>> x = Tensor(2.0, requires_grad=True)
    >>> with no_grad():
    ...     y = x * x
    >>> y.requires_grad
    False
    """

    def __init__(self) -> None:
        super().__init__(recording, False)


class enable_grad(Block[bool]):  # noqa: N801
    """Inside, operations are recorded, also within ``no_grad``.

    >>> from staticgrad.eager import Tensor
    >>> x = Tensor(2.0, requires_grad=True)
    >>> with no_grad(), enable_grad():
    ...     y = x * x
    >>> y.requires_grad
    True
    """

    def __init__(self) -> None:
        super().__init__(recording, True)


class detect_mutation(Block[bool]):  # noqa: N801
    """Inside, every operation keeps checksums of its arrays, and its line.

    A backward pass over it raises TapeError, before any gradient changes, where an array that the
    operation read or made has changed since: it names the operation and the line. Costs a pass over
    every array.

    >>> from staticgrad.eager import Tensor
    >>> from staticgrad.errors import TapeError
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> with detect_mutation():
    ...     y = (x * x).sum()
    >>> x.data[0] = 5.0
    >>> try:
    ...     y.backward()
    ... except TapeError as error:
    ...     print(error.code)
    SG303
    """

    def __init__(self) -> None:
        super().__init__(checking, True)


@public
def enable_autograd(quiet: bool = False) -> None:
    """Record operations from here on, to the end of the block around; by default they are.

    Args:
        quiet: say nothing about it to the logger ``staticgrad``.

    >>> enable_autograd()
    """
    if not recording.innermost() and not quiet:
        from staticgrad.config import logger  # logging is loaded when somebody logs

        logger.info("autograd is on: operations on tensors that require gradients are recorded")
    recording.change(True)


class Seal:
    """The operands of a node with their checksums, those of its results, and the line.

    It keeps all operands, also those that the rule does not read.
    """

    def __init__(self, operands: Sequence[Any], outs: Sequence[Any]) -> None:
        self.origin = capture()
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

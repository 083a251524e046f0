"""What a thread does when an operation runs: record it or not, check its arrays or not.

Each mode is a context manager and a decorator, and belongs to the thread that enters it. A
derivative is computed from the arrays of the forward pass; ``detect_mutation`` compares checksums
of them.

    >>> from staticgrad.eager import Tensor
    >>> x = Tensor([1.0], requires_grad=True)
    >>> with no_grad():
    ...     (x * 2.0).requires_grad
    False
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Sequence
from contextlib import ContextDecorator
from typing import Any, ClassVar, Final, Self
from weakref import ref

from staticgrad.building import capture
from staticgrad.errors import TapeError
from staticgrad.ir.calls import public


class _Modes(threading.local):
    """What this thread does when an operation runs."""

    recording = True
    checking = False
    selecting: Any = None  # of ``selection.py``: what is kept of what runs here

    def __init__(self) -> None:
        self.blocks: list[tuple[object, str, bool]] = []  # around us, outermost first

    def restore(self, name: str) -> None:
        """Give a mode the value of the innermost block of it; outside of any, its default."""
        values = [value for _, each, value in self.blocks if each == name]
        setattr(self, name, values[-1] if values else getattr(_Modes, name))


modes: Final = _Modes()


class _Mode(ContextDecorator):
    """Sets one mode of this thread, for a ``with`` block or a function; blocks nest.

    A block in a generator may end behind one that began before it: each takes out itself alone.
    """

    setting: ClassVar[tuple[str, bool]]

    def __init__(self) -> None:
        self._entered: list[object] = []

    def __enter__(self) -> Self:
        self._entered.append(object())
        modes.blocks.append((self._entered[-1], *self.setting))
        modes.restore(self.setting[0])
        return self

    def __exit__(self, *exc: object) -> None:
        mark = self._entered.pop()
        modes.blocks[:] = [block for block in modes.blocks if block[0] is not mark]
        modes.restore(self.setting[0])

    def _recreate_cm(self) -> Self:  # a decorated function may run in several threads at once
        return type(self)()


class no_grad(_Mode):  # noqa: N801 - the name this idea has everywhere
    """Inside, nothing is recorded: ``with no_grad(): ...``, or ``@no_grad()`` on a function.

    >>> from staticgrad.eager import Tensor
    >>> x = Tensor(2.0, requires_grad=True)
    >>> with no_grad():
    ...     y = x * x
    >>> y.requires_grad
    False
    """

    setting = ("recording", False)


class enable_grad(_Mode):  # noqa: N801
    """Inside, operations are recorded, also within ``no_grad``.

    >>> from staticgrad.eager import Tensor
    >>> x = Tensor(2.0, requires_grad=True)
    >>> with no_grad(), enable_grad():
    ...     y = x * x
    >>> y.requires_grad
    True
    """

    setting = ("recording", True)


class detect_mutation(_Mode):  # noqa: N801
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

    setting = ("checking", True)


@public
def enable_autograd(quiet: bool = False) -> None:
    """Record operations in this thread from here on. They are by default: then nothing happens.

    Args:
        quiet: say nothing about it to the logger ``staticgrad``.

    >>> enable_autograd()
    """
    if not modes.recording and not quiet:
        from staticgrad.config import logger  # logging is loaded when somebody logs

        logger.info("autograd is on: operations on tensors that require gradients are recorded")
    modes.recording = True


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

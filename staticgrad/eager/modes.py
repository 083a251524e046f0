"""What a thread does when an operation runs: record it or not, check its arrays or not.

Each mode is a context manager and a decorator, and belongs to the thread that enters it.

    >>> from staticgrad.eager import Tensor
    >>> x = Tensor([1.0], requires_grad=True)
    >>> with no_grad():
    ...     (x * 2.0).requires_grad
    False
"""

from __future__ import annotations

import threading
from contextlib import ContextDecorator
from typing import ClassVar, Final, Self

from staticgrad.ir.calls import public


class _Modes(threading.local):
    """What this thread does when an operation runs."""

    recording = True
    checking = False


modes: Final = _Modes()


class _Mode(ContextDecorator):
    """Sets one mode of this thread, for a ``with`` block or a function; blocks nest."""

    setting: ClassVar[tuple[str, bool]]

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> Self:
        name, value = self.setting
        self._before.append(getattr(modes, name))
        setattr(modes, name, value)
        return self

    def __exit__(self, *exc: object) -> None:
        setattr(modes, self.setting[0], self._before.pop())

    def _recreate_cm(self) -> Self:  # a decorated function may run in several threads at once
        return type(self)()


class no_grad(_Mode):  # noqa: N801 - the name this idea has everywhere
    """Inside, nothing is recorded: ``with no_grad(): ...``, or ``@no_grad()`` on a function."""

    setting = ("recording", False)


class enable_grad(_Mode):  # noqa: N801
    """Inside, operations are recorded, also within ``no_grad``."""

    setting = ("recording", True)


class detect_mutation(_Mode):  # noqa: N801
    """Inside, every operation keeps checksums of its arrays, and its line.

    A backward pass over it raises TapeError, before any gradient changes, where an array that the
    operation read or made has changed since: it names the operation and the line. Costs a pass over
    every array.
    """

    setting = ("checking", True)


@public
def enable_autograd(quiet: bool = False) -> None:
    """Record operations in this thread from here on. They are by default: then nothing happens.

    Args:
        quiet: say nothing about it to the logger ``staticgrad``.
    """
    if not modes.recording and not quiet:
        from staticgrad.config import logger  # logging is loaded when somebody logs

        logger.info("autograd is on: operations on tensors that require gradients are recorded")
    modes.recording = True

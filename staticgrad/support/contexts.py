"""``with`` blocks that say something to all code that runs inside of them: modes and settings.

What they say belongs to the thread, or the task of asyncio, that enters them. Blocks nest, and a
block in a generator may end behind one that began before it: each takes out itself alone. On a
function that waits or yields, a block holds while that function's own code runs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ContextDecorator
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, Final, Generic, TypeVar, cast

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Nested(Generic[T]):
    """The values of the enclosing blocks of one kind; they may be nested.

    Attributes:
        innermost: gives what the innermost block says; outside of any, the default.
    """

    def __init__(self, name: str, default: T) -> None:
        self._default: Final = default
        self._around: Final[ContextVar[tuple[tuple[object, T], ...]]] = ContextVar(
            f"{name}_blocks", default=()
        )
        variable: Final = ContextVar(name, default=default)
        self._hold: Final = variable.set
        self.innermost: Final[Callable[[], T]] = variable.get  # read at each operation of a tape

    def all(self) -> tuple[T, ...]:
        """Return the value of each enclosing block, the outermost first."""
        return tuple([value for _, value in self._around.get()])

    def begin(self, block: object, value: T) -> None:
        """Let a block begin, by which ``value`` is said."""
        self._set((*self._around.get(), (block, value)))

    def end(self, block: object) -> None:
        """Remove a context block from the active ones; of several entries, the latest."""
        around = self._around.get()
        for at in range(len(around) - 1, -1, -1):
            if around[at][0] is block:
                self._set((*around[:at], *around[at + 1 :]))
                return

    def change(self, value: T) -> None:
        """Let the innermost block say ``value`` from here on; outside of any nothing happens."""
        around = self._around.get()
        if around:
            self._set((*around[:-1], (around[-1][0], value)))

    def _set(self, around: tuple[tuple[object, T], ...]) -> None:
        self._around.set(around)
        self._hold(around[-1][1] if around else self._default)


class Decorator(ContextDecorator):
    """A ``with`` block that may stand above a function, of any kind, as its decorator."""

    def __call__(self, func: F) -> F:
        for is_of, holding in _OF_KINDS.items():
            if is_of(func):
                return cast("F", wraps(func)(holding(self, func)))
        return super().__call__(func)


class Block(Decorator, Generic[T]):
    """A block, for ``with`` or as a decorator of a function. One may be entered several times, also
    by several threads and tasks at once: it keeps nothing of where it is entered."""

    def __init__(self, blocks: Nested[T], value: T) -> None:
        self._blocks, self._value = blocks, value

    def __enter__(self) -> Any:
        self._blocks.begin(self, self._value)
        return self

    def __exit__(self, *exc: object) -> None:
        self._blocks.end(self)


def _wrap_coroutine(block: Any, func: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a coroutine function, so that its task is inside the ``with`` block until it ends."""

    async def within(*args: Any, **kwargs: Any) -> Any:
        with block:
            return await func(*args, **kwargs)

    return within


def _wrap_generator(block: Any, func: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a generator function: inside the ``with`` block only while it runs, not at yields."""

    def within(*args: Any, **kwargs: Any) -> Any:
        generator = func(*args, **kwargs)
        resume, sent = generator.send, None
        while True:
            with block:
                try:
                    value = resume(sent)
                except StopIteration as end:
                    return end.value
            try:
                resume, sent = generator.send, (yield value)
            except GeneratorExit:
                with block:
                    generator.close()
                raise
            except BaseException as error:
                resume, sent = generator.throw, error

    return within


def _wrap_async_generator(block: Any, func: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an async generator function: inside the ``with`` block only while it runs."""

    async def within(*args: Any, **kwargs: Any) -> Any:
        generator = func(*args, **kwargs)
        resume, sent = generator.asend, None
        while True:
            with block:
                try:
                    value = await resume(sent)
                except StopAsyncIteration:
                    return
            try:
                resume, sent = generator.asend, (yield value)
            except GeneratorExit:
                with block:
                    await generator.aclose()
                raise
            except BaseException as error:
                resume, sent = generator.athrow, error

    return within


def waits_or_yields(func: object) -> bool:
    """Return whether a call only creates a generator or a coroutine."""
    return any(is_of(func) for is_of in _OF_KINDS)


def _has(flag: int) -> Callable[[object], bool]:
    """Return a test of functions, methods and partials for a code flag of ``inspect``."""

    def is_of(func: object) -> bool:
        while isinstance(func, partial):
            func = func.func
        code = getattr(func, "__code__", None)
        return code is not None and bool(code.co_flags & flag)

    return is_of


#: CO_GENERATOR, CO_COROUTINE and CO_ASYNC_GENERATOR; ``inspect`` takes long to import.
_OF_KINDS: Final[dict[Callable[[object], bool], Callable[..., Any]]] = {
    _has(0x20): _wrap_generator,
    _has(0x80): _wrap_coroutine,
    _has(0x200): _wrap_async_generator,
}

"""What a process keeps: results within a number of bytes, properties that are computed once.

None of it holds a lock of its own, for which a forked process could wait.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar, overload

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")
#: Latest entries that stay whatever they need: a whole batch and the last, smaller one take turns.
_ALWAYS: Final = 2
#: New objects from which on the collector is spared a walk over them.
_MUCH: Final = 10_000


class Kept(Generic[K, V]):
    """Values by key, each with the bytes that it was said to need.

    ``limit`` bounds their sum; the two values used last stay even where they alone are beyond it.
    Whoever shares one between threads holds a lock. Code that interrupts a use may use it as well,
    and an exception in the middle of one leaves nothing wrong: the count beside the values is never
    below their sum, and they are counted anew before it has dropped as many as there are.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._found: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._at_most = 0
        self._dropped = 0

    @property
    def nbytes(self) -> int:
        """The sum of what the values were said to need."""
        return sum([nbytes for _, nbytes in [*self._found.values()]])

    def get(self, key: K) -> V | None:
        """The value, which counts as used now."""
        found = self._found.get(key)
        if found is None:
            return None
        try:  # noqa: SIM105  # every run asks, and ``suppress`` takes longer than all the rest
            self._found.move_to_end(key)
        except KeyError:  # an interrupt has dropped it
            pass
        return found[0]

    def put(self, key: K, value: V, nbytes: int) -> None:
        """Keep a value, in place of one of the same key, and drop what is then beyond the limit."""
        self.drop(key)
        self._at_most += nbytes  # before it is there
        self._found[key] = value, nbytes
        while self._at_most > self.limit and len(self._found) > _ALWAYS:
            if self._dropped == 0:
                self._count()
                self._dropped = len(self._found)
                continue
            self._dropped -= 1
            _, (_, freed) = self._found.popitem(last=False)
            self._at_most -= freed  # after it was there

    def _count(self) -> None:
        """Make the count right; what an interruption adds meanwhile may count twice."""
        self._at_most = 0
        found = self.nbytes
        self._at_most += found

    def peek(self, key: K) -> V | None:
        """The value; asking is no use."""
        found = self._found.get(key)
        return None if found is None else found[0]

    def drop(self, key: K) -> None:
        """Forget a value, if it is there."""
        found = self._found.pop(key, None)
        if found is not None:
            self._at_most -= found[1]

    def values(self) -> Iterator[V]:
        """The values, the longest unused first; asking is no use."""
        return (value for value, _ in self._found.values())

    def __len__(self) -> int:
        return len(self._found)


class cached_property(Generic[T]):  # noqa: N801 - it stands in for the one of that name
    """``@cached_property``: the method's result, kept in the instance's ``__dict__``.

    Up to Python 3.11 the standard library's holds one lock per class while it computes, and a child
    that is forked meanwhile would wait for it for ever. Here two threads may compute the same value
    twice, which does no harm: what is cached is a function of the object.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> cached_property[T]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any]) -> T: ...
    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        if instance is None:
            return self
        found = instance.__dict__[self._name] = self._compute(instance)
        return found


@contextmanager
def collection_paused() -> Iterator[None]:
    """No cyclic collection inside the block; afterwards as it was. May be nested.

    Every full collection walks all live objects, so that a function which only makes nodes takes
    more than linear time under it. Nodes hold no cycles: nothing is lost by waiting. The collection
    that would come right behind the block would walk all that was made in it, for the same reason:
    where that is much, it joins the oldest generation unwalked, as ``gc.freeze`` does it.
    """
    enabled = gc.isenabled()
    try:
        gc.disable()  # inside: an interrupt may come right behind it
        yield
        if enabled and gc.get_count()[0] > _MUCH and not gc.get_freeze_count():
            _make_old()
    finally:  # the call that matters comes first: an interrupt may follow any other
        if enabled:
            gc.enable()


def _make_old() -> None:
    """Move all objects to the oldest generation."""
    try:
        gc.freeze()
    finally:
        gc.unfreeze()

"""Caches of a process: results within a number of bytes, or computed once for an object."""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from itertools import count
from math import inf
from typing import Any, Final, Generic, TypeVar, overload
from weakref import ref

from staticgrad.support.forks import ProcessLock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")
#: Latest entries that stay whatever they need: a whole batch and the last, smaller one take turns.
_ALWAYS: Final = 2
_NEVER: Final = inf
_clock: Final = count()  # of uses
#: New objects from which on the collector is spared a walk over them.
_MUCH: Final = 10_000


class Budget:
    """Bytes that several ``BoundedCache`` share; if values need more, the longest unused go."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        #: Held while values are put and dropped; a program may hold its own lock meanwhile.
        self.lock = ProcessLock()
        self._members: dict[int, ref[BoundedCache[Any, Any]]] = {}
        self._at_most = 0
        self._dropped = 0

    def share(self, member: BoundedCache[Any, Any]) -> None:
        """Count the bytes that ``member`` caches against the common limit, as long as it exists."""
        number = next(_clock)

        def left(_: object) -> None:
            self._members.pop(number, None)
            self._dropped = 0

        with self.lock.mutex:
            self._members[number] = ref(member, left)

    @property
    def nbytes(self) -> int:
        """The sum of what the values were said to need."""
        return sum([member.nbytes for member in self._live()])

    def add(self, nbytes: int) -> None:
        """Count bytes of a value: before it is there, or less than 0, after it was there."""
        self._at_most += nbytes

    def drop_unused(self) -> list[Any]:
        """Evict from caches what exceeds the limit; free the results after releasing ``lock``."""
        dropped: list[Any] = []
        while self._at_most > self.limit:
            if self._dropped == 0:
                self._count()
                self._dropped = sum(map(len, self._live()))
                if self._dropped:
                    continue
            oldest = min(self._live(), key=lambda member: member.oldest, default=None)
            if oldest is None or oldest.oldest == _NEVER:
                break
            self._dropped -= 1
            dropped += oldest.drop_oldest()
        return dropped

    def _live(self) -> list[BoundedCache[Any, Any]]:
        return [
            member for reference in [*self._members.values()] if (member := reference()) is not None
        ]

    def _count(self) -> None:
        """Make the count right; what an interruption adds meanwhile may count twice."""
        self._at_most = 0
        total = self.nbytes
        self._at_most += total


#: Of what all programs of the process keep for sizes that they have seen: tables and plans.
SEEN_SIZES: Final = Budget(64 << 20)


class BoundedCache(Generic[K, V]):
    """Values by key, each with the bytes that it was said to need.

    A budget bounds their sum, with that of all who share it; the two values of each that were used
    last stay even where they alone are beyond it. Code that interrupts a use may use it as well,
    and an exception in the middle of one leaves nothing wrong: the budget's count is never below
    the sum of the values, and they are counted anew before it has dropped as many as there are.
    """

    def __init__(self, budget: Budget | int) -> None:
        self._budget = Budget(budget) if isinstance(budget, int) else budget
        #: The value, its bytes, and when it was used last.
        self._entries: OrderedDict[K, tuple[V, int, list[int]]] = OrderedDict()
        self._budget.share(self)

    @property
    def nbytes(self) -> int:
        """The sum of what the values were said to need."""
        return sum([nbytes for _, nbytes, _ in [*self._entries.values()]])

    def get(self, key: K) -> V | None:
        """Return the cached value, and mark it as recently used."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry[2][0] = next(_clock)
        try:  # noqa: SIM105  # every run asks, and ``suppress`` takes longer than all the rest
            self._entries.move_to_end(key)
        except KeyError:  # an interrupt or another thread has dropped it
            pass
        return entry[0]

    def store(self, key: K, value: V, nbytes: int) -> None:
        """Cache a value in place of one of the same key, and evict what exceeds the limit."""
        self.drop(key)
        with self._budget.lock.mutex:
            self._budget.add(nbytes)
            self._entries[key] = value, nbytes, [next(_clock)]
            dropped = self._budget.drop_unused()
        del dropped  # what its end runs may wait for a thread that waits for the lock

    @property
    def oldest(self) -> float:
        """Return when the least recently used value was used, if it may be dropped."""
        try:
            first = next(iter(self._entries.values()))[2][0]
        except (StopIteration, RuntimeError):  # it is being used
            return _NEVER
        return first if len(self._entries) > _ALWAYS else _NEVER

    def drop_oldest(self) -> list[V]:
        """Evict the least recently used value and return it, if there is one."""
        try:
            _, (value, freed, _) = self._entries.popitem(last=False)
        except KeyError:
            return []
        self._budget.add(-freed)
        return [value]

    def peek(self, key: K) -> V | None:
        """Return the value without marking it as used."""
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def drop(self, key: K) -> None:
        """Forget a value, if it is there."""
        with self._budget.lock.mutex:
            entry = self._entries.pop(key, None)
            if entry is not None:
                self._budget.add(-entry[1])
        del entry  # as above

    def values(self) -> Iterator[V]:
        """Yield the values, least recently used first, without marking them as used."""
        return (value for value, _, _ in self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)


def cached_on_first(most: int) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Cache a function's results in its first argument, so that they go when that goes.

    For each first argument the ``most`` that were computed last. Two threads may compute the same,
    as with ``cached_property``. No argument is given by name.
    """

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        name = f"{function.__module__}.{function.__qualname__}"

        @wraps(function)
        def lookup(owner: Any, *arguments: Hashable) -> T:
            results: dict[Any, T] = owner.__dict__.setdefault(name, {})
            try:
                return results[arguments]
            except KeyError:
                result = function(owner, *arguments)
            if len(results) >= most:
                with suppress(StopIteration, RuntimeError):  # another thread removes one
                    results.pop(next(iter(results)), None)
            results[arguments] = result
            return result

        return lookup

    return decorate


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
        value = instance.__dict__[self._name] = self._compute(instance)
        return value


@contextmanager
def collection_paused() -> Iterator[None]:
    """Disable cyclic collection inside the block; restore it afterwards. May be nested.

    Every full collection walks all live objects, so that a function which only makes nodes takes
    more than linear time under it. Nodes hold no cycles: nothing is lost by waiting. The collection
    that would come right behind the block would walk all that was made in it, for the same reason:
    where that is much, it joins the oldest generation unwalked, as ``gc.freeze`` does it.
    """
    enabled = gc.isenabled()
    try:
        gc.disable()  # inside: an interrupt may come right behind it
        yield
        if enabled and gc.get_count()[0] > _MUCH and not _is_frozen():
            # freeze and unfreeze move all objects to the oldest generation
            try:
                gc.freeze()
            finally:
                gc.unfreeze()
    finally:  # the call that matters comes first: an interrupt may follow any other
        if enabled:
            gc.enable()


def _is_frozen() -> bool:
    """Return whether the program has called ``gc.freeze`` itself.

    To count those takes 10 ns for each, and so is done once.
    """
    if not _frozen:
        _frozen.extend([True] * bool(gc.get_freeze_count()))
    return bool(_frozen)


#: Holds True from when objects were found to be frozen.
_frozen: list[bool] = []

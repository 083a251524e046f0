"""What is kept to be used again, within a number of bytes: the longest unused goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
#: Latest entries that stay whatever they need: a whole batch and the last, smaller one take turns.
_ALWAYS: Final = 2


class Kept(Generic[K, V]):
    """Values by key, each with the bytes that it was said to need.

    ``limit`` bounds their sum; the two values used last stay even where they alone are beyond it.
    Whoever shares one between threads holds a lock. Code that interrupts a use may use it as well,
    and an exception in the middle of one leaves nothing wrong: no count is kept beside the values.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._found: OrderedDict[K, tuple[V, int]] = OrderedDict()

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
        self._found[key] = value, nbytes
        beyond = self.nbytes - self.limit
        while beyond > 0 and len(self._found) > _ALWAYS:
            _, (_, freed) = self._found.popitem(last=False)
            beyond -= freed

    def drop(self, key: K) -> None:
        """Forget a value, if it is there."""
        self._found.pop(key, None)

    def values(self) -> Iterator[V]:
        """The values, the longest unused first; asking is no use."""
        return (value for value, _ in self._found.values())

    def __len__(self) -> int:
        return len(self._found)

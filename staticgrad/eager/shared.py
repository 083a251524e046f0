"""Arrays that tensors share with parameters, until the parameters are written.

A tape that reads a parameter keeps no copy of it: its arrays are read-only views of the parameter's
own. Who writes the parameter copies what it held before, if an array of a tape is still there; the
views become views of the copy when they are read next (``settle``), so that a tape always has the
values that it was made of.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final
from weakref import ref

import numpy as np

from staticgrad.ir.op import Array
from staticgrad.storage.parameter import ParameterStore

#: By the id of a shared array, which is alive: what it held before its parameter was written.
moved: Final[dict[int, Array]] = {}


def shared_with(store: ParameterStore, known: Any, forget: Callable[[], object]) -> Any:
    """The bytes of a parameter, read-only: they stand still as long as nobody writes it.

    Every view of them has them as its base, for they are no view of an array.

    Args:
        store: what holds the parameter's array.
        known: what was given before, if it is still there.
        forget: called before the parameter is written.

    Returns:
        The bytes; None where they cannot be shared: there are none, or they are being written.
    """
    if known is not None or not store.array.size:
        return known
    raw: Any = store.array.reshape(-1).view(np.uint8)
    base: Any = np.frombuffer(memoryview(raw).toreadonly(), np.uint8)
    alive = ref(base)

    def before_write() -> None:
        forget()
        shared = alive()
        if shared is not None:
            moved[id(shared)] = shared.copy()
            _alive[id(shared)] = ref(shared, partial(_drop, id(shared)))

    return base if store.lock.share(before_write) else None


#: By the same ids: references that end both entries with the array.
_alive: Final[dict[int, Any]] = {}


def _drop(key: int, _: object) -> None:
    moved.pop(key, None)
    _alive.pop(key, None)


def settled(array: Any) -> Any:
    """An array of a tape: as a view of the copy, if it was one of a parameter written since."""
    base = array.base
    if base is None or id(base) not in moved:
        return array
    copy = moved[id(base)]
    start = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    found: Array = np.ndarray(array.shape, array.dtype, copy, start, array.strides)
    found.flags.writeable = False
    return found

"""What ``w.value`` gives: a copy of a parameter that refuses to be written into.

Writing into a copy would change nothing that a graph reads, without a word. ``w.value += 1`` is
another matter: Python reads, adds and assigns, so the sum has to be a new array.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.errors import ImmutableError


class ParameterValue(np.ndarray[Any, np.dtype[Any]]):
    """A read-only array of a parameter's value. What is computed of it is an ordinary array.

    A copy of it may be written into, as any array.
    """

    @classmethod
    def of(cls, array: np.ndarray[Any, np.dtype[Any]]) -> ParameterValue:
        """The array itself, from now on read-only."""
        array.flags.writeable = False
        return array.view(cls)

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self.flags.writeable:
            raise _not_written()
        super().__setitem__(key, value)

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **keywords: Any
    ) -> Any:
        targets = out if isinstance(out, tuple) else () if out is None else (out,)
        if any(isinstance(t, ParameterValue) and not t.flags.writeable for t in targets):
            if method != "__call__" or len(targets) > 1 or targets[0] is not inputs[0]:
                raise _not_written()
            targets = ()  # ``value += y``: the name, or the parameter, gets the new array
        if targets:
            keywords["out"] = tuple(map(_plain, targets))
        return getattr(ufunc, method)(*map(_plain, inputs), **keywords)

    def __repr__(self) -> str:
        return repr(_plain(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return _plain(self).__reduce__()  # type: ignore[no-any-return]


def _plain(array: Any) -> Any:
    """The same array without what this class adds."""
    return array.view(np.ndarray) if isinstance(array, ParameterValue) else array


def _not_written() -> ImmutableError:
    return ImmutableError(
        "the value of a parameter is a copy: writing into it would not change the parameter",
        hint="v = w.value.copy(), write into v, then w.value = v",
    )

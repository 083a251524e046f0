"""What the array API standard asks of an array object, beside what NumPy's arrays have.

https://data-apis.org/array-api/2024.12/: the functions of its namespace are those of ``sg``, which
has most of them, under the standard's names where NumPy has others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from staticgrad.errors import ArgumentError, RankError
from staticgrad.errors.wording import shown
from staticgrad.upward import up

if TYPE_CHECKING:
    from staticgrad.ir.kinds import Of, V

_VERSIONS: Final = (None, "2021.12", "2022.12", "2023.12", "2024.12")


class StandardArray:
    """Base of values: the attributes of the standard that are no operators."""

    __slots__ = ()

    @property
    def mT(self: Of[V]) -> V:  # noqa: N802 - the standard's name
        """The last two axes exchanged. Raises RankError where there are fewer."""
        value: Any = self
        if value.ndim < 2:
            raise RankError(f"mT: {value!r} is no matrix", hint="x.T reverses all axes")
        transposed: V = value.swapaxes(-1, -2)
        return transposed

    @property
    def device(self) -> str:
        """Where kernels run: the CPU."""
        return "cpu"

    def to_device(self, device: Any, /, *, stream: Any = None) -> Self:
        """The value itself, for the CPU. Raises ArgumentError for any other device."""
        if device != "cpu" or stream is not None:
            raise ArgumentError(
                f"there is no device {shown(device)}"
                if stream is None
                else "the CPU has no streams",
                hint="kernels run on the CPU: there is nothing to move",
            )
        return self

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """The namespace with the standard's functions: ``sg``.

        Raises:
            ArgumentError: a version of the standard that is not known here.
        """
        if api_version not in _VERSIONS:
            raise ArgumentError(f"the array API of {shown(api_version)} is not known here")
        return up()

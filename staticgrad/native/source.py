"""Sources of kernels: what is compiled, by a key that says all of it.

The key names a kernel in memory and on disk, so nothing is written or read to find its code. Its
functions are made only where code is generated, its text where Numba, Python or a person asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from staticgrad.support.records import NamedTuple

if TYPE_CHECKING:
    from staticgrad.native.language.frontend import Function


class KernelSource:
    """A kernel to compile. Two sources with one key are equal.

    ``key`` must determine the machine code, together with the target and the code of this package
    (``cache.environment``). ``stays``: the code is loaded as long as the process lives.
    """

    stays: ClassVar[bool] = False

    def __init__(self, key: str) -> None:
        self.key = key

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, KernelSource) and self.key == other.key)

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def text(self) -> str:
        """The kernel in the kernel language, as text."""
        raise NotImplementedError

    def functions(self) -> Mapping[str, Function]:
        """Return the functions by name: the entry, and before it those that it calls.

        Raises KernelSourceError where they are not in the kernel language.
        """
        raise NotImplementedError


class SourceText(KernelSource):
    """A kernel that was written as text, as the runtime does: its key is the text."""

    stays = True

    @property
    def text(self) -> str:
        return self.key

    def functions(self) -> Mapping[str, Function]:
        from staticgrad.native.language.frontend import split_source

        return split_source(self.key)


class RuntimeCode(NamedTuple):
    """Machine code that the runtime calls: a source whose entry takes words and returns one.

    It calls the functions of ``language.system``, too; ``code_of_NAME()`` is the address of the
    entry of ``beside`` with that name.
    """

    symbol: str
    source: KernelSource
    beside: Mapping[str, RuntimeCode] = MappingProxyType({})

    @property
    def key(self) -> str:
        """The keys of all sources, by which disks keep the code."""
        return "\0".join(
            source.key for source in (self.source, *(c.source for c in self.beside.values()))
        )


def source_of(source: str | KernelSource) -> KernelSource:
    """Return a source; of a text, the source that it is."""
    return SourceText(source) if isinstance(source, str) else source


class PythonSource(KernelSource):
    """Functions of ``staticgrad.native`` that are read as the kernel language (``functions``).

    ``entry`` calls the others; ``others`` are functions and numbers in the place of those that the
    functions name. The digest of the environment has their code, so the key is their names.
    """

    def __init__(self, entry: Callable[..., Any], **others: Callable[..., Any] | int) -> None:
        named = [f"{key}={_describe_value(value)}" for key, value in sorted(others.items())]
        super().__init__(" ".join([_describe_value(entry), *named]))
        self._entry, self._others = entry, others

    @property
    def text(self) -> str:
        """The functions in the kernel language."""
        return "\n\n\n".join(function.content for function in self.functions().values()) + "\n"

    def functions(self) -> Mapping[str, Function]:
        """Return the functions by name, the entry last."""
        from staticgrad.native.functions import read

        return read(self._entry, self._others)


def _describe_value(value: Callable[..., Any] | int) -> str:
    if isinstance(value, int):
        return str(value)
    assert value.__module__.startswith("staticgrad.native.")
    return f"{value.__module__}.{value.__qualname__}"

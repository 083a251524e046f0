"""What the documents of the text forms share: the first line, declared sizes, arrays by digest.

A Graph, a Schedule and a Plan are documents: ``staticgrad-ir 1``, then one line per named size that
promises something, then the thing itself. The grammar of names, sizes and values is ``text``'s;
what follows the sizes is known to each reader alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy.typing as npt

from staticgrad.errors import ArgumentError
from staticgrad.errors.wording import kind_of
from staticgrad.ir.text import Reader
from staticgrad.types.arrays import ArrayData
from staticgrad.types.dim import Named, Size, dim, named_sizes

VERSION: Final = 1
_PROMISES: Final = ("min", "max", "multiple_of", "hint")


# -- writing --------------------------------------------------------------------------------------


def header_line(form: str) -> str:
    """The first line of a document of ``form`` (``ir``, ``schedule``, ``plan``)."""
    return f"staticgrad-{form} {VERSION}"


def size_line(named: Named, *, hint: bool = True) -> str:
    """The declaration of a named size with its promises."""
    promises = {
        "min": (named.min, 0),
        "max": (named.max, None),
        "multiple_of": (named.multiple_of, 1),
    }
    if hint:
        promises["hint"] = (named.hint, None)
    stated = [f"{key}={value}" for key, (value, default) in promises.items() if value != default]
    return f"size {named} {{{', '.join(stated)}}}"


def size_lines(names: Iterable[Named]) -> list[str]:
    """The declarations of those sizes that promise or hint at something."""
    return [
        size_line(named)
        for named in names
        if (named.min, named.max, named.multiple_of, named.hint) != (0, None, 1, None)
    ]


def distinct_sizes(sizes: Iterable[Size]) -> list[Named]:
    """Every named size in ``sizes``, in order of first appearance."""
    found: dict[str, Named] = {}
    for size in dict.fromkeys(sizes):
        for named in () if isinstance(size, int) else named_sizes(size):
            found.setdefault(named.name, named)
    return list(found.values())


# -- reading --------------------------------------------------------------------------------------


def bound_constants(constants: Mapping[str, npt.ArrayLike] | None) -> dict[str, ArrayData]:
    """The arrays that a caller binds to digests.

    Raises:
        ArgumentError: no arrays by digest; an array whose content is not that of its digest.
    """
    if not isinstance(constants, Mapping | None):
        raise ArgumentError(
            f"constants are arrays by digest, not {kind_of(constants)}",
            hint="constants=graph_constants(graph), or schedule_constants, gives them",
        )
    return {digest: _checked(digest, array) for digest, array in (constants or {}).items()}


def _checked(digest: str, array: npt.ArrayLike) -> ArrayData:
    data = ArrayData(array)
    if data.digest != digest:
        raise ArgumentError(
            f"the array bound for constant {digest!r} has the digest {data.digest!r}"
        )
    return data


class DocumentReader(Reader):
    """Reads what stands before the thing itself."""

    def header(self, form: str, thing: str) -> None:
        """The first line; ``thing`` is what people call the document: a graph, a plan."""
        if self.texts[:3] != ["staticgrad", "-", form]:
            self.fail(f"the text of a {thing} starts with '{header_line(form)}'", 0)
        self.at = 3
        if self.integer("the version of the text form") != VERSION:
            self.fail(
                f"this is staticgrad-{form} {self.texts[3]}; this release reads version {VERSION}",
                3,
            )

    def size_declarations(self) -> None:
        """``size batch {min=1, hint=64}``, any number of times."""
        while self.accept("size"):
            self._size_declaration()

    def _size_declaration(self) -> None:
        start = self.at
        token = self.texts[self.at]
        quoted = self.kinds[self.at] == "size"
        self.at += quoted
        name = self.unquote(token[1:]) if quoted else self.take("name", "the name of a size")
        if name in self.sizes:
            self.fail(f"the size {token} is declared twice", start)
        self.expect("{", "the name of the size")
        promises = dict(self.sequence(self._promise, "}"))
        try:
            self.sizes[name] = dim(name, **promises)
        except ValueError as error:
            self.fail(str(error), start)

    def _promise(self) -> tuple[str, int]:
        key = self.take("name", f"one of {', '.join(_PROMISES)}")
        if key not in _PROMISES:
            self.fail(f"a size promises {', '.join(_PROMISES)}, not {key}", self.at - 1)
        self.expect("=", key)
        return key, self.integer(f"the number of {key}")

    def finished(self, thing: str) -> None:
        """Nothing follows."""
        if self.kinds[self.at] != "end":
            self.fail(f"the {thing} has ended, but {self.found} follows")

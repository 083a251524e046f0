"""Names inside one graph: inputs, parameters and named sizes may not share one among themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from staticgrad.errors import NameConflictError, Related
from staticgrad.types.dim import Named, named_sizes

if TYPE_CHECKING:
    from staticgrad.ir.graph import Parameter, Symbolic

Describe = Callable[["Symbolic", int], Related]


def check_names(
    inputs: Sequence[Symbolic], parameters: Sequence[Parameter], describe: Describe
) -> None:
    """Refuse two inputs or two parameters of one name, and two declarations of one size.

    Raises:
        NameConflictError: with both lines.
    """
    for what, values in (("input", inputs), ("parameter", parameters)):
        seen: dict[str, Symbolic] = {}
        for value in values:
            label = value.node.label
            if label in seen:
                raise NameConflictError(
                    f"two {what}s are named {label!r}",
                    hint="give each its own name",
                    related=[describe(seen[label], 0), describe(value, 1)],
                )
            seen[label] = value
    declared: dict[str, tuple[Named, Symbolic]] = {}
    for value in inputs:
        for named in (n for extent in value.shape for n in named_sizes(extent)):
            first = declared.setdefault(named.name, (named, value))
            if first[0] != named:
                raise NameConflictError(
                    f"size {named.name!r} is declared twice, with different bounds",
                    hint=f"declare it once, sg.dim({named.name!r}, ...), and use that object",
                    related=[describe(first[1], 0), describe(value, 1)],
                )

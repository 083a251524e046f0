"""Typical values of sizes: what costs are estimated with. Correctness never depends on them."""

from __future__ import annotations

from staticgrad.types.dim import Named, Size, evaluate, named_sizes


def hint_value(size: Size, default: int = 64) -> int:
    """A typical value, for cost decisions only: hints, else ``default`` within the bounds."""
    values = {
        n.name: n.hint if n.hint is not None else _typical(n, default) for n in named_sizes(size)
    }
    return evaluate(size, values)


def _typical(named: Named, default: int) -> int:
    rounded = -(-max(named.min, default) // named.multiple_of) * named.multiple_of
    if named.max is None or rounded <= named.max:
        return rounded
    return named.max // named.multiple_of * named.multiple_of

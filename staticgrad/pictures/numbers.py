"""Numbers as people read them."""

from __future__ import annotations


def seconds(value: float) -> str:
    """``12.3 us``, ``4.56 ms``, ``7.89 s``: three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{_digits(value / size)} {unit}"
    return f"{value * 1e9:.0f} ns"


def span(lower: float, upper: float) -> str:
    """``1.17-5.41 ms``: both in the unit of the larger."""
    shown, _, unit = seconds(upper).rpartition(" ")
    size = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[unit]
    return f"{_digits(lower / size)}-{shown} {unit}"


def nbytes(value: float) -> str:
    """``512 B``, ``1.50 KiB``, ``2.00 MiB``."""
    unit, size = byte_unit(value)
    return f"{_digits(value / size) if size > 1 else f'{value:.0f}'} {unit}"


def byte_unit(value: float) -> tuple[str, int]:
    """The unit in which so many bytes are read, and its bytes: an axis has that of its top."""
    units = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
    return next(((unit, size) for unit, size in units if value >= size), ("B", 1))


def number(value: float) -> str:
    """``950``, ``12.3 k``, ``4.56 M``, ``7.89 G``."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{_digits(value / size)} {unit}"
    return f"{value:.0f}"


def ratio(value: float) -> str:
    """``3.40x``."""
    return f"{_digits(value)}x"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"

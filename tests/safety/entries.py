"""Entries of the cache of kernels, as its files hold them."""

from __future__ import annotations

from pathlib import Path

from staticgrad.native import cache
from staticgrad.native.jit import ObjectCode


def entry_at(path: Path) -> ObjectCode | None:
    """The entry of a file; None if it is not whole, or another's."""
    return cache._decode(path.stem.partition("-")[2], path.read_bytes())

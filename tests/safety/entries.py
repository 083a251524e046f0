"""Entries of the cache of kernels, as its files hold them."""

from staticgrad.native import cache


def entry_at(path):
    """The entry of a file; None if it is not whole, or another's."""
    return cache._decode(path.stem.partition("-")[2], path.read_bytes())

"""Training loops, for those who want one: batches, prefetching, ``fit``. Each is usable alone."""

from staticgrad.train.batches import Batches, prefetch
from staticgrad.train.fitting import History, fit

__all__ = ["Batches", "History", "fit", "prefetch"]


def __dir__() -> list[str]:
    return sorted(__all__)

"""Optional training loops: batches, prefetching, ``fit``. Each is usable alone."""

from typing import TYPE_CHECKING

from staticgrad.support.errors.hints import attributes
from staticgrad.train.fitting import Epoch, History, fit
from staticgrad.train.minibatches import Batches, prefetch

__all__ = ["Batches", "Epoch", "History", "fit", "prefetch"]


if not TYPE_CHECKING:
    __getattr__, __dir__ = attributes("sg.train", __all__)

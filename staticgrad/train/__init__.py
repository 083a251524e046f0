"""Optional training loops: batches, prefetching, ``fit``. Each is usable alone."""

from staticgrad.language.ir.calls import namespace
from staticgrad.train.fitting import Epoch, History, fit
from staticgrad.train.minibatches import Batches, prefetch

__all__ = ["Batches", "Epoch", "History", "fit", "prefetch"]


namespace(globals())

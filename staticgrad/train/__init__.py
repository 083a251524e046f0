"""Optional training loops: batches, prefetching, ``fit``. Each is usable alone."""

from staticgrad.extend import namespace
from staticgrad.train.fitting import Epoch, History, fit
from staticgrad.train.minibatches import Batches, prefetch
from staticgrad.train.reporting import TensorBoard

__all__ = ["Batches", "Epoch", "History", "TensorBoard", "fit", "prefetch"]


namespace(globals())

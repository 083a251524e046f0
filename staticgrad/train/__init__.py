"""Optional training loops: batches, prefetching, ``fit``. Each is usable alone."""

from typing import TYPE_CHECKING, NoReturn

from staticgrad.errors.hints import no_such_name
from staticgrad.errors.tracebacks import boundary
from staticgrad.train.fitting import Epoch, History, fit
from staticgrad.train.minibatches import Batches, prefetch

__all__ = ["Batches", "Epoch", "History", "fit", "prefetch"]


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:

    @boundary
    def __getattr__(name: str) -> NoReturn:
        raise no_such_name("sg.train", name)

"""``fit``: a loop over epochs and batches that can be stopped at any step and gone on with."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import field, fields
from itertools import islice
from math import isfinite, isnan
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.errors.wording import kind_of, shown
from staticgrad.ir.calls import public
from staticgrad.records import dataclass
from staticgrad.saving import load, save
from staticgrad.saving.files import check_place
from staticgrad.train.minibatches import Batches, prefetch

#: What a process exits with that SIGTERM has ended.
_ENDED: Final = 128 + signal.SIGTERM

#: Epochs that the text of a history has of its beginning and of its end.
_ENDS: Final = 8


@dataclass
class History:
    """What a training has come to.

    Args:
        losses: the mean loss of each epoch.
        measures: what ``validate`` gave after each.
        stopped: why it ended before the last epoch; empty if it did not.

    >>> History([0.9, 0.4, 0.5]).best
    1
    """

    losses: list[float] = field(default_factory=list)
    measures: list[float] = field(default_factory=list)
    stopped: str = ""

    @property
    def best(self) -> int:
        """The epoch with the smallest measure, or loss where nothing is measured; -1 of none.

        NaN is larger than all others.
        """
        found = [(isnan(each), each) for each in self.measures or self.losses]
        return min(range(len(found)), key=found.__getitem__, default=-1)

    def _columns(self) -> dict[str, list[float]]:
        """What there is a number of for each epoch, by name."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: found for name, found in own.items() if found and isinstance(found, list)}

    def _title(self) -> str:
        best = f", the best is {self.best}" if self.losses else ""
        stopped = f"; stopped: {self.stopped}" if self.stopped else ""
        return f"{len(self.losses)} epochs{best}{stopped}"

    def __str__(self) -> str:
        columns, count = self._columns(), len(self.losses)
        lines = [self._title(), "epoch" + "".join(f"  {name:>12}" for name in columns)]
        for epoch in range(count):
            if count > 2 * _ENDS and _ENDS <= epoch < count - _ENDS:
                lines += ["  ..."] if epoch == _ENDS else []
                continue
            found = [f"{c[epoch]:12.6g}" if epoch < len(c) else 12 * " " for c in columns.values()]
            lines.append("  ".join([f"{epoch:5}", *found]))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from staticgrad.pictures import charts, markup

        series = [
            charts.Line(name, [*enumerate(found)])
            for name, found in self._columns().items()
            if all(map(isfinite, found))
        ]
        chart = charts.lines(series, "epoch", "", log_x=False, log_y=False) if series else ""
        return markup.fragment(
            markup.paragraph(self._title()),
            f'<div class="chart">{chart}</div>',
            markup.fold("numbers", markup.preformatted(str(self))),
        )


@public
def fit(
    step: Callable[..., Any],
    data: Iterable[Any],
    epochs: int = 1,
    *,
    validate: Callable[[], Any] | None = None,
    patience: int | None = None,
    state: Any = None,
    checkpoint: Any = None,
    progress: Callable[[str], Any] | None = None,
) -> History:
    """Call ``step`` on every batch of every epoch.

    Where there is a checkpoint it goes on from it, at the very batch: with a ``state`` that holds
    all that ``step`` changes, to the bit. SIGTERM ends it behind the step that runs, with a
    checkpoint, as ``SystemExit(143)``.

    Args:
        step: takes the arrays of a batch, and gives the loss: one number. Mostly an
            ``sg.function`` that ends with ``opt.minimize(loss)``.
        data: batches, tuples or single arrays: ``Batches``, a list, or what gives the same batches
            again when it is iterated over. The next ones are made while a step runs.
        epochs: how often.
        validate: gives a measure after each epoch, to be small.
        patience: stop after so many epochs without a smaller measure (or loss).
        state: what a checkpoint keeps, as ``sg.save`` takes it.
        checkpoint: the file, written after each epoch.
        progress: is given a line of text after each batch; by default it is shown on a terminal.

    Returns:
        The history, of epochs before the checkpoint, too.

    Raises:
        ArgumentError: a step that is no function, or gives no number; no number of epochs; a
            checkpoint without a state; arrays in the place of batches, or data without a batch.
            SavedFileError: a checkpoint of another state. FileNotFoundError: no folder for it.

    >>> losses = iter([0.5, 0.25, 0.125, 0.125])
    >>> fit(lambda x: next(losses), ["a", "b"], epochs=2).losses
    [0.375, 0.125]
    """
    _check(step, data, epochs)
    _check_options(state, checkpoint, validate=validate, progress=progress)
    run = _Progress(step, data, epochs, state, checkpoint, progress or _shown)
    with run.ended_by_sigterm():
        while run.epoch < epochs and not (run.history.stopped or run.is_ending):
            run.through_an_epoch()
            if validate is not None:
                run.history.measures.append(float(validate()))
            latest, best = len(run.history.losses) - 1, run.history.best
            if patience is not None and latest - best >= patience:
                run.history.stopped = f"nothing better for {patience} epochs"
            run.save()
    return run.history


def _check(step: object, data: Any, epochs: object) -> None:
    """Refuse what ``fit`` cannot begin with."""
    if hasattr(step, "forward"):
        raise ArgumentError(
            f"fit: the step is {kind_of(step)}, which gives no loss and changes nothing",
            hint="@sg.function, def step(x, y): loss = sg.nn.mse(model(x), y);"
            " opt.minimize(loss); return loss",
        )
    if not callable(step):
        raise ArgumentError(
            f"fit: the step is {kind_of(step)}, not a function", hint="fit(step, batches)"
        )
    is_array = isinstance(data, np.ndarray)
    if is_array or (isinstance(data, tuple) and all(isinstance(x, np.ndarray) for x in data)):
        what = kind_of(data) if is_array else "a tuple of arrays"
        raise ArgumentError(
            f"fit: the data is {what}, not batches", hint="sg.train.Batches(x, y, size=32, seed=0)"
        )
    if type(epochs) is not int or epochs < 0:
        is_data = isinstance(epochs, Iterable) and not isinstance(epochs, str)
        raise ArgumentError(
            f"fit: epochs is {shown(epochs)}, not a whole number from 0 on",
            hint="fit(step, sg.train.Batches(x, y, size=32), epochs)" if is_data else "",
        )


def _check_options(state: object, checkpoint: object, **called: object) -> None:
    """Refuse a checkpoint of nothing, and what is called later but is no function."""
    for name, given in called.items():
        if given is not None and not callable(given):
            raise ArgumentError(
                f"fit: {name} is {kind_of(given)}, not a function",
                hint="a line for each batch: progress=print" if name == "progress" else "",
            )
    if checkpoint is not None and state is None:
        raise ArgumentError(
            "fit: a checkpoint needs a state",
            hint='state={"model": model, "opt": opt}: all that step changes, as sg.save takes it',
        )


class _Progress:
    """Where a training is."""

    def __init__(
        self,
        step: Callable[..., Any],
        data: Iterable[Any],
        epochs: int,
        state: Any,
        checkpoint: Any,
        progress: Callable[[str], Any],
    ) -> None:
        self.step, self.data, self.epochs, self.progress = step, data, epochs, progress
        self.state, self.checkpoint = state, None if checkpoint is None else Path(checkpoint)
        self.history = History()
        self.epoch = self.place = 0
        self.total = 0.0
        self.is_ending = False
        if self.checkpoint is not None:
            check_place(self.checkpoint)
        if self.checkpoint is not None and self.checkpoint.exists():
            found = load(self.checkpoint, into={"state": state})["fit"]
            self.history = History(found["losses"], found["measures"], found["stopped"])
            self.epoch, self.place, self.total = found["epoch"], found["place"], found["total"]

    def through_an_epoch(self) -> None:
        """The batches of an epoch that are left.

        Raises:
            ArgumentError: there are none, or the step gives no number.
        """
        began, count = time.perf_counter(), _length(self.data)
        batches = prefetch(self._left())
        for batch in batches:
            loss = self.step(*batch) if isinstance(batch, tuple | list) else self.step(batch)
            try:
                self.total += float(loss)
            except (TypeError, ValueError):
                raise ArgumentError(
                    f"fit: step gives {shown(loss)}, not one number", hint="return loss"
                ) from None
            self.place += 1
            mean = self.total / self.place
            took = time.perf_counter() - began
            self.progress(
                f"epoch {self.epoch + 1}/{self.epochs}  {self.place}{count}  loss {mean:.5g}"
                f"  {took:.1f} s"
            )
            if self.is_ending:
                batches.close()  # type: ignore[attr-defined]
                self.save()
                raise SystemExit(_ENDED)
        if not self.place:
            again = "a list, or sg.train.Batches: a generator gives its batches once"
            raise ArgumentError(
                f"fit: the data gives no batch in epoch {self.epoch + 1}",
                hint=again if self.epoch else "",
            )
        self.history.losses.append(self.total / self.place)
        self.epoch, self.place, self.total = self.epoch + 1, 0, 0.0

    def _left(self) -> Iterator[Any]:
        if isinstance(self.data, Batches):
            return self.data.epoch(self.epoch, self.place)
        return islice(iter(self.data), self.place, None)

    def save(self) -> None:
        """Write the checkpoint, if there is to be one."""
        if self.checkpoint is not None:
            own = self.history
            numbers = {"losses": own.losses, "measures": own.measures, "stopped": own.stopped}
            where = {"epoch": self.epoch, "place": self.place, "total": self.total}
            save(self.checkpoint, {"state": self.state, "fit": {**numbers, **where}})

    @contextmanager
    def ended_by_sigterm(self) -> Iterator[None]:
        """Inside, SIGTERM lets the training end behind its step; where signals can be caught."""
        if self.checkpoint is None or current_thread() is not main_thread():
            yield
            return

        def end(number: int, frame: Any) -> None:
            self.is_ending = True

        before = signal.signal(signal.SIGTERM, end)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
        if self.is_ending:  # it came while an epoch was measured or written
            raise SystemExit(_ENDED)


def _length(data: Any) -> str:
    return f"/{len(data)}" if hasattr(data, "__len__") else ""


def _shown(line: str) -> None:
    """A line in the place of the one before, on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()

"""``fit``: a loop over epochs and batches that can be stopped at any step and gone on with."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from copy import copy
from dataclasses import field, fields
from itertools import islice
from math import isfinite, isnan, nan
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.extend import (
    NonNegativeInt,
    PositiveInt,
    dataclass,
    deprecated_attribute,
    is_array_like,
    kind_of,
    make_boundaries,
    quote,
    ranks,
)
from staticgrad.extend.trees import is_named_tuple, parts_in
from staticgrad.saving import load, save
from staticgrad.saving.files import check_place
from staticgrad.train.minibatches import Batches, is_data_set, prefetch
from staticgrad.train.reporting import Display, reporter

#: What a process exits with that SIGTERM has ended.
_ENDED: Final = 128 + signal.SIGTERM

#: Epochs that the text of a history has of its beginning and of its end.
_ENDS: Final = 8


@make_boundaries
@dataclass
class History:
    """The results of a training.

    Args:
        losses: the mean loss of each epoch, over all rows: the loss of a batch counts as often as
            the batch has rows, so that a short last batch counts less.
        measures: what ``validate`` gave after each, or the loss of it.
        stop_reason: why it ended before the last epoch; empty if it did not.
        metrics: the other entries of the dict that the step gives, by name: means over all rows,
            as the loss. Those of ``validate`` are ``val_`` and their name.

    >>> History([0.9, 0.4, 0.5]).best
    1
    """

    losses: list[float] = field(default_factory=list)
    measures: list[float] = field(default_factory=list)
    stop_reason: str = ""
    metrics: dict[str, list[float]] = field(default_factory=dict)

    stopped = deprecated_attribute("0.2", "stop_reason")

    @property
    def best(self) -> int:
        """The epoch with the smallest measure, or loss where nothing is measured; -1 of none.

        NaN is larger than all others.
        """
        keys = [(isnan(measure), measure) for measure in self.measures or self.losses]
        return min(range(len(keys)), key=keys.__getitem__, default=-1)

    def _columns(self) -> dict[str, list[float]]:
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        columns |= self.metrics
        return {
            name: values for name, values in columns.items() if values and isinstance(values, list)
        }

    def _title(self) -> str:
        best = f", the best is {self.best}" if self.losses else ""
        stopped = f"; stopped: {self.stop_reason}" if self.stop_reason else ""
        return f"{len(self.losses)} epochs{best}{stopped}"

    def __str__(self) -> str:
        columns, count = self._columns(), len(self.losses)
        lines = [self._title(), "epoch" + "".join(f"  {name:>12}" for name in columns)]
        for epoch in range(count):
            if count > 2 * _ENDS and _ENDS <= epoch < count - _ENDS:
                lines += ["  ..."] if epoch == _ENDS else []
                continue
            cells = [f"{c[epoch]:12.6g}" if epoch < len(c) else 12 * " " for c in columns.values()]
            lines.append("  ".join([f"{epoch:5}", *cells]))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Show the training history as an HTML chart of losses and metrics."""
        from staticgrad.extend import pages

        series = [
            pages.Line(name, [*enumerate(values)])
            for name, values in self._columns().items()
            if all(map(isfinite, values))
        ]

        def draw(width: int) -> str:
            return pages.lines(series, "epoch", "", log_x=False, log_y=False, width=width)

        chart = pages.on_screens(draw) if series else ""
        return pages.fragment(
            pages.paragraph(self._title()),
            f'<div class="chart">{chart}</div>',
            pages.details("numbers", pages.text_block(str(self))),
        )


@dataclass(frozen=True)
class Epoch:
    """One epoch, as callbacks of ``fit`` are given it.

    Args:
        number: 0 for the first one.
        loss: the mean loss over all rows.
        measure: what ``validate`` gave; None without it.
        metrics: the other entries of what the step and ``validate`` gave, by name.
        history: of all epochs so far, this one included.
    """

    number: int
    loss: float
    measure: float | None
    metrics: Mapping[str, float]
    history: History


def fit(
    step: Callable[..., Any],
    data: Iterable[Any],
    epochs: int = 1,
    *,
    batch_size: PositiveInt | None = None,
    shuffle: bool | int = False,
    validate: Callable[[], Any] | None = None,
    patience: NonNegativeInt | None = None,
    callbacks: Sequence[Callable[[Epoch], Any]] = (),
    state: Any = None,
    checkpoint: Any = None,
    progress: Callable[[str], Any] | bool | str | None = "auto",
) -> History:
    """Call ``step`` on every batch of every epoch.

    Where there is a checkpoint it goes on from it, at the very batch: with a ``state`` that holds
    all that ``step`` changes, to the bit. SIGTERM ends it behind the step that runs, with a
    checkpoint, as ``SystemExit(143)``.

    Args:
        step: takes the arrays of a batch, and gives the loss: one number, or a dict of numbers with
            "loss", as ``{"loss": loss, "accuracy": accuracy}``. Mostly an ``sg.function`` with
            ``opt.minimize(loss)``.
        data: batches, tuples or single arrays: ``Batches``, a list, a ``DataLoader``, or what gives
            the same batches again when it is iterated over. The next ones are made while a step
            runs.
        epochs: how often.
        batch_size: examples in a batch; then the data is examples: an array or a table, a tuple of
            them, or a data set of examples by number, as ``Batches`` takes them.
        shuffle: put the examples of ``Batches``, or the batches of a list, into another order in
            each epoch. A number is the seed; True is the seed of the ``Batches``, or 0.
        validate: gives a measure after each epoch, to be small: one number, or a dict as ``step``,
            whose "loss" it is.
        patience: stop after so many epochs without a smaller measure (or loss).
        callbacks: are called with an ``Epoch`` after each epoch, before its checkpoint. One that
            gives True, or a text that says why, ends the training.
        state: what a checkpoint keeps, as ``sg.save`` takes it.
        checkpoint: the file, written after each epoch.
        progress: True shows a bar by ``tqdm``, or where that is not installed prints a line after
            each epoch; "auto" shows the bar, or a line, on a terminal alone; False shows nothing.
            A function is given a line of text after each batch.

    Returns:
        The history, of epochs before the checkpoint, too.

    Raises:
        ArgumentError: a step that is no function, or gives no number; no number of epochs; data
            that cannot be shuffled; a checkpoint without a state; arrays in the place of batches,
            or data without a batch.
            SavedFileError: a checkpoint of another state. FileNotFoundError: no folder for it.

    >>> losses = iter([0.5, 0.25, 0.125, 0.125])
    >>> fit(lambda x: next(losses), ["a", "b"], epochs=2).losses
    [0.375, 0.125]
    """
    data = _cut_batches(data, batch_size)
    _check(step, data, epochs)
    _check_options(state, checkpoint, callbacks, validate=validate)
    data = _shuffle_data(data, shuffle)
    run = _Progress(step, data, epochs, state, checkpoint, reporter(progress))
    with run.ended_by_sigterm(), closing(run.report):
        while run.epoch < epochs and not (run.history.stop_reason or run.is_ending):
            run.through_an_epoch()
            if validate is not None:
                run.record_measures(validate())
            for callback in callbacks:
                run.call(callback)
            latest, best = len(run.history.losses) - 1, run.history.best
            if patience is not None and latest - best >= patience:
                run.history.stop_reason = f"nothing better for {patience} epochs"
            run.save()
    return run.history


def _cut_batches(data: Any, size: int | None) -> Any:
    """Cut examples into batches for ``fit``; data without a batch size are batches already."""
    if size is None:
        return data
    is_arrays = isinstance(data, tuple) and not is_named_tuple(type(data))
    if isinstance(data, Batches) or not (is_arrays or is_array_like(data) or is_data_set(data)):
        raise ArgumentError(
            f"fit: batch_size={size} cuts examples, and the data is {kind_of(data)}",
            hint="batches have a size: leave batch_size out\n"
            "examples are arrays: fit(step, (x, y), batch_size=32)",
        )
    return Batches(*data, size=size) if is_arrays else Batches(data, size=size)


def _check(step: object, data: Any, epochs: object) -> None:
    """Refuse a step, data or number of epochs that ``fit`` cannot use."""
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
    is_array = is_array_like(data)
    if is_array or (isinstance(data, tuple) and all(map(is_array_like, data))):
        what = kind_of(data) if is_array else "a tuple of arrays"
        raise ArgumentError(
            f"fit: the data is {what}, not batches",
            hint="sg.train.Batches(x, y, size=32, seed=0); or batch_size=32",
        )
    if type(epochs) is not int or epochs < 0:
        is_data = isinstance(epochs, Iterable) and not isinstance(epochs, str)
        raise ArgumentError(
            f"fit: epochs is {quote(epochs)}, not a whole number from 0 on",
            hint="fit(step, sg.train.Batches(x, y, size=32), epochs)" if is_data else "",
        )


def _shuffle_data(data: Any, shuffle: object) -> Any:
    """Shuffle the training data in each epoch, by a seed and the epoch's number."""
    if shuffle is False:
        return data
    if shuffle is not True and (type(shuffle) is not int or shuffle < 0):
        raise ArgumentError(
            f"fit: shuffle is {quote(shuffle)}", hint="shuffle=True, or a seed: shuffle=1"
        )
    if isinstance(data, Batches):
        if shuffle is not True or data.seed is None:
            data = copy(data)
            data.seed = int(shuffle) if shuffle is not True else 0
        return data
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise ArgumentError(
            f"fit: {kind_of(data)} has no batches by number, which shuffle needs",
            hint="sg.train.Batches(x, y, size=32), or a list of batches",
        )
    return _Mixed(data, 0 if shuffle is True else shuffle)


class _Mixed:
    """Batches by number, in another order in each epoch."""

    def __init__(self, data: Any, seed: int) -> None:
        self._data, self._seed = data, seed

    def __len__(self) -> int:
        return len(self._data)

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        order = np.random.default_rng([self._seed, number]).permutation(len(self._data))
        return (self._data[int(place)] for place in order[start:])


def _read_numbers(who: str, result: Any) -> dict[str, float]:
    """Return the loss and metrics of a training step or ``validate`` as floats by name."""
    named = result if isinstance(result, Mapping) else {"loss": result}
    if "loss" not in named:
        raise ArgumentError(
            f"fit: {who} gives {', '.join(map(quote, named)) or 'an empty dict'}, and no loss",
            hint='return {"loss": loss, "accuracy": accuracy}',
        )
    numbers = {}
    for name, value in named.items():
        try:
            numbers[str(name)] = float(value)
        except (TypeError, ValueError):
            what = f"{quote(value)} as {name!r}" if named is result else quote(value)
            raise ArgumentError(
                f"fit: {who} gives {what}, not one number", hint="return loss, or a dict of numbers"
            ) from None
    return numbers


def _rows_of_all(batch: Any) -> float:
    """Return the rows of a batch, together with those of other ranks that stepped with it."""
    job = ranks.running()
    if job is None or not job.calls:
        return _rows(batch)
    return _rows(batch) * job.ranks if job.rows is None else job.rows


def _rows(batch: Any) -> int:
    """Return the rows of the first array in a batch that has an axis; 1 without one."""
    parts = parts_in(batch)
    if parts is not None:
        return next((_rows(part) for part in parts if _has_rows(part)), 1)
    return int(batch.shape[0]) if _has_rows(batch) else 1


def _has_rows(part: Any) -> bool:
    parts = parts_in(part)
    if parts is not None:
        return any(map(_has_rows, parts))
    return bool(getattr(part, "shape", ()))


def _check_options(state: object, checkpoint: object, callbacks: Any, **called: object) -> None:
    """Refuse a checkpoint without state, and callbacks that ``fit`` cannot call."""
    if not isinstance(callbacks, list | tuple):
        raise ArgumentError(
            f"fit: callbacks is {kind_of(callbacks)}, not a list of functions",
            hint="callbacks=[function]",
        )
    numbered = {f"callback {number}": callback for number, callback in enumerate(callbacks)}
    for name, function in {**called, **numbered}.items():
        if function is not None and not callable(function):
            raise ArgumentError(
                f"fit: {name} is {kind_of(function)}, not a function",
            )
    if checkpoint is not None and state is None:
        raise ArgumentError(
            "fit: a checkpoint needs a state",
            hint='state={"model": model, "opt": opt}: all that step changes, as sg.save takes it',
        )


class _Progress:
    """The position of a training."""

    def __init__(
        self,
        step: Callable[..., Any],
        data: Iterable[Any],
        epochs: int,
        state: Any,
        checkpoint: Any,
        report: Display,
    ) -> None:
        self.step, self.data, self.epochs, self.report = step, data, epochs, report
        self.state, self.checkpoint = state, None if checkpoint is None else Path(checkpoint)
        self.history = History()
        self.epoch = self.place = 0
        #: Name of the loss or a metric -> its sum over the rows of this epoch, and their number.
        self.sums: dict[str, list[float]] = {}
        self.is_ending = False
        if self.checkpoint is not None:
            check_place(self.checkpoint)
        if self.checkpoint is not None and ranks.on_first(self.checkpoint.exists):
            saved = load(self.checkpoint, into={"state": state})["fit"]
            self.history = History(saved["losses"], saved["measures"], saved["stopped"])
            self.epoch, self.place = saved["epoch"], saved["place"]
            self.history.metrics, self.sums = saved.get("metrics", {}), saved.get("sums", {})
            if "total" in saved and self.place:  # an older file: a sum over batches, not over rows
                rows = sum(map(_rows, islice(self._batches(0), self.place)))
                self.sums["loss"] = [saved["total"] / self.place * rows, rows]

    def through_an_epoch(self) -> None:
        """Train over the remaining batches of an epoch, and add its means to the history."""
        began = time.perf_counter()
        self.report.begin(self.epoch, self.epochs, self.place, _length(self.data))
        batches = prefetch(self._batches(self.place))
        for batch in batches:
            result = self.step(*batch) if isinstance(batch, tuple | list) else self.step(batch)
            rows = _rows_of_all(batch)
            for name, value in _read_numbers("step", result).items():
                entry = self.sums.setdefault(name, [0.0, 0.0])
                entry[0] += value * rows
                entry[1] += rows
            self.place += 1
            self.report.batch(self.place, self._means(), time.perf_counter() - began)
            if self._ends():
                batches.close()  # type: ignore[attr-defined]
                self.save()
                raise SystemExit(_ENDED)
        if not self.place:
            again = "a list, or sg.train.Batches: a generator gives its batches once"
            raise ArgumentError(
                f"fit: the data gives no batch in epoch {self.epoch + 1}",
                hint=again if self.epoch else "",
            )
        means = self._means()
        self.report.end()
        self.history.losses.append(means.pop("loss"))
        for name, mean in means.items():
            self.history.metrics.setdefault(name, []).append(mean)
        self.epoch, self.place, self.sums = self.epoch + 1, 0, {}

    def _means(self) -> dict[str, float]:
        """Return the means so far over the rows of this epoch, of the loss and the metrics."""
        return {name: total / rows if rows else nan for name, (total, rows) in self.sums.items()}

    def record_measures(self, result: Any) -> None:
        numbers = _read_numbers("validate", result)
        self.history.measures.append(numbers.pop("loss"))
        for name, value in numbers.items():
            self.history.metrics.setdefault(f"val_{name}", []).append(value)

    def call(self, callback: Callable[[Epoch], Any]) -> None:
        """Call a callback after an epoch; its answer may end the training."""
        history = self.history
        latest = {name: values[-1] for name, values in history.metrics.items()}
        measure = history.measures[-1] if history.measures else None
        answer = callback(Epoch(self.epoch - 1, history.losses[-1], measure, latest, history))
        if answer is True or (isinstance(answer, str) and answer):
            history.stop_reason = answer if isinstance(answer, str) else "a callback ended it"
        elif answer is not None and answer is not False and answer != "":
            raise ArgumentError(
                f"fit: a callback gives {quote(answer)}",
                hint="True, or a text that says why, ends the training; None goes on",
            )

    def _ends(self) -> bool:
        """Return whether SIGTERM came, to this rank or another one."""
        job = ranks.running()
        if job is not None and self.checkpoint is not None:
            self.is_ending = job.any(self.is_ending)
        return self.is_ending

    def _batches(self, start: int) -> Iterator[Any]:
        if isinstance(self.data, Batches | _Mixed):
            return self.data.epoch(self.epoch, start)
        return islice(iter(self.data), start, None)

    def save(self) -> None:
        """Save a checkpoint of the training: state, history, epoch and batch."""
        if self.checkpoint is not None:
            history = self.history
            numbers = {
                "losses": history.losses,
                "measures": history.measures,
                "stopped": history.stop_reason,
            }
            where = {"epoch": self.epoch, "place": self.place}
            sums = {"metrics": history.metrics, "sums": self.sums}
            save(self.checkpoint, {"state": self.state, "fit": {**numbers, **where, **sums}})

    @contextmanager
    def ended_by_sigterm(self) -> Iterator[None]:
        """End the training after its step on SIGTERM inside of this context, with a checkpoint."""
        if self.checkpoint is None or current_thread() is not main_thread():
            yield
            return

        def end(number: int, frame: Any) -> None:
            self.is_ending = True

        previous = signal.signal(signal.SIGTERM, end)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)
        if self.is_ending:  # it came while an epoch was measured or written
            raise SystemExit(_ENDED)


def _length(data: Any) -> int | None:
    return len(data) if hasattr(type(data), "__len__") else None

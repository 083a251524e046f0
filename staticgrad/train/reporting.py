"""Reports of ``fit``: a bar, a line on the terminal, lines of text, scalars of TensorBoard."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from staticgrad.errors import ArgumentError, MissingPackageError
from staticgrad.extend import kind_of, make_boundaries, optional, quote
from staticgrad.support import terminal


class Display:
    """Shows nothing."""

    def begin(self, epoch: int, epochs: int, place: int, batches: int | None) -> None:
        """Begin an epoch at a batch."""

    def batch(self, place: int, means: Mapping[str, float], seconds: float) -> None:
        """A batch has passed: the means so far of the loss and the metrics."""

    def end(self) -> None:
        """The epoch has ended."""

    def close(self) -> None:
        """The training has ended, or an error has ended it."""


class _Lines(Display):
    """Gives a function a line of text after each batch, or after each epoch."""

    def __init__(self, show: Callable[[str], Any], each_batch: bool = True) -> None:
        self._show, self._each_batch = show, each_batch
        self._line = ""

    def begin(self, epoch: int, epochs: int, place: int, batches: int | None) -> None:
        self._epoch = f"epoch {epoch + 1}/{epochs}"
        self._count = "" if batches is None else f"/{batches}"

    def batch(self, place: int, means: Mapping[str, float], seconds: float) -> None:
        """Show the training's progress after a batch: means of loss and metrics, seconds."""
        loss, *metrics = means.items()
        self._line = (
            f"{self._epoch}  {place}{self._count}  {loss[0]} {loss[1]:.5g}"
            f"{''.join(f'  {name} {mean:.4g}' for name, mean in metrics)}  {seconds:.1f} s"
        )
        if self._each_batch:
            self._show(self._line)

    def end(self) -> None:
        if not self._each_batch:
            self._show(self._line)


class _Bar(Display):
    """A bar of tqdm for each epoch."""

    def __init__(self, tqdm: Any) -> None:
        self._tqdm = tqdm
        self._bar: Any = None

    def begin(self, epoch: int, epochs: int, place: int, batches: int | None) -> None:
        self._bar = self._tqdm(
            total=batches, initial=place, desc=f"epoch {epoch + 1}/{epochs}", unit="batch"
        )

    def batch(self, place: int, means: Mapping[str, float], seconds: float) -> None:
        texts = {name: f"{mean:.4g}" for name, mean in means.items()}
        self._bar.set_postfix(texts, refresh=False)
        self._bar.update(1)

    def end(self) -> None:
        self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def reporter(progress: object) -> Display:
    """Choose the display of a training's progress: bar, terminal line, text or none."""
    if progress is False:
        return Display()
    if progress is None or progress is True or progress == "auto":
        is_shown = progress is True or terminal.is_there()
        try:
            bars = optional.tqdm("auto").tqdm if is_shown else None
        except MissingPackageError:
            bars = None
        if bars is not None:
            return _Bar(bars)
        if progress is True and not terminal.is_there():
            return _Lines(_print_line, each_batch=False)
        return _Lines(terminal.write) if is_shown else Display()
    if not callable(progress):
        raise ArgumentError(
            f"fit: progress is {quote(progress)}, neither a bool nor a function",
            hint='progress=True, False or "auto"; a line for each batch: progress=print',
        )
    return _Lines(progress)


def _print_line(line: str) -> None:
    sys.stderr.write(f"{line}\n")


@make_boundaries
class TensorBoard:
    """Write the loss, the measure and the metrics of each epoch as scalars for TensorBoard.

    A callback: ``fit(step, batches, 10, callbacks=[sg.train.TensorBoard("runs/1")])``. The writer
    is that of tensorboardX or of PyTorch with tensorboard, whichever is installed.

    Args:
        folder: where the files of events are written.
        writer: in its place, what has ``add_scalar(name, value, step)``.

    Raises:
        MissingPackageError: no package with a writer.
        ArgumentError: neither a folder nor a writer, or both.

    >>> class Printed:
    ...     def add_scalar(self, name, value, step): print(name, value, step)
    >>> board = sg.train.TensorBoard(writer=Printed())
    >>> _ = sg.train.fit(lambda x: 0.5, [1, 2], epochs=2, callbacks=[board])
    loss 0.5 0
    loss 0.5 1
    """

    def __init__(self, folder: Any = None, *, writer: Any = None) -> None:
        if (folder is None) == (writer is None):
            raise ArgumentError(
                "TensorBoard: " + ("a folder and a writer" if writer else "there is no folder"),
                hint='sg.train.TensorBoard("runs/1")',
            )
        if writer is not None and not hasattr(writer, "add_scalar"):
            raise ArgumentError(f"TensorBoard: the writer is {kind_of(writer)}, with no add_scalar")
        self.writer = _writer(folder) if writer is None else writer

    def __call__(self, epoch: Any) -> None:
        """Write the numbers of an ``Epoch``."""
        numbers = {"loss": epoch.loss, **epoch.metrics}
        if epoch.measure is not None:
            numbers["measure"] = epoch.measure
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, epoch.number)
        if hasattr(self.writer, "flush"):
            self.writer.flush()


def _writer(folder: Any) -> Any:
    """Open a TensorBoard writer of whichever package is installed."""
    try:
        return optional.tensorboardX().SummaryWriter(str(folder))
    except MissingPackageError as error:
        try:
            return optional.torch("utils.tensorboard").SummaryWriter(str(folder))
        except MissingPackageError:
            raise error from None

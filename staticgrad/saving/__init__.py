"""Parameters, optimizers, generators and numbers in a file, and back to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Final

from staticgrad.errors import ArgumentError
from staticgrad.extend import kind_of, public, ranks
from staticgrad.saving.files import Content, open_file, read_file, write_file
from staticgrad.saving.trees import (
    Restoring,
    endless,
    names_of,
    outline_of,
    renamed_in,
    tree_of,
    with_content,
)

__all__ = ["load", "save"]


@public
def save(path: Any, tree: Any) -> None:
    """Write a tree into a file: what ``load`` needs to go on to the bit.

    The file takes its place when it is whole; if anything fails, what was there stays. It has
    all parameters as they are at one moment: they are not copied, and steps of other threads wait
    until they are written; where another thread has trained them last, or the call stands inside
    of a step, they are copied, and nobody waits. Of several ranks (``sg.distributed``) rank 0
    writes, and the others wait until it has.

    Args:
        path: ends in ``.npz``, or in ``.safetensors``, which other libraries read as well (it needs
            the package of that name).
        tree: parameters, modules, optimizers, generators, graphs, compiled programs, arrays,
            tensors, numbers and texts, in dicts, lists, tuples and dataclasses.

    Raises:
        ArgumentError: something else in the tree; or another suffix. Nothing is written that
            ``load`` would not read: no tree that contains itself, no reserved names.
        MaskedArrayError: a masked array.
        MissingPackageError: ``safetensors`` is not installed.
        OSError: the system refuses the file.

    >>> import tempfile, staticgrad as sg
    >>> w = sg.parameter("w", [1.0, 2.0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/run.npz", {"w": w, "epoch": 3})
    ...     w.value = [0.0, 0.0]
    ...     found = load(f"{folder}/run.npz", into={"w": w})
    >>> found["epoch"], w.value
    (3, array([1., 2.]))
    """
    target = _check_path(path, "save")
    outline = outline_of(tree)
    ranks.on_first(lambda: write_file(target, partial(with_content, outline)))


def _check_path(path: Any, function: str) -> Path:
    """Check the path of a file to save or load."""
    if not isinstance(path, str | PathLike):
        raise ArgumentError(
            f"{function}: the path comes first, got {kind_of(path)}",
            hint='sg.save("run.npz", tree), sg.load("run.npz", into=tree)',
        )
    return Path(path)


_CHECKPOINT: Final = 'sg.train.fit wrote it: sg.load(path, into={"state": ...})'


def _is_checkpoint(tree: Any, into: Any) -> bool:
    """Return whether the requested tree lies one level deeper, as ``sg.train.fit`` saves it."""
    return (
        isinstance(tree, dict)
        and {*tree} == {"state", "fit"}
        and (not isinstance(into, dict) or "state" not in into)
    )


@public
def load(path: Any, into: Any = None) -> Any:
    """Return the content of a file of ``save``; with ``into`` also write it into that tree.

    Of several ranks (``sg.distributed``) rank 0 reads the file and sends it to the others.

    Args:
        path: as in ``save``. Files that others wrote are a dict of arrays by name.
        into: a tree built as the one that was saved, whose parameters, modules, optimizers,
            generators and arrays take the values, all of them or none. Numbers and texts are in the
            result alone. An optimizer that has not stepped yet takes its state at its first step;
            its states are those of the parameters in the same places, whatever their names.

    Returns:
        The containers that were saved, with arrays in the place of parameters and of what keeps
        them by name.

    Raises:
        SavedFileError: a file that is damaged, cut off or something else; or that does not fit
            ``into``: names, shapes and element types must be equal. Nothing has changed then.
        ArgumentError, MissingPackageError, OSError: as ``save``.

    >>> import os, tempfile, numpy as np, staticgrad as sg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "run.npz")
    ...     sg.save(path, {"w": np.ones(2), "step": 3})
    ...     sg.load(path)
    {'w': array([1., 1.]), 'step': 3}
    """
    source = _check_path(path, "load")
    return restore_tree(ranks.on_first(lambda: read_file(source)), path, into)


@contextmanager
def deferred_tree(path: Any) -> Iterator[Any]:
    """Yield the content of a file as ``load`` returns it, with ``Deferred`` arrays to read inside.

    Of several ranks each has all arrays at once, which rank 0 reads.
    """
    if (job := ranks.running()) is not None and job.ranks > 1:
        yield load(path)
        return
    with open_file(_check_path(path, "load")) as content:
        yield tree_of(content, path)


def restore_tree(content: Content, path: Any, into: Any) -> Any:
    """Build the saved tree of a file's content, or write it into the given tree."""
    tree = tree_of(content, path)
    if into is not None:
        try:
            restoring = Restoring(renamed_in(into, names_of(content)))
            restoring.look(into, tree)
        except RecursionError:
            raise endless("load") from None
        restoring.check(path, _CHECKPOINT if _is_checkpoint(tree, into) else "")
        restoring.write()
    return tree

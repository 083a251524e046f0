"""Graphs in pickles and copies: text, constants and leaves; no code, no recursion over nodes.

A graph travels as its canonical text, the arrays that the text names by digest, and its input and
parameter nodes. Those nodes keep their identity within one pickle: ``pickle.dumps((graph, w))``
gives back a ``w`` that is the graph's parameter, and two graphs that share a parameter still do. A
deep copy does both: an independent graph with parameters of its own. ``copy.copy`` gives
the graph itself, which is immutable. Classes may move from version to version, so a pickle is read
by the version of staticgrad that wrote it; the text is read by later ones, too. An inner value has
no meaning without its graph, so pickling one is refused. Functions of users, which the text names,
travel with a graph where cloudpickle writes it, and only there.

Nodes and graphs take themselves apart (``__reduce__``); here is the version that both write.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from staticgrad import __version__
from staticgrad.errors import GraphError

Reduced = tuple[object, tuple[Any, ...]]


class WriterVersion:
    """The version that writes: pickled before everything that it may have in another place."""

    def __reduce__(self) -> Reduced:
        return check_version, (__version__,)


WRITER: Final = WriterVersion()


def check_version(version: str) -> WriterVersion:
    """Refuse a pickled graph of another version of staticgrad."""
    if version == __version__:
        return WRITER
    raise GraphError(
        f"this was pickled by staticgrad {version}, and staticgrad {__version__} reads it",
        hint="pickles are read by the version that wrote them; what others read is the text:"
        " str(graph) there, sg.parse(text) here; and files of sg.save",
    )


def module_of(function: Any) -> str:
    """Return the module of a function, by the name that every process has for it.

    A process that multiprocessing spawns imports the script of its parent as ``__mp_main__``.
    """
    name = str(getattr(function, "__module__", None) or "")
    return "__main__" if name == "__mp_main__" else name


def is_pickled_by_value() -> bool:
    """Return whether cloudpickle (by itself, or of joblib, Ray or Spark) pickles by value now.

    It writes functions of a script whole, where pickle writes their names: a process that is not
    a copy of this one cannot import the script. It offers objects no other way to see that.
    """
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if "cloudpickle" in frame.f_globals.get("__name__", ""):
            return True
    return False


def reduce_wrapper(wrapper: Any, name: str, again: tuple[Any, ...]) -> Any:
    """Return what ``wrapper.__reduce__`` gives, where a decorator has made it of a function."""
    resolved: Any = sys.modules.get(wrapper.__module__)
    for part in name.split("."):
        resolved = getattr(resolved, part, None)
    by_value = wrapper.__module__ == "__main__" and is_pickled_by_value()
    return name if resolved is wrapper and not by_value else again

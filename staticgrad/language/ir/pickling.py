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

from typing import Any, Final

from staticgrad import __version__
from staticgrad.support.errors import GraphError

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

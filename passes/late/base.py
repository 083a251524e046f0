"""The base class of late passes, and the decorator that makes one of a function of graphs."""

from __future__ import annotations

import functools
from collections.abc import Callable

from passes.base import Pass
from staticgrad.language.ir.graph import Graph

#: A rewrite of a graph; the graph itself if nothing changes.
Rewrite = Callable[[Graph], Graph]


class LatePass(Pass):
    """A pass over the graph that kernels are made of, after the pipeline that users choose.

    The body of a loop or branch has kernels of its own. So the late pipeline runs again for each
    body that is left, and a late pass does not visit bodies.
    """

    inside = False
    may_fail = True


def late_pass(
    name: str, *, keeps: str = "exact", required: str = ""
) -> Callable[[Rewrite], Rewrite]:
    """Register a function as the late pass of this name; the function itself does not change.

    Args:
        name: the name in pipeline text, in reports, and for ``disable=`` of ``sg.compile``.
        keeps: ``exact`` if results stay bitwise identical, else ``close``.
        required: why no program compiles without the pass; empty if it may be disabled.
    """

    def register(rewrite: Rewrite) -> Rewrite:
        @functools.wraps(rewrite)
        def call(_: Pass, graph: Graph) -> Graph:
            return rewrite(graph)

        attributes = {
            "__call__": call,
            "__doc__": rewrite.__doc__,
            "__module__": rewrite.__module__,
            # Where pickle looks for the class: the function has its name in the module.
            "__qualname__": f"{rewrite.__qualname__}.late_pass",
            "keeps": keeps,
            "required": required,
        }
        pass_class = type(rewrite.__name__, (LatePass,), attributes, name=name)
        vars(rewrite)["late_pass"] = pass_class
        return rewrite

    return register

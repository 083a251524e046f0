"""The base class of late passes."""

from __future__ import annotations

from passes.base import Pass


class LatePass(Pass):
    """A pass over the graph that kernels are made of, after the pipeline that users choose.

    The body of a loop or branch has kernels of its own. So the late pipeline runs again for each
    body that is left, and a late pass does not visit bodies.
    """

    inside = False

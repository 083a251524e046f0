"""A folder or file of the user that would be imported in the place of the package ``passes``."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

from staticgrad.errors import ShadowedPackageError


@cache
def refuse_shadowed_passes() -> None:
    """Look whether ``import passes`` would find the package that staticgrad is installed with.

    Every package that imports ``passes`` calls this before, so that the other one does not run.

    Raises:
        ShadowedPackageError: it would find another folder, or a file.
    """
    ours = os.path.join(os.path.dirname(__file__), "..", "..", "passes")  # noqa: PTH118, PTH120
    spec = find_spec("passes")
    found = [*((spec and spec.submodule_search_locations) or ())]
    if spec is not None and not found:  # a single file, passes.py
        found = [str(spec.origin)]
    if not found or os.path.realpath(ours) in map(os.path.realpath, found):
        return
    raise ShadowedPackageError(
        f"{found[0]} hides the package 'passes' that staticgrad is installed with",
        details=[f"staticgrad's own is {os.path.realpath(ours)}"],
        hint="rename it, or start Python where its folder is not on sys.path",
    )

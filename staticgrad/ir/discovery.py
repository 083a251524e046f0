"""Finding op classes by name: the built-in ones and those of other installed packages.

Text and pickles name ops, so whoever reads them first may be in a process that has imported no op
yet. This module imports them when a name is unknown; it knows where ops are, not what they are.
"""

from __future__ import annotations

import importlib

from staticgrad.ir.op import Op, op_class

BUILT_IN = "staticgrad.ops"
ENTRY_POINTS = "staticgrad.ops"  # other packages announce modules that define ops here

_loaded = False


def find_op(name: str) -> type[Op] | None:
    """The op class registered as ``name``; imports every op there is before it gives None."""
    try:
        return op_class(name)
    except KeyError:
        if _loaded:
            return None
    load_ops()
    return find_op(name)


def load_ops() -> None:
    """Import, once, the modules that define ops: the built-in ones, then those announced."""
    global _loaded
    if _loaded:
        return
    # A name that is unknown is rare, and these two load half of the standard library.
    import pkgutil
    from importlib.metadata import entry_points

    package = importlib.import_module(BUILT_IN)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{BUILT_IN}.{module.name}")
    for entry in entry_points(group=ENTRY_POINTS):
        entry.load()
    _loaded = True

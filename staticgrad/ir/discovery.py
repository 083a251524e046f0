"""Finding op classes by name: the built-in ones and those of other installed packages.

Text and pickles name ops, so whoever reads them first may be in a process that has imported no op
yet. This module imports them when a name is unknown; it knows where ops are, not what they are. A
package that cannot be imported costs its own ops and a warning.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, Final

from staticgrad.errors import PluginWarning, warn
from staticgrad.errors.wording import shortened
from staticgrad.ir.op import Op, op_class

BUILT_IN = "staticgrad.ops"
FUNCTIONS = "staticgrad.functions"  # operators on values find their functions there
ENTRY_POINTS = "staticgrad.ops"  # other packages announce modules that define ops here

_loaded = False
_announced_loaded = False
#: What could not be imported, for the message about an unknown op.
broken: Final[list[str]] = []


def find_op(name: str) -> type[Op] | None:
    """The op class registered as ``name``; imports every op there is before it gives None."""
    for more in (_nothing, load_ops, _load_announced):
        more()
        try:
            return op_class(name)
        except KeyError:
            continue
    return None


def _nothing() -> None:
    """What is registered already needs no import."""


def load_ops() -> None:
    """Import, once, the modules that define the built-in ops."""
    global _loaded
    if _loaded:
        return
    import pkgutil

    importlib.import_module(FUNCTIONS)
    package = importlib.import_module(BUILT_IN)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{BUILT_IN}.{module.name}")
    _loaded = True


def _load_announced() -> None:
    """Import, once, what other packages announce, as far as it can be imported."""
    global _announced_loaded
    if _announced_loaded:
        return
    _announced_loaded = True
    for _ in announced(ENTRY_POINTS, broken):
        pass


def announced(group: str, failed: list[str] | None = None) -> Iterator[tuple[Any, Any]]:
    """The entry points of a group that can be loaded, each with what it stands for.

    Warns of each of the others, whatever it raised, with the name of its package; the texts of
    these warnings are added to ``failed``.
    """
    # A name that is unknown is rare, and this loads half of the standard library.
    from importlib.metadata import entry_points

    texts = []
    for entry in entry_points(group=group):
        try:
            loaded = entry.load()
        except (Exception, SystemExit) as error:  # whatever a stranger's module does
            reason = shortened(" ".join(f"{type(error).__name__}: {error}".split()), 160)
            texts.append(
                f"{package_of(entry)}, which announces {entry.value!r} for {group}, cannot be"
                f" imported: {reason}"
            )
        else:
            yield entry, loaded
    if failed is not None:
        failed.extend(texts)
    for text in texts:
        warn(PluginWarning, text)


def package_of(entry: Any) -> str:
    """What a message calls the package of an entry point."""
    package = getattr(entry, "dist", None)
    return f"the package {package.name!r}" if package is not None else "a package"

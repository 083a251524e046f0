"""staticgrad: write a graph, differentiate it, compile it, run it.

``import staticgrad as sg`` loads no more than the table of public names (``exports.py``): a name is
imported from its module when it is first used, so that building and printing a graph never load the
compiler's tools. What type checkers read instead of this file is ``__init__.pyi``, which is written
from the same table.
"""

import sys
from importlib import import_module
from os.path import isdir, isfile

from staticgrad.exports import PUBLIC

__version__ = "0.2.0"

if sys.platform not in ("linux", "darwin"):
    raise ImportError(
        f"staticgrad does not run on {sys.platform}: it needs the C library, threads and pages of a"
        " POSIX system. Linux is tested, macOS is written for; on Windows, use Linux in WSL 2"
    )

__all__ = ["__version__", *sorted(PUBLIC)]


def __getattr__(name: str) -> object:
    if name not in PUBLIC:
        try:
            raise _no_such_name(name)
        except (AttributeError, ImportError) as error:
            error.__traceback__ = None  # as ``boundary`` does, which is not loaded yet
            raise
    from staticgrad.support.caches import collection_paused

    home, attribute = PUBLIC[name]
    if home == "passes":
        from staticgrad.errors.tracebacks import refuse_shadowed_passes

        refuse_shadowed_passes()
    with collection_paused():  # what modules make stays
        module = import_module(home)
    value = getattr(module, attribute) if attribute else module
    return globals().setdefault(name, value)


def _no_such_name(name: str) -> Exception:
    """The error for an unknown name; a plain one where ``from staticgrad import module`` asks."""
    file = f"{__path__[0]}/{name}"
    if name.startswith("_") or isdir(file) or isfile(f"{file}.py"):  # noqa: PTH112, PTH113
        return AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from staticgrad.errors.hints import as_imported, no_such_name

    return as_imported(no_such_name("sg", name, tuple(__all__)))


class _AbsentModules:
    """A finder of modules, the last one: ``import staticgrad.numpy`` names what to write."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """Return None, or raise ModuleNotFoundError for a name of another library.

        ``from staticgrad import numpy`` ignores an error with that name, and asks ``__getattr__``.
        """
        del path, target
        package, _, module = name.rpartition(".")
        if package.partition(".")[0] != __name__ or module.startswith("_"):
            return
        from staticgrad.errors.hints import no_such_module

        error = no_such_module(package, module)
        if error is not None:
            raise error


sys.meta_path.append(_AbsentModules)


def __dir__() -> list[str]:
    return sorted(__all__)

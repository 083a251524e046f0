"""Networks: functions of values, and modules, which hold their parameters. Public as ``sg.nn``.

Functions (``relu``, ``conv``, ``cross_entropy``) stand in ``functional``. Modules of one subject
are one file here, loaded when it is asked for; ``module.py`` and ``layers.py`` come first. Names
and the order of arguments are those of ``torch.nn``, axes those of NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from staticgrad.exports import LAYERS, homes
from staticgrad.extend import boundary, public_form
from staticgrad.extend.hints import as_imported, no_such_name

_FILES: Final = homes(LAYERS)
__all__ = [*_FILES]


def __dir__() -> list[str]:
    return sorted(__all__)


@boundary
def __getattr__(name: str) -> Any:
    if name == "functional":
        return import_module("staticgrad.nn.functional")
    if name not in _FILES:
        raise as_imported(no_such_name("sg.nn", name))
    home, attribute = _FILES[name]
    attribute_value = getattr(import_module(home), attribute)
    if home.startswith(("staticgrad.functions", "staticgrad.nn.functional")):
        attribute_value = public_form(attribute_value, __name__)
    globals()[name] = attribute_value
    return attribute_value

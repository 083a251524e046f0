"""The warnings of staticgrad, one class for each code."""

from __future__ import annotations

import warnings
from typing import ClassVar

from staticgrad.building import user_frame


class StaticgradWarning(UserWarning):
    """Any warning of staticgrad."""

    code: ClassVar[str] = "SG900"


class LargeConstantWarning(StaticgradWarning):
    """A large array copied into the graph as a constant."""

    code = "SG901"


class KernelCacheWarning(StaticgradWarning):
    """A folder or file of compiled kernels that others could have written."""

    code = "SG906"


class SettingWarning(StaticgradWarning):
    """A setting that has no effect where it is written."""

    code = "SG907"


class PluginWarning(StaticgradWarning):
    """An installed package whose ops or passes cannot be imported."""

    code = "SG908"


class ShapeAsValueWarning(StaticgradWarning):
    """A parameter whose first value looks like a shape."""

    code = "SG909"


class TracingWarning(StaticgradWarning):
    """What a traced function does once, where a plain one does it at each call."""

    code = "SG910"


def warn(category: type[StaticgradWarning], text: str) -> None:
    """Warn at the user's line that is running now, with the category's code before the text."""
    frame = user_frame()
    warnings.warn_explicit(
        f"[{category.code}] {text}",
        category,
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=frame.f_globals.get("__name__", "<unknown>"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )

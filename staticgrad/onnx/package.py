"""The package ``onnx``, which is loaded when a model is read or written."""

from __future__ import annotations

from typing import Any, Final

from staticgrad.errors import MissingPackageError

#: The property of a model that names its running statistics, which are not trained.
STATISTICS: Final = "staticgrad.statistics"


def library() -> Any:
    """The package ``onnx``.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        raise MissingPackageError(
            "models of ONNX need a package that is not installed",
            hint='pip install "staticgrad[onnx]"',
        ) from None
    return onnx

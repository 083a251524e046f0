"""A kernel as plain loops that Numba compiles: in exported files, and for the backend ``numba``."""

from __future__ import annotations

from staticgrad.compiler.plain.kernels import may_fail, source

__all__ = ["may_fail", "source"]

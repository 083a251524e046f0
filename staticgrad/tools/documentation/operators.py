"""The pages of operators of PyTorch and primitives of JAX that have a row, made of the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import signature
from typing import Any

from staticgrad.interop.aten.operators import OPERATORS
from staticgrad.interop.lax import lowering
from staticgrad.interop.lax.primitives import PRIMITIVES, REFUSED
from staticgrad.interop.lax.program import CALLS
from staticgrad.language.ir.op import registered_ops


def page() -> str:
    """Its Markdown."""
    rows = ["| operator | arguments |", "|---|---|"]
    for name in sorted(OPERATORS, key=lambda name: name.lstrip("_")):
        given = _arguments(OPERATORS[name].function, ("operator", "out", "random", "_"))
        rows.append(f"| `aten.{name}` | {given} |")
    lead = (
        f"The {len(OPERATORS)} operators of ATen that `sg.torch.module` takes, with the arguments"
        " that may be given; `x` is `self` or `input` there, `y` is `other`. PyTorch decomposes"
        " most of its other functions to these. [How it is used](torch-programs.md)."
    )
    return "\n\n".join(["# Operators of PyTorch", lead, "\n".join(rows)]) + "\n"


def page_of_primitives() -> str:
    """Return the Markdown of the page of JAX's primitives."""
    rows = ["| primitive | operands and parameters |", "|---|---|"]
    for name in sorted(PRIMITIVES):
        given = _arguments(PRIMITIVES[name], ("primitive", "out", "_"))
        rows.append(f"| `{name}` | {given} |")
    reasons: dict[str, list[str]] = {}
    for name, why in REFUSED.items():
        reasons.setdefault(why, []).append(name)
    refused = ["| refused, since | primitives |", "|---|---|"]
    refused += [f"| {why} | {_quoted(sorted(names))} |" for why, names in reasons.items()]
    lead = (
        f"The {len(PRIMITIVES)} primitives of JAX that `sg.jax.trace` computes by a row;"
        f" {len(CALLS)} more call functions: {_quoted(sorted(CALLS))}. What has no row is an error"
        " with its name and your line. [How it is used](jax-programs.md)."
    )
    parts = ["# Primitives of JAX", lead, "\n".join(rows), "\n".join(refused), _lowered()]
    return "\n\n".join(parts) + "\n"


def _lowered() -> str:
    """Return the section of ops that ``sg.jax.lower`` writes."""
    ops = [name for name in registered_ops() if "." not in name]
    bodies = (*lowering.BODIES, "custom_vjp", "input", "parameter")
    by_row = [name for name in ops if name in lowering.ROWS or name in bodies]
    refused = [name for name in ops if name in lowering.REFUSED]
    others = [name for name in ops if name not in by_row and name not in refused]
    lead = (
        f"`sg.jax.lower` writes {len(by_row)} ops by a row. {len(others)} are computed by NumPy in"
        f" a callback, with our derivatives: {_quoted(sorted(others))}. {len(refused)} are refused"
        f" where there are several processes: {_quoted(sorted(refused))}."
    )
    return f"## Ops in JAX\n\n{lead}"


def _arguments(function: Callable[..., Any], hidden: Iterable[str]) -> str:
    return _quoted(each for each in signature(function).parameters if each not in hidden)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{each}`" for each in names)

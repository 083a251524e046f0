"""The page of PyTorch's operators that have a row, made of the table."""

from __future__ import annotations

from inspect import signature

from staticgrad.interop.aten.operators import OPERATORS


def page() -> str:
    """Its Markdown."""
    rows = ["| operator | arguments |", "|---|---|"]
    for name in sorted(OPERATORS, key=lambda name: name.lstrip("_")):
        given = [
            each
            for each in signature(OPERATORS[name].function).parameters
            if each not in ("operator", "out", "random", "_")
        ]
        rows.append(f"| `aten.{name}` | {', '.join(f'`{each}`' for each in given)} |")
    lead = (
        f"The {len(OPERATORS)} operators of ATen that `sg.torch.module` takes, with the arguments"
        " that may be given; `x` is `self` or `input` there, `y` is `other`. PyTorch decomposes"
        " most of its other functions to these. [How it is used](torch-programs.md)."
    )
    return "\n\n".join(["# Operators of PyTorch", lead, "\n".join(rows)]) + "\n"

"""What a notebook shows of a module: its tree, folded, with shapes and counts."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from staticgrad.pictures.markup import fold, fragment, paragraph, preformatted, table

if TYPE_CHECKING:
    from staticgrad.nn.module import Module


def module_html(module: Module) -> str:
    """The module: its parameters in a table, the whole tree under it."""
    rows, total = [], 0
    for path, parameter in module.named_parameters():
        count = prod(map(int, parameter.shape))
        total += count
        rows.append((path, str(parameter.type), f"{count:,}"))
    mode = "in training" if module.training else "as after training"
    return fragment(
        paragraph(f"{type(module).__name__}: {total:,} parameters, {mode}"),
        preformatted(str(module)),
        fold("parameters", table(("path", "type", "elements"), rows, numbers=(2,))),
    )

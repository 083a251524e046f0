"""The page of other libraries' names, made of the tables that messages are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from staticgrad.errors import calls, hints

_TABLES: Final[tuple[tuple[str, str, Mapping[str, str]], ...]] = (
    ("Functions and classes", "Under `sg`, `sg.nn` or `sg.optim`:", hints.INSTEAD),
    ("Methods and attributes", "Of a value of a graph, `x`:", hints.METHODS),
    (
        "Of tensors",
        "A tensor of `staticgrad.eager` has numbers: `item`, `numpy`, `tolist`, `detach`,"
        " `backward`, `grad` and `zero_grad` work. Otherwise as above, but for:",
        hints.OF_TENSORS,
    ),
    (
        "Of modules",
        "A module has `state_dict`, `load_state_dict`, `parameters`, ...; but for:",
        hints.OF_MODULES,
    ),
    ("Of optimizers", "An optimizer writes the updates of a graph:", hints.OF_OPTIMIZERS),
    ("Arguments", "Given by name:", calls.ARGUMENTS),
)


def page() -> str:
    """Return the Markdown of the page of other libraries' names."""
    parts = [
        "# Names of other libraries",
        "What people often type who know PyTorch, JAX or TensorFlow, and what to write here. An"
        " error says the same where such a name is used. NumPy's names are names here, with"
        " [the same arguments](numpy.md), which also says which are missing.",
    ]
    for title, lead, table in _TABLES:
        rows = ["| there | here |", "|---|---|", *_rows(table)]
        parts += [f"## {title}", lead, "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def _rows(table: Mapping[str, str]) -> Iterator[str]:
    """Return table rows of the migration page: each answer with all names that lead to it."""
    by_answer: dict[str, list[str]] = {}
    for name, answer in table.items():
        by_answer.setdefault(answer, []).append(name)
    for answer, names in by_answer.items():
        shown = answer.replace("|", r"\|").replace("\n", "; ")
        yield f"| {', '.join(f'`{name}`' for name in names)} | {shown} |"

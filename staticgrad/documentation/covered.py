"""The page that counts which names of other libraries there are here.

``library_names.json`` has the names of their functions and classes, module by module; where a name
stands here, or which message it gets, is looked up when the page is made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import staticgrad as sg
from staticgrad.errors.elsewhere import answer
from staticgrad.errors.habits import REASONS

#: Module of another library -> where its names stand here.
HERE: Final[dict[str, tuple[str, ...]]] = {
    "numpy.linalg": ("linalg",),
    "scipy.special": ("special", ""),
    "jax.numpy": ("", "linalg"),
    "jax.numpy.linalg": ("linalg",),
    "jax.nn": ("nn", "", "special"),
    "jax.scipy.special": ("special", "", "nn"),
    "torch": ("", "linalg", "special", "nn"),
    "torch.linalg": ("linalg",),
    "torch.special": ("special", "", "nn"),
    "torch.nn": ("nn",),
    "torch.nn.functional": ("nn", "", "linalg"),
    "torch.optim": ("optim",),
}


def library_names() -> dict[str, list[str]]:
    """Module of another library -> its functions and classes."""
    text = Path(__file__).with_name("library_names.json").read_text("utf-8")
    return {module: names.split() for module, names in json.loads(text).items()}


def is_here(module: str, name: str) -> bool:
    """Whether the name stands in one of the places for names of that module."""
    owners: list[Any] = [getattr(sg, place) if place else sg for place in HERE[module]]
    return any(name in owner.__all__ for owner in owners)


def is_answered(module: str, name: str) -> bool:
    """Whether a message says what to write instead."""
    room = f"sg.{HERE[module][0]}".rstrip(".")
    return name not in REASONS and bool(answer(room, name, tuple(sg.__all__)))


def page() -> str:
    """Its Markdown."""
    rows = ["| module | names | here | answered | missing |", "|---|--:|--:|--:|--:|"]
    parts: list[str] = []
    for module, names in library_names().items():
        here = [name for name in names if is_here(module, name)]
        rest = [name for name in names if name not in here]
        said = [name for name in rest if is_answered(module, name)]
        gone = [name for name in rest if name not in said]
        rows.append(f"| `{module}` | {len(names)} | {len(here)} | {len(said)} | {len(gone)} |")
        parts.append(f"## {module}")
        for title, some in (("Here", here), ("Answered", said), ("Missing", gone)):
            if some:
                parts.append(f"**{title}**: " + ", ".join(f"`{name}`" for name in some))
    lead = (
        "Functions and classes of other libraries, by the module that has them: how many stand here"
        " under the same name, of how many others a message says [what to write](other-names.md),"
        " and which are missing. NumPy's main namespace has [a page of its own](numpy.md)."
    )
    return "\n\n".join(["# Which names are covered", lead, "\n".join(rows), *parts]) + "\n"

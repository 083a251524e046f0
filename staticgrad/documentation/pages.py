"""Every page by its address, in the order of the table of contents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from staticgrad.documentation import names, reference
from staticgrad.errors import UnknownNameError
from staticgrad.errors.wording import did_you_mean

GUIDE: Final = Path(__file__).parent / "guide"
#: Pages that are made of the code.
_MADE: Final[dict[str, Callable[[], str]]] = {
    "errors": reference.codes,
    "other-names": names.page,
}

#: Part of the documentation -> the addresses of its guides, in the order in which to read them.
CONTENTS: Final[dict[str, tuple[str, ...]]] = {
    "": ("index",),
    "Learn": (
        "first-gradient", "the-tape", "forward-and-reverse", "vanishing-gradients",
        "where-memory-goes", "fit-into-memory", "loops-and-branches", "mixed-precision",
        "write-a-pass", "an-engine", "exercises",
    ),
    "How to: coming from": ("from-numpy", "from-pytorch", "from-jax", "from-tensorflow"),
    "How to: use": (
        "run-a-program", "train-and-save", "pytorch-weights", "beside", "more-than-one-machine",
        "onnx", "export", "tune", "compare", "sparse-matrices",
    ),
    "Cookbook": (
        "cookbook", "gaussian-process", "fit-an-ode", "fit-a-pde", "sample-a-posterior",
        "sparse-newton", "deploy",
    ),
    "How to: extend": ("write-an-op", "passes", "policies", "write-a-backend"),
    "Explain": (
        "run-or-define", "complex-numbers", "dead-nodes", "numba", "read-a-kernel", "security",
    ),
    "Reference": (
        "conventions", "accuracy", "errors", "glossary", "numpy", "names", "array-api",
        "other-names",
    ),
}  # fmt: skip


def pages() -> dict[str, str]:
    """Return all pages: the address, as in ``reference/nn``, and the Markdown."""
    found = {name: page(name) for names in CONTENTS.values() for name in names}
    known = {name: reference.page(room) for name, room in reference.rooms().items()}
    return found | {
        f"reference/{name}": text for name, text in (known | reference.indexes()).items()
    }


def page(name: str) -> str:
    """One page by its address, or what the reference says of a public name.

    Args:
        name: ``first-gradient``, ``reference/nn``, ``sg.exp``, ``exp``.

    Returns:
        Its Markdown.

    Raises:
        UnknownNameError: no page and no public name.
    """
    if name in _MADE:
        return _MADE[name]()
    if any(name in names for names in CONTENTS.values()):
        return (GUIDE / f"{name}.md").read_text("utf-8")
    rooms = reference.rooms()
    address = name.removeprefix("reference/") if name.startswith("reference/") else ""
    if address in rooms:
        return reference.page(rooms[address])
    indexes = reference.indexes() if address else {}
    if address in indexes:
        return indexes[address]
    known = reference.find(name)
    if known is not None:
        return reference.entry(*known)
    listed = [each for part in CONTENTS.values() for each in part]
    public = [each for _, _, known in rooms.values() for each in known]
    raise UnknownNameError(
        f"there is no page and no public name {name!r}",
        hint=did_you_mean(name, [*listed, *public]) or "staticgrad docs lists the pages",
    )


def title(markdown: str) -> str:
    """The headline of a page."""
    return markdown.partition("\n")[0].lstrip("# ")


def contents() -> str:
    """The table of contents as text: an address and a title in each line."""
    parts = titles()
    width = max(len(name) for named in parts.values() for name in named)
    return "\n".join(
        f"{name:<{width}}  {heading}" for named in parts.values() for name, heading in named.items()
    )


def titles() -> dict[str, dict[str, str]]:
    """Part -> address -> title, of all pages; parts of the reference come last, by prefix."""
    found = {part: {name: title(page(name)) for name in names} for part, names in CONTENTS.items()}
    rooms = reference.rooms()
    for path in reference.SUBJECTS:
        room = path.removeprefix("sg.")
        found[path] = {f"reference/{room}": f"All names of {path}"}
        found[path] |= {
            f"reference/{name}": rooms[name][0] for name in rooms if name.startswith(f"{room}/")
        }
    found["Other modules"] = {
        f"reference/{name}": rooms[name][0] for name in rooms if "/" not in name
    }
    return found

"""Modules of LLVM IR as their parts: functions, variables, and declarations of others' functions.

A part names the parts that it uses. What a function needs is a mapping by name in which each part
comes after those that it uses, so a module is a selection of parts and its text their print.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from staticgrad.support.records import NamedTuple
from staticgrad.support.traversal import reach

Kind = Literal["declaration", "variable", "function"]
#: The metadata of a branch that is seldom taken: LLVM does not compute ahead what is behind it.
SELDOM: Final = 999998
#: A part is not seen by other objects.
INTERNAL: Final = "internal "
#: What every function of this package has; ``jit`` says what it means.
COMMON: Final = "#0"


class ModulePart(NamedTuple):
    """A function, a variable, or the declaration of a function, of a module.

    ``head`` is what follows the keyword of LLVM: result, name and parameters, or the value of a
    variable. ``attributes`` and ``body`` are a function's; ``uses`` the names of other parts.
    """

    name: str
    kind: Kind
    head: str
    attributes: str = ""
    body: str = ""
    linkage: str = ""
    uses: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The lines of the part in a module."""
        if self.kind == "declaration":
            return f"declare {self.head} {self.attributes}"
        if self.kind == "variable":
            return f"@{self.name} = {self.linkage}{self.head}"
        return f"define {self.linkage}{self.head} {self.attributes} {{\n{self.body}\n}}"

    @property
    def declaration(self) -> ModulePart:
        """The declaration of a function that another object defines."""
        return ModulePart(self.name, "declaration", self.head, f"nonlazybind {COMMON}")


Module = tuple[ModulePart, ...]
"""Parts of which each has a name of its own, declarations first."""


def external(name: str, result: str, arguments: Iterable[str]) -> ModulePart:
    """Return the declaration of a function, which has its address when code is loaded."""
    return ModulePart(
        name, "declaration", f"{result} @{name}({', '.join(arguments)})", "nonlazybind"
    )


def module_with_uses(parts: Mapping[str, ModulePart], entry: ModulePart) -> Module:
    """Return the LLVM module text of a function and the parts it uses, in order."""
    reached = {*reach(entry.uses, lambda name: parts[name].uses if name != entry.name else ())}
    chosen = [part for name, part in parts.items() if name in reached and name != entry.name]
    declared = sorted(part for part in chosen if part.kind == "declaration")
    return (*declared, *(part for part in chosen if part.kind != "declaration"), entry)


def merge_modules(modules: Iterable[Module]) -> Module:
    """Merge LLVM modules: each name once, a definition before a declaration."""
    declared: dict[str, ModulePart] = {}
    defined: dict[str, ModulePart] = {}
    for module in modules:
        for part in module:
            into = declared if part.kind == "declaration" else defined
            into.setdefault(part.name, part)
    return (*(part for name, part in declared.items() if name not in defined), *defined.values())


def text_of(module: Module) -> str:
    """Return the text of a module."""
    return "\n".join([part.text for part in module])

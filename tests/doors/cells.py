"""The outcome of a cell, the grid of what is expected, and the page that is made of it.

``python -m tests.doors [DOOR ...]`` runs the cells, of all doors or of these, and writes
``grid.txt`` and the guide "What works with what". A cell is equal to the reference, or refused by
an error with a code that names the door and the kind. Anything else is a defect: the command keeps
it as open, with what happened, and the tests count it.
"""

import warnings
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import staticgrad as sg
from staticgrad.tools.documentation.site import GUIDE
from tests.doors.doors import DOORS
from tests.doors.kinds import KINDS, Case

GRID = Path(__file__).with_name("grid.txt")
PAGE = GUIDE / "what-works.md"
EQUAL, OPEN = "=", "open"


def outcome(door, kind, thorough=True):
    """``=``, the code of the error that refuses the kind, or ``open`` with what is wrong.

    Returns:
        The state, and for an open cell the reason, else "".
    """
    rows = kind.rows and min(kind.rows, 5) if door.small else kind.rows
    case = Case(kind, rows, thorough)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            results = door.push(case)
        if results is not None:
            case.check(results, door.eps, door.wide)
    except sg.StaticgradError as error:
        text = "\n".join([error.headline, *error.details, error.hint])
        missing = [
            what
            for what, words in (("door", door.words), ("kind", kind.spellings))
            if not any(word in text for word in words)
        ]
        if missing:
            return OPEN, f"{error.code} does not name the {' and the '.join(missing)}"
        return error.code, ""
    except AssertionError as error:
        return OPEN, f"{error}".partition("\n")[0] or "an assertion fails"
    except Exception as error:
        return OPEN, f"{type(error).__name__} without a code"
    return EQUAL, ""


def is_installed(door):
    """False if a package that the door needs is not there."""
    return all(find_spec(name) is not None for name in door.needs if name != "cc")


def read():
    """(door, kind) -> state, and (door, kind) -> why it is open, of ``grid.txt``."""
    lines = GRID.read_text("utf-8").splitlines() if GRID.exists() else []
    lines = [line for line in lines if line and not line.startswith("#")]
    states, reasons = {}, {}
    names = [name.strip() for name in lines[0].split("|")[1:]] if lines else []
    for line in lines[1:]:
        head, *cells = [part.strip() for part in line.split("|")]
        if head.startswith("open: "):
            reasons[head.removeprefix("open: "), cells[0]] = cells[1]
        else:
            states |= {(head, kind): state for kind, state in zip(names, cells, strict=True)}
    return states, reasons


def text(states, reasons):
    """The grid as it is in the file."""
    width = max(map(len, DOORS))
    rows = [("", {kind: kind for kind in KINDS})]
    rows += [(door, {kind: states.get((door, kind), "") for kind in KINDS}) for door in DOORS]
    lines = ["# Written by python -m tests.doors: what happens to each kind of value at each door."]
    lines += ["# = equal to the reference; SGxxx refused by an error of that code; open: a defect."]
    lines += [
        f"{door:<{width}} | " + " | ".join(f"{cells[kind]:<{len(kind)}}" for kind in KINDS).rstrip()
        for door, cells in rows
    ]
    lines += [
        f"open: {door} | {kind} | {reasons[door, kind]}"
        for door in DOORS
        for kind in KINDS
        if (door, kind) in reasons
    ]
    return "\n".join(lines) + "\n"


#: Part of the page -> the kinds of its columns.
PARTS = {
    "Element types": [kind for kind in KINDS if KINDS[kind].is_type],
    "Shapes": [kind for kind in KINDS if KINDS[kind].is_shape],
    "Memory": [kind for kind in KINDS if not (KINDS[kind].is_type or KINDS[kind].is_shape)],
}
WORDS = {
    "Element types": "Integers and bools have no derivative, so doors of derivatives refuse them.",
    "Shapes": "A [sparse matrix](sparse-matrices.md); arrays with no element, one element and no "
    "axis; an axis whose length has a name.",
    "Memory": "Views with steps, Fortran's order, negative steps; arrays that are read-only, at an "
    "address that is no multiple of the element, or in the other byte order.",
}


def page():
    """The guide "What works with what"."""
    states, reasons = read()
    counts = Counter("refused" if state.startswith("SG") else state for state in states.values())
    lines = [
        "# What works with what",
        "",
        f"{len(DOORS)} ways in, through and out of a program, and {len(KINDS)} kinds of values: "
        f"{len(states)} cells. In each cell a small program (a function, a product, a mean, an "
        "index, a loss and its gradient) goes through the door, and its results are compared with "
        "NumPy's in float64. Written by `python -m tests.doors`; the tests run every cell.",
        "",
        f"- `=`, {counts[EQUAL]} cells: equal, to the rounding of the element type.",
        f"- A [code](errors.md), {counts['refused']} cells: an error that names door and kind.",
        f"- `open`, {counts[OPEN]} cells: a defect that is known.",
    ]
    for part, kinds in PARTS.items():
        lines += ["", f"## {part}", "", WORDS[part], "", "| | " + " | ".join(kinds) + " |"]
        lines += ["|---|" + ":-:|" * len(kinds)]
        for door in DOORS:
            cells = [states.get((door, kind), "") for kind in kinds]
            lines.append(f"| {door} | " + " | ".join(cells) + " |")
    if reasons:
        lines += ["", "## Open", ""]
        lines += [f"- {door}, {kind}: {why}." for (door, kind), why in reasons.items()]
    return "\n".join(lines) + "\n"

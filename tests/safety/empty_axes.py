"""Child process: lookups in axes of size 0 between fences; each is refused, nothing is touched.

python -m tests.safety.empty_axes
"""

import sys

import numpy as np

import staticgrad as sg
from staticgrad.errors import IndexOutOfRange
from tests.safety.child import say
from tests.safety.fences import fenced, fences

WIDE = 3000  # a row is longer than a page

LOOKUPS = {
    "rows": lambda table, rows, new: sg.take(table, rows, 0),
    "columns": lambda table, rows, new: sg.take(table.T, rows, 1),
    "a sum": lambda table, rows, new: sg.take(table, rows, 0).sum(1),
    "words": lambda table, rows, new: sg.take(table[:, 7], rows),
    "one row": lambda table, rows, new: sg.take(table, rows[0], 0),
    "subscript": lambda table, rows, new: table[rows] * 2,
    "along": lambda table, rows, new: sg.take_along_axis(table[:, 0], rows, 0),
    "gradient": lambda table, rows, new: sg.grad((sg.take(table, rows, 0) ** 2).sum(), table),
    "scatter": lambda table, rows, new: sg.scatter_add(new, rows, table.shape[0], 0),
    "added": lambda table, rows, new: table.at[rows].add(new),
    "set": lambda table, rows, new: table.at[rows].set(new),
}


def check(name, extent, at_end):
    """The lookup over an empty table, alone and before an update of a parameter."""
    table, rows = sg.input("table", (extent, WIDE), "float32"), sg.input("rows", (5,), "int64")
    new = sg.input("new", (5, WIDE), "float32")
    w = sg.parameter("w", np.zeros(4, np.float32))
    value = LOOKUPS[name](table, rows, new)
    graph = sg.Graph(
        {"y": value}, updates={w: w + 1.0 + 0.0 * sg.sum(value)}, inputs=[table, rows, new]
    )
    f = sg.compile(graph)
    feeds = {
        "table": fenced(np.zeros((0, WIDE), np.float32), at_end),
        "new": fenced(np.ones((5, WIDE), np.float32), at_end),
    }
    for indices in ([0, 0, 0, 0, 0], [-1, 2**62, 3, 0, 1]):
        for _ in range(2):
            try:
                f.run({**feeds, "rows": fenced(np.array(indices), at_end)})
            except IndexOutOfRange as error:
                if "empty_axes.py" not in str(error) or "the axis is empty" not in str(error):
                    sys.exit(str(error))
            else:
                sys.exit(f"{name}: an index into an empty axis was taken")
            if w.value.any():
                sys.exit(f"{name}: a refused run changed a parameter")


def check_no_index(at_end):
    """No index at all fits into an empty axis, and what follows is computed."""
    x, rows = sg.input("x", ("m", "n"), "float32"), sg.input("rows", ("k",), "int64")
    taken = sg.take(x, rows, 1)
    graph = sg.Graph({"y": taken, "sum": taken.sum(1) + 1, "set": x.at[:, rows].set(2.0)})
    feeds = {
        "x": fenced(np.ones((5, 0), np.float32), at_end),
        "rows": fenced(np.zeros(0, np.int64), at_end),
    }
    found = sg.compile(graph).run(feeds)
    if found["sum"].tolist() != [1.0] * 5 or found["y"].shape != found["set"].shape != (5, 0):
        sys.exit(str(found))


def main():
    for at_end in (True, False):
        with fences(at_end):
            for name in LOOKUPS:
                for extent in (0, "n"):
                    say(name, extent, "at the end" if at_end else "at the start")
                    check(name, extent, at_end)
            say("no index")
            check_no_index(at_end)
    say("done")


if __name__ == "__main__":
    main()

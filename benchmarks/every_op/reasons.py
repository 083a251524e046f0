"""Why a point is slower than the fastest peer, where that was measured.

A reason stands for what a run or a count has shown, which its text names. A point that none applies
to has none, and the table says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from benchmarks.every_op.report import SLOWER, Cell

#: By what NumPy's results of float32 are farther off, in units of the last place, than ours.
ULPS: Final = {
    "log10": (3.15, 0.99),
    "log2": (1.92, 1.25),
    "cbrt": (1.87, 0.50),
    "pow": (0.99, 0.53),
    "atan2": (3.16, 1.53),
    "tan": (3.17, 1.51),
}
EXTREMES: Final = ("argmax", "argmin")
#: Those whose gradients of transposed operands are copied into their order.
COPIED: Final = ("max rows", "min rows", "broadcast", "scatter_add")
ADDED_IN_ORDER: Final = ("scatter_add", "scatter_along")
REPEATED: Final = ("sum rows", "sum columns", "max rows", "min rows", *EXTREMES)
#: The form in which reductions of 40 MB stand.
LARGE: Final = ("contiguous", 10_000_000)


#: Cells of operands that lie contiguously: by op, dtype, direction and size.
Others = Mapping[tuple[str, str, bool, int], Cell]


class Reason(NamedTuple):
    """A text, and the cells that it is said of, given all others by what they measure."""

    text: str
    applies: Callable[[Cell, Others], bool]


def _is_more_exact(cell: Cell, _: Others) -> bool:
    known = cell.label in ULPS and cell.dtype == "float32" and not cell.backward
    return known and cell.peer == "numpy" and cell.layout == "contiguous"


def _is_down_large_columns(cell: Cell, _: Others) -> bool:
    down = cell.label.endswith(" columns") and not cell.backward
    return down and (cell.layout, cell.size) == LARGE


def _is_down_transposed_columns(cell: Cell, _: Others) -> bool:
    place = (cell.label, cell.layout, cell.backward)
    return place == ("sum columns", "transposed", False) and cell.peer == "torch"


def _is_of_a_repeated_row(cell: Cell, _: Others) -> bool:
    named = cell.label in REPEATED and not cell.backward
    return named and cell.layout == "broadcast" and cell.peer == "jax"


def _is_alone(cell: Cell, others: Others) -> bool:
    sizes = [size for size in (100_000, 10_000_000) if size != cell.size]
    near = [others.get((cell.label, cell.dtype, cell.backward, size)) for size in sizes]
    plain = cell.layout == "contiguous" and cell.size == 1_000_000
    return plain and all(each is not None and each.ratio <= SLOWER for each in near)


REASONS: Final = (
    Reason(
        "Results lie in C order here, those of NumPy and PyTorch as their operands do, so that "
        "nothing is transposed. Timed beside us with a copy in C order, none is ahead by more than "
        "a quarter.",
        lambda cell, _: cell.layout == "transposed" and 0 < cell.in_order <= SLOWER,
    ),
    Reason(
        "A sort here is stable, NumPy's is not: asked for a stable one it takes 3.6 to 29 times as "
        "long, and longer than us.",
        lambda cell, _: cell.label == "sort" and cell.peer == "numpy",
    ),
    Reason(
        "NumPy's vectors of float32 are farther off, in units of the last place (its, ours): "
        + ", ".join(f"{name} {theirs}, {ours}" for name, (theirs, ours) in ULPS.items())
        + ".",
        _is_more_exact,
    ),
    Reason(
        "JAX reduces the one row that is repeated: its time is the same for 250 and for 2,000 rows "
        "(12 to 22 us). Here a rule moves sums and extremes of rows below the repetition (sum rows "
        "float64 67 -> 0.6 us, max rows 115 -> 0.6), but not sums along it, nor the positions of "
        "extremes, which read every row. Points of older trees do not have the rule.",
        _is_of_a_repeated_row,
    ),
    Reason(
        "Columns that do not stay in the caches: rows are read whole, eight side by side, which "
        "takes 0.5 to 0.6 of the time of strips. In turns, 10000x1000 float32: 1.5 to 2.2 ms, "
        "strips 2.6 to 3.8, NumPy 1.4 to 2.0.",
        _is_down_large_columns,
    ),
    Reason(
        "Terms of a column are added in their order, 32 at a time, also where they are neighbours "
        "in memory, so squares of them are transposed in registers. Written by hand in C it takes "
        "148 to 174 us for 1000x1000 float32, by four ways to turn a square, ours 170; a sum of "
        "all in any order takes 40.",
        _is_down_transposed_columns,
    ),
    Reason(
        "The largest element is found first, then its place, in a second pass over the row, which "
        "ends where it is found. In turns with one that goes on to the end: 39 us for 106 where "
        "the row is in the first cache, 130 for 200 (4 MB), 1,830 for 2,100 (40 MB).",
        lambda cell, _: cell.label in EXTREMES and cell.layout in ("contiguous", "broadcast"),
    ),
    Reason(
        "What rows of several stages, look-ups and pads give lies in C order, and is copied into "
        "the order of the result: of max rows float32 683 of 2,634 us, of scatter_add float64 "
        "1,693 of 5,373, of broadcast float64 1,593 of 2,241; max rows reads its operand in steps "
        "of whole rows, too, which takes 1,818.",
        lambda cell, _: cell.label in COPIED and cell.layout == "transposed" and cell.backward,
    ),
    Reason(
        "The gradient of every second column is two kernels: zeros, and the elements between them. "
        "A result of twice the operand's size is written twice.",
        lambda cell, _: cell.layout == "strided" and cell.backward,
    ),
    Reason(
        "Products of so many numbers are subnormal, 9 % of them in rows of 316, which a processor "
        "multiplies slowly; PyTorch multiplies in float64. Where none is subnormal, the same rows "
        "take 47 us in the place of 420, and PyTorch 140.",
        lambda cell, _: (
            (cell.label, cell.dtype, cell.backward) == ("cumprod rows", "float32", False)
        ),
    ),
    Reason(
        "Bools that are fed are looked through for bytes other than 0 and 1, which NumPy takes for "
        "true, on one thread before the run: 0.7 of 1.85 ms for two operands of 10,000,000. In "
        "turns over the same arrays the kernel of logical_and takes 1.14 ms, NumPy 1.11. Of two "
        "times 1,000,000 it is 41 of 61 us on two threads; as uint8 they take 20.",
        lambda cell, _: (
            (cell.dtype, cell.layout) == ("bool", "contiguous")
            and cell.size >= 1_000_000
            and not cell.backward
        ),
    ),
    Reason(
        "What meets in one place is added in the order of the indices, by one thread. On one "
        "thread it takes 0.6 to 0.9 of the time of PyTorch, which needs 0.25 to 0.38 of it on two.",
        lambda cell, _: cell.label in ADDED_IN_ORDER and not cell.backward,
    ),
    Reason(
        "PyTorch takes the logarithm of x / (1 - x), which next to 1/2 is off by up to 430,000 "
        "units in the last place (ours 1.8).",
        lambda cell, _: (cell.label, cell.peer, cell.backward) == ("logit", "torch", False),
    ),
    Reason(
        "In turns each library finds the caches as the others left them, and what it writes is far "
        "away. Behind four calls of its own, which are not counted, it is not slower.",
        lambda cell, _: 0 < cell.again <= SLOWER,
    ),
    Reason(
        "Slower at 1,000,000 elements alone, not at a tenth nor at ten times as many.",
        _is_alone,
    ),
)


def reasoned(cells: Sequence[Cell]) -> list[tuple[str, list[Cell]]]:
    """The slower cells by reason; last, under no text, those that have none."""
    plain = [cell for cell in cells if cell.layout == "contiguous"]
    others = {(c.label, c.dtype, c.backward, c.size): c for c in plain}
    found: dict[str, list[Cell]] = {text: [] for text in (*(each.text for each in REASONS), "")}
    for cell in cells:
        if cell.ratio > SLOWER:
            found[_text_of(cell, others)].append(cell)
    return [(text, slow) for text, slow in found.items() if slow]


def _text_of(cell: Cell, others: Others) -> str:
    return next((reason.text for reason in REASONS if reason.applies(cell, others)), "")


def listed(cells: Sequence[Cell]) -> str:
    """The reasons in Markdown, each with the points that it explains."""
    lines = []
    for text, slow in reasoned(cells):
        head = text or "No reason is known yet; not examined."
        lines.append(f"- **{len(slow)} points.** {head} {_names(slow)}")
    return "\n".join(lines)


def _names(slow: Iterable[Cell]) -> str:
    """Ops by layout, size and direction; of each the dtypes."""
    groups: dict[str, dict[str, list[str]]] = {}
    for cell in slow:
        place = f"{cell.layout} {cell.size:.0e}{' back' * cell.backward}".replace("e+0", "e")
        dtypes = groups.setdefault(place, {}).setdefault(cell.label, [])
        dtypes.append(f"{cell.dtype} {cell.ratio:.2f}")
    texts = []
    for place, ops in groups.items():
        named = "; ".join(f"{label} {', '.join(dtypes)}" for label, dtypes in ops.items())
        texts.append(f"*{place}*: {named}.")
    return " ".join(texts)

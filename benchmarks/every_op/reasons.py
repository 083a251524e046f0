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
    "atan2": (3.01, 2.17),
}


#: Cells of operands that lie contiguously: by op, dtype, direction and size.
Others = Mapping[tuple[str, str, bool, int], Cell]


class Reason(NamedTuple):
    """A text, and the cells that it is said of, given all others by what they measure."""

    text: str
    applies: Callable[[Cell, Others], bool]


def _is_more_exact(cell: Cell, _: Others) -> bool:
    known = cell.label in ULPS and cell.dtype == "float32" and not cell.backward
    return known and cell.peer == "numpy" and cell.layout == "contiguous"


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
        lambda cell, _: (
            cell.layout == "transposed" and not cell.backward and 0 < cell.in_order <= SLOWER
        ),
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
        "The gradient of every second column is two kernels: zeros, and the elements between them. "
        "A result of twice the operand's size is written twice.",
        lambda cell, _: cell.layout == "strided" and cell.backward,
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

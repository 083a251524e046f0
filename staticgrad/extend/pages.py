"""Parts of a page: tables, text, numbers with units, charts."""

from staticgrad.support.pictures.charts import Line, bars, lines, stack_bars
from staticgrad.support.pictures.ladder import ladder
from staticgrad.support.pictures.markup import (
    STYLE,
    details,
    document,
    figure_boxes,
    fragment,
    nbytes,
    number,
    paragraph,
    ratio,
    seconds,
    table,
    text_block,
    text_table,
)

# fmt: off
__all__ = [
    "bars", "details", "document", "figure_boxes", "fragment", "ladder", "Line", "lines",
    "nbytes", "number", "paragraph", "ratio", "seconds", "stack_bars", "STYLE", "table",
    "text_block", "text_table",
]
# fmt: on

"""Parts of a page: tables, text, numbers with units, charts."""

from staticgrad.support.pictures.charts import Line, bars, lines, stack_bars
from staticgrad.support.pictures.markup import (
    CHART,
    STYLE,
    details,
    document,
    figure_boxes,
    fragment,
    nbytes,
    number,
    on_screens,
    paragraph,
    ratio,
    seconds,
    table,
    text_block,
    text_table,
)
from staticgrad.support.pictures.texts import PrintedText

# fmt: off
__all__ = [
    "bars", "CHART", "details", "document", "figure_boxes", "fragment", "Line", "lines",
    "nbytes", "number", "on_screens", "paragraph", "ratio", "seconds", "stack_bars", "STYLE",
    "table", "PrintedText", "text_block", "text_table",
]
# fmt: on

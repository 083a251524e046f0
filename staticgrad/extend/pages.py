"""Parts of a page: tables, text, numbers with units, charts."""

from staticgrad.support.pictures.charts import Line
from staticgrad.support.pictures.ladder import ladder
from staticgrad.support.pictures.markup import (
    details,
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
    "details", "fragment", "ladder", "Line", "nbytes", "number", "paragraph", "ratio",
    "seconds", "table", "text_block", "text_table",
]
# fmt: on

"""Markdown of a table: its rows with their arguments, and operators without a row by reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import Parameter as Argument

from staticgrad.bridges.tables import OperatorRow

#: Arguments of rows that are not the library's.
_FACTS = ("operator", "primitive", "op", "op_name", "out", "random", "opset", "outputs", "_")


def list_rows(
    table: Mapping[str, OperatorRow], lead: str, prefix: str = "", only_attributes: bool = False
) -> str:
    """Return a Markdown table of rows and their arguments.

    Args:
        table: the rows.
        lead: the headings of its two columns: "operator | arguments".
        prefix: of each name.
        only_attributes: list arguments that are no operands.
    """
    rows = [
        f"| `{prefix}{name}` | {_list_arguments(table[name], only_attributes)} |"
        for name in sorted(table, key=lambda name: name.lstrip("_").lower())
    ]
    return "\n".join([f"| {lead} |", "|---|---|", *rows])


def _list_arguments(row: OperatorRow, only_attributes: bool) -> str:
    return quote_names(
        name
        for name, argument in row.arguments.items()
        if name not in _FACTS and (argument.kind is Argument.KEYWORD_ONLY or not only_attributes)
    )


def list_reasons(refused: Mapping[str, str], what: str) -> str:
    """Return a Markdown table of what has no row, by reason."""
    names: dict[str, list[str]] = {}
    for name, why in refused.items():
        names.setdefault(why, []).append(name)
    rows = [f"| refused, since | {what} |", "|---|---|"]
    rows += [f"| {why} | {quote_names(sorted(group))} |" for why, group in names.items()]
    return "\n".join(rows)


def quote_names(names: Iterable[str]) -> str:
    """Return names as code of Markdown, with commas."""
    return ", ".join(f"`{name}`" for name in names)

"""Problems and plans as JSON: ``staticgrad-memgraph/1`` and ``staticgrad-schedule/1``.

A problem has ``values`` ({id, size, kind, alias_of}), ``ops`` ({id, name, inputs, outputs, cost,
workspace, inplace, mutates, reads_updated, max_runs, line}), ``resident``, ``donated`` and
``outputs``; ``name``, ``provenance`` and ``line`` (where an op comes from) are free text. Any other
field is refused, since it may be a misspelt one, whose default would be another problem. A plan has
``steps``, each ["c", op, {"inplace": pairs, "offsets": {value: byte}}] or ["f", value], and the
height of its ``arena``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from staticgrad.errors.wording import did_you_mean
from staticgrad.planning.problem import (
    MOST_COST,
    Identifier,
    MemoryOp,
    MemoryProblem,
    MemoryValue,
    Pair,
    refuse,
)

PROBLEM_FORMAT: Final = "staticgrad-memgraph/1"
PLAN_FORMAT: Final = "staticgrad-schedule/1"
#: Fields of a problem's document, of a value and of an op.
_WHOLE: Final = ("format", "name", "provenance", "values", "ops", "resident", "donated", "outputs")
_VALUE: Final = ("id", "size", "kind", "alias_of")
_INPUTS: Final = ("inputs", "inplace", "mutates", "reads_updated")
_OP: Final = ("id", "name", "outputs", "cost", "workspace", "max_runs", "line", *_INPUTS)
Document = dict[str, Any]


def read_problem(path: str | Path) -> MemoryProblem:
    """The problem of a file.

    Raises:
        VerifyError: it is no JSON, or no problem; the message names what is wrong in it.
    """
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a path with a null
        refuse(f"{path} cannot be read: {error}")
    try:
        document = json.loads(text, object_pairs_hook=_fields_once)
    except ValueError as error:
        refuse(f"{path} is no JSON: {error}")
    except RecursionError:
        refuse(f"{path} is nested too deeply")
    return problem_of(document)


def _fields_once(pairs: list[tuple[str, Any]]) -> Document:
    """An object of a file; JSON lets a field stand in it twice, and readers take either."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"field {_short(twice)} stands twice in one object")
    return found


def problem_of(document: object) -> MemoryProblem:
    """The problem that a parsed document describes.

    Raises:
        VerifyError: it describes none.
    """
    whole = _Fields(document, "the document")
    form = whole.text("format", "")
    if form != PROBLEM_FORMAT:
        refuse(f"the format is {_short(form)}, not {PROBLEM_FORMAT!r}")
    whole.only(_WHOLE)
    whole.text("provenance", "")
    return MemoryProblem(
        values=tuple(map(_value, whole.rows("values"))),
        ops=tuple(map(_op, whole.rows("ops"))),
        resident=frozenset(whole.names("resident")),
        donated=frozenset(whole.names("donated")),
        outputs=whole.names("outputs"),
        name=whole.text("name", "problem"),
    )


def _value(row: _Fields) -> MemoryValue:
    row.only(_VALUE)
    alias = row.given.get("alias_of")
    return MemoryValue(
        id=row.name("id"),
        size=row.bytes("size", 0 if alias is not None else None),
        kind=row.text("kind", "act"),
        alias_of=None if alias is None else row.name("alias_of"),
    )


def _op(row: _Fields) -> MemoryOp:
    row.only(_OP)
    name = row.name("id")
    return MemoryOp(
        id=name,
        name=row.text("name", str(name)),
        inputs=row.names("inputs"),
        outputs=row.names("outputs"),
        cost=row.number("cost"),
        workspace=row.bytes("workspace", 0),
        inplace=row.pairs("inplace"),
        mutates=row.names("mutates"),
        reads_updated=row.names("reads_updated"),
        max_runs=row.bytes("max_runs", 0) if "max_runs" in row.given else None,
        line=row.text("line", ""),
    )


class _Fields:
    """An object of a document, read field by field; ``where`` names it in messages."""

    def __init__(self, given: object, where: str) -> None:
        if not isinstance(given, Mapping):
            refuse(f"{where} is no object, but {_short(given)}")
        self.given = given
        self.where = where

    def only(self, known: Sequence[str]) -> None:
        """Refuse fields that are none of these."""
        for key in self.given:
            if key not in known:
                near = did_you_mean(key, known)
                refuse(
                    f"{self.where} has a field {_short(key)}, which is none of the format",
                    f"{near}the fields are {', '.join(known)}",
                )

    def _read(self, key: str, kind: str, holds: Callable[[Any], bool], default: object) -> Any:
        found = self.given.get(key, default)
        if found is None and key not in self.given:
            refuse(f"{self.where} lacks {key!r}")
        if not holds(found):
            refuse(f"{key!r} of {self.where} is {_short(found)}, not {kind}")
        return found

    def text(self, key: str, default: str) -> str:
        return str(self._read(key, "text", _is_text, default))

    def name(self, key: str) -> Identifier:
        found: Identifier = self._read(key, "a name (text or integer)", _is_name, None)
        return found

    def names(self, key: str) -> tuple[Identifier, ...]:
        found = self._read(key, "a list of names", _are_names, ())
        return tuple(found)

    def bytes(self, key: str, default: int | None) -> int:
        return int(self._read(key, "an integer from 0 on", _is_count, default))

    def number(self, key: str) -> float:
        return float(self._read(key, "a number from 0 on", _is_number, 0.0))

    def pairs(self, key: str) -> tuple[Pair, ...]:
        found = self._read(key, "a list of pairs of names", _are_pairs, ())
        return tuple((taken, given) for taken, given in found)

    def rows(self, key: str) -> list[_Fields]:
        found = self._read(key, "a list", lambda each: isinstance(each, list), None)
        return [_Fields(row, f"{key}[{i}]") for i, row in enumerate(found)]


def _short(found: object) -> str:
    text = repr(found)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_text(found: object) -> bool:
    """Text that can be written: halves of surrogate pairs, which JSON can escape, cannot."""
    if not isinstance(found, str):
        return False
    try:
        found.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_name(found: object) -> bool:
    return _is_text(found) or (isinstance(found, int) and not isinstance(found, bool))


def _are_names(found: object) -> bool:
    return isinstance(found, list | tuple) and all(map(_is_name, found))


def _are_pairs(found: object) -> bool:
    return isinstance(found, list | tuple) and all(
        _are_names(pair) and len(pair) == 2 for pair in found
    )


def _is_count(found: object) -> bool:
    return isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 1 << 62


def _is_number(found: object) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found < MOST_COST


def problem_document(problem: MemoryProblem) -> Document:
    """The document of a problem; ``problem_of`` reads it back."""
    return {
        "format": PROBLEM_FORMAT,
        "name": problem.name,
        "values": [
            {"id": v.id, "size": v.size, "kind": v.kind}
            | ({} if v.alias_of is None else {"alias_of": v.alias_of})
            for v in problem.values
        ],
        "ops": [_op_document(op) for op in problem.ops],
        "resident": sorted(problem.resident, key=str),
        "donated": sorted(problem.donated, key=str),
        "outputs": list(problem.outputs),
    }


def _op_document(op: MemoryOp) -> Document:
    written: Document = {
        "id": op.id,
        "name": op.name,
        "inputs": list(op.inputs),
        "outputs": list(op.outputs),
        "cost": op.cost,
    }
    others: Document = {
        "workspace": op.workspace,
        "inplace": [list(pair) for pair in op.inplace],
        "mutates": list(op.mutates),
        "reads_updated": list(op.reads_updated),
        "line": op.line,
    }
    written |= {key: found for key, found in others.items() if found}
    return written if op.max_runs is None else written | {"max_runs": op.max_runs}

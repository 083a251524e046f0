"""The problem of recomputation without a program, its documents, and functions over integers.

A plan is a sequence of ops, in which an op may occur several times. A value lives from a run that
makes it to its last use before the next such run, so the sequence alone determines which values are
stored and which are recomputed. ``Net`` is the same problem in numbers, for searches.

**Documents** are JSON: ``staticgrad-memgraph/1`` and ``staticgrad-schedule/1``. A problem has
``values`` ({id, size, kind, alias_of}), ``ops`` ({id, name, inputs, outputs, cost, workspace,
inplace, mutates, reads_updated, max_runs, line}), ``resident``, ``donated`` and ``outputs``;
``name``, ``provenance`` and ``line`` (where an op comes from) are free text. Any other field is
refused, since it may be misspelt, and its default would be another problem. A plan has ``steps``,
each ["c", op, {"inplace": pairs, "offsets": {value: byte}}] or ["f", value], and the height of its
``arena``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import fsum
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from staticgrad.errors import StaticgradError, VerifyError
from staticgrad.errors.wording import did_you_mean
from staticgrad.support import config
from staticgrad.support.caches import cached_property
from staticgrad.support.deprecations import deprecated_attribute
from staticgrad.support.records import NamedTuple, dataclass

Identifier = int | str
Pair = tuple[Identifier, Identifier]
MOST_COST: Final = 1e300  # of an op, so that sums stay finite


@dataclass(frozen=True)
class MemoryValue:
    """A value of ``size`` bytes. A view (``alias_of``) uses none and keeps its base allocated."""

    id: Identifier
    size: int
    kind: str = "act"
    alias_of: Identifier | None = None


@dataclass(frozen=True)
class MemoryOp:
    """An op that runs: ``cost`` in any unit, ``workspace`` bytes while it runs.

    ``inplace`` has pairs (input, output) that may share bytes if the input dies; ``mutates`` the
    resident values that it writes, ``reads_updated`` those that it reads after they were written.
    If ``max_runs`` is 1, it must not run again; if it is ``None``, it may at any time. ``line`` is
    its source line, as "train.py:8"; pages of plans show it, and nothing depends on it.
    """

    id: Identifier
    name: str
    inputs: tuple[Identifier, ...]
    outputs: tuple[Identifier, ...]
    cost: float = 0.0
    workspace: int = 0
    inplace: tuple[Pair, ...] = ()
    mutates: tuple[Identifier, ...] = ()
    reads_updated: tuple[Identifier, ...] = ()
    max_runs: int | None = None
    line: str = ""


@dataclass(frozen=True)
class MemoryProblem:
    """Ops in an order in which they can run, their values, and the values before and after.

    ``resident`` values never lie in the arena; ``donated`` ones may die after their last reader.
    ``outputs`` are alive at the end.
    """

    values: tuple[MemoryValue, ...]
    ops: tuple[MemoryOp, ...]
    resident: frozenset[Identifier] = frozenset()
    donated: frozenset[Identifier] = frozenset()
    outputs: tuple[Identifier, ...] = ()
    name: str = "problem"

    def __post_init__(self) -> None:
        _check_values(self)
        for label, names in (("resident", self.resident), ("outputs", self.outputs)):
            for name in names:
                self._check_is_value(name, f"{label} names")
        _check_ops(self)
        producers = self.producers
        for name in self.donated - self.resident:
            refuse(f"donated value {name!r} is not resident")
        for name in self.outputs:
            if name not in producers and name not in self.resident:
                refuse(f"output {name!r} is made by no op and not resident")

    def _check_is_value(self, name: Identifier, where: str) -> None:
        if name not in self.by_id:
            refuse(f"{where} {name!r}, which is not a value")

    @cached_property
    def by_id(self) -> dict[Identifier, MemoryValue]:
        """Values by their names."""
        return {value.id: value for value in self.values}

    @cached_property
    def op_by_id(self) -> dict[Identifier, MemoryOp]:
        """Ops by their names."""
        return {op.id: op for op in self.ops}

    @cached_property
    def producers(self) -> dict[Identifier, MemoryOp]:
        """The op that makes a value."""
        return {name: op for op in self.ops for name in op.outputs}

    @cached_property
    def bases(self) -> dict[Identifier, Identifier]:
        """Map from each value to the one whose memory it has: itself, or a view's base."""
        base_of: dict[Identifier, Identifier] = {}
        for value in self.values:
            views, base = [], value
            while base.id not in base_of and base.alias_of is not None:
                views.append(base.id)
                base = self.by_id[base.alias_of]
                if len(views) > len(self.values):
                    refuse(f"value {value.id!r} is a view of itself")
            base_of.update(dict.fromkeys((*views, base.id), base_of.get(base.id, base.id)))
        return base_of

    @property
    def cost(self) -> float:
        """The cost of running every op once."""
        return fsum(op.cost for op in self.ops)

    owned = deprecated_attribute("0.2", "bytes_owned")

    def bytes_owned(self, name: Identifier) -> int:
        """Bytes of the arena that a value owns."""
        value = self.by_id[name]
        return 0 if value.alias_of is not None or name in self.resident else value.size


def refuse(text: str, hint: str = "") -> NoReturn:
    """Raise the error of a problem that contradicts itself."""
    raise VerifyError(f"memory problem: {text}", hint=hint)


def _check_values(problem: MemoryProblem) -> None:
    """Check the values of an abstract memory problem: distinct names, sizes, views."""
    seen: dict[str, Identifier] = {}  # by what documents of plans write
    for value in problem.values:
        if (same := seen.get(str(value.id))) is not None:
            also = f", as text {same!r}" if same != value.id else ""
            refuse(f"value {value.id!r} occurs twice{also}")
        seen[str(value.id)] = value.id
        if value.size < 0:
            refuse(f"value {value.id!r} has {value.size} bytes")
    if "workspace" in seen:
        refuse("a value is named 'workspace', as plans name the workspace of an op")
    for value in problem.values:
        if value.alias_of is not None:
            problem._check_is_value(value.alias_of, f"value {value.id!r} is a view of")
    assert len(problem.bases) == len(seen)


def _check_ops(problem: MemoryProblem) -> None:
    """Check that the ops of a memory problem can run in the given order."""
    present = set(problem.resident)
    seen: set[Identifier] = set()
    updated: set[Identifier] = set()
    for op in problem.ops:
        if op.id in seen:
            refuse(f"op {op.id!r} occurs twice")
        seen.add(op.id)
        if not (0 <= op.cost < MOST_COST and op.workspace >= 0):
            refuse(f"op {op.id!r} has cost {op.cost} and workspace {op.workspace}")
        if op.max_runs is not None and op.max_runs < 1:
            refuse(f"op {op.id!r} may run {op.max_runs} times")
        _check_inputs(problem, op, present, updated)
        for name in op.outputs:
            problem._check_is_value(name, f"op {op.id!r} makes")
            if name in present:
                refuse(f"op {op.id!r} makes {name!r}, which is there already")
            present.add(name)
        _check_options(problem, op)
        updated.update(op.mutates)
        if missing := [n for n in op.outputs if problem.bases[n] not in present]:
            refuse(f"op {op.id!r} makes {missing[0]!r}, a view of what is not there")


def _check_inputs(
    problem: MemoryProblem, op: MemoryOp, present: set[Identifier], updated: set[Identifier]
) -> None:
    """Check that an op's inputs are present and not updated before it reads them."""
    for name in op.inputs:
        problem._check_is_value(name, f"op {op.id!r} reads")
        if name not in present:
            refuse(f"op {op.id!r} reads {name!r} before an op of the list makes it")
        if problem.bases[name] in updated and name not in op.reads_updated:
            refuse(f"op {op.id!r} reads {name!r} after it was updated")


def _check_options(problem: MemoryProblem, op: MemoryOp) -> None:
    """Check an op's in-place pairs and updates in a memory problem."""
    for overwritten, output in op.inplace:
        if overwritten not in op.inputs or output not in op.outputs:
            refuse(
                f"op {op.id!r} writes {output!r} over {overwritten!r}: no input and output of it"
            )
    for name in op.mutates:
        if name not in problem.resident:
            refuse(f"op {op.id!r} updates {name!r}, which is not resident")


@dataclass(frozen=True)
class Net:
    """A problem in numbers. Its steps are the ops but for *free views*.

    A free view is an op that makes nothing but views of one base, without cost or workspace: it
    runs wherever a reader needs it, and reading such a view is reading the base. Where a base has
    other views, its op runs once, because a second run would leave them without bytes.
    """

    problem: MemoryProblem
    ops: tuple[MemoryOp, ...]
    free: dict[Identifier, MemoryOp]
    names: tuple[Identifier, ...]
    sizes: tuple[int, ...]
    producer: tuple[int, ...]
    is_output: tuple[bool, ...]
    reads: tuple[tuple[int, ...], ...]
    makes: tuple[tuple[int, ...], ...]
    overwrites: tuple[tuple[tuple[int, int], ...], ...]
    costs: tuple[float, ...]
    workspace: tuple[int, ...]
    limits: tuple[int, ...]
    overwriters: tuple[tuple[int, ...], ...]
    ends: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, problem: MemoryProblem, align: int = 1) -> Net:
        """Return a memory problem as numbers, with sizes rounded up to ``align``.

        ``overwriters[i]`` are steps that must not have run before step i, because they overwrite
        what it reads; ``ends[i]`` are values that are gone after step i, none unless a caller says
        so.
        """
        free = {n: op for op in problem.ops if _is_free(problem, op) for n in op.outputs}
        free_ids = {op.id for op in free.values()}
        ops = tuple(op for op in problem.ops if op.id not in free_ids)
        number = {name: i for i, name in enumerate(n for op in ops for n in op.outputs)}
        needed = _values_needed(problem, free)

        def read(names: Iterable[Identifier]) -> tuple[int, ...]:
            # what a free view shows is read, and where another view is read, its base as well
            shown = [n for name in names for n in needed[name]]
            return tuple(dict.fromkeys(number[n] for n in shown if n in number))

        makes = tuple(tuple(number[n] for n in op.outputs) for op in ops)
        reads = tuple(
            tuple(v for v in read((*op.inputs, *_bases_of(problem, op))) if v not in made_values)
            for op, made_values in zip(ops, makes, strict=True)
        )
        output_values = {*read(problem.outputs)}
        sizes = tuple(-(-problem.bytes_owned(name) // align) * align for name in number)
        viewed = {problem.bases[v.id] for v in problem.values if v.alias_of is not None}
        return cls(
            problem=problem,
            ops=ops,
            free=free,
            names=tuple(number),
            sizes=sizes,
            producer=tuple(step for step, made_values in enumerate(makes) for _ in made_values),
            is_output=tuple(v in output_values for v in range(len(number))),
            reads=reads,
            makes=makes,
            overwrites=tuple(_in_place_pairs(problem, op, number, sizes, viewed) for op in ops),
            costs=tuple(float(op.cost) for op in ops),
            workspace=tuple(-(-op.workspace // align) * align for op in ops),
            limits=_run_limits(problem, ops, free),
            overwriters=_updates_before(ops, needed),
            ends=((),) * len(ops),
        )

    @cached_property
    def numbers(self) -> dict[Identifier, int]:
        """Numbers of the values that steps make, by their names."""
        return {name: value for value, name in enumerate(self.names)}

    @cached_property
    def enders(self) -> dict[int, frozenset[int]]:
        """The steps that end a value, by value."""
        values = {value for ended in self.ends for value in ended}
        return {v: frozenset(i for i, gone in enumerate(self.ends) if v in gone) for v in values}

    @cached_property
    def total(self) -> float:
        """The cost of running every step once."""
        return fsum(self.costs)

    def cost(self, sequence: Sequence[int]) -> float:
        """Return the cost of a sequence."""
        return fsum(self.costs[step] for step in sequence)


def _is_free(problem: MemoryProblem, op: MemoryOp) -> bool:
    if not op.outputs or op.cost or op.workspace or op.mutates or op.max_runs is not None:
        return False
    bases = {problem.bases[name] for name in (*op.inputs, *op.outputs)}
    return len(bases) == 1 and not bases & {*op.outputs}


def _bases_of(problem: MemoryProblem, op: MemoryOp) -> list[Identifier]:
    """Bases of the views that an op makes: it needs them as it needs inputs."""
    return [base for name in op.outputs if (base := problem.bases[name]) != name]


def _values_needed(
    problem: MemoryProblem, free: dict[Identifier, MemoryOp]
) -> dict[Identifier, tuple[Identifier, ...]]:
    """Return the stored values that a reader of each value needs: it and a view's base.

    A free view needs its base and the needs of the inputs that it is made from.
    """
    bases = problem.bases
    needs = {
        value.id: tuple(dict.fromkeys((value.id, bases[value.id]))) for value in problem.values
    }
    for op in problem.ops:
        for name in op.outputs:
            if name in free:
                others = [needed_value for n in op.inputs for needed_value in needs[n]]
                needs[name] = tuple(dict.fromkeys((bases[name], *others)))
    return needs


def _in_place_pairs(
    problem: MemoryProblem,
    op: MemoryOp,
    number: dict[Identifier, int],
    sizes: Sequence[int],
    viewed: Collection[Identifier],
) -> tuple[tuple[int, int], ...]:
    """Return an op's in-place pairs of equal sizes, without views of the input."""
    return tuple(
        (number[overwritten], number[output])
        for overwritten, output in op.inplace
        if overwritten in number
        and output in number
        and overwritten not in viewed
        and sizes[number[overwritten]] == sizes[number[output]]
        and problem.bytes_owned(overwritten) >= problem.bytes_owned(output) > 0
    )


def _run_limits(
    problem: MemoryProblem, ops: Sequence[MemoryOp], free: dict[Identifier, MemoryOp]
) -> tuple[int, ...]:
    """Return how often each op may be recomputed: once if it updates or has stored views."""
    views = [v.id for v in problem.values if v.alias_of is not None and v.id not in free]
    viewed = {problem.bases[name] for name in views}
    without = float("inf")
    limits = []
    for op in ops:
        once = bool(op.mutates) or any(name in viewed for name in op.outputs)
        limits.append(1 if once else int(min(op.max_runs or without, 1 << 60)))
    return tuple(limits)


def _updates_before(
    ops: Sequence[MemoryOp], needed: Mapping[Identifier, Sequence[Identifier]]
) -> tuple[tuple[int, ...], ...]:
    """Return by op the updates that must run before it, because it reads an updated value."""
    writers: dict[Identifier, list[int]] = {}
    for step, op in enumerate(ops):
        for name in op.mutates:
            writers.setdefault(name, []).append(step)
    return tuple(
        tuple(
            sorted(
                {
                    writer
                    for name in op.inputs
                    if name not in op.reads_updated
                    for shown in needed[name]
                    for writer in writers.get(shown, ())
                    if writer != step
                }
            )
        )
        for step, op in enumerate(ops)
    )


PROBLEM_FORMAT: Final = "staticgrad-memgraph/1"
PLAN_FORMAT: Final = "staticgrad-schedule/1"
Document = dict[str, Any]


def read_problem(path: str | Path) -> MemoryProblem:
    """Read a memory problem from a JSON file."""
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a path with a null
        refuse(f"{path} cannot be read: {error}")
    try:
        document = json.loads(text, object_pairs_hook=_fields_once)
    except ValueError as error:
        refuse(f"{path} is not JSON: {error}")
    except RecursionError:
        refuse(f"{path} is nested too deeply")
    return problem_of(document)


def _fields_once(pairs: list[tuple[str, Any]]) -> Document:
    """Return a JSON object's fields; raise an error if one occurs twice."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in fields if names.count(name) > 1)
        raise ValueError(f"field {_short(twice)} occurs twice in one object")
    return fields


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_text(value: object) -> bool:
    """Return True if a text can be written: JSON can escape lone surrogates, which cannot."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_name(value: object) -> bool:
    return _is_text(value) or (isinstance(value, int) and not isinstance(value, bool))


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_name, value))


def _are_pairs(value: object) -> bool:
    return isinstance(value, list | tuple) and all(
        _are_names(pair) and len(pair) == 2 for pair in value
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MOST_COST


class _Field(NamedTuple):
    """A field of an object: what it holds, in words and as a test, and its value where it is
    missing (``...`` if it must be there). ``always``: it is written where it has that, too."""

    words: str
    holds: Callable[[Any], bool]
    default: Any = ...
    always: bool = False


_NAME: Final = _Field("a name (text or integer)", _is_name)
_NAMES: Final = _Field("a list of names", _are_names, ())
_COUNT: Final = _Field("an integer from 0 on", _is_count)
_TEXT: Final = _Field("text", _is_text, "")
_ROWS: Final = _Field("a list", lambda value: isinstance(value, list))
_VALUE: Final = {
    "id": _NAME,
    "size": _COUNT,
    "kind": _TEXT._replace(default="act", always=True),
    "alias_of": _NAME._replace(default=None, holds=lambda value: value is None or _is_name(value)),
}
_OP: Final = {
    "id": _NAME,
    "name": _TEXT._replace(default=None, always=True),
    "inputs": _NAMES._replace(always=True),
    "outputs": _NAMES._replace(always=True),
    "cost": _Field("a number from 0 on", _is_number, 0.0, True),
    "workspace": _COUNT._replace(default=0),
    "inplace": _Field("a list of pairs of names", _are_pairs, ()),
    "mutates": _NAMES,
    "reads_updated": _NAMES,
    "line": _TEXT,
    "max_runs": _COUNT._replace(default=None),
}
_WHOLE: Final = {
    "format": _TEXT,
    "name": _TEXT._replace(default="problem"),
    "provenance": _TEXT,
    "values": _ROWS,
    "ops": _ROWS,
    "resident": _NAMES,
    "donated": _NAMES,
    "outputs": _NAMES,
}


def _read_fields(row: object, where: str, fields: Mapping[str, _Field]) -> Document:
    """Read a JSON object's fields with their types; ``where`` names it in messages."""
    if not isinstance(row, Mapping):
        refuse(f"{where} is not an object, but {_short(row)}")
    for key in row:
        if key not in fields:
            refuse(
                f"{where} has a field {_short(key)}, which is not part of the format",
                f"{did_you_mean(key, [*fields])}the fields are {', '.join(fields)}",
            )
    values: Document = {}
    for key, field in fields.items():
        if key not in row and field.default is ...:
            refuse(f"{where} lacks {key!r}")
        if key in row and not field.holds(row[key]):
            refuse(f"{key!r} of {where} is {_short(row[key])}, not {field.words}")
        read = row.get(key, field.default)
        values[key] = tuple(read) if isinstance(read, list) else read
    return values


def problem_of(document: object) -> MemoryProblem:
    """Return the memory problem that a parsed JSON document describes."""
    if isinstance(document, Mapping) and (form := document.get("format", "")) != PROBLEM_FORMAT:
        refuse(f"the format is {_short(form)}, not {PROBLEM_FORMAT!r}")
    fields = _read_fields(document, "the document", _WHOLE)
    return MemoryProblem(
        values=tuple(_value(row, f"values[{i}]") for i, row in enumerate(fields["values"])),
        ops=tuple(_op(row, f"ops[{i}]") for i, row in enumerate(fields["ops"])),
        resident=frozenset(fields["resident"]),
        donated=frozenset(fields["donated"]),
        outputs=fields["outputs"],
        name=fields["name"],
    )


def _value(row: object, where: str) -> MemoryValue:
    is_view = isinstance(row, Mapping) and row.get("alias_of") is not None
    fields = _VALUE | {"size": _COUNT._replace(default=0)} if is_view else _VALUE
    return MemoryValue(**_read_fields(row, where, fields))


def _op(row: object, where: str) -> MemoryOp:
    fields = _read_fields(row, where, _OP)
    if fields["name"] is None:
        fields["name"] = str(fields["id"])
    fields["cost"] = float(fields["cost"])
    fields["inplace"] = tuple(tuple(pair) for pair in fields["inplace"])
    return MemoryOp(**fields)


def problem_document(problem: MemoryProblem) -> Document:
    """Return a memory problem as a JSON document; ``problem_of`` reads it back."""
    return {
        "format": PROBLEM_FORMAT,
        "name": problem.name,
        "values": [_document_of(value, _VALUE) for value in problem.values],
        "ops": [_document_of(op, _OP) for op in problem.ops],
        "resident": sorted(problem.resident, key=str),
        "donated": sorted(problem.donated, key=str),
        "outputs": list(problem.outputs),
    }


def _document_of(record: MemoryValue | MemoryOp, fields: Mapping[str, _Field]) -> Document:
    attributes = {key: getattr(record, key) for key in fields}
    return {
        key: _as_list(value)
        for key, value in attributes.items()
        if fields[key].always or value != fields[key].default
    }


def _as_list(value: Any) -> Any:
    return [*map(_as_list, value)] if isinstance(value, tuple) else value


_Record = TypeVar("_Record")


def machine_code(function: Callable[[_Record], int]) -> Callable[[_Record], int] | None:
    """Compile a search function to machine code; None without a compiler or with jit off."""
    if not config.current().jit:
        return None
    from staticgrad.native import words

    try:
        code = words.compile_function(function)
    except (StaticgradError, OSError):
        return None
    return code

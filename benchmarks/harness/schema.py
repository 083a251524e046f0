"""The report as data: frozen dataclasses, written as JSON and read back with every field checked.

A reader refuses another version, an unknown or missing field, and a value of the wrong type, and
says where. Times are seconds, sizes bytes; ``None`` means that there is no such figure.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

VERSION: Final = 1
Status = Literal["ok", "wrong", "crashed", "timeout", "unsupported", "not yet", "not installed"]


class SchemaError(ValueError):
    """A file that is not a report of this version."""


@dataclass(frozen=True)
class Steady:
    """Seconds per call: median, quartiles, 90th percentile and mean over samples of one process."""

    median: float
    low: float
    high: float
    samples: int
    late: float | None = None  # what nine of ten samples stay below
    mean: float | None = None  # None in older files


@dataclass(frozen=True)
class Phases:
    """Seconds until the first result. ``imports`` leaves NumPy out, which is there before."""

    imports: float
    build: float
    compile: float
    first: float

    @property
    def total(self) -> float:
        """From the import to the first result."""
        return self.imports + self.build + self.compile + self.first


@dataclass(frozen=True)
class Memory:
    """Resident bytes of the process: after the import and its data, and at the highest.

    ``planned`` is what the library itself predicts for its working memory.
    """

    before: int
    peak: int
    planned: int | None


@dataclass(frozen=True)
class Round:
    """One process: its phases, and time per call with results dropped and kept.

    ``cold`` if it began with empty caches of compiled code, else with those of earlier processes
    (of any number of threads). ``busy`` is processor time over time while measuring: about 1 with
    one thread on a quiet machine, less if other programs held the core, more if the library ran
    several threads all the same. ``together`` is what so
    many threads do at once of what they do one by one, measured behind it: less than 1 where they
    have not a processor each.
    """

    phases: Phases
    dropped: Steady
    kept: Steady
    busy: float
    cold: bool
    together: float = 1.0


@dataclass(frozen=True)
class Row:
    """One implementation of one workload at one number of threads.

    ``overhead`` is the time of a call of the same program at tiny sizes. ``error`` is relative to
    the float64 truth. Without status "ok" there are no times, and ``detail`` says why.
    """

    workload: str
    implementation: str
    threads: int
    status: Status
    detail: str = ""
    peer: bool = True
    dtype: str = "float32"
    settings: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    error: float | None = None
    tolerance: float | None = None
    rounds: tuple[Round, ...] = ()
    overhead: float | None = None
    memory: Memory | None = None
    flops: float | None = None
    nbytes: float | None = None


@dataclass(frozen=True)
class Limits:
    """Rates that this machine reached in the same run: a matrix product and a copy, by threads.

    ``gemm32`` and ``gemm64`` in operations per second, ``copy`` in bytes per second, read and
    written both counted.
    """

    threads: int
    gemm32: float
    gemm64: float
    copy: float


@dataclass(frozen=True)
class Machine:
    """The machine in words, without its name."""

    processor: str
    cores: int
    memory: int
    system: str
    python: str
    numpy: str
    blas: str


@dataclass(frozen=True)
class Report:
    """A whole run."""

    machine: Machine
    limits: tuple[Limits, ...]
    rows: tuple[Row, ...]
    rounds: int
    seconds: float
    seed: int
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    version: int = VERSION


def dump(report: Report) -> str:
    """The report as JSON text."""
    return json.dumps(asdict(report), indent=1, allow_nan=False) + "\n"


def load(text: str) -> Report:
    """The report in a JSON text.

    Raises:
        SchemaError: not a report, or not of this version.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise SchemaError(f"no JSON: {error}") from error
    if not isinstance(document, dict) or document.get("version") != VERSION:
        version = document.get("version") if isinstance(document, dict) else None
        raise SchemaError(f"a report of version {VERSION} is wanted, this is {version!r}")
    return decode(Report, document, "report")  # type: ignore[no-any-return]


def read(file: Path) -> Report:
    """The report in a file; see ``load``."""
    try:
        return load(file.read_text(encoding="utf-8"))
    except SchemaError as error:
        raise SchemaError(f"{file}: {error}") from error


def decode(kind: Any, value: Any, where: str) -> Any:
    """``value``, as JSON gave it, as an object of ``kind``.

    Raises:
        SchemaError: it does not fit; ``where`` is the path to it.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _decode_dataclass(kind, value, where)
    if origin is Literal:
        if value in arguments:
            return value
        raise SchemaError(f"{where}: {value!r} is none of {', '.join(map(str, arguments))}")
    if origin in (Union, types.UnionType):
        return None if value is None else decode(arguments[0], value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(decode(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {str(k): decode(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    raise SchemaError(f"{where}: {value!r} is not {kind}")


def _decode_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise SchemaError(f"{where}: {value!r} is not a {kind.__name__}")
    hints = get_type_hints(kind)
    for entry in fields(kind):
        if entry.name not in value and entry.default is MISSING:
            raise SchemaError(f"{where}: missing field {entry.name!r}")
    for name in value:
        if name not in hints:
            raise SchemaError(f"{where}: unknown field {name!r}")
    return kind(**{n: decode(hints[n], v, f"{where}.{n}") for n, v in value.items()})

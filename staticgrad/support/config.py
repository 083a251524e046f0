"""Settings: one frozen Config, and where each of its values came from.

A setting is taken from the first of: the argument of a call, ``with sg.options(...)``, the
environment (``STATICGRAD_DEBUG=nan``), ``[tool.staticgrad]`` of the ``pyproject.toml`` in the
working directory, the default. Where files are read, written and removed is not for that file to
say: whoever wrote it may be a stranger, and kernels on disk run. This module holds settings that
concern the whole process; what belongs to one compilation (budget, policy) is an argument of
``sg.compile``. It holds the logger.

    >>> current(debug="nan").debug
    'nan'
"""

from __future__ import annotations

import logging
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields
from numbers import Integral, Real
from operator import index
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from staticgrad.errors import ConfigError, SettingWarning, UnknownSettingError, warn
from staticgrad.errors.wording import did_you_mean
from staticgrad.support.contexts import Nested
from staticgrad.support.limits import CompilerLimits, read_limits
from staticgrad.support.records import dataclass

logger: Final = logging.getLogger("staticgrad")
logger.addHandler(logging.NullHandler())
_channels: Final[dict[str, logging.Logger]] = {}

_PREFIX: Final = "STATICGRAD_"
_WORDS: Final = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(
    ("0", "false", "no", "off"), False
)


class _UnfitError(Exception):
    """A raw value that a reader refuses; carries what it expects, and a hint."""

    def __init__(self, expected: str, hint: str = "") -> None:
        super().__init__(expected)
        self.hint = hint


def _flag(raw: object) -> bool:
    value = _WORDS.get(raw.strip().lower()) if isinstance(raw, str) else raw
    if not isinstance(value, bool):
        raise _UnfitError("true or false (1 or 0)")
    return value


def _debug(raw: object) -> bool | str:
    if isinstance(raw, str) and raw.strip().lower() == "nan":
        return "nan"
    try:
        return _flag(raw)
    except _UnfitError:
        raise _UnfitError("true or false (1 or 0) or nan") from None


def _folder(raw: object) -> Path | None:
    """Read a setting that is a folder's path; None if empty."""
    if raw is None or raw == "":
        return None
    if not isinstance(raw, str | os.PathLike):
        raise _UnfitError("the path of a folder")
    try:
        path = Path(raw).expanduser()
    except RuntimeError:  # ``~name`` of no user
        raise _UnfitError("the path of a folder below a home that exists") from None
    if "\0" in str(path):
        raise _UnfitError("the path of a folder")
    # What cannot be looked at is for its readers to report: ``Path.exists`` would raise here.
    if os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112
        raise _UnfitError("the path of a folder, not of a file")
    return path


def _bytes(raw: object) -> int:
    nbytes = read_bytes(raw)
    if nbytes is None:
        raise _UnfitError(f"a number of bytes: {SPELLING}")
    return nbytes


#: Where other packages announce backends, by name.
BACKEND_ENTRY_POINTS: Final = "staticgrad.backends"
_backends: Final = ["auto", "vector", "numba"]


def add_backend(name: str) -> None:
    """Let the setting ``backend`` have that value; ``compiler/backends.py`` registers it."""
    if name not in _backends:
        _backends.append(name)


def backend_names() -> tuple[str, ...]:
    """Values of the setting ``backend``: built in, registered, announced by other packages."""
    from importlib.metadata import entry_points  # takes long, and is needed for a wrong name only

    announced = (entry.name for entry in entry_points(group=BACKEND_ENTRY_POINTS))
    return tuple(dict.fromkeys([*_backends, *announced]))


def _backend(raw: object) -> str:
    """Read the setting ``backend``: the name of a registered backend."""
    if isinstance(raw, str) and (raw in _backends or raw in backend_names()):
        return raw
    names = backend_names()
    hint = did_you_mean(raw, names) if isinstance(raw, str) else ""
    if callable(raw) or hasattr(raw, "compile"):
        hint = "register it: backends.register(backends.Backend(name, compile)), then its name"
    raise _UnfitError(f"one of {', '.join(names)}", hint)


MOST_THREADS: Final = 256


def _threads(raw: object) -> int | str:
    """Read the setting ``threads``: a positive number, or auto."""
    if isinstance(raw, str) and raw.strip().lower() == "auto":
        return "auto"
    try:
        count = int(raw) if isinstance(raw, str) else index(raw)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        count = 0
    if isinstance(raw, bool) or not 1 <= count <= MOST_THREADS:
        raise _UnfitError(f"a number of threads, 1 to {MOST_THREADS}, or auto")
    return count


TARGETS: Final = ("host", "x86-64-v3")


def _target(raw: object) -> str:
    if raw not in TARGETS:
        raise _UnfitError(f"one of {', '.join(TARGETS)}")
    return str(raw)


TIERS: Final = ("auto", "full")


def _tier(raw: object) -> str:
    if raw not in TIERS:
        raise _UnfitError(f"one of {', '.join(TIERS)}")
    return str(raw)


LINALG: Final = ("fast", "portable")


def _linalg(raw: object) -> str:
    if raw not in LINALG:
        raise _UnfitError(f"one of {', '.join(LINALG)}")
    return str(raw)


def _traceback(raw: object) -> str:
    if raw not in ("user", "full"):
        raise _UnfitError("one of user, full")
    return str(raw)


def _limits(raw: object) -> CompilerLimits:
    try:
        return read_limits(raw)
    except (TypeError, ValueError, OverflowError) as error:
        names = ", ".join(field.name for field in fields(CompilerLimits))
        hint = f"{error}; the limits are {names}"
        raise _UnfitError('positive numbers by name, "long_row=64,chunk_rows=8"', hint) from None


_TOPICS: Final = ("passes", "recompiles", "memory", "cache")


def _topics(raw: object) -> tuple[str, ...]:
    if isinstance(raw, str):
        raw = [word.strip() for word in raw.split(",") if word.strip()]
    if not isinstance(raw, list | tuple) or any(topic not in _TOPICS for topic in raw):
        raise _UnfitError(f"a comma-separated choice of {', '.join(_TOPICS)}")
    return tuple(sorted(set(raw)))


@dataclass(frozen=True)
class Config:
    """All settings of the process, each with a variable ``STATICGRAD_<NAME>``.

    Attributes:
        jit: compile kernels; off: their source runs as plain Python.
        backend: who compiles kernels: vector (LLVM IR of our own), numba (Numba, plain loops), auto
            (vector), or one that is registered (``staticgrad.backends``). The results are equal.
            ``sg.compile(..., backend=)`` says it for one program.
        cache_dir: folder of compiled kernels; None: the cache folder of the user. It must be the
            user's own, writable by nobody else; see staticgrad docs security.
        cache_size: bytes of compiled kernels on disk beyond which those go that were not used for
            the longest time.
        dump: folder that takes the text after each pass; None: nothing is dumped.
        debug: how programs run that are compiled without ``debug=``: True watches what each kernel
            reads and writes, "nan" stops at the first NaN or infinity; see ``sg.compile``.
        check: compare what the graph computes before and after each pass.
        verify: prove the memory accesses of programs that are compiled without ``verify=`` a second
            time; see ``sg.compile``.
        threads: how many threads a program may use, the calling one included; "auto": as many as
            the process may use processors, by its affinity and its container's quota. Results are
            equal. ``sg.compile(..., threads=)`` says it for one program.
        target: the processor that kernels are compiled for: "host", this one with all it has, or
            "x86-64-v3", any with AVX2, on which results are equal. Kernels and times are those of
            that processor then.
        tier: "auto": the first runs of a program use code that LLVM compiles quickly, which takes
            several times as long; a thread in the background compiles the full code, and runs use
            it as soon as it is there. "full": compile full code at once, for measurements;
            ``f.wait()`` does so for one program. Results are equal.
        tune: measure a few schedules of each kernel when a program is compiled, and keep the
            fastest (``staticgrad.compiler.compiling.tuning``). Results are equal. ``sg.compile(...,
            tune=)`` says it for one program.
        linalg: what factors matrices: "fast", loops of our own up to the size where LAPACK is
            faster, and LAPACK beyond; "portable", our own at every size, whose results are bitwise
            identical on every machine. ``sg.compile(..., linalg=)`` says it for one program.
        limits: sizes from which on special paths of the compiler pay, those that are named:
            "long_row=64,chunk_rows=8" or a dict (``staticgrad/support/limits.py``). They hold for
            what is compiled, and run the first time, inside a block.
        log: topics that are logged to standard error.
        traceback: what errors show of the calls that led to them: "user", the lines of the user's
            files; "full", also those of staticgrad itself.
    """

    jit: bool = True
    backend: str = "auto"
    cache_dir: Path | None = None
    cache_size: int = 512 * 2**20
    dump: Path | None = None
    debug: bool | Literal["nan"] = False
    check: bool = False
    verify: bool = False
    threads: int | Literal["auto"] = "auto"
    target: Literal["host", "x86-64-v3"] = "host"
    tier: Literal["auto", "full"] = "auto"
    tune: bool = False
    linalg: Literal["fast", "portable"] = "fast"
    limits: CompilerLimits = CompilerLimits()
    log: tuple[str, ...] = ()
    traceback: Literal["user", "full"] = "user"


#: Field of Config -> (how a raw value is read, what the setting does)
_SETTINGS: Final[dict[str, tuple[Callable[[object], object], str]]] = {
    "jit": (_flag, "compile kernels; off: run their source as plain Python"),
    "backend": (_backend, "who compiles kernels: auto, numba or vector; the results are equal"),
    "cache_dir": (_folder, "folder of compiled kernels; none: the user's cache folder"),
    "cache_size": (_bytes, "bytes of compiled kernels that are kept on disk"),
    "dump": (_folder, "folder that takes the text after each pass"),
    "debug": (_debug, "on: watch what kernels touch; nan: stop at the first NaN or infinity"),
    "check": (_flag, "compare the graph before and after each pass"),
    "verify": (_flag, "prove the memory accesses of each plan a second time"),
    "threads": (_threads, "threads that a program may use; auto: the processors of this process"),
    "target": (_target, "processor that kernels are compiled for: host, or x86-64-v3 (AVX2)"),
    "tier": (_tier, "code of the first runs: auto, quick code until full code is there; or full"),
    "tune": (_flag, "measure a few schedules of each kernel, and keep the fastest"),
    "linalg": (_linalg, "factors of matrices: fast, also LAPACK's; portable, always our own"),
    "limits": (_limits, "sizes from which on special paths pay, by name: long_row=64"),
    "log": (_topics, f"topics to log: {', '.join(_TOPICS)}"),
    "traceback": (_traceback, "lines of calls that errors show: user, or full"),
}
_DEFAULTS: Final = Config()
#: Settings that decide over files: never taken from the working directory.
_NOT_A_PROJECTS: Final = frozenset({"cache_dir", "cache_size", "dump"})
_LARGEST_PROJECT: Final = 2**20  # bytes of a pyproject.toml that is read


@dataclass(frozen=True)
class Setting:
    """One setting with its source: ``debug = nan  (environment STATICGRAD_DEBUG)``."""

    name: str
    value: object
    source: str
    meaning: str

    def __str__(self) -> str:
        value = ",".join(self.value) if isinstance(self.value, tuple) else self.value
        return f"{self.name} = {'none' if value in (None, '') else value}  ({self.source})"


_NO_OPTIONS: Final[Mapping[str, object]] = MappingProxyType({})
#: The values of the ``options`` blocks around us.
BLOCKS: Final = Nested("staticgrad_options", _NO_OPTIONS)


def in_blocks() -> tuple[tuple[str, object], ...]:
    """Return the settings of the enclosing ``options`` blocks, as a key; empty outside of any."""
    if BLOCKS.innermost() is _NO_OPTIONS:  # read at each call of a function
        return ()
    return tuple(sorted(_overrides().items()))


def _overrides() -> Mapping[str, object]:
    return {name: value for block in BLOCKS.all() for name, value in block.items()}


class _Reading:
    """The overrides and the settings of a ``read_once`` block; None until they are read."""

    def __init__(self) -> None:
        self.overrides = _overrides()
        self.settings: Config | None = None


#: The ``read_once`` block around us.
_reading: Final[ContextVar[_Reading | None]] = ContextVar("staticgrad_settings", default=None)


@contextmanager
def read_once(lazily: bool = False) -> Iterator[None]:
    """Read settings once inside this block; ``options`` may change them. May be nested.

    They are read at its beginning, or, ``lazily``, when the first one is needed.
    """
    outer = _reading.get()
    try:
        if outer is None or outer.overrides != _overrides():
            _reading.set(_Reading())  # inside: an interrupt may come behind it
        if not lazily:
            current()
        yield
    finally:
        _reading.set(outer)


def current(**arguments: object) -> Config:
    """Return the settings in force; an argument that is not None takes precedence."""
    reading = _reading.get()
    has_arguments = any(raw is not None for raw in arguments.values())
    if reading is None or reading.overrides != _overrides() or has_arguments:
        return Config(**{s.name: s.value for s in settings(**arguments)})  # type: ignore[arg-type]
    if reading.settings is None:
        reading.settings = Config(**{s.name: s.value for s in settings()})  # type: ignore[arg-type]
    return reading.settings


def limits() -> CompilerLimits:
    """Return the limits of the compiler that are in force."""
    return current().limits


def settings(**arguments: object) -> tuple[Setting, ...]:
    """Return every setting and the source of its value, in the order of Config's fields.

    Raises ConfigError or UnknownSettingError, naming the argument, variable or table entry.
    """
    layers = [_from_arguments(arguments), _from_options(), _read_environment(), _read_project()]
    result = []
    for name, (_, meaning) in _SETTINGS.items():
        layer = next((layer for layer in layers if name in layer), None)
        value, source = (getattr(_DEFAULTS, name), "default") if layer is None else layer[name]
        result.append(Setting(name, value, source, meaning))
    return tuple(result)


def log(topic: str, text: str, *values: object) -> None:
    """Log ``text % values`` at level INFO as ``staticgrad.<topic>``.

    Goes to the application's logging when that listens, else to standard error when the setting
    ``log`` names the topic.
    """
    channel = _channels.get(topic)
    if channel is None:  # asked for once: that takes a lock of logging's, which interrupts can leak
        channel = _channels[topic] = logger.getChild(topic)
    if channel.isEnabledFor(logging.INFO):
        channel.info(text, *values)
    elif topic in current().log:
        sys.stderr.write(f"{channel.name}: {text % values}\n")


#: Setting -> (value, where it was written)
_Layer = dict[str, tuple[object, str]]


def _from_arguments(arguments: Mapping[str, object]) -> _Layer:
    values = {name: raw for name, raw in arguments.items() if raw is not None}
    return {name: (read_setting(name, raw, f"{name}="), "argument") for name, raw in values.items()}


def _from_options() -> _Layer:
    return {name: (value, "options") for name, value in _overrides().items()}


def _read_environment() -> _Layer:
    """Return the settings that environment variables STATICGRAD_... make."""
    layer: _Layer = {}
    for variable in sorted(v for v in os.environ if v.startswith(_PREFIX)):
        raw = os.environ.get(variable)
        if raw:  # empty is the shell's way of unset
            name = variable.removeprefix(_PREFIX).lower()
            shown = f"environment {variable}"
            layer[name] = (read_setting(name, raw, shown, known_as=_variable), shown)
    return layer


def _variable(name: str) -> str:
    return _PREFIX + name.upper()


#: pyproject.toml -> (its time of change and size, its table): the file is read when it changed.
_projects: Final[dict[Path, tuple[tuple[int, int], object]]] = {}


def _read_project() -> _Layer:
    """Return the settings of pyproject.toml in the working directory."""
    try:
        path = Path("pyproject.toml").absolute()
    except OSError:  # the working directory has been removed
        return {}
    shown = f"[tool.staticgrad] of {path}"
    table = _project_table(path)
    return {
        name: (read_setting(name, raw, f"{shown}: {name}"), shown)
        for name, raw in table.items()
        if name not in _NOT_A_PROJECTS
    }


def _project_table(path: Path) -> Mapping[str, object]:
    """Return the table tool.staticgrad of a pyproject.toml, cached by time and size."""
    try:
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        cached = _projects.get(path)
        if cached is None or cached[0] != stamp:
            usable = stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST_PROJECT
            cached = _projects[path] = (stamp, _read_table(path) if usable else {})
            table = cached[1]  # warn once per version of the file
            unheeded = (
                sorted(_NOT_A_PROJECTS.intersection(table)) if isinstance(table, dict) else []
            )
            if unheeded:
                variables = ", ".join(map(_variable, unheeded))
                warn(
                    SettingWarning,
                    f"{', '.join(unheeded)} in {path}: what decides over files is not taken from"
                    f" the working directory; set {variables}, or give it as an argument",
                )
    except OSError:  # no such file, or one that we may not read
        return {}
    if not isinstance(cached[1], dict):
        raise ConfigError(f"{path}: tool.staticgrad is {cached[1]!r}, not a table of settings")
    return cached[1]


def _read_table(path: Path) -> object:
    """Parse a pyproject.toml; return its table tool.staticgrad, empty if broken."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return {}
    if "staticgrad" not in text and "\\u" not in text.lower():  # which could spell it
        return {}
    import tomllib

    try:
        tool = tomllib.loads(text).get("tool")
    except (tomllib.TOMLDecodeError, RecursionError):
        # A broken pyproject.toml is for the tools that need it to report.
        return {}
    return tool.get("staticgrad", {}) if isinstance(tool, dict) else {}


def read_setting(
    name: str, raw: object, shown: str, known_as: Callable[[str], str] = str
) -> object:
    """Convert ``raw`` to the value of setting ``name``; ``shown`` names its source in errors."""
    if name not in _SETTINGS:
        from difflib import get_close_matches

        close = get_close_matches(name, _SETTINGS, n=1)
        hint = f"did you mean {known_as(close[0])}? " if close else ""
        all_names = ", ".join(known_as(key) for key in _SETTINGS)
        raise UnknownSettingError(f"{shown}: no such setting", hint=f"{hint}there are {all_names}")
    reader, _ = _SETTINGS[name]
    try:
        return reader(raw)
    except _UnfitError as unfit:
        raise ConfigError(f"{shown}: {raw!r} is not {unfit}", hint=unfit.hint) from None


_UNITS: Final = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip
_WRITTEN: Final = re.compile(r"\s*(\d{1,20}(?:\.\d{1,20})?)\s*([a-z]*)\s*", re.IGNORECASE)

#: What a message says about the spelling.
SPELLING: Final = "write 2000000, '2MB' (10**6) or '2MiB' (2**20); B, kB, MB, GB, KiB, MiB, GiB"


def read_bytes(raw: Any) -> int | None:
    """Read a number of bytes: an integer or a text with a unit ("2 GB"); None if neither."""
    match = _WRITTEN.fullmatch(raw) if isinstance(raw, str) else None
    if match is not None and match[2].lower() in _UNITS:
        unit = _UNITS[match[2].lower()]
        return int(float(match[1]) * unit) if unit > 1 or "." not in match[1] else None
    try:
        number = -1 if isinstance(raw, bool) else index(raw)
    except TypeError:
        return None
    return number if number >= 0 else None


#: What a message says about shares.
SHARES: Final = "a share of what storing everything needs is 0.5 or '50%'"
_PERCENT: Final = re.compile(r"\s*(\d{1,3}(?:\.\d{1,20})?)\s*%\s*")
_FRACTION: Final = re.compile(r"\s*\d?\.\d{1,20}\s*")


def read_share(raw: Any) -> float | None:
    """Read a fraction in (0, 1]: a number or a text such as "0.5" or "50%"; None if neither."""
    fraction = isinstance(raw, Real) and not isinstance(raw, Integral)
    if isinstance(raw, str):
        match = _PERCENT.fullmatch(raw)
        if match is not None:
            raw = float(match[1]) / 100
        fraction = match is not None or _FRACTION.fullmatch(raw) is not None
    share = float(raw) if fraction else 0.0
    return share if 0 < share <= 1 else None

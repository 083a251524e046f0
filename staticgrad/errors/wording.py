"""The layout of messages (the user's line, operands, details, a hint), and the warnings by code.

The errors of ``staticgrad.errors`` hand in the words.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from staticgrad.support.building import user_frame
from staticgrad.support.source import NO_LINE, Location

_MAX_LINES: Final = 12
_MAX_OPERAND: Final = 60  # characters of an operand's name, type or source text
_MAX_HEADLINE: Final = 240  # characters of a headline: it may quote what the user passed

#: A hint of more than one table.
ON_CPU: Final = "nothing: kernels run on the CPU"
#: A word of other libraries that an argument does not take -> the hint.
OF_CHOICES: Final = {
    **dict.fromkeys(
        ("Radau", "BDF", "LSODA", "Kvaerno3", "Kvaerno5"),
        'stiff equations are solved by method="rosenbrock"',
    ),
    "DOP853": 'method="tsit5" with a small rtol=',
}

#: (name, type text, where it was made)
Related = tuple[str, str, Location | None]


def message(
    headline: str,
    at: Location,
    related: Iterable[Related] = (),
    details: Iterable[str] = (),
    hint: str = "",
) -> str:
    """Format an error message of at most twelve lines: headline, line, operands, hint."""
    head, *more = headline.splitlines() or [""]
    lines = [shorten_text(head, _MAX_HEADLINE), *_place(at)]
    tail = textwrap.indent(hint, "        ").splitlines()
    tail[:1] = [f"  hint: {line.strip()}" for line in tail[:1]]
    split = [line for text in details for line in text.splitlines()]
    middle = [*_operands(related), *(f"  {line}" for line in [*more, *split])]
    room = max(_MAX_LINES - len(lines) - len(tail), 0)
    if len(middle) > room:
        count = max(room - 1, 0)
        middle = [*middle[:count], f"  ... and {len(middle) - count} more"]
    return "\n".join([*lines, *middle, *tail][:_MAX_LINES])


def each_of(names: str, hint: str) -> dict[str, str]:
    """Return one hint for each of the names, which spaces separate."""
    return dict.fromkeys(names.split(), hint)


def shorten_text(text: str, width: int = _MAX_OPERAND) -> str:
    """``text`` in at most ``width`` characters, dots for what is left out."""
    return text if len(text) <= width else text[: width - 3] + "..."


def quote(data: object) -> str:
    """Something that the user passed, as a message quotes it: its text, in one short line."""
    name = getattr(data, "__name__", None)  # a function: its address says nothing
    return shorten_text(" ".join((name if isinstance(name, str) else _text(data)).split()))


def _text(data: object) -> str:
    if isinstance(data, int) and data.bit_length() > 1000:
        return f"{'-' * (data < 0)}(a number of {data.bit_length():,} bits)"
    try:
        return repr(data)
    except ValueError:  # something in it is such a number, of which Python writes no digits
        return kind_of(data)


def kind_of(data: object) -> str:
    """Return the kind of an object, with its article: ``a list``, ``an ndarray``, ``None``."""
    if data is None:
        return "None"
    name = data.__name__ if isinstance(data, type) else type(data).__name__
    plain = {"str": "text", "ndarray": "array", "bytes": "text of bytes"}
    what = f"class {name}" if isinstance(data, type) else plain.get(name, name)
    return f"{'an' if what[0].lower() in 'aeio' else 'a'} {what}"


def why_no_array(error: Exception) -> str:
    """Return why NumPy could not make an array, with our words for ragged lists."""
    text = str(error)
    return "its lists have different lengths" if "inhomogeneous" in text else text


def closest(wrong: object, candidates: Iterable[str]) -> str | None:
    """Return the known name that ``wrong`` misspells: three quarters of the letters, in order.

    Of three letters and less only their case and order may differ: ``det`` does not match ``dot``.
    """
    from difflib import get_close_matches  # for messages: a correct program never loads it

    name, names = str(wrong), list(candidates)
    cases = {candidate.lower(): candidate for candidate in reversed(names)}
    if name.lower() in cases:
        return cases[name.lower()]
    if len(name) <= 3:
        return next((candidate for candidate in names if sorted(candidate) == sorted(name)), None)
    return next(iter(get_close_matches(name, names, n=1, cutoff=0.75)), None)


def did_you_mean(wrong: object, candidates: Iterable[str]) -> str:
    """``did you mean 'batch'? `` for a name close to ``wrong``, else an empty text."""
    name = closest(wrong, candidates)
    return "" if name is None else f"did you mean {name!r}? "


def _place(at: Location) -> list[str]:
    line = at.resolve()
    return [] if line == NO_LINE else ["  " + text for text in line.long.split("\n")]


def _operands(related: Iterable[Related]) -> list[str]:
    """Format operands for an error message, a line each: name, type, file, source text."""
    rows = [(_one_line(name), _one_line(kind), where) for name, kind, where in related]
    name_width = max((len(name) for name, _, _ in rows), default=0)
    type_width = max((len(kind) for _, kind, _ in rows), default=0)
    lines = []
    for name, kind, where in rows:
        line = f"  {name:<{name_width}}  {kind:<{type_width}}"
        if where is not None:
            source = where.resolve()
            line += f"  {source.label}  {_one_line(source.text)}"
        lines.append(line.rstrip())
    return lines


def _one_line(text: str) -> str:
    return shorten_text(" ".join(text.split()))


def list_names(names: Sequence[object]) -> str:
    """Names as a message lists them: ``batch, time``; ``none`` where there are none."""
    return ", ".join(map(str, names)) or "none"


#: What a user of PyTorch has to know of layers.
TRANSPOSED_WEIGHT: Final = "the weight of a Linear is (inputs, outputs), PyTorch's the transpose"


class StaticgradWarning(UserWarning):
    """Any warning of staticgrad."""

    code: ClassVar[str] = "SG900"


class LargeConstantWarning(StaticgradWarning):
    """A large array copied into the graph as a constant."""

    code = "SG901"


class KernelCacheWarning(StaticgradWarning):
    """A folder or file of compiled kernels that others could have written."""

    code = "SG906"


class SettingWarning(StaticgradWarning):
    """A setting that has no effect where it is written."""

    code = "SG907"


class PluginWarning(StaticgradWarning):
    """An installed package whose ops or passes cannot be imported."""

    code = "SG908"


class ShapeAsValueWarning(StaticgradWarning):
    """A parameter whose first value looks like a shape."""

    code = "SG909"


class TracingWarning(StaticgradWarning):
    """A side effect that a traced function has once, and a plain one at each call."""

    code = "SG910"


class DeprecatedNameWarning(StaticgradWarning, DeprecationWarning):
    """A name that a later version removes; the text has the present name."""

    code = "SG911"


class UnrunDrawWarning(StaticgradWarning):
    """Random numbers drawn outside of a function, which no graph runs."""

    code = "SG912"


class PassWarning(StaticgradWarning):
    """A pass of staticgrad that failed, without which a program was compiled."""

    code = "SG913"


class EvaluationModeWarning(StaticgradWarning):
    """A step of parameters whose module was called in evaluation mode: without dropout."""

    code = "SG914"


def warn(category: type[StaticgradWarning], text: str) -> None:
    """Warn at the user's running line, with the category's code before the text."""
    frame = user_frame()
    warnings.warn_explicit(
        f"[{category.code}] {text}",
        category,
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=frame.f_globals.get("__name__", "<unknown>"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )

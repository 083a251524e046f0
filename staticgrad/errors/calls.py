"""Calls that do not fit a public function: which argument does not, in one error.

The signature alone decides here. What NumPy's functions take besides is read in ``ir/calls.py``.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from inspect import Parameter, Signature, signature
from types import CodeType
from typing import Any, Final, ParamSpec, TypeVar

from staticgrad.errors import UnknownArgumentError
from staticgrad.errors.hints import ARGUMENTS
from staticgrad.errors.tracebacks import boundary, cut
from staticgrad.errors.wording import did_you_mean, listed, shown

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

#: Functions that only hand their arguments on.
_carriers: Final[set[CodeType]] = {boundary(signature).__code__}
_DECORATORS: Final = contextlib.__file__


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """``function`` as users call it: an argument that it does not take is named in one error.

    For what stands below the functions of values, and so below ``public`` of ``ir/calls.py``.
    """

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            try:
                return function(*args, **kwargs)
            except TypeError as error:
                if raised_inside(error):
                    raise
                refused = error
            check_arguments(function.__name__, signature(function), args, kwargs)
            raise refused
        except Exception as error:
            cut(error)
            raise

    return called


def carries(function: F) -> F:
    """A function that only hands its arguments on: what it calls counts as called in its place."""
    _carriers.add(function.__code__)
    return function


def raised_inside(error: TypeError) -> bool:
    """Return whether the function that was called raised it, not the call itself."""
    inner = error.__traceback__ and error.__traceback__.tb_next
    while inner is not None and (
        inner.tb_frame.f_code in _carriers or inner.tb_frame.f_code.co_filename == _DECORATORS
    ):
        inner = inner.tb_next
    return error.__traceback__ is None or inner is not None


def check_arguments(name: str, ours: Signature, args: Any, kwargs: Any) -> None:
    """Refuse what the function does not take.

    Raises:
        UnknownArgumentError: with the argument that is missing, unknown or given twice.
    """
    try:
        ours.bind(*args, **kwargs)
    except TypeError as error:
        for word in kwargs:
            if word not in ours.parameters:
                raise unknown_argument(name, word, ours) from None
        text = str(error).replace("multiple values for argument", "two values for argument")
        for word, given in _given_twice(ours, args, kwargs):
            text = f"two values for argument {word!r}, {shown(given)} by its place"
        hint = what_it_takes(ours)
        if text.startswith("missing") and (read := _as_read(ours, args)):
            hint += f"; {read}"
        raise UnknownArgumentError(f"{name}: {text}", hint=hint) from None


def _as_read(ours: Signature, args: Any) -> str:
    """Return the positional arguments in words, with the names of their parameters."""
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    named = [n for n, p in ours.parameters.items() if p.kind in kinds]
    pairs = [(n, given) for n, given in zip(named, args, strict=False) if n != "self"]
    return ", ".join(f"{n} is {shown(given)}" for n, given in pairs)


def _given_twice(ours: Signature, args: Any, kwargs: Any) -> list[tuple[str, Any]]:
    """Arguments that are given by their place and by name, with what stands in the place."""
    placed = zip(ours.parameters, args, strict=False)
    return [(word, given) for word, given in placed if word in kwargs]


def check_call(made: type, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
    """Refuse what calls of a made object do not take; what its constructor takes is said there.

    Args:
        made: the object's class, whose constructor has arguments of its own.
        function: what a call of the object runs, bound to it.
        args, kwargs: what was given.

    Raises:
        UnknownArgumentError: an argument that is missing, unknown or given twice.
    """
    ours, constructor = signature(function), signature(made)
    for word in (each for each in kwargs if each not in ours.parameters):
        theirs = next((w for w in (word, ARGUMENTS.get(word)) if w in constructor.parameters), None)
        if theirs is not None and ARGUMENTS.get(word) not in ours.parameters:
            raise UnknownArgumentError(
                f"{made.__name__}: a call takes no {word!r}",
                hint=f"say it where the module is made: {made.__name__}(..., {theirs}=...)",
            )
    check_arguments(made.__name__, ours, args, kwargs)


def check_takes_nothing(name: str, args: Any, kwargs: Any) -> None:
    """Refuse any argument.

    Raises:
        UnknownArgumentError: there is one.
    """
    check_arguments(name, Signature(), args, kwargs)


def check_keywords(
    name: str,
    given: Iterable[str],
    taker: Callable[..., Any],
    without: Sequence[str],
    own: Sequence[str] = (),
) -> None:
    """Refuse words that are handed on to ``taker`` later, unless it takes them.

    Args:
        name: of the function that hands them on.
        given: the words.
        taker: what takes them.
        without: parameters of it that are not handed on.
        own: what the function itself takes, for the hint.

    Raises:
        UnknownArgumentError: with the first that it does not take, or is ``without``.
    """
    ours = signature(taker)
    known = [Parameter(word, Parameter.KEYWORD_ONLY) for word in own]
    handed = [each for word, each in ours.parameters.items() if word not in without]
    known += [each.replace(kind=Parameter.KEYWORD_ONLY) for each in handed]
    for word in given:
        if word in without or word not in ours.parameters:
            raise unknown_argument(name, word, ours.replace(parameters=known))


def unknown_argument(name: str, word: str, ours: Signature) -> UnknownArgumentError:
    """The error for an argument that the function does not have, with the nearest it has."""
    names = _names(ours)
    written = ARGUMENTS.get(word, "")
    if written.isidentifier():  # another library's name, of an argument that is there or is not
        written = f"write {written}=; " if written in names else ""
    elif written:
        written = f"instead: {written}\n"
    return UnknownArgumentError(
        f"{name}: there is no argument {word!r}",
        hint=f"{written or did_you_mean(word, names)}{what_it_takes(ours)}",
    )


def what_it_takes(ours: Signature) -> str:
    """``it takes x, axis``: what a hint says of a function."""
    stars: dict[object, str] = {Parameter.VAR_POSITIONAL: "*", Parameter.VAR_KEYWORD: "**"}
    names = [f"{stars.get(ours.parameters[n].kind, '')}{n}" for n in _names(ours)]
    return f"it takes {listed(names) if names else 'no arguments'}"


def _names(ours: Signature) -> list[str]:
    """Return the names of the arguments that may be passed by name."""
    return [name for name in ours.parameters if name != "self"]

"""Calls that do not fit a public function: which argument does not, in one error.

A call is looked at when it has failed with an error of Python's own: functions do not check the
kind of each argument before they use it. The signature and its annotations alone decide here. What
NumPy's functions take besides is read in ``language/calls/arguments.py``.
"""

from __future__ import annotations

import contextlib
import operator
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import CO_VARKEYWORDS, Parameter, Signature, signature, unwrap
from types import CodeType, UnionType
from typing import Any, Final, Literal, get_args, get_origin

import numpy as np

from staticgrad.errors import ArgumentError, UnknownArgumentError
from staticgrad.errors.wording import (
    ON_CPU,
    did_you_mean,
    each_of,
    kind_of,
    list_names,
    quote,
)
from staticgrad.support.building import is_package_file

_DECORATORS: Final = contextlib.__file__

#: An argument of other libraries, of one function or of all -> ours, or what to write instead.
ARGUMENTS: Final = {
    **each_of("dim dims", "axis"),
    **each_of("keepdim keep_dims", "keepdims"),
    "input": "x",
    "other": "y",
    "size": "shape",
    "batch_size": "size",
    "lr": "learning_rate",
    "betas": "beta1 and beta2",
    **each_of("tolerance xtol", "tol"),
    **each_of("maxiter max_iter", "max_steps"),
    "epsilon": "eps",
    **each_of("logits prediction probability log_probabilities ids", "input"),
    **each_of("labels targets", "target"),
    "groups": "num_groups",
    "classes": "num_classes",
    "is_causal": "causal",
    "attn_mask": "mask",
    "key_padding_mask": "mask=~padding[:, None, None, :]: where a key may be looked at",
    "validation_data": "validate=lambda: 1 - score(x, y)",
    "scale_factor": "scale",
    "align_corners": 'coordinates="align_corners"',
    **each_of("static_argnums static_argnames", "static"),
    **each_of("wrt argnum", "argnums"),
    "params": "wrt",
    **each_of("t_span t_eval ts", "times"),
    "y0": "y",
    **each_of("fun func", "f"),
    "dense_output": "dense",
    "events": "sg.ode.solve(f, y, times, events=g), an OdeSolution",
    "first_step": "first",
    "donate_argnums": "p.update(value): parameters are written in place",
    "updates": "a graph: sg.compile(sg.Graph(outputs, updates))",
    **each_of("optimize opt_level", 'pipeline="O2"'),
    "shuffle": "seed",
    "device": ON_CPU,
    "inplace": "nothing: a value never changes, and kernels write over what is not read again",
    "requires_grad": "nothing: sg.grad(loss, [w]) names what it differentiates",
    "jit": "sg.options(jit=False), for kernels as plain Python",
    "Embedding.max_norm": "w.update(w * sg.minimum(1.0, max_norm / sg.norm(w, axis=1,"
    " keepdims=True))), of w = embedding.weight, before the first step and after each",
    "data_parallel": "opt.minimize(loss, data_parallel=True), of an optimizer of sg.optim",
    "dump": 'with sg.options(dump="folder"): around it, or STATICGRAD_DUMP=folder',
}


def refuse_misfit(
    error: Exception, function: Callable[..., Any], args: Any, kwargs: Any, only_names: bool
) -> None:
    """Replace Python's TypeError of a call by an error that names the argument that misfits.

    ``only_names``: look at the names and number of arguments, not at their kinds.
    """
    if not isinstance(error, TypeError | ValueError | AttributeError | LookupError):
        return
    ours = signature(function)
    name = class_made(args[0]) if function.__name__ == "__init__" else function.__name__
    if isinstance(error, TypeError) and not raised_inside(error):
        check_arguments(name, ours, args, kwargs)
    elif not only_names:
        check_kinds(name, function, args, kwargs)


def class_made(instance: Any) -> str:
    """Return the name of the package's class that is made, which may inherit its constructor."""
    package = __name__.partition(".")[0]
    classes = type(instance).__mro__
    return next(cls.__name__ for cls in classes if cls.__module__.partition(".")[0] == package)


def raised_inside(error: TypeError) -> bool:
    """Return whether the function that was called raised it, not the call itself."""
    inner = error.__traceback__ and error.__traceback__.tb_next
    while inner is not None and _hands_on(inner.tb_frame.f_code):
        inner = inner.tb_next
    return error.__traceback__ is None or inner is not None


def _hands_on(code: CodeType) -> bool:
    """Return whether code of the package takes ``**kwargs``: such a wrapper hands them on, and what
    it calls counts as called in its place. So do the decorators of ``contextlib``."""
    if code.co_filename == _DECORATORS:
        return True
    return bool(code.co_flags & CO_VARKEYWORDS) and is_package_file(code.co_filename)


def check_arguments(name: str, ours: Signature, args: Any, kwargs: Any) -> None:
    """Refuse an argument that is missing, unknown or given twice."""
    try:
        ours.bind(*args, **kwargs)
    except TypeError as error:
        for word in kwargs:
            if word not in ours.parameters:
                raise unknown_argument(name, word, ours) from None
        text = str(error).replace("multiple values for argument", "two values for argument")
        by_place = zip(ours.parameters, args, strict=False)
        for word, value in [(word, value) for word, value in by_place if word in kwargs]:
            text = f"two values for argument {word!r}, {quote(value)} by its place"
        hint = what_it_takes(ours)
        if text.startswith("missing") and (read := _as_read(ours, args)):
            hint += f"; {read}"
        raise UnknownArgumentError(f"{name}: {text}", hint=hint) from None


def _as_read(ours: Signature, args: Any) -> str:
    """Return the positional arguments in words, with the names of their parameters."""
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    named = [n for n, p in ours.parameters.items() if p.kind in kinds]
    pairs = [(n, value) for n, value in zip(named, args, strict=False) if n != "self"]
    return ", ".join(f"{n} is {quote(value)}" for n, value in pairs)


def check_call(owner: type, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
    """Refuse arguments that a call of an object does not take; hint if its constructor does.

    ``made``: the object's class; ``function``: what a call of the object runs, bound to it.
    """
    ours, constructor = signature(function), signature(owner)
    for word in (key for key in kwargs if key not in ours.parameters):
        theirs = next((w for w in (word, ARGUMENTS.get(word)) if w in constructor.parameters), None)
        if theirs is not None and ARGUMENTS.get(word) not in ours.parameters:
            raise UnknownArgumentError(
                f"{owner.__name__}: a call takes no {word!r}",
                hint=f"say it where the module is made: {owner.__name__}(..., {theirs}=...)",
            )
    check_arguments(owner.__name__, ours, args, kwargs)


def check_takes_nothing(name: str, args: Any, kwargs: Any) -> None:
    """Refuse any argument."""
    check_arguments(name, Signature(), args, kwargs)


def check_keywords(
    name: str,
    words: Iterable[str],
    taker: Callable[..., Any],
    without: Sequence[str],
    extra: Sequence[str] = (),
) -> None:
    """Refuse keyword arguments that ``taker``, to which they are passed on, does not have.

    ``without``: parameters of it that are not handed on; ``extra``: what the function ``name``
    itself takes, for the hint.
    """
    ours = signature(taker)
    parameters = [Parameter(word, Parameter.KEYWORD_ONLY) for word in extra]
    handed = [parameter for word, parameter in ours.parameters.items() if word not in without]
    parameters += [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in handed]
    for word in words:
        if word in without or word not in ours.parameters:
            raise unknown_argument(name, word, ours.replace(parameters=parameters))


def unknown_argument(name: str, word: str, ours: Signature) -> UnknownArgumentError:
    """Return the error for an unknown argument, with the nearest known name."""
    names = _names(ours)
    written = ARGUMENTS.get(f"{name}.{word}") or ARGUMENTS.get(word, "")
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
    return f"it takes {list_names(names) if names else 'no arguments'}"


def _names(ours: Signature) -> list[str]:
    """Return the names of the arguments that may be passed by name."""
    return [name for name in ours.parameters if name != "self"]


# -- kinds of arguments ---------------------------------------------------------------------------


def check_kinds(name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
    """Refuse the first argument whose class does not fit its annotation."""
    try:
        bound = signature(function).bind(*args, **kwargs)
    except TypeError:
        return
    scope = getattr(unwrap(function), "__globals__", {})
    for word, value in bound.arguments.items():
        declared = bound.signature.parameters[word]
        if declared.kind in (declared.VAR_POSITIONAL, declared.VAR_KEYWORD):
            continue
        expected = _resolve_annotation(declared.annotation, scope)
        if value is not declared.default and not _fits(value, expected):
            raise ArgumentError(
                f"{name}: {word}={quote(value)} is {kind_of(value)}",
                hint=f"{word} is {' or '.join(_describe_annotation(expected))}",
            )


def _resolve_annotation(annotation: Any, scope: dict[str, Any]) -> Any:
    """Evaluate a text annotation; ``Any`` if its names exist for type checkers only."""
    if not isinstance(annotation, str):
        return Any if annotation is Parameter.empty else annotation
    try:
        return eval(annotation, scope)
    except (NameError, TypeError):
        return Any


def _alternatives(expected: Any) -> tuple[Any, ...]:
    """The members of a union, or what is given, by itself."""
    if get_origin(expected) in (typing.Union, UnionType):
        return get_args(expected)
    return (expected,)


def _fits(value: Any, expected: Any) -> bool:
    return any(_fits_one(value, alternative) for alternative in _alternatives(expected))


def _fits_one(value: Any, expected: Any) -> bool:
    """Return False if a value surely does not fit one alternative of an annotation."""
    if expected in (None, type(None)):
        return value is None
    if expected is int:
        return _is_index(value)
    if expected is float:
        return isinstance(value, float | np.number) or _is_index(value)
    origin, elements = get_origin(expected), get_args(expected)
    if origin is Literal:
        return isinstance(value, str | bool | int | type(None))  # which one is said elsewhere
    if origin is tuple and ... not in elements:
        return _holds(value, [Any]) and len(value) == len(elements)
    if origin in (Sequence, list, tuple):
        return _holds(value, [element for element in elements if element is not ...])
    if origin is Iterable:
        return hasattr(type(value), "__iter__")
    kind = origin or expected
    if kind is Callable:
        return callable(value)
    return not _decides(kind) or isinstance(value, kind)


def _decides(kind: Any) -> bool:
    """Return whether only instances of a class are of that kind."""
    if not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return False
    return kind in (str, bool, Mapping) or kind.__module__.startswith("staticgrad")


def _is_index(value: Any) -> bool:
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def _holds(value: Any, elements: list[Any]) -> bool:
    """Return whether something is a sequence, and its elements are of one of the kinds."""
    if isinstance(value, np.ndarray):
        return value.ndim == 1
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        return False
    return not elements or all(any(_fits(element, kind) for kind in elements) for element in value)


def _describe_annotation(expected: Any) -> list[str]:
    """Return an annotation's alternatives in words, for an error message."""
    words = []
    for alternative in _alternatives(expected):
        inner = [arg for arg in get_args(alternative) if arg is not ...]
        if alternative in (None, type(None)):
            words.append("None")
        elif get_origin(alternative) is Literal:
            words += [repr(word) for word in inner]
        elif get_origin(alternative) in (Sequence, Iterable, list, tuple):
            of = f" of {' or '.join(_describe_annotation(inner[0]))}" if inner else ""
            words.append(f"a sequence{of}")
        else:
            plain = {int: "int", float: "float", str: "text", bool: "True or False"}
            kind = get_origin(alternative) or alternative
            protocols = {Callable: "a function", Mapping: "a dict"}
            name: str = getattr(kind, "__name__", "a value")
            words.append(plain.get(kind) or protocols.get(kind) or name)
    return words

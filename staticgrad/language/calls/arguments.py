"""Read the arguments of a public function: NumPy's names, order and flags.

A call that fits a function's own signature goes straight to it. Any other is read again by the
signature of the NumPy function of that name: its names of operands, its options that mean nothing
for values of a graph (``order=``, ``casting=``) at values under which nothing would change, and
``dtype=`` of ufuncs. What is left is refused in one error, at the user's line. So ``sg.f(...)``,
``np.f(x, ...)`` and ``x.f(...)`` take the same arguments, of symbolic values and of eager tensors.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from ast import literal_eval
from collections.abc import Callable, Mapping
from types import FunctionType, NoneType, UnionType
from typing import Any, Final, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

import numpy as np

from staticgrad.errors import ArgumentError, DTypeError, UnknownArgumentError
from staticgrad.errors.calls import (
    check_arguments,
    class_made,
    raised_inside,
    unknown_argument,
    what_it_takes,
)
from staticgrad.errors.hints import attributes
from staticgrad.errors.tracebacks import (
    boundary,
    called_name,
    is_boundary,
    names_messages,
)
from staticgrad.errors.wording import OF_CHOICES, ON_CPU, kind_of, quote
from staticgrad.exports import MAKES_VALUES, MODULES
from staticgrad.language.calls.execution import (
    SETTLED,
    are_plain,
    at_once,
    beside_arrays,
    present,
)
from staticgrad.language.calls.functional import functions
from staticgrad.language.types.dtype import as_dtype
from staticgrad.support.docstrings import with_shared_arguments
from staticgrad.support.records import NamedTuple

P = ParamSpec("P")
T = TypeVar("T")
Arguments = tuple[tuple[Any, ...], dict[str, Any]]

_WRITES: Final = (
    "nothing is written into an array: h = h / x in place of h /= x; f.run(feeds, out=...) fills"
    " arrays"
)
_AFTERWARDS: Final = "convert the operands: x.astype(dtype)"
_LAYOUT: Final = "values have no memory layout: leave it out"
_BOOLS: Final = (True, False)
_MISSING: Final = object()
_BY_NAME_ONLY: Final = 1 << 30  # the place of a parameter that has none
_OPERANDS: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

#: NumPy's parameter -> values under which nothing changes here, beside NumPy's own default; what to
#: write instead of any other.
_WITHOUT_EFFECT: Final[dict[str, tuple[tuple[Any, ...], str]]] = {
    "out": ((), _WRITES),
    "order": (("C", "K", "A", None), _LAYOUT),
    "casting": (("same_kind",), _AFTERWARDS),
    "signature": ((), _AFTERWARDS),
    "subok": (_BOOLS, ""),
    "copy": ((*_BOOLS, None), ""),
    "device": (("cpu",), "kernels run on the CPU: there is nothing to move"),
    "like": ((), "a value of a graph decides it: np.zeros(3, like=x) gives one"),
    "overwrite_input": (_BOOLS, ""),
    "assume_unique": (_BOOLS, ""),
    "optimize": ((*_BOOLS, "greedy", "optimal"), "opt_einsum chooses the order of products"),
    "kind": (("introselect", "sort", "table", None), ""),
    "weights": ((), "only average, cov, bincount and histogram weigh their elements"),
    "where": ((), "sg.where(condition, a, b) chooses elements"),
    "axes": ((), "move the axes first: sg.moveaxis(x, source, destination)"),
    "axis": ((), "move the axes first: sg.moveaxis(x, source, destination)"),
    "keepdims": ((), "sg.expand_dims(result, axis)"),
}  # fmt: skip


def public(
    function: Callable[P, T], home: str = "", operands: Callable[[Any], Any] = tuple
) -> Callable[P, T]:
    """Wrap a public function so that it reads arguments as NumPy does (names, order, flags)."""
    owner, _, name = function.__qualname__.rpartition(".")
    name = owner.rpartition(".")[2] if name == "__init__" else name  # that of its class
    # A method takes what the method of that name takes of arrays: a.sum, not np.sum.
    numpy_name = f"ndarray.{name}" if owner.isidentifier() and hasattr(np.ndarray, name) else name
    called = boundary(function, _reader(function, name, numpy_name, operands))
    called.__module__ = home or function.__module__
    called.__doc__ = with_shared_arguments(function)
    return called


def _reader(
    function: Callable[..., T], name: str, numpy_name: str, operands: Callable[[Any], Any]
) -> Callable[..., T]:
    """Return ``function`` behind a reader of its arguments, which takes NumPy's spellings too."""
    constructs = function.__name__ == "__init__"
    declared: tuple[_Declared, ...] | None = None
    checked: list[tuple[int, str, type | None]] = []
    computes = operands is present and name not in MAKES_VALUES

    def read(*args: Any, **kwargs: Any) -> Any:
        """Call the public function, converting arguments that are not of the declared classes."""
        nonlocal declared, checked
        if declared is None:  # a signature takes long to read, and few functions are called
            parameters = _declared_parameters(function)
            checked = [
                (parameter.place, parameter.word, parameter.exact) for parameter in parameters
            ]
            declared = parameters  # last: another thread may read both
        for place, word, exact in checked:
            argument = args[place] if place < len(args) else kwargs.get(word, _MISSING)
            if argument is not _MISSING and argument.__class__ is not exact:
                named = type(args[0]).__name__ if constructs else name
                args, kwargs = _convert_arguments(named, declared, args, kwargs)
                break
        first_is_value = args and hasattr(args[0].__class__, "computes")  # as in nearly all calls
        if (
            first_is_value
            and SETTLED.issuperset(map(type, args))
            and (not kwargs or SETTLED.issuperset(map(type, kwargs.values())))
        ):
            try:
                return function(*args, **kwargs)
            except TypeError as error:
                if raised_inside(error):
                    raise
            return bind_as_numpy(args, kwargs)
        if computes and not first_is_value and are_plain(args, kwargs):
            return computed_at_once(call_function, args, kwargs)
        if len(args) + len(kwargs) > 1:
            block = beside_arrays(args, kwargs)
            if block is not None:
                with block:
                    return call_function(args, kwargs)
        return call_function(args, kwargs)

    def call_function(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return function(*operands(args), **kwargs)
        except TypeError as error:
            if raised_inside(error):
                raise
        return bind_as_numpy(args, kwargs)

    def bind_as_numpy(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        theirs = class_made(args[0]) if constructs else numpy_name
        return _bind_as_numpy(function, theirs, args, kwargs)

    return read


#: What gives the result of a function of arrays alone; the public functions register it.
_COMPUTED: Final[list[Callable[[Any], Any]]] = []


def register_computed(computed: Callable[[Any], Any]) -> None:
    """Let ``computed`` replace, in results, values that are known by arrays."""
    _COMPUTED[:] = [computed]


def computed_at_once(function: Callable[..., T], args: Any, kwargs: Any) -> T:
    """``function(args, kwargs)`` of arrays alone, with arrays in place of what they determine."""
    with at_once():
        result: T = _COMPUTED[0](function(args, kwargs))
        return result


#: Function -> its public form: one under several names.
_forms: Final[dict[FunctionType, Any]] = {}


def public_form(function: FunctionType, home: str, operands: Callable[[Any], Any] = present) -> Any:
    """Return the public form of a function: the wrapper that reads NumPy's arguments.

    Public modules publish what their tables name; functions call each other directly.
    """
    if is_boundary(function):
        return function
    return _forms.get(function) or _forms.setdefault(function, public(function, home, operands))


@functools.cache
def _reader_of(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    return _reader(function, function.__name__, name, present)


def namespace(
    names: dict[str, Any],
    operands: Callable[[Any], Any] | None = tuple,
    instead: Mapping[str, str] | None = None,
) -> None:
    """Make a module a public namespace: wrap its public functions, in its last line.

    The functions of its ``__all__`` become their public forms, and a name that it does not have is
    explained; ``instead`` says what to write for names of other libraries.

    Args:
        names: of the module, ``globals()``.
        operands: reads operands, ``present`` in modules of functions of values; None leaves
            functions as they are.
        instead: name in other libraries -> what to write here.
    """
    home, public_names = names["__name__"], names["__all__"]
    if operands is not None:
        for name in public_names:
            if isinstance(names[name], FunctionType):
                names[name] = public_form(names[name], home, operands)
    room = next((f"sg.{name}" for name, module in MODULES.items() if module == home), home)
    names["__getattr__"], names["__dir__"] = attributes(room, public_names, instead)


def as_numpy(function: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
    """``function`` of the arguments that NumPy's function ``name`` was called with."""
    return _reader_of(function, name)(*args, **kwargs)


# -- declared arguments ---------------------------------------------------------------------------


class Argument(NamedTuple):
    """Declaration of a parameter by its annotation: ``k: Annotated[int, Argument(read)]``.

    ``read(name, given)`` returns the argument ``name`` as the function takes it, or raises an
    error, which begins with ``called_name()``. Arguments of the class ``exact`` are not read, nor
    is None where the annotation allows it (``Count | None``). A flag (``bool``) and a choice
    (``Literal["low", "high"]``) are declared by these annotations alone.
    """

    read: Callable[[str, Any], Any]
    exact: type | None = None


class _Declared(NamedTuple):
    """A declared parameter: its position, and by which classes its arguments are not read."""

    place: int
    word: str
    exact: type | None
    optional: bool
    read: Callable[[str, Any], Any]


def _read_flag(flag: str, argument: Any) -> bool:
    if isinstance(argument, np.bool_):
        return bool(argument)
    raise ArgumentError(
        f"{called_name()}: {flag}={quote(argument)} is {kind_of(argument)}, neither True nor False",
        hint="a flag is a bool known when the graph is built",
    )


_FLAG: Final = Argument(_read_flag, bool)


def _choice(choices: tuple[str | int, ...]) -> Argument:
    """Declare an argument that is one of several choices, such as a mode's name."""

    def read(word: str, argument: Any) -> Any:
        """Return an argument that is one of the choices, or raise an error that lists them."""
        if isinstance(argument, str | int | np.integer) and not isinstance(argument, bool):
            for choice in choices:
                if isinstance(choice, str) is isinstance(argument, str) and choice == argument:
                    return choice
        listing = ", ".join(map(repr, choices))
        hint = OF_CHOICES.get(argument, "") if isinstance(argument, str) else ""
        raise ArgumentError(
            f"{called_name()}: {word}={quote(argument)} is not one of {listing}",
            hint=ON_CPU if word == "device" else hint,
        )

    return Argument(read)


_CHOICES: Final = re.compile(r"Literal\[([^][]*)\]")


@functools.cache
def _declared_parameters(function: Callable[..., Any]) -> tuple[_Declared, ...]:
    """Return the parameters of a function whose annotations declare how arguments are read."""
    parameters = []
    module = inspect.unwrap(function).__module__
    for place, parameter in enumerate(inspect.signature(function).parameters.values()):
        argument, optional = declaration(module, parameter.annotation)
        if argument is not None:
            at = place if parameter.kind in _OPERANDS else _BY_NAME_ONLY
            parameters.append(
                _Declared(at, parameter.name, argument.exact, optional, argument.read)
            )
    return tuple(parameters)


def declaration(module: str, annotation: Any) -> tuple[Argument | None, bool]:
    """Return an annotation's declaration of an argument, and whether None is allowed."""
    if annotation in (bool, bool | None):
        return _FLAG, annotation is not bool
    if not isinstance(annotation, str):  # of a module without postponed evaluation
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        is_optional = get_origin(annotation) in (Union, UnionType) and len(kinds) == 1
        return _declaration_of(kinds[0] if is_optional else annotation), is_optional
    text = annotation.removesuffix(" | None")
    if text == "bool":
        return _FLAG, text != annotation
    kind: Any = getattr(sys.modules.get(module), text, None)
    if choices := _CHOICES.fullmatch(text):  # a choice or something else is not declared
        kind = Literal[literal_eval(f"({choices[1]},)")]
    return _declaration_of(kind), text != annotation


def _declaration_of(kind: Any) -> Argument | None:
    if get_origin(kind) is Literal:
        return _choice(get_args(kind))
    declarations = (m for m in getattr(kind, "__metadata__", ()) if isinstance(m, Argument))
    return next(declarations, None)


@names_messages
def _convert_arguments(
    name: str, declared: tuple[_Declared, ...], args: Any, kwargs: dict[str, Any]
) -> Arguments:
    """Convert the arguments of a call to the classes that a function declares."""
    for place, word, exact, optional, read in declared:
        argument = args[place] if place < len(args) else kwargs.get(word, _MISSING)
        if argument is _MISSING or argument.__class__ is exact or (argument is None and optional):
            continue
        converted = read(word, argument)
        if converted is argument:
            continue
        if place < len(args):
            args = (*args[:place], converted, *args[place + 1 :])
        else:
            kwargs = {**kwargs, word: converted}
    return args, kwargs


def check_fields(record: Any) -> None:
    """Read the fields of a dataclass as their annotations declare them."""
    _read_fields(type(record).__name__, record)


@names_messages
def _read_fields(name: str, record: Any) -> None:
    """Convert the fields of a dataclass to their declared classes, when an instance is made."""
    for field, (argument, is_optional) in _fields_declared(record.__class__).items():
        value = getattr(record, field)
        if value.__class__ is argument.exact or (value is None and is_optional):
            continue
        converted = argument.read(field, value)
        if converted is not value:
            object.__setattr__(record, field, converted)


@functools.cache
def _fields_declared(cls: Any) -> dict[str, tuple[Argument, bool]]:
    """Return the declared fields of a dataclass, those of its bases first."""
    declared = {}
    inherited: set[int] = set()  # the same Field object stands in a base and its subclasses
    for base in reversed(cls.__mro__):
        for name, field in vars(base).get("__dataclass_fields__", {}).items():
            if id(field) not in inherited:
                inherited.add(id(field))
                argument, is_optional = declaration(base.__module__, field.type)
                if argument is not None:
                    declared[name] = (argument, is_optional)
    return declared


# -- calls that do not fit ------------------------------------------------------------------------


def _bind_as_numpy(
    function: Callable[..., Any], name: str, args: Any, kwargs: dict[str, Any]
) -> Any:
    """Bind arguments that do not fit our function by the signature of NumPy's ``name``, and call
    it.
    """
    theirs = _numpy_function(name)
    ours = inspect.signature(function)
    word = name.rpartition(".")[2]
    kwargs = without_synonyms(word, ours, kwargs)
    if isinstance(theirs, np.ufunc):
        args, kwargs = _name_positional(word, args, kwargs, [*ours.parameters][: theirs.nin], ours)
        kwargs = _without_idle(word, dict.fromkeys(_OF_UFUNCS), ours, kwargs)
        if kwargs.get("dtype") is not None and "dtype" not in ours.parameters:
            return _compute_in_dtype(function, word, args, kwargs)
        kwargs.pop("dtype", None)
    else:
        parameters = _parameters(name, theirs)
        places = [n for n, p in parameters.items() if p.kind in _OPERANDS]
        if name.startswith("ndarray."):  # methods take more places than their signatures say
            further = _parameters(word, _numpy_function(word))
            places += [n for n, p in further.items() if p.kind in _OPERANDS][len(places) :]
            parameters = {**further, **parameters}
        operands = [n for n, p in ours.parameters.items() if p.kind in _OPERANDS]
        args, kwargs = _name_positional(word, args, kwargs, places or operands, ours)
        pairs = dict(zip(places, operands, strict=False))
        kwargs = _rename_keywords(word, kwargs, pairs, parameters, ours)
        kwargs = _without_idle(word, {n: p.default for n, p in parameters.items()}, ours, kwargs)
    check_arguments(word, ours, args, kwargs)
    args, kwargs = _convert_arguments(word, _declared_parameters(function), args, kwargs)
    return function(*args, **kwargs)


#: Parameters that every ufunc has.
_OF_UFUNCS: Final = (
    "out", "where", "casting", "order", "dtype", "subok", "signature", "axes", "axis", "keepdims",
)  # fmt: skip


def _numpy_function(name: str) -> Any:
    """Return NumPy's function of a name, or None: ``linalg.norm`` and ``norm`` are one."""
    if name in _SEVERAL:  # NumPy's write arrays alone
        return None
    room: Any = np
    for part in ("linalg.norm" if name == "norm" else name).split("."):
        room = getattr(room, part, None)
    return room


#: NumPy's functions in C, which have no signature before NumPy 2.4 -> their parameters.
SIGNATURES_IN_C: Final = {
    "arange": "start_or_stop, /, stop=None, step=1, *, dtype=None, device=None, like=None",
    "array": "object, dtype=None, *, copy=True, order='K', subok=False, ndmin=0, like=None",
    "asarray": "a, dtype=None, order=None, *, device=None, copy=None, like=None",
    "bincount": "x, /, weights=None, minlength=0",
    "concat": "arrays, /, axis=0, out=None, *, dtype=None, casting='same_kind'",
    "concatenate": "arrays, /, axis=0, out=None, *, dtype=None, casting='same_kind'",
    "dot": "a, b, out=None",
    "empty": "shape, dtype=None, order='C', *, device=None, like=None",
    "empty_like": "prototype, /, dtype=None, order='K', subok=True, shape=None, *, device=None",
    "inner": "a, b, /",
    "lexsort": "keys, axis=-1",
    "ndarray.astype": "self, /, dtype, order='K', casting='unsafe', subok=True, copy=True",
    "ndarray.dot": "self, other, /, out=None",
    "ravel_multi_index": "multi_index, dims, mode='raise', order='C'",
    "unravel_index": "indices, shape, order='C'",
    "vdot": "a, b, /",
    "where": "condition, x=None, y=None, /",
    "zeros": "shape, dtype=None, order='C', *, device=None, like=None",
}


def _parameters(name: str, theirs: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters of NumPy's function of a name; of one in C that has none: nothing."""
    try:
        return dict(inspect.signature(theirs).parameters) if callable(theirs) else {}
    except ValueError:
        return signature_in_c(name)


def signature_in_c(name: str) -> dict[str, inspect.Parameter]:
    """Return the parameters that ``SIGNATURES_IN_C`` has for a function of NumPy."""
    namespace: dict[str, Any] = {}
    exec(f"def function({SIGNATURES_IN_C.get(name, '')}): pass", namespace)
    return dict(inspect.signature(namespace["function"]).parameters)


#: What to write where several objects are given to a function that takes one.
_SEVERAL: Final = {
    "compile": "updates are of a graph: sg.compile(sg.Graph(outputs, updates))\n",
    "save": 'several: sg.save("run.npz", {"model": model, "optimizer": opt})\n',
    "load": 'several: sg.load("run.npz", into={"model": model, "optimizer": opt})\n',
}


def _name_positional(
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    places: list[str],
    ours: inspect.Signature,
) -> Arguments:
    """Name positional arguments that our function takes by keyword only, as NumPy orders them."""
    kinds = [p.kind for p in ours.parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return args, kwargs
    fit = sum(kind in _OPERANDS for kind in kinds)
    if len(args) > max(len(places), fit):
        bound = next(iter(ours.parameters), "") == "self"
        count = len(places) - bound
        takes = f"{count or 'no'} argument{'s' * (count != 1)}"
        headline = f"{name}: takes {takes} by position, got {len(args) - bound}"
        hint = _SEVERAL.get(name, "") + what_it_takes(ours)
        raise UnknownArgumentError(headline, hint=hint)
    further = dict(zip(places[fit:], args[fit:], strict=False))
    for word in further.keys() & kwargs.keys():
        raise UnknownArgumentError(f"{name}: {word} is given twice")
    return args[:fit], {**further, **kwargs}


#: Names of arguments in PyTorch, NumPy's generators, SciPy, PyMC and NumPyro that mean the same as
#: ours; several: one argument has their values.
SYNONYMS: Final[dict[str, tuple[str, ...]]] = {
    "dim": ("axis",), "dims": ("axis",), "keepdim": ("keepdims",), "is_causal": ("causal",),
    "lr": ("learning_rate",), "betas": ("beta1", "beta2"), "argnum": ("argnums",),
    "size": ("shape",), "dense_output": ("dense",), "t_eval": ("times",), "y0": ("y",),
    "fun": ("f",), "func": ("f",), "first_step": ("first",),
    "seed": ("key",), "random_seed": ("key",), "rng_key": ("key",), "random_state": ("key",),
    "tune": ("warmup",), "num_warmup": ("warmup",), "num_samples": ("draws",),
    "num_chains": ("chains",), "target_accept": ("target",),
}  # fmt: skip


def without_synonyms(name: str, ours: inspect.Signature, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Replace PyTorch's keyword names (``dim``) by NumPy's (``axis``), which ``ours`` has.

    Raises UnknownArgumentError for an argument under both of its names, ArgumentError where one
    does not have the values of several.
    """
    renamed: dict[str, Any] = {}
    for word, argument in kwargs.items():
        our_names = SYNONYMS.get(word, ())
        if word in ours.parameters or not our_names or not ours.parameters.keys() >= {*our_names}:
            our_names, values = (word,), (argument,)
        elif len(our_names) == 1:
            values = (argument,)
        elif isinstance(argument, tuple | list) and len(argument) == len(our_names):
            values = (*argument,)
        else:
            raise ArgumentError(
                f"{name}: {word}={quote(argument)} is not a pair: {', '.join(our_names)}"
            )
        for our_name, value in zip(our_names, values, strict=True):
            if our_name in renamed or (our_name != word and our_name in kwargs):
                what = f"{word} and {our_name} are one argument, given twice"
                raise UnknownArgumentError(f"{name}: {what}")
            renamed[our_name] = value
    return renamed


#: Where an option of NumPy's, by function, has another name and place here.
_OTHER_NAMES: Final = {"clip": {"a_min": "min", "a_max": "max"}}


def _rename_keywords(
    name: str, kwargs: dict[str, Any], places: dict[str, str], parameters: dict[str, Any], ours: Any
) -> dict[str, Any]:
    """Rename keyword arguments of NumPy to our parameter names, matched by position."""
    pairs = {
        n: our_name
        for n, our_name in places.items()
        if n not in ours.parameters and our_name not in parameters
    }
    renamed = {**pairs, **_OTHER_NAMES.get(name, {})}
    arguments: dict[str, Any] = {}
    for word, argument in kwargs.items():
        our_name = renamed.get(word, word)
        if our_name in arguments or (our_name != word and our_name in kwargs):
            raise UnknownArgumentError(
                f"{name}: {word} and {our_name} are one argument, given twice"
            )
        arguments[our_name] = argument
    return arguments


def _without_idle(
    name: str, defaults: dict[str, Any], ours: inspect.Signature, kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Drop NumPy keyword arguments that have no effect at their values; refuse the others."""
    effective = {}
    for word, argument in kwargs.items():
        if word in ours.parameters or (word == "dtype" and defaults.keys() == {*_OF_UFUNCS}):
            effective[word] = argument
        elif word not in defaults:
            raise unknown_argument(name, word, ours)
        elif not _is_idle(name, word, argument, defaults[word]):
            _, instead = _WITHOUT_EFFECT.get(word, ((), ""))
            raise ArgumentError(
                f"{name}: {word}={quote(argument)} is not supported for values and tensors",
                hint=instead or what_it_takes(ours),
            )
    return effective


def _is_idle(name: str, word: str, argument: Any, default: Any) -> bool:
    """Return whether a NumPy keyword argument has no effect: its default, ``where=True``."""
    if argument is default or argument is np._NoValue:
        return True
    if word == "where":
        return argument is True
    if word == "out" and isinstance(argument, tuple):
        return all(output is None for output in argument)
    if not (argument is None or isinstance(argument, bool | np.bool_ | str)):
        return False
    idle, _ = _WITHOUT_EFFECT.get(word, ((), ""))
    return argument in idle or (type(argument) is type(default) and argument == default)


def _compute_in_dtype(
    function: Callable[..., Any], name: str, args: Any, kwargs: dict[str, Any]
) -> Any:
    """Compute a ufunc in a given dtype: convert its operands first."""
    asked = kwargs.pop("dtype")
    try:
        dtype = as_dtype(asked)
    except TypeError as error:
        raise DTypeError(f"{name}: {error}") from None
    check_arguments(name, inspect.signature(function), args, kwargs)
    bound = inspect.signature(function).bind(*args, **kwargs)
    plain = function(*bound.args)
    if _dtype_of(plain) == dtype.numpy:  # a bool of a comparison, or the dtype it has anyway
        return plain
    converted = [  # numbers take the dtype of what they meet, and its kind
        operand
        if isinstance(operand, bool | int | float | complex)
        else functions.astype(operand, dtype)
        for operand in bound.args
    ]
    result = function(*converted)
    narrows = any(not np.can_cast(_dtype_of(x), dtype.numpy, "same_kind") for x in bound.args)
    if _dtype_of(result) != dtype.numpy or narrows:
        raise DTypeError(
            f"{name}: dtype={quote(asked)} is not a dtype that it is computed in here",
            hint="convert the operands or the result: x.astype(dtype)",
        )
    return result


def _dtype_of(x: Any) -> np.dtype[Any]:
    """The NumPy dtype of an operand, or of the first of several results."""
    first = x[0] if isinstance(x, tuple) else x
    dtype = getattr(first, "dtype", None)
    return np.asarray(first).dtype if dtype is None else np.dtype(getattr(dtype, "numpy", dtype))

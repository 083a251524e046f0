"""Every parameter of NumPy's functions, tried on values: what a sample is, and how it is judged.

NumPy says in float64 what a call gives; values must give the same, or refuse with a code and the
parameter's name. What NumPy itself refuses for its own reasons is not a sample, but each parameter
must have one.
"""

import inspect
import itertools
import warnings
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import StaticgradError
from staticgrad.ir.functional import NUMPY_NAMES
from staticgrad.ir.value import Value
from tests.ops.keyword_samples import BASES, CALLS, CREATION, FURTHER, INTS, VALUES, A, B


@dataclass(frozen=True)
class Sample:
    """One call: what is passed, and the parameter that it is about."""

    name: str
    parameter: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __str__(self):
        inner = ", ".join(f"{k}={v!r}" for k, v in self.kwargs.items())
        return " ".join(f"{self.name}({self.parameter}: {inner or self.args})".split())

    def wanted(self):
        """What NumPy gives."""
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            args = deepcopy(self.args)  # overwrite_input=True reorders its array
            return getattr(np, self.name)(*args, **self.kwargs)


def base(name):
    """The operands of a call of NumPy's function."""
    function = getattr(np, name)
    if name in BASES:
        return BASES[name]
    if isinstance(function, np.ufunc):
        floats = [np.abs(A) + 1.0, np.abs(B)][: function.nin]
        return tuple(floats) if takes(function, *floats) else tuple(INTS for _ in floats)
    return (A,)


def takes(function, *args):
    """Whether NumPy's function takes them."""
    try:
        with np.errstate(all="ignore"):
            function(*args)
    except TypeError:
        return False
    return True


def parameters(name):
    """The names of NumPy's parameters that a base call does not give."""
    function = getattr(np, name)
    if isinstance(function, np.ufunc):
        common = ["out", "where", "casting", "order", "dtype", "subok", "signature"]
        if function.signature is None:
            return common
        rest = ["axes", "axis", "keepdims"] if name == "vecdot" else ["axes"]
        return [w for w in common if w != "where"] + rest
    found = inspect.signature(function).parameters
    names = [n for n, p in found.items() if p.kind is not inspect.Parameter.VAR_POSITIONAL]
    given = 0 if name == "einsum" else len(base(name))
    variable = len(names) < len(found)
    return names if variable and name != "gradient" else names[given:]


def samples(name):
    """The calls that are tried for a function: of each parameter, and by NumPy's names."""
    args = base(name)
    yield Sample(name, "the operands", args, {})
    for word in parameters(name):
        yield from about(name, word, args)
    for (function, word), calls in FURTHER.items():
        if function == name:
            for given, kwargs in calls:
                yield Sample(name, word, given, kwargs)
    function = getattr(np, name)
    if not isinstance(function, np.ufunc):
        yield from by_names(name, function, args)


def about(name, word, args):
    if word == "out":
        plain = Sample(name, word, args, {}).wanted()
        several = isinstance(plain, tuple | list)
        out = tuple(map(np.zeros_like, plain)) if several else np.zeros_like(plain)
        calls = [{"out": None}, {"out": out}]
    elif (name, word) in CALLS:
        calls = CALLS[name, word]
    else:
        calls = [{word: each} for each in VALUES[word]]
    for kwargs in calls:
        sample = Sample(name, word, args, kwargs)
        try:
            sample.wanted()
        except (TypeError, ValueError, IndexError):  # NumPy's own reasons
            continue
        yield sample


def by_names(name, function, args):
    """The operands by NumPy's names, where they have some."""
    found = list(inspect.signature(function).parameters.values())
    named = [p for p in found if p.kind is p.POSITIONAL_OR_KEYWORD][: len(args)]
    if len(named) == len(args) and found[: len(args)] == named:
        kwargs = dict(zip([p.name for p in named], args, strict=True))
        yield Sample(name, "the names of operands", (), kwargs)


def converted(data, make):
    """``data`` with a value made of each array, inside lists too."""
    if isinstance(data, np.ndarray):
        return make(data)
    if isinstance(data, list) and any(isinstance(each, np.ndarray | list) for each in data):
        return [converted(each, make) for each in data]
    return data


def operand(sample, place):
    """The array that the value number ``place`` is made of."""
    found = []
    called(sample, lambda array: found.append(array) or array, "keep")
    return found[place]


def moved(sample, place, element, step):
    """The sample with one element of that array moved."""
    seen = itertools.count()

    def shifted(array):
        if next(seen) != place:
            return array
        other = array.copy()
        other.flat[element] += step
        return other

    args, kwargs = called(sample, shifted, "keep")
    return Sample(sample.name, sample.parameter, args, kwargs)


def called(sample, make, way):
    """The call on values: as NumPy's function, or as ours."""
    args = tuple(converted(each, make) for each in sample.args)
    operands = sample.args == () or sample.name in CREATION
    kwargs = {
        k: converted(v, make) if operands and k not in ("weights", "where") else v
        for k, v in sample.kwargs.items()
    }
    if way == "keep":  # the arguments themselves
        return args, kwargs
    ours = NUMPY_NAMES.get(sample.name, sample.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # NumPy's, of names that it gives up
        function = getattr(np if way == "np" else sg, sample.name if way == "np" else ours)
        return function(*args, **kwargs)


def results(found):
    """Values, arrays and numbers in one list."""
    if isinstance(found, tuple | list):
        return list(itertools.chain.from_iterable(map(results, found)))
    return [found]


def ways(sample):
    """``np.f`` only asks values where it is given one."""
    return ["sg"] if sample.name in CREATION else ["sg", "np"]


def refusal(sample, way="sg"):
    """The headline of the refusal on tensors; None where it is taken."""
    try:
        called(sample, tensor, way)
    except StaticgradError as error:
        return f"[{error.code}] {error.headline}"
    return None


def tensor(array):
    return Tensor(array)


def check(found, sample):
    """Compare arrays with what NumPy gives."""
    wanted = results(sample.wanted())
    assert len(found) == len(wanted), str(sample)
    single = sample.kwargs.get("dtype") == "float32"
    for one, other in zip(found, wanted, strict=True):
        got, want = np.asarray(array_of(one)), np.asarray(other)
        assert got.shape == want.shape, (str(sample), got, want)
        if "dtype" in sample.kwargs:
            assert got.dtype == want.dtype, (str(sample), got.dtype)
        close = {"rtol": 2e-6 if single or got.dtype == np.float32 else 1e-12, "atol": 1e-12}
        np.testing.assert_allclose(got, want, err_msg=str(sample), equal_nan=True, **close)


def array_of(found):
    """The array of a tensor, of a value without inputs, or of a NumPy number."""
    if isinstance(found, Tensor):
        return found.data
    return sg.evaluate(found, {}) if isinstance(found, Value) else found

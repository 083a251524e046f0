"""Calls of functions that bear a name of NumPy's, SciPy's or PyTorch's, made up from shapes.

A call is a few operands and keyword arguments, the same for every function. A new function is
called without a row of its own.
"""

import inspect
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.fft
import scipy.linalg
import scipy.special

import staticgrad as sg
from staticgrad.errors import StaticgradError

#: Room -> its module, and where functions of these names are looked for, in this order.
ROOMS: dict[str, Any] = {
    "sg": (sg, (np, np.linalg, scipy.special)),
    "sg.linalg": (sg.linalg, (np.linalg, scipy.linalg)),
    "sg.special": (sg.special, (scipy.special,)),
    "sg.fft": (sg.fft, (np.fft, scipy.fft)),
}


def torch_rooms():
    """The rooms whose functions PyTorch has by the same names."""
    import torch

    return {
        "sg.nn": (sg.nn, (torch.nn.functional, torch.special, torch)),
        "sg": (sg, (torch,)),
        "sg.linalg": (sg.linalg, (torch.linalg,)),
        "sg.special": (sg.special, (torch.special,)),
        "sg.fft": (sg.fft, (torch.fft,)),
    }


@dataclass
class Call:
    """Operands and keyword arguments."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __str__(self):
        def show(value):
            if isinstance(value, np.ndarray):
                return f"{value.dtype}{list(value.shape)}"
            if isinstance(value, list | tuple):
                return f"[{', '.join(map(show, value))}]"
            return repr(value)

        words = [show(arg) for arg in self.args]
        return ", ".join(words + [f"{k}={show(v)}" for k, v in self.kwargs.items()])


class Arrays:
    """Arrays of one shape by what they hold, different each time."""

    def __init__(self):
        self.rng = np.random.default_rng(3)

    def shares(self, shape):
        """Floats between 0.1 and 0.9, no two equal."""
        return self.rng.uniform(0.1, 0.9, shape)

    def signed(self, shape):
        return self.rng.normal(size=shape)

    def small(self, shape):
        """Whole numbers from 0 to 1, which are valid labels wherever there are two."""
        return self.rng.integers(0, 2, shape)

    def square(self, shape):
        """Symmetric positive definite matrices as large as the last axis."""
        n = shape[-1]
        a = self.rng.normal(size=(*shape, n))
        return a @ a.swapaxes(-1, -2) + n * np.eye(n)


KEYWORDS = (
    {"axis": 0}, {"axis": -1}, {"axis": 1}, {"axis": None}, {"axis": (0, 1)}, {"keepdims": True},
    {"axis": 0, "keepdims": True}, {"axes": (1, 0)}, {"ddof": 1}, {"rowvar": False},
    {"bias": True}, {"reduction": "sum"}, {"reduction": "none"}, {"ord": 1}, {"ord": np.inf},
    {"norm": "ortho"}, {"mode": "full"}, {"mode": "same"}, {"k": 1}, {"offset": 1}, {"n": 2},
    {"full_matrices": False}, {"density": True}, {"right": True}, {"label_smoothing": 0.25},
    {"approximate": "tanh"}, {"log_target": True}, {"minlength": 9},
)  # fmt: skip


def calls(shape):
    """Calls of any function with operands of a shape, of its last axes, and of small numbers."""
    arrays = Arrays()
    x, y, z = arrays.shares(shape), arrays.shares(shape), arrays.shares(shape)
    s, i, j = arrays.signed(shape), arrays.small(shape), arrays.small(shape)
    yield from (Call((x,)), Call((s,)), Call((x, y)), Call((x, y, z)), Call(([x, y],)))
    yield from (Call((i,)), Call((i, j)), Call((x, i)), Call((i, x)), Call((i > 0,)))
    yield from (Call((x, 1)), Call((x, 2)), Call((i, 2)), Call((2, x)), Call((x, 0.5)))
    yield from (Call((i > 0, x, y)), Call((x, 0.25, 0.5)), Call((x, shape)), Call((x, (0,))))
    if not shape:
        yield from (Call((3,)), Call((2, 5)), Call(((2, 3),)))
        return
    rows, last = arrays.shares(shape[:-1]), arrays.shares(shape[-1:])
    labels, second = arrays.small(shape[:-1]), arrays.small((*shape[:1], *shape[2:]))
    yield from (Call((x, rows)), Call((x, last)), Call((last, x)), Call((x, last, last)))
    yield from (Call((x, labels)), Call((x, second)), Call((second, x)), Call((last, last, last)))
    yield from (Call((x, 0, 0)), Call((x, 0, -1)), Call((np.sort(last), x)), Call((i, last)))
    a, b = arrays.square(shape), arrays.square(shape)
    yield from (Call((a,)), Call((a, b)), Call((a, x)), Call((a, last)), Call((a, 2)))
    yield from (Call((np.tril(a), x)), Call((x, second, last)), Call(("...i,...i", x, y)))


def peers(rooms):
    """Our full name, our function and theirs, of all public names that both sides have."""
    for path, ours in functions_of({path: room for path, (room, _) in rooms.items()}):
        for home in rooms[path.rpartition(".")[0]][1]:
            theirs = getattr(home, path.rpartition(".")[2], None)
            if callable(theirs) and not inspect.isclass(theirs):
                yield path, ours, theirs
                break


def functions_of(rooms):
    """The full name and the function of each public name."""
    for path, room in rooms.items():
        for name in sorted(room.__all__):
            ours = getattr(room, name)
            if callable(ours) and not inspect.isclass(ours) and not inspect.ismodule(ours):
                yield f"{path}.{name}", ours


def with_keywords(function, call):
    """The call alone, and with each of ``KEYWORDS`` whose names the function has."""
    yield call
    try:
        names = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return
    for kwargs in KEYWORDS:
        if all(name in names for name in kwargs):
            yield Call(call.args, kwargs)


def leaves(results):
    """Results as a flat list."""
    if isinstance(results, tuple | list):
        return [leaf for result in results for leaf in leaves(result)]
    return [results]


def map_arrays(change, value):
    """``value`` with its arrays, or those of a list, replaced."""
    if isinstance(value, np.ndarray):
        return change(value)
    if isinstance(value, list | tuple) and any(
        isinstance(element, np.ndarray) for element in value
    ):
        return type(value)(map_arrays(change, element) for element in value)
    return value


def of_numpy(function, call):
    """Return what NumPy or SciPy gives, as arrays; None if it refuses."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return [np.asarray(leaf) for leaf in leaves(function(*call.args, **call.kwargs))]
        except Exception:  # whatever a peer raises, it refuses
            return None


def of_torch(function, call):
    """Return what PyTorch gives, as arrays; None if it refuses."""
    import torch

    def tensor(array):
        return torch.from_numpy(np.array(array))

    kwargs = {{"axis": "dim", "keepdims": "keepdim"}.get(k, k): v for k, v in call.kwargs.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tensors = leaves(function(*(map_arrays(tensor, arg) for arg in call.args), **kwargs))
            return [result.resolve_conj().numpy() for result in tensors]
        except Exception:  # whatever a peer raises, it refuses
            return None


class Program:
    """One of our functions, called with inputs in place of arrays; sizes may have names.

    Raises:
        StaticgradError: the function refuses the call.
    """

    def __init__(self, function, call, names=None):
        self.inputs = []

        def make_input(array):
            shape = tuple((names or {}).get(size, size) for size in array.shape)
            self.inputs.append(sg.input(f"x{len(self.inputs)}", shape, array.dtype.name))
            return self.inputs[-1]

        args = [map_arrays(make_input, arg) for arg in call.args]
        self.results = leaves(function(*args, **call.kwargs))

    def run(self, call):
        """Return the results as arrays, or the error that refuses these operands in the run."""
        arrays = [leaf for arg in call.args for leaf in leaves(arg) if isinstance(leaf, np.ndarray)]
        feeds = {f"x{number}": array for number, array in enumerate(arrays)}
        values = [leaf for leaf in self.results if isinstance(leaf, sg.Value)]
        results = iter(())
        if values:
            outputs = {f"y{k}": value for k, value in enumerate(values)}
            try:
                outputs_by_name = sg.evaluate(sg.Graph(outputs, inputs=self.inputs), feeds)
                results = iter(outputs_by_name.values())
            except StaticgradError as error:
                return error
        return [next(results) if isinstance(e, sg.Value) else np.asarray(e) for e in self.results]


def of_staticgrad(function, call):
    """Return what ours gives, as arrays, or the error that refuses the call."""
    try:
        return Program(function, call).run(call)
    except StaticgradError as error:
        return error


def agree(ours, theirs):
    """Return whether arrays have equal shapes and values; float16 of NumPy's has three digits."""
    return len(ours) == len(theirs) and all(map(_agree, ours, theirs))


def _agree(ours, theirs):
    if ours.shape != theirs.shape:
        return False
    if ours.dtype.kind not in "biufc" or theirs.dtype.kind not in "biufc":
        return True
    rtol = {"float16": 2e-3, "float32": 1e-4, "complex64": 1e-4}.get(theirs.dtype.name, 1e-6)
    return np.allclose(ours, theirs, rtol=rtol, atol=max(1e-3 * rtol, 1e-9), equal_nan=True)

"""Programs whose results have the same bits on every machine, and digests of these.

The programs are those that ship (``staticgrad.testing.bits``: a program of every family of
kernels), and those of the registries of ``tests/laws``: every op, every public function of values,
every module, every optimizer, every draw, with first derivatives. Each is compiled, and runs over
inputs that are exact on every machine. ``digests.txt`` has what is expected.
"""

import contextlib
import functools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import staticgrad as sg
from staticgrad.language.ops.linalg import LinearAlgebra
from staticgrad.testing import bits
from staticgrad.testing.bits import ProgramRun
from tests.laws import modules, optimizers
from tests.laws.recipes import recipes
from tests.laws.samples import as_tuple, op_names, samples_of

DIGESTS = Path(__file__).with_name("digests.txt")
HEAD = "# Written by python -m tests.golden_bits --write: program | inputs results, or routines.\n"
#: How names of the programs that ship begin.
FAMILY = "family "
#: Elements of rows: shorter than any vector, and longer than several with some left over.
SIZES = {"float64": 5, "float32": 37}


#: Functions without a digest -> why.
WITHOUT = {
    "host_call": "runs a user's function",
    "numba_call": "runs a user's function, with the bits of Numba",
}


def programs():
    """Return each program's name, and a function that builds it."""
    return {
        **{f"{FAMILY}{name}": build for name, build in bits.PROGRAMS.items()},
        **{f"op {name}": partial(of_op, name) for name in op_names()},
        **{
            f"function {recipe.name} {dtype}": partial(of_function, recipe, dtype)
            for recipe in recipes().values()
            for dtype in SIZES
            if recipe.name not in WITHOUT
        },
        **{f"module {name}": partial(of_module, name) for name in modules.CASES},
        **{
            f"optimizer {kind.__name__} {k}": partial(of_optimizer, kind, options)
            for kind, samples in optimizers.SAMPLES.items()
            for k, options in enumerate(samples)
        },
        **{f"draw {name}": partial(of_draw, draw) for name, draw in DRAWS.items()},
    }


# -- what they compute ----------------------------------------------------------------------------


def exact(array):
    """Round numbers to 2**-12: what they were computed by does not matter then."""
    array = np.asarray(array)
    if array.dtype.kind == "c":
        return exact(array.real) + 1j * exact(array.imag)
    return np.rint(array * 4096) / 4096 if array.dtype.kind == "f" else array


def weights_of(shape):
    """Return a number between 0.5 and 1.5 for each element of a shape, exact in float16."""
    return 0.5 + (np.arange(int(np.prod(shape)), dtype="float64") * 37 % 64 / 64).reshape(shape)


def loss_of(values):
    """Return the sum of all floating elements, each with a weight."""
    total = 0.0
    for value in values:
        for part in (sg.real(value), sg.imag(value)) if value.dtype.kind == "c" else (value,):
            if part.dtype.kind == "f":
                weights = weights_of(part.shape).astype(part.dtype.numpy)
                total = total + (part * weights).sum().astype("float64")
    return total


def leaves_of(tree):
    """Return the values in lists, tuples, dicts and named tuples."""
    return [leaf for leaf in sg.tree.leaves(tree) if hasattr(leaf, "dtype")]


def with_gradients(results, wrt):
    """Return results and the gradients of their weighted sum by ``wrt``, by name."""
    outputs = {f"y{k}": value for k, value in enumerate(results)}
    loss = loss_of(results)
    if wrt and not isinstance(loss, float):
        with contextlib.suppress(sg.errors.GradientError):
            gradients = sg.grad(loss, wrt)
            outputs |= {f"g{k}": gradient for k, gradient in enumerate(gradients)}
    return outputs


def of_op(name):
    """Return all samples of an op in one program, with the gradients at the smooth ones."""
    outputs, feeds = {}, {}
    for number, sample in enumerate(samples_of(name)):
        labels = [f"x{number}_{k}" for k in range(len(sample.arrays))]
        values = [
            sg.input(label, a.shape, a.dtype)
            for label, a in zip(labels, sample.arrays, strict=True)
        ]
        results = as_tuple(sample.op(*values))
        wrt = [v for v, moves in zip(values, sample.moves, strict=True) if moves]
        part = with_gradients(results, wrt if sample.smooth else [])
        outputs |= {f"{key}_{number}": value for key, value in part.items()}
        arrays = map(exact_sample, sample.arrays)
        if isinstance(sample.op, LinearAlgebra):
            arrays = map(without_noise, arrays)
        feeds |= dict(zip(labels, arrays, strict=True))
    return ProgramRun(outputs, feeds)


def exact_sample(array):
    """Make the ordinary numbers of a sample exact; special, tiny and huge ones stay."""
    if array.dtype.kind not in "f" or array.dtype.itemsize < 4:
        return array
    magnitude = np.abs(array)
    ordinary = (magnitude > 2.0**-6) & (magnitude < 2.0**30)
    rounded = exact(np.where(ordinary, array, 0))
    return np.where(ordinary, rounded, array).astype(array.dtype)


def without_noise(array):
    """Return a matrix with 0 for what is left of a product's zeros: libraries round it otherwise.

    Complex matrices that are Hermitian have such numbers on their diagonals.
    """
    return np.where(abs(array) < 2.0**-50, 0, array).astype(array.dtype)


def of_function(recipe, dtype):
    """Return a function at one size, with its gradient."""
    arrays = [exact(a) for a in recipe.arrays(SIZES[dtype])]
    wide = {"f": dtype, "c": {"float64": "complex128", "float32": "complex64"}[dtype]}
    arrays = [a.astype(wide.get(a.dtype.kind, a.dtype)) for a in arrays]
    values = [sg.input(f"x{k}", a.shape, a.dtype) for k, a in enumerate(arrays)]
    results = leaves_of(recipe.call(*values))
    wrt = [values[k] for k in recipe.floating]
    feeds = {f"x{k}": a for k, a in enumerate(arrays)}
    return ProgramRun(with_gradients(results, wrt), feeds)


def of_module(name):
    """Return a module's results in training, with the gradients by its parameters and inputs."""
    case = modules.CASES[name]
    sg.nn.manual_seed(0)  # initial parameters, whatever was made before
    rng = np.random.default_rng(0)
    module = case.make()
    feeds, values = {}, []
    for k, shape in enumerate(case.shapes):
        array = shape if isinstance(shape, np.ndarray) else exact(rng.standard_normal(shape))
        feeds[f"x{k}"] = array
        values.append(sg.input(f"x{k}", array.shape, array.dtype))
    for parameter in module.parameters():
        parameter.value = exact(parameter.value).astype(parameter.value.dtype)
    with sg.nn.updates() as updates:
        results = leaves_of(module(*values))
    wrt = [*module.parameters()] + [v for v in values if v.dtype.kind == "f"]
    return ProgramRun(with_gradients(results, wrt), feeds, updates, runs=2)


def of_optimizer(kind, options):
    """Return three steps of an optimizer on a loss of a matrix and a vector."""
    w = sg.parameter("w", exact(np.linspace(-1, 1, 35).reshape(5, 7)).astype("float32"))
    b = sg.parameter("b", exact(np.linspace(0.5, -0.5, 7)).astype("float32"))
    x = sg.input("x", (6, 5), "float32")
    loss = (sg.tanh(x @ w + b) ** 2).mean()
    updates = kind(**options).updates(loss, [w, b])
    feeds = {"x": exact(np.sin(np.arange(30.0)).reshape(6, 5)).astype("float32")}
    return ProgramRun({"loss": loss, "w": w, "b": b}, feeds, updates, runs=4)


def of_draw(draw):
    """Return a draw of a generator with a seed."""
    return ProgramRun({"draw": draw(sg.random.Generator(7))}, {})


DRAWS: dict[str, Callable[[Any], Any]] = {
    "uniform": lambda g: g.uniform(shape=(200,)),
    "normal": lambda g: g.normal(shape=(200,)),
    "normal float64": lambda g: g.normal(shape=(200,), dtype="float64"),
    "gamma": lambda g: g.gamma(2.0, shape=(100,)),
    "permutation": lambda g: g.permutation(50),
}


@functools.cache
def read():
    """Return the digests that are expected: files are read once."""
    families = {f"{FAMILY}{name}": text for name, text in bits.read().items()}
    return {**families, **bits.read(DIGESTS)}


def write(digests):
    """Write the digests of all programs: those of families are in the wheel."""
    for path, belongs in ((bits.DIGESTS, True), (DIGESTS, False)):
        lines = [
            f"{name.removeprefix(FAMILY)} | {digests[name]}\n"
            for name in programs()
            if name in digests and name.startswith(FAMILY) is belongs
        ]
        path.write_text(HEAD + "".join(lines), "utf-8")

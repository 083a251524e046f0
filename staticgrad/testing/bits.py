"""Digests of results, which have the same bits on every machine, and programs that show it.

``PROGRAMS`` has a program of every family of kernels, with its derivatives. Each is compiled and
runs over inputs that are exact on every machine; ``digest`` hashes the results, and ``bits.txt``
has what is expected. ``staticgrad doctor --bits`` compares them.

A routine of another library (LAPACK, a function of SciPy) has its own rounding on each machine: the
digest of a program that calls one is the names of its routines. One that calls LAPACK is compiled
with ``linalg="portable"`` first.
"""

from __future__ import annotations

import hashlib
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import staticgrad as sg
from staticgrad.errors import StaticgradError
from staticgrad.extend import NamedTuple
from staticgrad.language.ir.schedule import CallStep, steps_of
from staticgrad.native import loader
from staticgrad.native.libraries import lapack
from staticgrad.native.libraries.fourier_kernels import FourierCall
from staticgrad.support import config

#: Lines ``program | digest``, written by ``python -m tests.golden_bits --write``.
DIGESTS: Final = Path(__file__).with_name("bits.txt")


class ProgramRun(NamedTuple):
    """Values to compute, by name, and the arrays that are fed in each of its ``runs``.

    ``pipeline``: the passes that it is compiled with, unless the check of bits names others.
    """

    outputs: dict[str, Any]
    feeds: dict[str, Any]
    updates: Any = ()
    runs: int = 1
    pipeline: str = "O1"


# -- digests ---------------------------------------------------------------------------------------


def digest(build: Callable[[], ProgramRun], **options: Any) -> str:
    """Build, compile and run a program; return its digest, or the routines that it calls.

    ``options`` are those of ``sg.compile``. The digest is two numbers: of the inputs, and of the
    results.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = build()
        graph = sg.Graph(program.outputs, updates=dict(program.updates))
        options = {"pipeline": program.pipeline, **options}
        compiled = sg.compile(graph, **options)
        routines = routines_of(compiled)
        if routines:
            compiled = sg.compile(graph, linalg="portable", **options)
            routines = routines_of(compiled)
        if routines:
            return " ".join(routines)
        names = {value.name for value in graph.inputs}
        feeds = {key: array for key, array in program.feeds.items() if key in names}
        inputs, outputs = hashlib.sha256(), hashlib.sha256()
        for key in sorted(feeds):
            inputs.update(canonical(feeds[key]))
        for _ in range(program.runs):
            results = compiled.run(feeds)
            for key in sorted(results):
                outputs.update(canonical(results[key]))
    return f"{inputs.hexdigest()[:8]} {outputs.hexdigest()[:16]}"


def canonical(array: npt.ArrayLike) -> bytes:
    """Return the bytes of an array in C order; each NaN has the same."""
    array = np.array(array)
    if array.dtype.kind == "V":  # bfloat16
        array = array.astype("float32")
    if array.dtype.kind in "fc":
        parts = [array.real, array.imag] if array.dtype.kind == "c" else [array]
        return b"".join(np.where(np.isnan(p), np.nan, p).astype(p.dtype).tobytes() for p in parts)
    return array.tobytes()


def routines_of(compiled: Any) -> list[str]:
    """Return the names of routines of other libraries that a compiled program calls."""
    calls = [step for step in steps_of(compiled.schedule) if isinstance(step, CallStep)]
    names = {step.routine.name for step in calls if not _is_ours(step)}
    return sorted({name.removesuffix(".portable") for name in names})


def _is_ours(step: Any) -> bool:
    """Return whether no other library computes the routine of a step."""
    family, _, spec = step.routine.name.partition(":")
    if family == "linalg":
        is_named = not all(isinstance(size, int) for size in step.sizes)
        return not is_named and not lapack.calls_lapack(step.routine.name, step.sizes)
    if family == "fft":
        return bool(FourierCall.of(spec).size) and config.current().jit
    return family in ("limit", "sparse")


def read(path: Path = DIGESTS) -> dict[str, str]:
    """Return the digests of a file, by the names of programs."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return dict(line.split(" | ") for line in lines if line and not line.startswith("#"))


def compare() -> Iterator[tuple[str, str, str]]:
    """Yield each program's name, its digest on this machine or its error, and the expected one."""
    expected = read()
    for name, build in PROGRAMS.items():
        try:
            actual = digest(build)
        except StaticgradError as error:
            actual = f"{error.code}: {error.headline}"
        yield name, actual, expected.get(name, "")


def machine() -> dict[str, str]:
    """Return what the bits might depend on: the processor, and versions of what generates code."""
    facts = {"machine": platform.machine(), "system": platform.platform()}
    if config.current().jit:
        target = loader.host()
        facts |= {
            "processor": target.cpu,
            "vectors": f"{target.vector_bits} bits, rung {target.level} of the ladder",
        }
    else:
        facts["processor"] = "none: the jit is off"
    facts |= {
        "settings": ", ".join(str(s) for s in config.settings() if s.source != "default") or "-",
        "python": platform.python_version(),
    }
    versions = {name: metadata.version(name) for name in ("numpy", "llvmlite", "numba", "scipy")}
    return {**facts, **versions, "staticgrad": sg.__version__}


# -- inputs ----------------------------------------------------------------------------------------


def numbers(*shape: int, dtype: str = "float32", seed: int = 0) -> npt.NDArray[Any]:
    """Return numbers between -2 and 2 that every machine makes alike, exact in float16."""
    count = int(np.prod(shape))
    words = (np.arange(count, dtype=np.uint32) + np.uint32(977 * seed)) * np.uint32(2654435761)
    parts = (words >> np.uint32(21)).astype(np.float64) / 512.0 - 2.0
    if np.dtype(dtype).kind == "c":
        return (parts + 1j * parts[::-1]).astype(dtype).reshape(shape)
    return parts.astype(dtype).reshape(shape)


def positive(*shape: int, dtype: str = "float32", seed: int = 0) -> npt.NDArray[Any]:
    """Return numbers between 0.5 and 2.5."""
    array: npt.NDArray[Any] = np.abs(numbers(*shape, dtype=dtype, seed=seed)) + np.array(0.5, dtype)
    return array


def classes(*shape: int, below: int) -> npt.NDArray[Any]:
    """Return whole numbers from 0 to below."""
    return (np.arange(int(np.prod(shape))) * 7 % below).reshape(shape)


# -- programs --------------------------------------------------------------------------------------

Builder = Callable[[], ProgramRun]


def _of(
    function: Callable[..., Any], *arrays: npt.NDArray[Any], runs: int = 1, pipeline: str = "O1"
) -> Builder:
    """Return a builder of a function's results over arrays, and of the gradients of their sum."""

    def build() -> ProgramRun:
        values = [sg.input(f"x{k}", a.shape, a.dtype.name) for k, a in enumerate(arrays)]
        results = function(*values)
        results = results if isinstance(results, tuple) else (results,)
        outputs = {f"y{k}": result for k, result in enumerate(results)}
        terms = [
            part.astype("float64").sum()
            for result in results
            for part in ((sg.real(result), sg.imag(result)) if _kind(result) == "c" else (result,))
            if _kind(part) == "f"
        ]
        variables = [value for value in values if _kind(value) in "fc"]
        if terms and variables:
            gradients = sg.grad(sum(terms[1:], terms[0]), variables)
            outputs |= {f"g{k}": gradient for k, gradient in enumerate(gradients)}
        feeds = {f"x{k}": a for k, a in enumerate(arrays)}
        return ProgramRun(outputs, feeds, runs=runs, pipeline=pipeline)

    return build


def _kind(value: Any) -> str:
    return str(value.dtype.kind)


def _training(optimizer: Callable[[], Any]) -> Builder:
    """Return a builder of steps of a small network with an optimizer."""

    def build() -> ProgramRun:
        w = sg.parameter("w", numbers(12, 8, seed=1) / 4)
        v = sg.parameter("v", numbers(8, 5, seed=2) / 4)
        x, labels = sg.input("x", (20, 12), "float32"), sg.input("labels", (20,), "int64")
        loss = sg.nn.cross_entropy(sg.tanh(x @ w) @ v, labels)
        feeds = {"x": numbers(20, 12), "labels": classes(20, below=5)}
        return ProgramRun({"loss": loss}, feeds, optimizer().updates(loss, [w, v]), runs=4)

    return build


def _newton(x: Any) -> Any:
    """Return square roots by a loop whose iterations depend on each other."""
    return sg.scan(lambda root, _: ((root + x / root) * 0.5, root), x, length=6)[0]


def _sparse_product(values: Any, dense: Any) -> Any:
    """Return a product of a sparse matrix of 50 elements and a dense one."""
    places = np.arange(50)
    return sg.sparse.coo(values, places * 7 % 30, places * 3 % 20, (30, 20)) @ dense


def _second_order(x: Any) -> Any:
    return sg.grad((sg.sin(x) * sg.exp(x * 0.5)).sum(), x)


_F64: Final = "float64"
PROGRAMS: Final[Mapping[str, Builder]] = {
    # elementwise
    "arithmetic": _of(lambda x, y: x * y + x / y - y, numbers(5, 37), positive(5, 37)),
    "arithmetic float64": _of(
        lambda x, y: x * y - x / y, numbers(37, dtype=_F64), positive(37, dtype=_F64)
    ),
    "exp log": _of(lambda x: (sg.exp(x), sg.log(x), sg.expm1(x), sg.log1p(x)), positive(101)),
    "exp log float64": _of(lambda x: (sg.exp(x), sg.log(x)), positive(53, dtype=_F64)),
    "sine cosine": _of(lambda x: (sg.sin(x), sg.cos(x), sg.tan(x)), numbers(101) * 100),
    "sine cosine float64": _of(lambda x: (sg.sin(x), sg.cos(x)), numbers(53, dtype=_F64) * 1e5),
    "hyperbolic": _of(lambda x: (sg.tanh(x), sg.sinh(x), sg.cosh(x)), numbers(101)),
    "inverse": _of(lambda x: (sg.arctan(x), sg.arcsin(x / 4), sg.arccosh(x * x + 2)), numbers(61)),
    "powers": _of(lambda x, y: (x**y, sg.sqrt(x), sg.cbrt(x)), positive(61), numbers(61)),
    "error function": _of(lambda x: (sg.special.erf(x), sg.special.erfc(x)), numbers(61)),
    "gamma functions": _of(
        lambda x: (sg.special.gammaln(x), sg.special.digamma(x)), positive(41, dtype=_F64)
    ),
    "incomplete gamma": _of(
        sg.special.gammainc, positive(11, dtype=_F64), positive(11, dtype=_F64, seed=1)
    ),
    "bessel": _of(lambda x: (sg.special.i0(x), sg.special.i1(x)), numbers(41, dtype=_F64)),
    "activations": _of(lambda x: (sg.nn.gelu(x), sg.nn.silu(x), sg.nn.softplus(x)), numbers(3, 67)),
    "selection": _of(
        lambda x, y: sg.where(x > y, sg.maximum(x, 0.5), y), numbers(77), numbers(77, seed=3)
    ),
    "integers": _of(
        lambda x, y: (x // y, x % y, x & y, x << 3),
        classes(67, below=1000),
        classes(67, below=13) + 1,
    ),
    "float16": _of(lambda x: (sg.exp(x), x.sum(0), x * 3), numbers(9, 35, dtype="float16")),
    "bfloat16": _of(
        lambda x: (sg.tanh(x.astype("bfloat16")) * 3).astype("float32"), numbers(9, 35)
    ),
    "casts": _of(
        lambda x: (x.astype("float16"), x.astype("int32"), x.astype(_F64)), numbers(71) * 50
    ),
    "complex": _of(
        lambda x, y: (x * y, x / y, sg.exp(x), sg.abs(x)),
        numbers(29, dtype="complex64"),
        numbers(29, dtype="complex64", seed=2),
    ),
    "second derivatives": _of(_second_order, numbers(45, dtype=_F64)),
    # rows, columns, everything
    "row sums": _of(lambda x: (x.sum(-1), x.mean(-1), (x * x).sum(-1)), numbers(7, 5000)),
    "column sums": _of(lambda x: (x.sum(0), x.max(0), x.var(0)), numbers(300, 35)),
    "sum of all": _of(lambda x: (x.sum(), x.prod(), x.std()), numbers(123, 45, dtype=_F64)),
    "softmax": _of(lambda x: (sg.nn.softmax(x), sg.nn.logsumexp(x, axis=-1)), numbers(9, 130)),
    "layer norm": _of(
        lambda x, w, b: sg.nn.layer_norm(x) * w + b,
        numbers(11, 67),
        numbers(67, seed=1),
        numbers(67, seed=2),
    ),
    "batch norm": _of(
        lambda x: (
            (x - x.mean((0, 2, 3), keepdims=True)) / sg.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)
        ),
        numbers(4, 3, 9, 9),
    ),
    "cross entropy": _of(
        lambda x, y: sg.nn.cross_entropy(x, y), numbers(23, 40), classes(23, below=40)
    ),
    "extremes": _of(lambda x: (x.max(-1), x.argmin(-1), sg.nn.relu(x)), numbers(13, 77)),
    "cumulative": _of(
        lambda x: (sg.cumsum(x, 1), sg.cumprod(x, 0), sg.cummax(x, 1)), numbers(9, 50)
    ),
    "sorting": _of(lambda x: (sg.sort(x, -1), sg.argsort(x, -1)), numbers(5, 77)),
    "transposed": _of(lambda x, y: (sg.exp(x.T) + y, x.T.sum(0)), numbers(37, 50), numbers(50, 37)),
    "movement": _of(
        lambda x: (sg.concatenate([x, x[:, ::-1]], 1), sg.pad(x, 2), sg.roll(x, 3, 1)),
        numbers(9, 14),
    ),
    # products
    "product": _of(lambda a, b: a @ b, numbers(70, 90), numbers(90, 50)),
    "product float64": _of(
        lambda a, b: a @ b, numbers(33, 70, dtype=_F64), numbers(70, 41, dtype=_F64)
    ),
    "long product": _of(lambda a, b: a @ b, numbers(3, 9000), numbers(9000, 5)),
    "product of bfloat16": _of(
        lambda a, b: (a.astype("bfloat16") @ b.astype("bfloat16")).astype("float32"),
        numbers(37, 45),
        numbers(45, 50) / 3,
    ),
    "product of 8-bit integers": _of(
        lambda a, b: a.astype("int8").astype("int32") @ b.astype("uint8").astype("int32"),
        classes(37, 90, below=251),
        classes(90, 50, below=255),
    ),
    "transposed product": _of(
        lambda a, b: sg.nn.relu(a.T @ b.T + 1.0), numbers(60, 40), numbers(30, 60)
    ),
    "batched product": _of(lambda a, b: a @ b, numbers(6, 9, 20), numbers(6, 20, 7)),
    "matrix times vector": _of(lambda a, b: (a @ b, a.T @ (a @ b)), numbers(80, 130), numbers(130)),
    "complex product": _of(
        lambda a, b: a @ b, numbers(12, 20, dtype="complex128"), numbers(20, 9, dtype="complex128")
    ),
    "einsum": _of(
        lambda a, b: sg.einsum("bij,bkj->bik", a, b), numbers(3, 8, 20), numbers(3, 9, 20)
    ),
    "attention": _of(
        lambda q, k, v: sg.nn.attention(q, k, v, causal=True),
        *(numbers(2, 3, 40, 16, seed=k) for k in range(3)),
    ),
    # images and sequences
    "convolution 3 x 3": _of(
        lambda x, w: sg.nn.conv2d(x, w, padding=1), numbers(2, 8, 18, 18), numbers(16, 8, 3, 3)
    ),
    "convolution of bfloat16": _of(
        lambda x, w: sg.nn.conv(x, w, padding=1),
        numbers(2, 16, 14, 15) / 3,
        numbers(16, 16, 3, 3, seed=1) / 7,
        pipeline="O1,narrow{products=True}",
    ),
    "convolution of 8-bit integers": _of(
        lambda x, w: sg.nn.conv(
            x.astype("uint8").astype("int32"), w.astype("int8").astype("int32"), padding=1
        ),
        classes(2, 6, 9, 10, below=255),
        classes(8, 6, 3, 3, below=253),
    ),
    "convolution 5 x 5 by 2": _of(
        lambda x, w: sg.nn.conv2d(x, w, stride=2), numbers(2, 3, 21, 21), numbers(7, 3, 5, 5)
    ),
    "convolution 1 x 1": _of(
        lambda x, w: sg.nn.conv2d(x, w), numbers(2, 9, 11, 11), numbers(13, 9, 1, 1)
    ),
    "convolution by groups": _of(
        lambda x, w: sg.nn.conv2d(x, w, groups=6), numbers(2, 6, 12, 12), numbers(6, 1, 3, 3)
    ),
    "pooling": _of(
        lambda x: (sg.nn.max_pool2d(x, 2), sg.nn.avg_pool2d(x, 3, stride=2)), numbers(2, 3, 13, 13)
    ),
    "fourier transform": _of(lambda x: sg.fft.fft(x), numbers(20, 480, dtype="complex64")),
    "real fourier transform": _of(lambda x: sg.fft.rfft(x), numbers(5, 250, dtype=_F64)),
    # indices, loops, draws, training
    "gather scatter": _of(
        lambda x, i: (x[i], x.at[i].add(x[i] * 2)), numbers(50, 9), classes(70, below=50)
    ),
    "dependent loop": _of(_newton, positive(40)),
    "loop of products": _of(
        lambda h, w: sg.scan(lambda s, _: (sg.tanh(s @ w), s.sum()), h, length=7),
        numbers(6, 16),
        numbers(16, 16) / 4,
    ),
    "sparse product": _of(_sparse_product, numbers(50), numbers(20, 9)),
    "uniform draws": lambda: ProgramRun({"u": sg.random.Generator(7).uniform(shape=(999,))}, {}),
    "normal draws": lambda: ProgramRun(
        {"n": sg.random.Generator(7).normal(shape=(99,), dtype=_F64)}, {}
    ),
    "permutation": lambda: ProgramRun({"p": sg.random.Generator(7).permutation(50)}, {}),
    "SGD": _training(lambda: sg.optim.SGD(0.1, momentum=0.9)),
    "Adam": _training(lambda: sg.optim.Adam(0.01)),
}

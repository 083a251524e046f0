"""Kinds of values, and a small program of each with its results worked out in NumPy's float64.

The program is a function, a product, a mean, an index and a loss. Its results and the slope of the
loss are formulas of NumPy on the arrays as they are after rounding to the kind, so that a door is
never compared with another door.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import ml_dtypes
import numpy as np
import scipy.sparse

import staticgrad as sg

AT = [2, 0]  # the rows that the program picks; of one row the only one


@dataclass(frozen=True)
class Kind:
    """One column.

    Attributes:
        name: of the column; an error that refuses the kind has it, or one of ``words``.
        dtype: of the elements, as NumPy has it.
        rows: of x, whose shape is [rows, 3]; None: x and w are numbers.
        layout: how an array of C order becomes one of this kind.
        named: the rows are a named size.
        columns: of x; w is [columns, 2].
        words: other spellings of the name; an error may also name integers or bools as such.
    """

    name: str
    dtype: object = "float64"
    rows: int | None = 5
    layout: Callable[[np.ndarray], object] = np.ascontiguousarray
    named: bool = False
    columns: int = 3
    words: tuple[str, ...] = ()
    sparse: bool = False

    @property
    def numpy(self):
        return np.dtype(self.dtype)

    @property
    def is_type(self):
        """True for a kind that is named by its element type."""
        return self.name == str(self.numpy)

    @property
    def is_shape(self):
        """True for a kind whose axes or elements are peculiar."""
        return self.sparse or self.named or self.rows in (None, 0, 1)

    @property
    def family(self):
        """The kind of the program: of floats and complex numbers "inexact", "whole" or "truth"."""
        kind = self.numpy.kind
        return {"f": "inexact", "V": "inexact", "c": "inexact", "b": "truth"}.get(kind, "whole")

    @property
    def spellings(self):
        """Texts one of which an error has that names the kind."""
        more = {"whole": ("integers",), "truth": ("bools",)}.get(self.family, ())
        return (self.name, *self.words, *more)

    @property
    def eps(self):
        """The distance of 1 to the next number."""
        if self.family != "inexact":
            return 0.0
        narrow = self.numpy == ml_dtypes.bfloat16
        return float((ml_dtypes.finfo if narrow else np.finfo)(self.numpy).eps)


def with_steps(array):
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def off_by_a_byte(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)[1:]
    view = memory.view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


KINDS = {
    kind.name: kind
    for kind in (
        Kind("float64", words=("f64",)),
        Kind("float32", "float32", words=("f32",)),
        Kind("float16", "float16", 700, words=("f16",)),  # squares add up beyond its range
        Kind("bfloat16", ml_dtypes.bfloat16, 700, words=("bf16", "BFloat16")),
        Kind("complex64", "complex64", words=("c64", "complex")),
        Kind("complex128", "complex128", words=("c128", "complex")),
        Kind("int8", "int8", 60, words=("i8",)),  # elements add up beyond its range
        Kind("int16", "int16", words=("i16",)),
        Kind("int32", "int32", words=("i32",)),
        Kind("int64", "int64", words=("i64",)),
        Kind("uint8", "uint8", 60, words=("u8",)),
        Kind("uint16", "uint16", words=("u16",)),
        Kind("uint32", "uint32", words=("u32",)),
        Kind("uint64", "uint64", words=("u64",)),
        Kind("bool", "bool", words=("bools",)),
        Kind("sparse", sparse=True, words=("Sparse",)),
        Kind("size 0", rows=0, words=("empty", "no elements", "0 ", "no numbers", "no batch")),
        Kind("size 1", rows=1, columns=1),
        Kind("named size", named=True, words=("rows",)),
        Kind("0-d", rows=None, words=("[]", "no axes", "axis", "scalar")),
        Kind("strided", layout=with_steps),
        Kind("transposed", layout=np.asfortranarray),
        Kind("reversed", layout=lambda array: array[::-1, ::-1].copy()[::-1, ::-1]),
        Kind("read-only", layout=read_only, words=("read only",)),
        Kind("unaligned", layout=off_by_a_byte),
        Kind("big-endian", layout=lambda array: array.astype(array.dtype.newbyteorder(">"))),
    )
}


def half(x):
    """x * 0.5, in its own type also where NumPy has another one."""
    return (x * 0.5).astype(x.dtype)


def with_label(results, how):
    """Results whose labels say how they came about."""
    return {f"{name}: {how}": array for name, array in results.items()}


def dense(x):
    """A gradient, or x: of a sparse matrix its elements, of a Hessian by one those of both."""
    while isinstance(x, sg.sparse.Sparse):
        x = x.data
    return x


class Case:
    """The arrays, the program and the results of a kind.

    A door whose result may be evaluated or compiled does both if the case is ``thorough``.
    """

    def __init__(self, kind, rows=None, thorough=True):
        self.kind, self.thorough = kind, thorough
        random = np.random.default_rng(3)
        self.rows = kind.rows if rows is None else rows
        shape = () if kind.rows is None else (self.rows, kind.columns)
        self.exact_x = self._drawn(random, shape)
        self.exact_w = self._drawn(random, shape and (kind.columns, 2), 6.0)
        if kind.sparse:
            self.exact_x[random.random(shape) < 0.5] = 0.0
            self.exact_x[0, 0] = 0.5

    def _drawn(self, random, shape, scale=2.0):
        dtype = self.kind.numpy
        if self.kind.family == "truth":
            return random.integers(0, 2, shape).astype(dtype)
        if self.kind.family == "whole":
            return np.asarray(random.integers(1, 5, shape)).astype(dtype)
        drawn = random.uniform(0.3, 1.0, size=shape) * scale
        if dtype.kind == "c":
            drawn = drawn + 1j * random.uniform(-0.5, 0.5, size=shape)
        return np.asarray(drawn).astype(dtype)

    # -- what a door is given ------------------------------------------------------------------

    @property
    def x(self):
        """The array, or the matrix, of this kind."""
        return sg.sparse.csr(self.matrix) if self.kind.sparse else self.laid(self.exact_x)

    @property
    def w(self):
        return self.laid(self.exact_w)

    def laid(self, array):
        """The array in the layout of the kind."""
        return self.kind.layout(array) if array.ndim == 2 else array

    @property
    def matrix(self):
        """The sparse matrix as SciPy has it."""
        return scipy.sparse.csr_array(self.exact_x)

    @property
    def differentiable(self):
        return self.kind.family == "inexact"

    def inputs(self):
        """Symbolic x and w; of a sparse matrix the elements are an input."""
        rows = "rows" if self.kind.named else self.rows
        shape = () if self.kind.rows is None else (rows, self.kind.columns)
        if self.kind.sparse:
            matrix = self.matrix
            data = sg.input("x", (matrix.nnz,), self.kind.dtype)
            x = sg.sparse.csr(data, matrix.indices, matrix.indptr, matrix.shape)
        else:
            x = sg.input("x", shape, self.kind.dtype)
        return x, sg.input("w", self.exact_w.shape, self.kind.dtype)

    @property
    def feeds(self):
        return {"x": self.matrix.data if self.kind.sparse else self.x, "w": self.w}

    def direction(self, x):
        """A tangent of x, in the containers of x."""
        if not self.differentiable:
            return x
        return x.with_data(x.data * 0.5) if isinstance(x, sg.sparse.Sparse) else half(x)

    @property
    def smaller(self):
        """The same with few rows."""
        return Case(self.kind, self.rows and min(self.rows, 5), self.thorough)

    # -- the program ---------------------------------------------------------------------------

    def values(self, x, w, through=lambda f, x: f(x)):
        """The program: five results by name, of arrays, values or tensors.

        ``through`` calls the elementwise function.
        """
        kind = self.kind
        if kind.family == "truth":
            wave = through(sg.logical_not, x)
            product = sg.logical_not(sg.all(sg.expand_dims(wave, 2) | sg.logical_not(w), axis=1))
        elif kind.family == "whole":
            wave = through(lambda x: x * 3 + 1, x)
            product = wave @ w
        else:
            wave = through((lambda x: x.apply(sg.sin)) if kind.sparse else sg.sin, x)
            product = wave * w if kind.rows is None else wave @ w
        mean = product.mean(axis=self.axis)
        picked = product if self.at is None else product[self.at]
        if kind.sparse:
            wave = wave.todense()
        loss = product.mean()
        if self.differentiable:
            squares = sg.abs_square(product)
            loss = squares.mean() if self.exact_x.size else squares.sum()
        elif not self.exact_x.size:
            loss = product.sum()
        return {"wave": wave, "product": product, "mean": mean, "picked": picked, "loss": loss}

    def loss(self, x, w):
        return self.values(x, w)["loss"]

    def graph(self, **options):
        """The program as a graph, with the slope of the loss by x where there is one."""
        x, w = self.inputs()
        results = self.values(x, w)
        if self.differentiable:
            results["slope"] = sg.grad(results["loss"], x.data if self.kind.sparse else x)
        return sg.Graph(results, **options)

    def evaluate_results(self, results):
        """Evaluate ``results(x, w)``, values by name, of symbolic x and w; compile them, too."""
        x, w = self.inputs()
        values = {name: dense(value) for name, value in results(x, w).items()}
        graph = sg.Graph(values, inputs=[dense(x), w])
        arrays = with_label(sg.evaluate(graph, self.feeds), "evaluated")
        if self.thorough:
            arrays |= with_label(sg.compile(graph).run(self.feeds), "compiled")
        return arrays

    def evaluate_through(self, way):
        """The results where ``way(f, x)`` calls the elementwise function of the program."""

        def results(x, w):
            values = self.values(x, w, way)
            if self.differentiable:
                values["slope"] = sg.grad(values["loss"], dense(x))
            return values

        return self.evaluate_results(results)

    @property
    def axis(self):
        return None if self.kind.rows is None else 0 if self.rows else 1

    @property
    def at(self):
        """The rows that are picked."""
        if self.kind.rows is None or not self.rows:
            return None
        return np.array([row for row in AT if row < self.rows])

    # -- the reference -------------------------------------------------------------------------

    @cached_property
    def reference(self):
        """Result -> what it is, in float64, complex128 or the integers."""
        kind, x, w = self.kind, self.exact_x, self.exact_w
        if kind.family == "inexact":
            wide = "complex128" if kind.numpy.kind == "c" else "float64"
            x, w = x.astype(wide), w.astype(wide)
            wave = np.sin(x)
            product = wave * w if kind.rows is None else wave @ w
            count = product.size or 1
            loss = (np.abs(product) ** 2).sum() / count
            cotangent = 2.0 * np.conj(product) / count  # as JAX has it of complex numbers
            slope = (cotangent * w if kind.rows is None else cotangent @ w.T) * np.cos(x)
            if kind.sparse:
                slope = slope[x != 0]
        elif kind.family == "whole":
            wave = (x * 3 + 1).astype(kind.dtype)
            product = (wave.astype("int64") @ w.astype("int64")).astype(kind.dtype)
            loss, slope = product.astype("float64").mean(), None
        else:
            wave, slope = ~x, None
            product = (x.astype("int64") @ w.astype("int64")) > 0
            loss = product.mean()
        rows = product[self.at] if self.at is not None else product
        more = {} if slope is None else self._directional(x, w, slope)
        with np.errstate(all="ignore"):
            mean = product.mean(axis=self.axis, dtype=None if slope is not None else "float64")
        results = {"wave": wave, "product": product, "mean": mean, "picked": rows, "loss": loss}
        return results | more

    def _directional(self, x, w, slope):
        """The slope, the loss along the direction, and second derivatives."""
        v = x * 0.5
        along = (slope * (v[x != 0] if self.kind.sparse else v)).sum().real
        results = {"slope": slope, "along": along}
        flat = lambda a: a * w if self.kind.rows is None else a @ w  # noqa: E731
        back = lambda a: a * w if self.kind.rows is None else a @ w.T  # noqa: E731
        factor = 2.0 / ((x.size // max(self.kind.columns, 1) * 2) or 1)
        if self.kind.rows is None:
            factor = 2.0

        def bend(v):  # the derivative of the slope along v
            along = back(np.conj(flat(np.cos(x) * v))) * np.cos(x)
            return factor * (along - back(np.conj(flat(np.sin(x)))) * np.sin(x) * v)

        results["bent"] = bend(v)
        if x.size <= 15:
            units = np.eye(x.size).reshape((x.size, *x.shape))
            rows = [bend(unit).ravel() for unit in units]
            results["bends"] = np.array(rows).reshape(x.shape + x.shape)
        if self.kind.sparse:
            stored = x.ravel() != 0
            results["bent"] = results["bent"][x != 0]
            results["bends"] = np.array(rows)[stored][:, stored]
        return results

    def dtype_of(self, name):
        """The dtype of a result."""
        if self.kind.family == "inexact":
            real = np.zeros((), self.kind.dtype).real.dtype
            return real if name in ("loss", "along") else self.kind.numpy
        return np.dtype("float64") if name in ("mean", "loss") else self.kind.numpy

    def check(self, actual, eps=None, wide=False):
        """Compare results, by name, with the reference.

        A name may have a part behind a colon, ``loss: compiled``, which messages show. ``wide``
        allows results in float64 or complex128.

        Raises:
            AssertionError: another shape, another dtype, or farther off than the kind allows.
        """
        assert actual, "no result"
        for label, array in actual.items():
            name = label.partition(":")[0]
            array, expected = np.asarray(array), np.asarray(self.reference[name])
            assert array.shape == expected.shape, f"{label} is {array.shape}, not {expected.shape}"
            dtype = self.dtype_of(name)
            allowed = (dtype, np.dtype("float64"), np.dtype("complex128")) if wide else (dtype,)
            assert array.dtype in allowed, f"{label} is {array.dtype}, not {dtype}"
            of = "complex128" if array.dtype.kind == "c" else "float64"
            error = np.abs(array.astype(of) - expected.astype(of))
            scale = float(np.max(np.abs(expected), initial=0.0))
            exact = array.dtype.kind in "biu"
            allowed = 0.0 if exact else 16 * (eps or self.kind.eps or 2.0**-52) * scale
            worst = float(np.max(error, initial=0.0)) if not np.isnan(error).any() else np.nan
            assert worst <= allowed, f"{label} is off by {worst:.3g}, {allowed:.3g} are allowed"

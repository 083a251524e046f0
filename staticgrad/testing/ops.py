"""Everything that must hold for one op, tried on samples: for whoever writes an op.

Types, dtypes, shapes, edge values, both readings of its arithmetic, the derivatives, the text, the
kernel. What is tried follows from the op's family; that no built-in op is special here is the
point: the same check serves an op of another package.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib import util
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from staticgrad.analysis.evaluate import same_bytes
from staticgrad.analysis.interpret import interpret
from staticgrad.errors import ArgumentError, CheckError, StaticgradError
from staticgrad.extend import (
    Array,
    Graph,
    Input,
    Op,
    Symbolic,
    TensorType,
    as_dtype,
    dataclass,
    functions,
    kind_of,
    registered_ops,
)
from staticgrad.extend.building import capture
from staticgrad.extend.gradients import grad
from staticgrad.extend.programs import Compiled, compile as compile_graph, evaluate
from staticgrad.language.ir.expr import ref
from staticgrad.language.ir.forms import Pointwise
from staticgrad.language.ir.graph import constant
from staticgrad.language.ir.nodes import leaf_node
from staticgrad.language.ir.parser import parse
from staticgrad.language.ir.printer import same_graph
from staticgrad.testing.gradients import array_text, check_gradients, is_smooth, kinks
from staticgrad.testing.variants import (
    FLOATS,
    LAYOUTS,
    SURROUNDED,
    corner_samples,
    edge_samples,
    probe_samples,
    refused_samples,
    sized_samples,
    type_variants,
    views,
)

_MOST_SHOWN: Final = 4  # elements of a mismatch
_MOST_NARROW: Final = 3  # samples whose float32 derivatives are tried
_NARROW: Final = 1e-3  # error of a float32 derivative, relative to the largest
_WAYS: Final = 4  # kinds of views


def check_op(
    op: Op,
    samples: Iterable[Sequence[npt.ArrayLike]],
    *,
    rough: Iterable[Sequence[npt.ArrayLike]] = (),
    order: int = 2,
    edges: bool = True,
    rtol: float = 64.0,
    atol: float = 0.0,
    dtypes: Iterable[str] = FLOATS,
    compiled: bool | None = None,
) -> None:
    """Check one op on samples of its operands, and on variants of them.

    For every sample, for its floating operands in float32 and float64, and with ``edges`` for
    special values (signed zeros, infinities, NaN, denormals, extremes) in their place:

    - ``infer`` gives the dtypes and shapes of ``reference``, which leaves its operands alone;
    - the element's expression (``scalar``), evaluated by NumPy, agrees with ``reference``: in every
      bit if the op is ``exact``, else within ``rtol`` and ``atol``;
    - so does the compiled kernel, from feeds of every layout (strided, reversed, misaligned,
      byte-swapped, read-only, Fortran) and from views of every kind inside a graph; what stands in
      memory before and behind an operand has no influence;
    - exchanging the operands of a ``commutative`` op changes no bit.

    An elementwise op is also tried in every dtype of its ``kinds``, refuses every other with a
    StaticgradError, and takes 0-d shapes, broadcasting, and any size: 0, 1, those round the widths
    of lanes and the length of a block. One that refuses some of these is no ``Elementwise``.

    Derivatives up to ``order`` agree in float64 with differences, in both modes (see
    ``check_gradients``): at the samples, at the samples with other signs and sizes where the
    reference is smooth there, and for an elementwise op on a grid of points of both signs. In
    float32 they have the operands' types, and compiled they are near those in float64. Where the
    reference has a kink the class says in ``kink`` what the derivative is. An op that is not
    ``differentiable`` gives no cotangents. Attributes, text and pickle rebuild it.

    Args:
        op: an instance; register its class with a name, ``class MyOp(Elementwise, name="my.op")``.
        samples: operands, as sequences of arrays; smooth points if the op is differentiable.
        rough: further samples, at kinks or outside the domain: no derivatives are compared there.
        order: the highest order of derivatives.
        edges: try special values too.
        rtol, atol: error allowed to an op that is not exact, in units of the dtype's epsilon.
        dtypes: the floating dtypes that the op takes, float64 among them; it refuses the others.
        compiled: compile and compare; by default where numba and llvmlite are installed.

    Raises:
        CheckError: something does not hold; shows the sample.
        ArgumentError: no op, no samples, or samples of a dtype that is not among ``dtypes``.

    >>> import numpy as np
    >>> from staticgrad.language.ops.transcendental import Tanh
    >>> check_op(Tanh(), [(np.array([0.5, -1.0]),)], compiled=False)
    """
    smooth, further = _copies(samples), _copies(rough)
    all_samples = [*smooth, *further]
    if not all_samples:
        raise ArgumentError(f"check_op: there are no samples of {_require_op(op).name}")
    native = all(map(util.find_spec, ("numba", "llvmlite"))) if compiled is None else compiled
    declared = _check_dtypes(op, dtypes, all_samples)
    _OpCheck(_require_op(op), rtol, atol, native, declared).all(smooth, all_samples, order, edges)


def _copies(samples: Iterable[Sequence[npt.ArrayLike]]) -> list[tuple[Array, ...]]:
    """The samples as arrays that a wrong op may write to."""
    return [tuple(map(np.array, sample)) for sample in samples]


def _require_op(op: Any) -> Op:
    """Refuse an argument of ``check_op`` that is not an op."""
    if isinstance(op, Op):
        return op
    hint = "functions of values are checked by sg.testing.check_gradients"
    if isinstance(op, type):
        hint = f"an instance, {op.__name__}(): its fields are its attributes"
    raise ArgumentError(f"check_op takes an op, not {kind_of(op)}", hint=hint)


def _check_dtypes(
    op: Op, dtypes: Iterable[str], samples: Sequence[tuple[Array, ...]]
) -> tuple[str, ...]:
    """Check the floating dtypes that an op declares against its test samples."""
    floats = tuple(dtypes)
    used = {a.dtype.name for sample in samples for a in sample if a.dtype.kind == "f"}
    if not used | {"float64"} <= {*floats} <= {*FLOATS}:
        raise ArgumentError(
            f"check_op: the samples of {op.name} are {', '.join(sorted(used)) or 'integers'}, "
            f"dtypes are {', '.join(map(str, floats)) or 'none'}",
            hint="float64, and float32 if the op takes it; samples are of these or no floats",
        )
    return floats


@dataclass
class _OpCheck:
    """One op under test; every error message contains the sample."""

    op: Op
    rtol: float
    atol: float
    native: bool
    floats: tuple[str, ...]

    def all(
        self,
        smooth: Sequence[tuple[Array, ...]],
        samples: Sequence[tuple[Array, ...]],
        order: int,
        edges: bool,
    ) -> None:
        """Run all checks of an op: definition, values, derivatives."""
        self.definition()
        with np.errstate(all="ignore"):
            self.everywhere(samples, edges)
            for sample in smooth:
                self.derivatives(sample, order)
            self.elsewhere(smooth, order)
            self.kinks(samples)

    def everywhere(self, samples: Sequence[tuple[Array, ...]], edges: bool) -> None:
        """Check values and printed text of an op at samples and their variants."""
        for sample in samples:
            self.values(sample)
            self.text(sample)
        for sample in type_variants(self.op, samples, self.floats):
            self.values(sample)
        for sample in refused_samples(self.op, samples, self.floats):
            self.refuses(sample)
        for sample in edge_samples(self.op, samples, self.floats) if edges else ():
            self.values(sample)
        if self.native:
            self.kernels(samples)

    def definition(self) -> None:
        """Check that attributes and pickle rebuild the op, under a registered name."""
        op = self.op
        if registered_ops().get(op.name) is not type(op):
            raise CheckError(
                f"{type(op).__name__} is not registered: its text could not be read back",
                hint=f'class {type(op).__name__}(..., name="package.op")',
            )
        for again in (type(op)(**dict(op.attributes())), pickle.loads(pickle.dumps(op))):
            if again != op or hash(again) != hash(op):
                raise CheckError(f"{op.name}: attributes or pickle give {again!r}, not {op!r}")

    def infer(self, sample: tuple[Array, ...]) -> None:
        """Check that an op infers the types that its reference gives."""
        with_types = self.attempt("infer", sample, lambda: self.op.infer(*types_of(sample)))
        operand_bytes = [array.tobytes() for array in sample]
        reference_results = self.attempt("reference", sample, lambda: self.op.reference(*sample))
        if operand_bytes != [array.tobytes() for array in sample]:
            raise self.failure("reference writes to its operands", sample)
        inferred, arrays = as_tuple(with_types), as_tuple(reference_results)
        inferred_types = [str(t) for t in inferred]
        reference_types = [str(types_of((np.asarray(a),))[0]) for a in arrays]
        if inferred_types != reference_types:
            text = f"infer says {', '.join(inferred_types)}"
            text += f", reference gives {', '.join(reference_types)}"
            raise self.failure(text, sample)

    def values(self, sample: tuple[Array, ...]) -> None:
        """Check that evaluator, element expression and kernel of an op agree with its reference."""
        self.infer(sample)
        expected = [np.asarray(a) for a in as_tuple(self.op.reference(*sample))]
        self.element(sample, expected)
        if self.op.commutative and len(sample) == 2:
            swapped = [np.asarray(a) for a in as_tuple(self.op.reference(*sample[::-1]))]
            if not all(map(same_bytes, swapped, expected)):
                raise self.failure("commutative, but exchanged operands give other bits", sample)
        if self.native:
            self.kernel(sample, expected)

    def element(self, sample: tuple[Array, ...], expected: list[Array]) -> None:
        """Check the scalar expression of an op, evaluated by NumPy, against the reference."""
        if type(self.op).form is Op.form:
            if self.native:
                raise self.failure("no kernel form", sample, hint="pass compiled=False")
            return
        types = types_of(sample)
        inferred: Any = self.op.infer(*types)
        form = self.attempt("form", sample, lambda: self.op.form(*as_tuple(inferred), *types))
        if not isinstance(form, Pointwise) or form.indexed or form.sizes or not sample:
            return
        leaves = [ref(str(i), t.dtype) for i, t in enumerate(types)]
        root = self.attempt("scalar", sample, lambda: form.scalar(*leaves))
        named = {str(i): array for i, array in enumerate(sample)}
        (result,) = interpret([root], lambda leaf: named[leaf.attribute])
        self.compare("scalar", sample, np.broadcast_to(result, expected[0].shape), expected[0])

    def kernel(self, sample: tuple[Array, ...], expected: list[Array]) -> None:
        """Check the compiled op against the reference."""
        inputs = variables(sample)
        outs = as_tuple(self.op(*inputs))
        graph = Graph({f"y{i}": out for i, out in enumerate(outs)}, inputs=inputs)
        feeds = {f"x{i}": array for i, array in enumerate(sample)}
        f = self.attempt("the kernel", sample, lambda: compile_graph(graph))
        results = self.attempt("the kernel", sample, lambda: f.run(feeds))
        for name, array in zip(results, expected, strict=True):
            self.compare("the kernel", sample, results[name], array)
        self.layouts(sample, f, feeds)

    def kernels(self, samples: Sequence[tuple[Array, ...]]) -> None:
        """Check the compiled op with named sizes, and with strided views as operands."""
        for sample in sized_samples(self.op, samples):
            self.kernel(sample, [np.asarray(a) for a in as_tuple(self.op.reference(*sample))])
        for sample in samples:
            expected = [np.asarray(a) for a in as_tuple(self.op.reference(*sample))]
            for way in range(_WAYS):
                kinds, feeds, operands = view_operands(sample, way)
                outs = as_tuple(self.op(*operands))
                graph = Graph({f"y{i}": out for i, out in enumerate(outs)})
                results = self.attempt(kinds, sample, partial(self.run, graph, feeds))
                for name, array in zip(results, expected, strict=True):
                    self.compare(f"the kernel, {kinds},", sample, results[name], array)

    def run(self, graph: Graph, feeds: dict[str, Array]) -> dict[str, Array]:
        """The results of a graph, whose inputs may be fewer than the feeds."""
        used = [value.node.label for value in graph.inputs]
        results: dict[str, Array] = compile_graph(graph).run({name: feeds[name] for name in used})
        return results

    def layouts(self, sample: tuple[Array, ...], f: Compiled, feeds: dict[str, Array]) -> None:
        """Check that the compiled op is bitwise equal for every operand layout."""
        expected = {name: array.copy() for name, array in f.run(feeds).items()}
        for way, change in {**LAYOUTS, **SURROUNDED}.items():
            results = f.run({name: change(array) for name, array in feeds.items()})
            for name, array in expected.items():
                if not same_bytes(results[name], array):
                    text = f"the kernel gives other bytes from operands that are {way}"
                    details = [f"{array_text(results[name])}, not {array_text(array)}"]
                    raise self.failure(text, sample, details)

    def text(self, sample: tuple[Array, ...]) -> None:
        """A graph with the op prints as text that reads back."""
        outs = as_tuple(self.attempt("binding", sample, lambda: self.op(*variables(sample))))
        graph = Graph({f"y{i}": out for i, out in enumerate(outs)})
        again = self.attempt("its text", sample, lambda: parse(str(graph)))
        if not same_graph(again, graph):
            raise self.failure("the text of a graph with it reads back as another graph", sample)

    def refuses(self, sample: tuple[Array, ...]) -> None:
        """Check that an op refuses a dtype that it does not declare."""
        try:
            inferred = self.op.infer(*types_of(sample))
        except StaticgradError:
            return
        raise self.failure(
            f"infer gives {inferred} for a dtype that it is not declared to take", sample
        )

    def derivatives(self, sample: tuple[Array, ...], order: int) -> None:
        """Check an op's derivatives, and that it has none where it says so."""
        wide = tuple(a.astype(np.float64) if a.dtype.kind == "f" else a for a in sample)
        if self.op.differentiable:
            positions = [i for i, array in enumerate(wide) if array.dtype.kind == "f"]
            types = types_of(wide)
            outs = as_tuple(self.attempt("infer", wide, lambda: self.op.infer(*types)))
            if positions and any(t.dtype.is_float for t in outs):
                self.attempt("a derivative", wide, lambda: self.differences(wide, positions, order))
            return
        inputs = variables(wide)
        outs = as_tuple(self.op(*inputs))
        ct, out = (outs[0], outs[0]) if len(outs) == 1 else (outs, outs)
        if any(share is not None for share in self.op.vjp(ct, out, *inputs)):
            raise self.failure("not differentiable, but vjp gives a cotangent", sample)

    def elsewhere(self, smooth: Sequence[tuple[Array, ...]], order: int) -> None:
        """Check an op's derivatives at other signs and sizes, where the reference is smooth."""
        if not self.op.differentiable or not smooth:
            return
        rng = np.random.default_rng(0)
        for sample in probe_samples(self.op, smooth):
            if sample and is_smooth(self.op.reference, sample, rng):
                self.derivatives(sample, order)
        for sample in smooth[:_MOST_NARROW] if "float32" in self.floats else ():
            self.attempt("a float32 derivative", sample, partial(self.narrow, sample))

    def narrow(self, sample: tuple[Array, ...]) -> None:
        """Check float32 gradients of an op against float64 ones, and their dtypes."""
        arrays = tuple(a.astype(np.float32) if a.dtype.kind == "f" else a for a in sample)
        inputs = variables(arrays)
        floating = [x for x in inputs if x.dtype.is_float]
        outs = [out for out in as_tuple(self.op(*inputs)) if out.dtype.is_float]
        if not floating or not outs:
            return
        total = sum((functions.sum(out) for out in outs[1:]), functions.sum(outs[0]))
        gradients = grad(total, floating, allow_disconnected=True)
        graph = Graph({f"by {i}": g for i, g in enumerate(gradients)}, inputs=inputs)
        feeds = {f"x{i}": array for i, array in enumerate(arrays)}
        wide = evaluate(graph, feeds, dtype="float64")
        gradient_arrays = compile_graph(graph).run(feeds) if self.native else evaluate(graph, feeds)
        for (name, array), x in zip(gradient_arrays.items(), floating, strict=True):
            if array.dtype != np.float32 or array.shape != x.shape:
                raise self.failure(f"a derivative is {array.dtype}{list(array.shape)}", arrays)
            scale = 1.0 + float(np.abs(wide[name]).max(initial=0.0))
            if not np.allclose(array, wide[name], rtol=_NARROW, atol=_NARROW * scale):
                details = [f"{array_text(array)}, in float64 {array_text(wide[name])}"]
                raise self.failure("a float32 derivative is off", arrays, details)

    def kinks(self, samples: Sequence[tuple[Array, ...]]) -> None:
        """Check that an op declares its derivative at kinks of its reference."""
        if not self.op.differentiable or self.op.kink:
            return
        for sample in corner_samples(self.op, samples):
            for place in kinks(self.op.reference, sample):
                raise self.failure(
                    f"has a kink, {place}, and its class says nothing in `kink`",
                    sample,
                    hint='say what the derivative is there: kink = "the derivative at 0 is 0"',
                )

    def differences(self, sample: tuple[Array, ...], positions: list[int], order: int) -> None:
        """Check an op's derivatives by some operands against difference quotients."""

        def apply_op(*values: Symbolic) -> list[Symbolic]:
            by_place = dict(zip(positions, values, strict=True))
            operands = [by_place.get(i, array) for i, array in enumerate(sample)]
            lifted = [constant(a) if isinstance(a, np.ndarray) else a for a in operands]
            return list(as_tuple(self.op(*lifted)))

        check_gradients(apply_op, [sample[i] for i in positions], order=order)

    def compare(self, what: str, sample: tuple[Array, ...], result: Array, expected: Array) -> None:
        """Compare an op's result with the reference: bitwise, or within tolerances."""
        if (result.dtype, result.shape) != (expected.dtype, expected.shape):
            text = f"{result.dtype}{list(result.shape)}, reference {expected.dtype}"
            raise self.failure(f"{what} gives {text}{list(expected.shape)}", sample)
        exact = self.op.exact or expected.dtype.kind != "f"
        if exact:
            if expected.dtype.kind != "f":
                wrong = np.asarray(result != expected)
            else:
                same = (result == expected) & (np.signbit(result) == np.signbit(expected))
                wrong = np.asarray(~(same | (np.isnan(result) & np.isnan(expected))))
        else:
            limits = np.finfo(expected.dtype)
            relative = self.rtol * limits.eps
            absolute = self.atol * limits.eps + self.rtol * limits.smallest_subnormal
            wrong = ~np.isclose(result, expected, relative, absolute, equal_nan=True)
            zero = (result == 0) & (expected == 0)
            if self.op.elementwise:  # a sum starts from -0
                wrong |= zero & (np.signbit(result) != np.signbit(expected))
        if wrong.any():
            raise self.failure(
                f"{what} and reference differ in {int(wrong.sum())} of {wrong.size} elements",
                sample,
                _show_differences(sample, result, expected, wrong),
            )

    def attempt(self, what: str, sample: tuple[Array, ...], action: Callable[[], Any]) -> Any:
        """Run a check of an op; add the sample to its errors.

        Raises:
            CheckError: from the exception.
        """
        try:
            return action()
        except CheckError as error:
            hint = error.hint
            if not hint and "slope" in error.headline:
                hint = "a sample at a kink of the function or of a derivative belongs to rough="
            raise CheckError(
                f"{self.op.name}: {error.headline}", details=error.details, hint=hint
            ) from None
        except Exception as error:
            lines = str(getattr(error, "headline", error)).splitlines() or [""]
            text = f"{what} raises {type(error).__name__}: {lines[0]}"
            raise self.failure(text, sample) from error

    def failure(
        self,
        text: str,
        sample: tuple[Array, ...],
        details: Iterable[str] = (),
        hint: str = "",
    ) -> CheckError:
        """Build the error of a failed op check, with op and operands."""
        operands = [
            f"operand {i}: {t} = {array_text(array)}"
            for i, (t, array) in enumerate(zip(types_of(sample), sample, strict=True), 1)
        ]
        return CheckError(f"{self.op!r}: {text}", details=[*details, *operands], hint=hint)


def _show_differences(
    sample: tuple[Array, ...], result: Array, expected: Array, wrong: Array
) -> Iterator[str]:
    """Format the first elements in which an op differs from its reference."""
    try:
        operands = [np.broadcast_to(array, expected.shape) for array in sample]
    except ValueError:
        operands = []
    for place in np.argwhere(wrong)[:_MOST_SHOWN]:
        at = tuple(int(i) for i in place)
        of = ", ".join(repr(array[at].item()) for array in operands)
        where = f"at ({of})" if operands else f"at {list(at)}"
        yield f"{where}: {result[at].item()!r}, reference {expected[at].item()!r}"


def types_of(arrays: Iterable[Array]) -> list[TensorType]:
    """The types of arrays."""
    return [TensorType(as_dtype(a.dtype), a.shape) for a in arrays]


def variables(arrays: Iterable[Array]) -> list[Symbolic]:
    """An input x0, x1, ... of the type of each array."""
    types = types_of(arrays)
    leaves = [Input(f"x{i}", tensor_type) for i, tensor_type in enumerate(types)]
    return [Symbolic(leaf_node(leaf, capture())) for leaf in leaves]


def view_operands(
    sample: tuple[Array, ...], way: int
) -> tuple[str, dict[str, Array], list[Symbolic]]:
    """Return feeds and strided views of them with a sample's elements."""
    kinds, feeds, feeds_and_views = [], {}, []
    for i, array in enumerate(sample):
        ways = list(views(array)) or [("as it is", array, lambda x: x)]
        kind, feed, view = ways[way % len(ways)]
        kinds.append(kind)
        feeds[f"x{i}"] = feed
        feeds_and_views.append((feed, view))
    inputs = variables(feed for feed, _ in feeds_and_views)
    operands = [view(x) for x, (_, view) in zip(inputs, feeds_and_views, strict=True)]
    return f"of operands {', '.join(kinds)}", feeds, operands


def as_tuple(result: Any) -> tuple[Any, ...]:
    """Results of an op, one or several."""
    return result if isinstance(result, tuple) else (result,)

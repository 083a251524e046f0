"""The accuracy and the savings of storing values in a narrow float, on the user's feeds.

A program is compiled with the pass ``narrow`` and without it, and both run on the same feeds. What
it writes to parameters counts among its results, so that no parameter moves. An error is given
relative to the root mean square of the exact result, so that elements near zero do not decide it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from passes.base import Pipeline
from passes.narrow import Narrow
from passes.pipelines import pipeline as read_pipeline
from staticgrad.analysis.binding import bind_feeds, bind_sizes
from staticgrad.compiler.compiling.arguments import read_passes, read_program
from staticgrad.compiler.compiling.compiler import Compiled, compile
from staticgrad.errors import ArgumentError
from staticgrad.language.calls.arguments import public
from staticgrad.language.calls.execution import in_graphs
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.stages import Gemm, nested_stages
from staticgrad.language.ir.op import Array
from staticgrad.language.ir.schedule import KernelStep, steps_of
from staticgrad.language.ops.operands import dtype_of
from staticgrad.language.types.dtype import (
    BF16,
    F32,
    U32,
    DType,
    as_dtype,
    kind_of_elements,
)
from staticgrad.support.deprecations import deprecated_attribute
from staticgrad.support.pictures.markup import (
    details,
    fragment,
    nbytes,
    paragraph,
    seconds,
    table,
    text_table,
)
from staticgrad.support.records import dataclass

if TYPE_CHECKING:
    from passes.base import Pass
    from staticgrad.compiler.compiling.arguments import Compilable

#: The name and version of the document that ``as_json`` gives.
SCHEMA: Final = "staticgrad-precision/1"
#: The number of results that a page shows at first.
_MOST_ROWS: Final = 12
_HEADS: Final = ("result", "largest error", "in ULP", "mean error", "in ULP", "not finite")


@dataclass(frozen=True)
class ResultError:
    """The error of a result against the exact one, relative to the root mean square of that.

    ``overflowed``: the number of elements that are finite only in the exact one.
    """

    name: str
    largest: float
    mean: float
    overflowed: int


@dataclass(frozen=True)
class Cost:
    """The cost of one of the two programs: bytes of its arena, seconds of a run."""

    peak_bytes: int
    seconds: float


@dataclass(frozen=True)
class ProductPrecision:
    """A kernel with products, or convolutions, of the narrow program, and what it multiplies.

    ``ops``: the names of its ops. ``line``: where the first one was written. ``dtype``: that of the
    factors, of several the narrowest one.
    """

    ops: str
    line: str
    dtype: str


@dataclass(frozen=True)
class Precision:
    """A program with narrow values beside itself: ``errors`` by result, what each of both takes.

    ``pipeline`` is the text that ``sg.compile`` and ``sg.function`` take; ``ulp`` the distance from
    1 to the next number of ``dtype``. ``products`` says of each product what it multiplies. Prints
    as a table; notebooks draw it.
    """

    graph: str
    dtype: str
    pipeline: str
    rounded_values: int
    ulp: float
    errors: tuple[ResultError, ...]
    exact: Cost
    narrow: Cost
    products: tuple[ProductPrecision, ...] = ()

    rounded = deprecated_attribute("0.2", "rounded_values")

    def as_json(self) -> dict[str, Any]:
        """Return the figures of a mixed-precision trial for JSON."""
        costs = {"exact": self.exact, "narrow": self.narrow}
        return {
            "schema": SCHEMA, "graph": self.graph, "dtype": self.dtype, "pipeline": self.pipeline,
            "rounded": self.rounded_values, "ulp": self.ulp,
            "products": [{"ops": p.ops, "line": p.line, "dtype": p.dtype} for p in self.products],
            "errors": [
                {
                    "result": e.name, "largest": e.largest, "mean": e.mean,
                    "overflowed": e.overflowed,
                }
                for e in self.errors
            ],
            **{
                name: {"peak_bytes": c.peak_bytes, "seconds": c.seconds}
                for name, c in costs.items()
            },
        }  # fmt: skip

    def __str__(self) -> str:
        lines = text_table(_HEADS, self._error_rows(), range(1, len(_HEADS)))
        return "\n".join([self._title(), *lines, *self._compare_costs()])

    def _repr_html_(self) -> str:
        """Return a mixed-precision trial as HTML: savings, and the error of each result."""
        rows, numbers = self._error_rows(), range(1, len(_HEADS))
        shown = [table(_HEADS, rows, numbers)]
        if len(rows) > _MOST_ROWS:
            order = sorted(range(len(rows)), key=lambda k: -self.errors[k].largest)
            most = table(_HEADS, [rows[k] for k in sorted(order[:_MOST_ROWS])], numbers)
            shown = [
                paragraph(f"The {_MOST_ROWS} results with the largest errors:"),
                most,
                details(f"all {len(rows)} results", *shown),
            ]
        return fragment(paragraph(self._title()), *map(paragraph, self._compare_costs()), *shown)

    def _title(self) -> str:
        return (
            f"{self.graph}: {self.rounded_values} values in {self.dtype}, pipeline {self.pipeline}"
        )

    def _error_rows(self) -> list[tuple[str, ...]]:
        """Return the table of errors of results in narrow floats: largest, mean, overflowed."""
        return [
            (
                e.name, f"{e.largest:.1e}", f"{e.largest / self.ulp:.2g}",
                f"{e.mean:.1e}", f"{e.mean / self.ulp:.2g}", f"{e.overflowed:,}",
            )
            for e in self.errors
        ]  # fmt: skip

    def _compare_costs(self) -> list[str]:
        """Return lines that compare arena bytes and run time, exact and in narrow floats."""
        exact, narrow = self.exact, self.narrow
        pairs = (
            ("arena", nbytes(exact.peak_bytes), nbytes(narrow.peak_bytes)),
            ("a run", seconds(exact.seconds), seconds(narrow.seconds)),
        )
        lines = [
            f"{what}: {exact_text} exact, {narrow_text} narrow"
            for what, exact_text, narrow_text in pairs
        ]
        multiplied = Counter(product.dtype for product in self.products)
        if multiplied.keys() - {F32.name}:
            counts = ", ".join(f"{count} in {dtype}" for dtype, count in multiplied.most_common())
            lines.append(f"kernels with products: {counts}")
        if not self.rounded_values:
            lines.append("nothing is rounded: there is no value to choose that is stored")
        elif narrow.peak_bytes > 0.95 * exact.peak_bytes:
            lines.append(
                "little is saved: at the peak of the arena lie other values than those that are"
                " rounded, which f.explain() lists"
            )
        return lines


@public
@in_graphs()
def precision(
    program: Compilable | Compiled,
    feeds: Mapping[Any, Any] | None = None,
    *,
    dtype: Any = "bfloat16",
    ops: str = "*",
    scopes: str = "*",
    readers: str = "backward",
    products: bool = False,
    pipeline: str | Pass = "O1",
    memory_budget: float | str | None = None,
    runs: int = 5,
) -> Precision:
    """Measure the errors and savings of storing values in ``dtype``, on these feeds.

    Everything is still computed and added up in float32. Parameters do not move: what the program
    would write to them is compared with its other results. To compile the program so, give the
    ``pipeline`` of what comes back to ``sg.compile`` or ``sg.function``.

    Args:
        program: a Graph, a Value, a dict of Values, or a compiled program. Of an ``sg.function``,
            ``f.graph(x, y)``.
        feeds: arrays for its inputs, as ``run`` takes them.
        dtype: ``"bfloat16"`` or ``"float16"``.
        ops: patterns of names of ops whose results are rounded: ``"tanh mul"``, ``"* !exp"``.
        scopes: patterns of the names that ``sg.scope`` gave to parts of the program, or, of what
            modules build, their paths: ``"decoder.*"``.
        readers: ``"backward"``: gradients alone read what was rounded, ``"all"``: everybody does
            who reads it from memory.
        products: whether the factors of matrix products are rounded, too (``"bfloat16"`` alone).
        pipeline: the passes before it, as ``compile`` takes them.
        memory_budget: of both programs, as ``compile`` takes it.
        runs: how often each is run for its time; the least counts.

    Returns:
        The errors of each result, relative and in units of the last place of ``dtype``, and bytes
        and seconds of both programs.

    Raises:
        ArgumentError: ``program`` is not a program, or ``runs`` not a positive number.
        PipelineError: an unsupported dtype, kind of readers, or op.
        FeedError: feeds that ``run`` refuses.

    >>> import numpy as np, staticgrad as sg
    >>> x, w = sg.input("x", (64, 32), "float32"), sg.parameter("w", np.eye(32, dtype="float32"))
    >>> loss = (sg.tanh(sg.tanh(x @ w) @ w) ** 2).mean()
    >>> program = {"loss": loss, "slope": sg.grad(loss, w)}
    >>> found = sg.precision(program, {"x": np.ones((64, 32), "float32")})
    >>> found.errors[0].largest, found.errors[1].largest < 0.01
    (0.0, True)
    >>> f = sg.compile(program, pipeline=found.pipeline)
    """
    stored = dtype if isinstance(dtype, str) else dtype_of(dtype).name
    narrow = Narrow(stored, ops, scopes, readers, products)
    if callable(getattr(program, "graph", None)) and not isinstance(program, Compiled):
        raise ArgumentError(
            "precision takes a graph, not a function", hint="sg.precision(f.graph(x, y), feeds)"
        )
    if type(runs) is not int or runs < 1:
        raise ArgumentError(f"precision: runs={runs!r} is not a positive number")
    graph = program.program_graph if isinstance(program, Compiled) else read_program(program)[0]
    exact_pipeline = read_pipeline(read_passes(pipeline))
    narrow_pipeline = Pipeline((*exact_pipeline.passes, narrow))
    written = {f"next {parameter.name}": value for parameter, value in graph.updates}
    # The measurement runs the programs many times.
    unmoved = graph
    if written:  # they count among the outputs, so that no parameter moves
        unmoved = Graph({**graph.outputs, **written}, name=graph.name, inputs=graph.inputs)
    fed = bind_feeds(graph, feeds or {})
    sizes = bind_sizes(graph, {name: array.shape for name, array in fed.items()})
    compiled = partial(compile, memory_budget=memory_budget)
    programs = [compiled(unmoved, pipeline=passes) for passes in (exact_pipeline, narrow_pipeline)]
    (exact_results, narrow_results), times = _run_in_turns(programs, fed, runs)
    if unmoved is not graph:
        programs = [
            compiled(graph, pipeline=passes) for passes in (exact_pipeline, narrow_pipeline)
        ]
    peaks = [candidate.plan(**sizes).peak_bytes for candidate in programs]
    exact, narrowed = (Cost(*cost) for cost in zip(peaks, times, strict=True))
    rounded = sum(report.hits.get(narrow.name, 0) for report in narrow_pipeline.run(graph)[1])
    # the distance from 1 to the next larger number
    ulp = 2.0 ** (1 - as_dtype(narrow.dtype).digits)
    errors = tuple(
        _measure_error(name, array, narrow_results[name]) for name, array in exact_results.items()
    )
    multiplied = tuple(_read_products(programs[1]))
    passes = str(narrow_pipeline)
    return Precision(
        graph.name, narrow.dtype, passes, rounded, ulp, errors, exact, narrowed, multiplied
    )


def _read_products(program: Compiled) -> Iterator[ProductPrecision]:
    """Yield what the kernels with products of a program multiply."""
    for step in steps_of(program.schedule):
        if not isinstance(step, KernelStep):
            continue
        stages = [stage for stage, _ in nested_stages(step.kernel.stages)]
        dtypes = [_factor_dtype(step.kernel, stage) for stage in stages if isinstance(stage, Gemm)]
        if dtypes:
            line = str(step.origins[0]) if step.origins else ""
            yield ProductPrecision(step.label, line, min(dtypes, key=lambda d: d.bits).name)


def _factor_dtype(kernel: Kernel, stage: Gemm) -> DType:
    """Return the dtype of the numbers that a product multiplies."""
    if stage.factors is None:
        return kernel.operand(stage.a.operand).dtype.compute
    return BF16 if stage.factors is U32 else stage.factors


def _run_in_turns(
    programs: Sequence[Compiled], feeds: Mapping[str, Array], runs: int
) -> tuple[list[dict[str, Array]], list[float]]:
    """Run the exact and the narrow program in turns; return results and the least seconds."""
    results = [dict(program.run(feeds)) for program in programs]
    times = [inf, inf]
    for _ in range(runs):
        for place, program in enumerate(programs):
            start = time.perf_counter()
            program.run(feeds)
            times[place] = min(times[place], time.perf_counter() - start)
    return results, times


def _measure_error(name: str, exact: Array, narrow: Array) -> ResultError:
    """Return the error of one result of the narrow program; of integers the share that differs."""
    if exact.size == 0:
        return ResultError(name, 0.0, 0.0, 0)
    if kind_of_elements(exact.dtype) != "f":
        share = float(np.mean(exact != narrow))
        return ResultError(name, share, share, 0)
    exact_values, narrow_values = exact.astype(np.float64), narrow.astype(np.float64)
    finite = np.isfinite(exact_values)
    lost = int(np.sum(finite & ~np.isfinite(narrow_values)))
    finite &= np.isfinite(narrow_values)
    if not finite.any():
        return ResultError(name, 0.0, 0.0, lost)
    differences = np.abs(exact_values[finite] - narrow_values[finite])
    size = float(np.sqrt(np.mean(np.square(exact_values[finite])))) or 1.0
    return ResultError(
        name, float(differences.max() / size), float(differences.mean() / size), lost
    )

"""The special paths of the compiler, each with a name, the general path beside it, and its row.

A path is a late pass, or a function of the compiler that decides something where a general path
does the same work. ``without`` compiles without it; ``counting`` counts the graphs that the pass
changes, or the calls in which the function and the general path differ. Passes are left out by
``disable=`` of ``sg.compile``. Functions of the compiler have no switch, so that programs pay
nothing for one: both replace them in their modules for a while.

``STATICGRAD_WITHOUT``, names with commas between them, does the same to ``python -m benchmarks``.
"""

from __future__ import annotations

import functools
import inspect
import os
import pkgutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any, Final

from passes.base import Pass
from passes.pipelines import pipeline
from staticgrad import backends, native
from staticgrad.compiler.lowering.loops.refusals import LoopRefusal
from staticgrad.support.records import dataclass

VARIABLE: Final = "STATICGRAD_WITHOUT"
_PACKAGES: Final = ("staticgrad", "passes")


def _off(path: Path, _: Any) -> Any:
    return path.off


def _returns(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value


@dataclass(frozen=True)
class Path:
    """A special path.

    Args:
        name: how options and tables call it.
        where: the function, property or constant, as "module:name" or "module:Class.name"; empty
            for the late pass of this name.
        off: what is called in its place; the value itself for a constant. None for a pass.
        row: the program of ``ablation.corpus`` that must reach it.
        room: files that would go with it; its module if empty.
        bits: width of the registers from which on there are programs that take it.
        always: whether it differs at every call from what ``off`` gives, so that hits are not
            counted by comparing: they are calls.
    """

    name: str
    where: str = ""
    off: Any = None
    row: str = ""
    room: tuple[str, ...] = ()
    bits: int = 0
    always: bool = False

    @property
    def is_pass(self) -> bool:
        """Return whether it is a late pass, which ``disable=`` leaves out."""
        return not self.where

    @property
    def place(self) -> tuple[Any, str]:
        """The module or class that has it, and its name there."""
        module, _, name = self.where.partition(":")
        owner: Any = import_module(module)
        *classes, last = name.split(".")
        for class_name in classes:
            owner = getattr(owner, class_name)
        return owner, last

    @property
    def lines(self) -> int:
        """Lines of the files that are there for it alone; 0 where it has none."""
        total = 0
        if self.is_pass:
            (pass_,) = pipeline(self.name).passes
            rewrite = getattr(pass_, "rewrite", type(pass_).__call__)
            return len(inspect.getsourcelines(rewrite)[0])
        for name in self.room:
            total += len(inspect.getsourcelines(import_module(name))[0])
        if not self.room:
            owner, name = self.place
            function = vars(owner)[name]
            function = (
                getattr(function, "func", None) or getattr(function, "fget", None) or function
            )
            if callable(function):
                total = len(inspect.getsourcelines(function)[0])
        return total


@contextmanager
def replace_path(path: Path, make: Callable[[Any], Any]) -> Iterator[None]:
    """Replace a path by what is made of it, everywhere it is known."""
    owner, name = path.place
    original = vars(owner)[name]
    if isinstance(owner, type):
        if isinstance(original, functools.cached_property):
            replacement: Any = functools.cached_property(make(original.func))
            replacement.__set_name__(owner, name)
        elif isinstance(original, property):
            replacement = property(make(original.fget))
        else:
            replacement = make(original)
        places: list[Any] = [owner]
    else:
        replacement = make(original)
        places = [
            module
            for title, module in list(sys.modules.items())
            if title.partition(".")[0] in _PACKAGES and vars(module).get(name) is original
        ]
    tables = []
    for module in () if isinstance(owner, type) else list(sys.modules.values()):
        if getattr(module, "__name__", "").partition(".")[0] in _PACKAGES:
            for key, value in vars(module).items():
                if isinstance(value, tuple) and any(element is original for element in value):
                    tables.append((module, key, value))
    for module_or_class in places:
        setattr(module_or_class, name, replacement)
    for module, key, value in tables:
        setattr(
            module, key, tuple(replacement if element is original else element for element in value)
        )
    try:
        yield
    finally:
        for module_or_class in places:
            setattr(module_or_class, name, original)
        for module, key, value in tables:
            setattr(module, key, value)


@functools.cache
def _load() -> None:
    """Load every module of the compiler: one that is loaded later would keep what is put here."""
    homes = {".".join(path.where.partition(":")[0].split(".")[:2]) for path in PATHS} - {""}
    for name in ("passes", "staticgrad.language.ir", *sorted(homes)):
        for module in pkgutil.walk_packages(import_module(name).__path__, f"{name}."):
            import_module(module.name)


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Compile with the general path in the place of each of these."""
    by_name = {path.name: path for path in PATHS}
    if unknown := [name for name in names if name not in by_name]:
        raise ValueError(f"no path is named {unknown[0]!r}: {', '.join(by_name)}")
    _load()
    with ExitStack() as stack:
        for path in (by_name[name] for name in names):
            if not path.is_pass:
                stack.enter_context(replace_path(path, functools.partial(_off, path)))
        passes = [name for name in names if by_name[name].is_pass]
        stack.enter_context(replace_path(_DISABLED, functools.partial(_read_more_names, passes)))
        stack.enter_context(_sources(" ".join(names)))
        yield


def _read_more_names(
    passes: Sequence[str], read_names: Callable[[object], tuple[str, ...]]
) -> Callable[[object], tuple[str, ...]]:
    """Return a reader of ``disable=`` that adds these passes to those that the caller names."""
    return lambda disable: read_names([*read_names(disable), *passes])


@contextmanager
def _sources(note: str = "") -> Iterator[None]:
    """Make the nests of kernels now, and others than those without the note.

    A kernel's key says nothing of a compiler that is changed while it runs.
    """
    source_of = backends.source_of
    sources: dict[str, native.KernelSource] = {}

    def source_with_note(*arguments: Any) -> native.KernelSource:
        source = source_of(*arguments)
        source.key += f"\0{note}" if note else ""
        if source.key not in sources:
            source.functions()
        return sources.setdefault(source.key, source)

    backends.source_of = lambda *arguments: source_with_note(*arguments)
    try:
        yield
    finally:
        backends.source_of = source_of


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Count, by path, changed graphs and calls whose result is not that of the general path."""
    _load()
    counts: Counter[str] = Counter()

    def count_calls(path: Path, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            result = function(*args, **more)
            if path.always or not _alike(result, path.off(*args, **more)):
                counts[path.name] += 1
            return result

        functools.update_wrapper(call, function)
        return call

    passes = {path.name for path in PATHS if path.is_pass}

    def count_passes(run_pass: Callable[..., Any]) -> Callable[..., Any]:
        def run(pass_: Pass, program: Any, *more: Any) -> Any:
            result, applied = run_pass(pass_, program, *more)
            names = {*applied} if result is program else {pass_.name, *applied}
            counts.update(names & passes)
            return result, applied

        return run

    with ExitStack() as stack:
        stack.enter_context(replace_path(_RUN, count_passes))
        for path in PATHS:
            if callable(path.off):
                stack.enter_context(replace_path(path, functools.partial(count_calls, path)))
        stack.enter_context(_sources())
        yield counts


def _alike(first: Any, second: Any) -> bool:
    if first is second:
        return True
    if isinstance(first, (bool, int, str, type(None), tuple, dict, list)) or hasattr(
        first, "lines"
    ):
        return bool(getattr(first, "lines", first) == getattr(second, "lines", second))
    return False


@contextmanager
def as_told() -> Iterator[None]:
    """Without the paths that the environment names."""
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    if not names:
        yield
        return
    with without(*names):
        yield


#: A move that changes no group.
_UNCHANGED: Final = _returns(())
_FUSION: Final = "staticgrad.compiler.fusion."
_NEST: Final = "staticgrad.compiler.nest."
_LOWERED: Final = "staticgrad.compiler.lowering."

#: The functions that read ``disable=``, and that run a pass.
_DISABLED: Final = Path("", "staticgrad.compiler.compiling.arguments:read_names")
_RUN: Final = Path("", "passes.base:_run_pass")

PATHS: Final = (
    # which nodes share a kernel
    Path(
        "siblings", _FUSION + "sinking:merge_shared_reads", _UNCHANGED, row="small:complex product"
    ),
    Path("totals", _FUSION + "merging:split_totals", _UNCHANGED, row="small:least squares"),
    Path("merging", _FUSION + "merging:merge_phases", _UNCHANGED, row="small:gelu f64 gradient"),
    Path("blocks", _FUSION + "blocks:build_block", _UNCHANGED, row="small:attention 64"),
    Path("diagonals", _FUSION + "windows:reach_of", _returns(None), row="small:attention causal"),
    Path("sinking", _FUSION + "sinking:sink_values", _UNCHANGED, row="suite:gmm_f64"),
    Path("cutting", _FUSION + "cutting:_find_cuts", _returns(None), row="small:longer chain"),
    Path(
        "copies_apart",
        _FUSION + "cutting:_find_copies",
        _returns(None),
        row="small:copies of rows",
    ),
    Path("shared_operands", _FUSION + "sinking:_may_share", _returns(False), row="small:two sums"),
    Path(
        "recomputed_weights",
        _FUSION + "blocks:_BlockBuilder._add_recomputed",
        lambda _, __, members: (members, ()),
        row="suite:attention",
    ),
    Path(
        "per_row_apart",
        _FUSION + "legality:RowRules.is_faster_alone",
        _returns(False),
        row="small:pairwise 16",
    ),
    Path(
        "parts_of_rows",
        _FUSION + "grouping:_fills_rows",
        _returns(False),
        row="small:concatenation",
    ),
    Path(
        "late_numbers",
        _FUSION + "grouping:_GroupBuilder._may_run_later",
        _returns(False),
        row="small:rectified update",
    ),
    Path(
        "transposed_outputs",
        _FUSION + "copies:_CopyBuilder._transpose_in_place",
        _returns(None),
        row="small:channels last",
    ),
    Path(
        "batches_as_rows",
        _FUSION + "walks:collapse_batch_rows",
        _returns(None),
        row="small:batches of 2 rows",
    ),
    Path("long_rows", _FUSION + "merging:split_long_rows", _UNCHANGED, row="small:long sum"),
    Path("pools", _FUSION + "pools:fuse_pools", _UNCHANGED, row="small:pooled convolution"),
    Path(
        "narrow_factors",
        _LOWERED + "fuse:_with_narrow_factors",
        lambda groups, _: groups.graph,
        row="small:narrow weights",
    ),
    Path("streams", _FUSION + "copies:_find_streamed", _returns([]), row="small:streamed"),
    Path(
        "sums_across", _FUSION + "walks:sums_across", _returns(False), row="small:row sums across"
    ),
    Path("short_rows", _FUSION + "walks:has_short_rows", _returns(False), row="small:softmax of 3"),
    Path("merge_columns", _FUSION + "sinking:merge_columns", _returns(()), row="small:cross"),
    # late passes
    Path("recomputed-formulas", row="small:batch norm gradient"),
    Path("transposed-factors", row="small:transposed weights"),
    Path("panels", row="small:product in a scan"),
    Path("im2col", row="small:deep convolution"),
    Path("border-taps", row="small:taps in the border"),
    Path("reshaped-products", row="small:reshaped product"),
    Path("split-k", row="small:long products"),
    Path("disjoint-pads", row="small:rotation gradient"),
    Path("space-to-depth", row="conv:11x11/4 | 8, 3 to 64 at 112x112:result"),
    Path("chosen-first", row="small:rows of a product"),
    Path("thin-batches", row="small:thin batch"),
    Path("one-hot-products", row="small:nearest centroid"),
    Path("slices-of-pads", row="small:padded stencil"),
    Path(
        "prices",
        "passes.late.base:choose_cheaper",
        lambda original, changed_graph, schedule: (changed_graph, {}),
        row="small:padded stencil gradient",
    ),
    Path("recomputed-stages", row="small:stencil stages"),
    Path("shifted-formulas", row="small:rosenbrock 64k"),
    Path("winograd", row="small:pooled convolution"),
    Path("split-filter-gradients", row="small:dilated gradient"),
    Path("shared-stacks", row="suite:lstm_scan"),
    Path("vector-products", row="small:matrix vector loop"),
    Path("if-conversion", row="small:branch of rows"),
    Path("scalarization", row="small:normals gradient"),
    Path("few-of-a-sort", row="small:few of a sort"),
    Path("joined-writes", row="small:two entries"),
    Path("short-writes", row="small:short entries"),
    Path("sums-in-place", row="small:entries gradient"),
    Path("overlapping-pads", row="small:frames gradient"),
    Path("row-chunks", row="small:wide logits"),
    Path("sums-of-exponentials", row="small:long log-sums"),
    Path("byte-products", row="small:products of bytes"),
    Path("split-scatters", row="small:scatter rows"),
    Path("compact-scatters", row="small:step of a table"),
    Path("unmarked-loops", row="small:newton"),
    Path("selected-elements", row="suite:lstm_scan"),
    Path("known-indices", row="suite:gmm"),
    Path("strip-mining", row="small:endless loop"),
    # kernels
    Path(
        "axis_order",
        _LOWERED + "operands:axis_order",
        lambda low, *_: range(len(low.group.domain)),
        row="small:transposed operands",
    ),
    Path(
        "interleaved_elements",
        _LOWERED + "operands:note_neighbours",
        _returns(None),
        always=True,
        row="small:pairs",
    ),
    Path(
        "deinterleaved",
        _LOWERED + "copies:_lower_deinterleaved",
        _returns(None),
        row="small:channels",
    ),
    Path(
        "written_copies", _LOWERED + "copies:_lower_unrolled", _returns(None), row="small:patches"
    ),
    Path(
        "kept_in_results",
        _LOWERED + "rows:RowPlan._reuse_result_buffers",
        lambda _, materialized, __: dict(materialized),
        row="suite:crossentropy",
    ),
    Path(
        "loop_stretches",
        _LOWERED + "loops.time_loops:_is_far",
        _returns(False),
        row="suite:ode_loop_rows",
    ),
    Path(
        "folded",
        _LOWERED + "stages:lower_folded",
        _returns(None),
        row="small:rows of 5 by elements",
    ),
    Path(
        "short_map",
        _LOWERED + "short_rows:lower_short_map",
        _returns(None),
        row="small:small blocks",
    ),
    Path(
        "rows_jammed",
        _LOWERED + "rows:count_interleaved_rows",
        _returns(1),
        row="gemm:nt 1x64x4096",
    ),
    Path(
        "row_strips",
        _LOWERED + "rows:RowLowering._choose_strip_height",
        _returns(0),
        row="small:layer norm 8192x64",
    ),
    Path(
        "constant_steps",
        "staticgrad.compiler.compiling.constant_steps:constant_steps",
        _returns(None),
        row="small:constant filters",
    ),
    Path(
        "told_sizes",
        _LOWERED + "fuse:kernels_with_facts",
        lambda uses: {k: k for k, _ in uses},
        row="small:row sums",
    ),
    Path(
        "time_loops",
        _LOWERED + "loops.time_loops:lower_time_loop",
        _returns(LoopRefusal.Slower),
        row="small:matrix vector loop",
    ),
    Path(
        "joined_iterations",
        _LOWERED + "loops.time_loops:_join_bodies",
        _returns(LoopRefusal.Slower),
        row="small:matrix vector loop",
    ),
    Path(
        "channels",
        _LOWERED + "windows.channels:is_by_channels",
        _returns(False),
        row="conv:3x3, depthwise | 8, 96 to 96 at 56x56:result",
    ),
    Path(
        "filter_columns",
        _LOWERED + "windows.filters:channels_by_columns",
        _returns(0),
        row="conv:transposed 4x4/2 | 16, 256 to 128 at 8x8:filter",
    ),
    Path(
        "columns",
        _LOWERED + "windows.strips:by_columns",
        _returns(False),
        row="conv:7x7/2 | 8, 3 to 64 at 112x112:result",
    ),
    Path(
        "phases",
        _LOWERED + "windows.strips:has_phases",
        _returns(False),
        row="conv:7x7/2 | 8, 3 to 64 at 112x112:image",
    ),
    # loop nests
    Path(
        "in_turn",
        _NEST + "lower:KernelLowering.interleave_values",
        _returns(None),
        always=True,
        row="conv:7x7, depthwise | 8, 96 to 96 at 28x28:image",
    ),
    Path(
        "touches",
        _NEST + "lower:KernelLowering.write_prefetches",
        _returns(None),
        always=True,
        row="suite:layernorm",
    ),
    Path(
        "peeling", _NEST + "lower:KernelLowering.interior", _returns(None), row="small:shifted rows"
    ),
    Path("vector_chains", _NEST + "directives:_is_chain", _returns(False), row="small:long chain"),
    Path(
        "vectors_jammed",
        "staticgrad.language.ir.kernels.legality:may_be_mixed",
        _returns(False),
        row="small:long chain",
    ),
    Path(
        "halves",
        _NEST + "lower:KernelLowering.adds_contiguous_rows",
        _returns(False),
        row="small:segment sums",
    ),
    Path("half_registers", _NEST + "lower:half_registers", _returns(0), row="small:patches"),
    Path(
        "interleaved_rows",
        _LOWERED + "rows:interleaving",
        _returns(()),
        row="small:cumulative sum",
    ),
    Path(
        "runs_of_columns",
        _NEST + "columns:ColumnSums.is_read_by_rows",
        _returns(False),
        row="small:column moments",
    ),
    # products
    Path(
        "direct",
        _NEST + "products.direct:is_direct",
        _returns(False),
        row="gemm:nt 96x300x4",
    ),
    Path(
        "rows_for_lanes",
        _NEST + "products.narrow:has_rows_for_lanes",
        _returns(False),
        row="gemm:tn 2048x5x96",
    ),
    Path(
        "kept_panels",
        _NEST + "products.looped:LoopedProduct.keeps_panels",
        _returns(False),
        row="suite:attention",
    ),
    Path(
        "in_place",
        _NEST + "products.looped:LoopedProduct.reads_panels_in_place",
        _returns(False),
        row="small:attention 512",
    ),
    Path(
        "far_rows",
        _NEST + "products.looped:LoopedProduct.prefetches_rows",
        _returns(False),
        row="small:filters of a small image",
    ),
    Path(
        "in_panels",
        _NEST + "products.gemm:PlainProduct._lies_in_panels",
        _returns(False),
        row="small:product in a scan",
    ),
    Path(
        "few_terms",
        _NEST + "products.direct:DirectProduct.serves_few_terms",
        _returns(False),
        row="small:update of 3 rows",
        bits=512,
    ),
)

"""Graph -> Compiled: passes, fusion, rendering, native code, plans. The only file where they meet.

Nothing is decided here: each stage is a function of the one before. What is kept is what a user
asks about afterwards: the graph, the schedule, the kernels' sources, and why each was compiled.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextvars import copy_context
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NoReturn, TypeVar, overload

import numpy.typing as npt

from passes.base import Pass, Pipeline
from passes.pipelines import pipeline as read_pipeline
from passes.remat import Policy
from staticgrad import native
from staticgrad.analysis.binding import Feeds, check_sizes, named_inputs, typical_sizes
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.compiler.compiling.arguments import (
    Compilable,
    Options,
    all_sizes,
    disable_early_passes,
    feeds_by_keyword,
    read_budget,
    read_checkpoint,
    read_fuse,
    read_names,
    read_passes,
    read_program,
    read_sizes,
    room_here,
    unknown_size,
)
from staticgrad.compiler.compiling.artifacts import CompiledKernel, Kernels, Plans, unfused_pairs
from staticgrad.compiler.compiling.constant_steps import constant_steps
from staticgrad.compiler.compiling.scheduling import Scheduling, make_schedule
from staticgrad.compiler.memory.planner import Planner
from staticgrad.compiler.reports.stats import Counts, Stats
from staticgrad.compiler.runtime.executor import Executor, MakeTable, Memory
from staticgrad.compiler.runtime.feeds import views_of
from staticgrad.compiler.runtime.step import Table
from staticgrad.errors import GraphError, ParseError, SizeGuardError, UnknownAttributeError, hints
from staticgrad.errors.tracebacks import boundary, cut_frames
from staticgrad.errors.wording import did_you_mean
from staticgrad.exports import EXPORTING
from staticgrad.language.calls.arguments import public
from staticgrad.language.calls.execution import in_graphs
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.plan import Plan
from staticgrad.language.ir.schedule import Schedule
from staticgrad.language.ir.value import Value
from staticgrad.language.trees import parts, parts_by_name
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import Size, evaluate, named_sizes
from staticgrad.native.system import processors
from staticgrad.native.system.floating_point import default_environment
from staticgrad.support import config, terminal
from staticgrad.support.building import capture
from staticgrad.support.caches import cached_property, collection_paused
from staticgrad.support.optional import Package
from staticgrad.support.options import options as options_block
from staticgrad.support.pictures.texts import PrintedText
from staticgrad.support.records import replace

if TYPE_CHECKING:
    from typing_extensions import TypeVar as WithDefault

    from staticgrad.compiler.fusion.neighbours import KernelPair
    from staticgrad.compiler.lowering.fuse import Fusion
    from staticgrad.compiler.reports.explain import Explanation
    from staticgrad.compiler.reports.profiling import Profile
    from staticgrad.compiler.runtime.arena import BoundRun
    from staticgrad.compiler.runtime.c_functions import CFunction, CProgram
    from staticgrad.functions.checkpoints.saveable import Saveable

    #: What a run gives: an array or a dict of them.
    Results = WithDefault("Results", default=Any)
else:
    Results = TypeVar("Results")

Array = npt.NDArray[Any]
_EXPORTING: Final[Any] = Package(EXPORTING, "programs are exported by a part", "staticgrad")


@overload
def compile(
    program: Value,
    *,
    memory_budget: float | str | None = None,
    checkpoint: str | Policy | Saveable = "store_all",
    sizes: Mapping[str, int] | None = None,
    pipeline: str | Pass = "O1",
    fuse: bool = True,
    debug: bool | Literal["nan"] | None = None,
    backend: str | None = None,
    threads: int | Literal["auto"] | None = None,
    verify: bool | None = None,
    tune: bool | None = None,
    linalg: Literal["fast", "portable"] | None = None,
    disable: Iterable[str] = (),
    freeze: bool = False,
) -> Compiled[Array]: ...
@overload
def compile(
    program: Graph | Mapping[str, Value],
    *,
    memory_budget: float | str | None = None,
    checkpoint: str | Policy | Saveable = "store_all",
    sizes: Mapping[str, int] | None = None,
    pipeline: str | Pass = "O1",
    fuse: bool = True,
    debug: bool | Literal["nan"] | None = None,
    backend: str | None = None,
    threads: int | Literal["auto"] | None = None,
    verify: bool | None = None,
    tune: bool | None = None,
    linalg: Literal["fast", "portable"] | None = None,
    disable: Iterable[str] = (),
    freeze: bool = False,
) -> Compiled[dict[str, Array]]: ...
@public
def compile(
    program: Compilable,
    *,
    memory_budget: float | str | None = None,
    checkpoint: str | Policy | Saveable = "store_all",
    sizes: Mapping[str, int] | None = None,
    pipeline: str | Pass = "O1",
    fuse: bool = True,
    debug: bool | Literal["nan"] | None = None,
    backend: str | None = None,
    threads: int | Literal["auto"] | None = None,
    verify: bool | None = None,
    tune: bool | None = None,
    linalg: Literal["fast", "portable"] | None = None,
    disable: Iterable[str] = (),
    freeze: bool = False,
) -> Compiled[Any]:
    """Compile a Graph, one Value, or a dict of Values, for all values of its named sizes.

    Args:
        program: what to compute. One Value in, one array out; else results come in a dict.
        memory_budget: upper limit of the arena: bytes (``"2MiB"``), a share of what storing all
            values needs (``0.5``, ``"50%"``), or ``"fit"``, all physical memory that is free. To
            meet the budget some kernels are recomputed, cheapest first.
        checkpoint: what is stored for the backward pass, and what is recomputed: ``"store_all"``,
            ``"sqrt"``, ``"recompute"``, or an object of ``passes.remat.Policy``; or a predicate of
            ``sg.checkpoint_policies``, also by name, that selects ops. With a budget, the peak is
            at most that of the policy as well. Values that ``sg.checkpoint`` marks are stored.
        sizes: values of named sizes that every run will have; the feeds must agree.
        pipeline: the passes to run first: text, a level (``"O0"``, ``"O1"``), or a ``Pass``.
        fuse: merge neighbouring operations into kernels.
        debug: True: every kernel's reads and writes are checked against the plan, in poisoned
            memory between red zones. ``"nan"``: an operation that makes a NaN or an infinity from
            finite numbers raises NonFiniteError. None: the setting.
        backend: the compiler of kernels: ``"vector"`` writes LLVM IR, ``"numba"`` uses Numba,
            ``"auto"`` is the former, and the latter for kernels that it refuses; or one of
            ``staticgrad.backends``. None: the setting, also where a pickle is loaded.
        threads: the number of threads that may run it, the calling one included. ``"auto"``: as
            many as there are processors for them. None: the setting.
        verify: True: every memory access of each plan is proved once more, by a checker that reads
            kernels as their text says and shares no code with what made them: it is inside its
            buffer, reads what was written before, and writes apart from all that runs at the same
            time. It costs about as much as planning; nothing runs. None: the setting.
        tune: True: each kernel is timed with a few schedules at its sizes (named sizes that
            ``sizes`` lacks: at their hints), and the fastest is used from then on. Choices are
            stored in the kernel cache. None: the setting.
        linalg: ``"portable"``: factors, solutions, ``eigh`` and ``svd`` of real matrices are the
            same bits on every machine, at every size; larger ones take longer (page
            ``accuracy``). ``"fast"`` calls LAPACK where it is faster. None: the setting.
        disable: names of passes to leave out, of the pipeline and of the late pipeline, which makes
            the graph that kernels are made of: ``["cse", "winograd"]``. To look for a defect.
        freeze: True: the parameters that the program does not update are constants with the values
            that they have now, and setting them has no effect on this program. Whatever depends on
            them alone (transposed weights, factors of loops, filters of Winograd tiles, folded
            norms) is computed once, now; it takes memory (``f.memory.constants``). For inference.

    Returns:
        The program: ``run`` it with feeds, ask for its ``plan``. Its results are bitwise identical
        for every budget, policy, backend, number of threads, ``fuse``, ``debug``, ``verify``,
        ``tune`` and ``freeze``; but where ``explain`` names ``recomputed-products``, a budget or
        policy changes last digits.

    Raises:
        ArgumentError, ConfigError: an option of the wrong kind; an unknown policy or backend.
        PipelineError: ``disable`` names no pass of the program, or one that kernels need.
        BudgetInfeasible: all sizes are known, and the step needs more than the budget.
        CompileError, CPUError: a kernel does not compile; this processor is not supported.
        VerifyError: ``verify=True``, all sizes are known, and an access is not as it must be.

    >>> import staticgrad as sg
    >>> compile(sg.input("x", ("n",), "float64") * 2.0).run({"x": [1.0, 2.0]})
    array([2., 4.])
    """
    read_checkpoint(Pipeline(()), checkpoint)
    settings = config.current(
        debug=debug, backend=backend, threads=threads, verify=verify, tune=tune, linalg=linalg
    )
    options = Options(
        memory_budget=read_budget(memory_budget),
        checkpoint=checkpoint,
        sizes=read_sizes(sizes),
        pipeline=read_passes(pipeline),
        fuse=read_fuse(fuse),
        debug=settings.debug,
        backend=backend,
        threads=None if threads is None else settings.threads,
        verify=settings.verify,
        tune=settings.tune,
        linalg=settings.linalg,
        disable=read_names(disable),
        freeze=freeze,
    )
    return copy_context().run(Compiled, program, options)  # its np.errstate ends with it


class Compiled(Generic[Results]):
    """A program that runs: ``run`` it, ask for its ``plan``, read its ``source``.

    ``sg.compile`` makes it. It may be called from several threads: runs of one object are
    serialized. It pickles as the graph's text with the options, and compiles again when loaded.

    >>> import staticgrad as sg
    >>> x = sg.input("x", ("n",), "float64")
    >>> f = sg.compile({"y": x * 2.0})
    >>> f.run({"x": [1.0, 2.0]}), f.plan(n=2).peak_bytes
    ({'y': array([2., 4.])}, 0)
    """

    if not TYPE_CHECKING:  # a type checker shall find what is not there

        @boundary
        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(name)
            names = [attribute for attribute in dir(type(self)) if not attribute.startswith("_")]
            raise UnknownAttributeError(
                f"a compiled program has no {name!r}",
                hint=lambda: hints.OF_PROGRAMS.get(name) or did_you_mean(name, names),
            )

    @collection_paused()
    @config.read_once()
    @default_environment()
    @in_graphs()
    def __init__(self, program: Compilable, options: Options) -> None:
        """Compile at once. ``program_graph`` is the graph as given, whose guards feeds must meet.

        Args:
            program, options: what ``compile`` was given.
        """
        self.program_graph, self.single = read_program(program)
        self.options = options
        if options.freeze:
            from staticgrad.compiler.compiling.constant_part import freeze_parameters

            self.program_graph = freeze_parameters(self.program_graph)
        try:
            passes = read_pipeline(options.pipeline)
        except ParseError as error:
            error.details = ("in the pipeline", *error.at.resolve().excerpt(), *error.details)
            error.at = capture()
            raise
        passes = disable_early_passes(passes, options.disable)
        passes, policy = read_checkpoint(passes, options.checkpoint)
        for name, _ in options.sizes:
            if name not in self.program_graph.sizes:
                raise unknown_size(name, self.program_graph)
        self._counts = Counts()
        self.threads = processors.threads(config.current(threads=options.threads).threads)
        self._kernels = Kernels(self._counts, options.backend, self.threads)
        once = Table if options.debug == "nan" else self._table_maker()
        self._scheduling = Scheduling(
            self.program_graph,
            passes,
            dict(options.sizes),
            (
                policy,
                room_here(options.memory_budget),
                self.threads,
                config.limits().section_seconds,
            ),
            partial(
                _make_schedule,
                linalg=options.linalg,
                fuse=options.fuse,
                tuned_at=options.sizes if options.tune else None,
                disable=options.disable,
            ),
            None
            if options.debug
            else (options.fuse, options.backend, options.tune, options.linalg, options.disable),
            self._kernels,
            once,
            options.disable,
        )
        with terminal.working(f"compiling {self.program_graph.name}") as line:
            line.stage = "passes and fusion"
            (self.schedule, self._constants, note, *_), planner = self._scheduling.result
            if note:
                self._counts.note(note)
            if (folder := config.current().dump) is not None:
                from staticgrad.compiler.lowering.fuse import write_late_graphs

                graph = self._scheduling.graph_of(self.schedule)
                write_late_graphs(graph, options.fuse, options.disable, folder / "late")
            self._plans = Plans(planner.plan, self._counts, options.verify)
            line.stage = f"machine code of {len(self.schedule.steps)} steps"
            end = self._kernels.begin(self.schedule, self.program_graph.parameters)
            fixed = dict(options.sizes)
            try:  # while LLVM compiles in other threads
                self._fixed_plan = self._plan_at_fixed_sizes(fixed)
            finally:
                step = end()
        self._executor = Executor(
            self.program_graph,
            step,
            self._plans.plan,
            fixed,
            self._table_maker(),
            self.single,
        )

    # -- running ----------------------------------------------------------------------------------

    def run(self, feeds: Feeds | None = None, out: object = None, **unknown: object) -> Results:
        """Run the compiled program with these feeds: return its results, update its parameters.

        Args:
            feeds: input name or input Value -> array, or anything that NumPy sees as one. They
                are never written, and read in place where they are contiguous and of the input's
                dtype.
            out: arrays to write into, in the structure of the results; a dict may lack some.

        Returns:
            One array where one Value was compiled, else a dict of arrays by output name. They
            alias nothing; an array is used again for later results once the caller dropped it.

        Raises:
            FeedError, OutputArrayError, OutOfMemory, BudgetInfeasible: before anything has run.
            IndexOutOfRange: before any parameter has changed.
        """
        try:
            if unknown:
                raise feeds_by_keyword(unknown)
            if feeds is None:
                feeds = {}
            if out is None:
                entered: Results | None = self._executor.enter(feeds)
                if entered is None and (views := views_of(feeds)):
                    entered = self._executor.enter({**feeds, **views})
                if entered is not None:
                    return entered
            results: Any = self._executor.run(feeds, out)
            return results["output"] if self.single else results  # type: ignore[no-any-return]
        except Exception as error:
            cut_frames(error)
            raise

    __call__ = run

    @boundary
    def bind(
        self, feeds: Feeds | None = None, out: object = None, **unknown: object
    ) -> BoundRun[Results]:
        """Return a run bound to these feeds: ``call = f.bind(feeds)``, then ``call()`` repeatedly.

        ``call()`` gives what ``f.run(feeds, out)`` would give then: it reads what the arrays hold
        when it is called, and writes into those of ``out``. The dicts are read now.

        Raises:
            FeedError, OutputArrayError: as ``run`` does, for what the arrays are now.
        """
        if unknown:
            raise feeds_by_keyword(unknown)
        return self._executor.bind({} if feeds is None else feeds, out)

    # -- calls from other languages ---------------------------------------------------------------

    @cached_property
    def _c_program(self) -> CProgram:
        """The words by which C functions run this program; they refuse calls when it is gone."""
        from staticgrad.compiler.runtime.c_functions import CProgram

        program = CProgram(self.program_graph, self._executor, dict(self.options.sizes))
        weakref.finalize(self, program.retire).atexit = False
        return program

    @property
    def address(self) -> int:
        """The address of a C function that runs the program, without Python and its lock.

        ``int64_t f(void *const *inputs, void *const *results, const int64_t *sizes, void
        *user_data)``: pointers to the arrays of all inputs and of all results, in the order of
        ``inputs`` and ``outputs``, each contiguous in C order and of its element type; the named
        sizes, in the order of ``program_graph.sizes``; and ``f.user_data``. It returns 0, or a code
        that the page ``numba`` of the guide lists. Threads may call it at once. It may be called as
        long as this object lives; later calls return -4.

        ``c_function`` gives other signatures.
        """
        return self.c_function().address

    @property
    def user_data(self) -> int:
        """The last argument of each call of the C function at ``address``."""
        return self._c_program.data

    @public
    def c_function(
        self, signature: Literal["arrays", "density", "map", "integrand", "filter"] = "arrays"
    ) -> CFunction:
        """Return the program as a C function: its address, its last argument, its type in C.

        Args:
            signature: ``"arrays"``, that of ``address``, for any program. Others are those that
                samplers and SciPy call, for programs of one input ``f64[n]``: ``"density"``,
                ``int64_t f(uint64_t n, const double *x, double *gradient, double *value, void
                *user_data)``; ``"map"``, ``int64_t f(uint64_t n, uint64_t m, const double *x,
                double *result, void *user_data)``; ``"integrand"``, ``double f(int n, double *x,
                void *user_data)``; and ``"filter"``, ``int f(double *x, intptr_t n, double *result,
                void *user_data)``.

        Raises:
            ArgumentError: the program has not the inputs and results of the signature.

        Examples:
            >>> import numpy as np
            >>> import staticgrad as sg
            >>> x = sg.input("x", ("n",), "float64")
            >>> f = sg.compile({"value": (x * x).sum(), "gradient": 2.0 * x}).c_function("density")
            >>> point, gradient, value = np.array([1.0, 2.0]), np.empty(2), np.empty(1)
            >>> arrays = [np.ctypeslib.as_ctypes(array) for array in (point, gradient, value)]
            >>> f.ctypes(2, *arrays, f.user_data), value, gradient
            (0, array([5.]), array([2., 4.]))
        """
        return self._c_program.function(self, signature)

    # -- what it takes and gives ------------------------------------------------------------------

    @property
    def inputs(self) -> dict[str, TensorType]:
        """The element type and shape of each feed of ``run``, by name.

        Sizes are ints, or named ones, whose text is the name; those that were fixed by ``sizes=``
        are ints.

        >>> import staticgrad as sg
        >>> f = sg.compile({"y": sg.input("x", ("n", 3), "float32").sum(axis=1)})
        >>> f.inputs, f.outputs
        ({'x': f32[n, 3]}, {'y': f32[n]})
        >>> [(name, each.dtype, each.shape) for name, each in f.inputs.items()]
        [('x', sg.float32, (n, 3))]
        """
        return self._with_sizes(self.program_graph.input_types)

    @property
    def outputs(self) -> dict[str, TensorType]:
        """The element type and shape of each result, by name, as ``inputs``.

        A program of one value, whose ``run`` gives one array, calls it ``"output"``.
        """
        return self._with_sizes(self.program_graph.output_types)

    def _with_sizes(self, types: Mapping[str, TensorType]) -> dict[str, TensorType]:
        """Return value types at the sizes that the program was compiled for."""
        sizes = dict(self.options.sizes)

        def fix_size(size: Size) -> Size:
            names = {named.name for named in named_sizes(size)}
            return evaluate(size, sizes) if names <= sizes.keys() else size

        return {n: t.with_shape(tuple(map(fix_size, t.shape))) for n, t in types.items()}

    # -- planning and memory ----------------------------------------------------------------------

    @public
    def plan(self, *, staged: object = (), **sizes: int) -> Plan:
        """Return the memory plan at these sizes, cached; nothing runs or is compiled.

        It is the plan of a run, a function of the program, the sizes and the budget alone.

        Args:
            staged: inputs, or their names, whose feeds are copied into the arena before the run:
                strided or misaligned ones, those of another dtype or byte order, and bools of
                other bytes than 0 and 1. By default none is.
            sizes: values of the named sizes that ``compile`` did not get.

        Raises:
            UnknownNameError: a size that the graph does not have, or one that is missing.
            UnknownFeedError: a ``staged`` input that the graph does not have.
            SizeGuardError: sizes that the graph's conditions exclude.
            BudgetInfeasible: the plan needs more than ``memory_budget``.
        """
        sizes_by_name = all_sizes(self.program_graph, dict(self.options.sizes), sizes)
        copied = self._executor.buffers_of(named_inputs(self.program_graph, staged, "staged"))
        return self._plan_at(sizes_by_name, copied)

    def _plan_at_fixed_sizes(self, fixed: Mapping[str, int]) -> Plan | None:
        """Return the plan at the sizes of ``compile`` if these are all; store what is new on disk.

        It is on disk beside the schedule where an earlier process compiled the program.
        """
        plan = None
        try:
            if self.program_graph.sizes.keys() <= fixed.keys():
                plan = self._scheduling.stored_plan
                if plan is not None:
                    self._plans.add(fixed, plan)
                plan = self._plan_at(fixed, frozenset())
        finally:
            self._scheduling.store(plan)
        return plan

    def _plan_at(self, sizes: Mapping[str, int], staged: frozenset[str]) -> Plan:
        check_sizes(self.program_graph, sizes)
        return self._plans.plan(sizes, staged)

    @property
    def peak_bytes(self) -> int:
        """Bytes of the arena in the latest run, copies of its feeds included.

        Before any run, where all sizes are known: those of a run whose feeds need no copy.

        Raises:
            GraphError: sizes are open and nothing has run yet.
        """
        return self._current_plan().peak_bytes

    @property
    def memory(self) -> Memory:
        """Bytes of arena, feeds, parameters, outputs, constants, by the plan of ``peak_bytes``."""
        return self._executor.memory(self._current_plan())

    @property
    def highest_touched(self) -> int | None:
        """Arena bytes that the latest run has been seen to work in, counted from the start.

        Measured under ``debug=True``, None otherwise: where the highest byte ends that was really
        written, or that a kernel got as scratch or to note a failing index (which it need not do),
        on the next border of 64. It is the ``peak_bytes`` of the plan that ran, for a buffer takes
        whole lines of 64 bytes.
        """
        return self._executor.highest_touched

    def _current_plan(self) -> Plan:
        """Return the plan of the latest run, or of fixed sizes; raise an error if there is none."""
        plan = self._executor.latest or self._fixed_plan
        if plan is None:
            names = ", ".join(self.program_graph.sizes)
            asked = ", ".join(f"{name}=..." for name in self.program_graph.sizes)
            raise GraphError(
                f"the peak depends on {names}, and nothing has run yet",
                hint=f"ask for a plan: f.plan({asked})",
            )
        return plan

    # -- what it was made of ----------------------------------------------------------------------

    @property
    def kernels(self) -> tuple[CompiledKernel, ...]:
        """The distinct kernels of all that has run or was explained, in order of first use."""
        return self._kernels.all

    @property
    def graph(self) -> Graph:
        """The graph after the passes."""
        return self._scheduling.graph

    @property
    def source(self) -> str:
        """The source of every distinct kernel, each under a line that says what it is."""
        sources = [f"# {k.name}: {k.label}\n{k.source.rstrip()}" for k in self.kernels]
        return PrintedText("\n\n".join(sources) + "\n")

    # -- debug modes ------------------------------------------------------------------------------

    def _table_maker(self) -> MakeTable:
        """Return the class that runs plans: the driver's table, or one of a debug mode."""
        if self.options.debug == "nan":
            from staticgrad.compiler.runtime.probed import Watch
            from staticgrad.compiler.runtime.side_run import SideProgram

            def beside(graph: Graph) -> SideProgram:  # with a kernel for each operation
                schedule = make_schedule(graph, fuse=False)
                code = Kernels(Counts(), self.options.backend).program(schedule, graph.parameters)
                return SideProgram(graph, code, Planner(schedule).plan)

            return Watch(self.graph, beside).table
        if self.options.debug:
            from staticgrad.compiler.runtime.guard import GuardedTable

            return GuardedTable
        return Table

    # -- reports ----------------------------------------------------------------------------------

    @property
    def stats(self) -> Stats:
        """Counts of compiles, cache hits, plans and runs, with reasons."""
        return self._counts.read(self._executor.runs)

    @public
    def explain(self, *, staged: object = (), before: bool = False, **sizes: int) -> str:
        """Explain each pass, the kernels that run, in the order listed, and the memory they need.

        The memory is that of ``plan(staged=..., **sizes)``: what lives at the peak, which feeds are
        copied, what is stored from forward to backward, what is computed again, each with the
        user's lines. It is left out if sizes are open; earlier runs do not matter. Nodes that
        nothing needs are counted. With ``before=True`` the graph before the passes comes last.
        """
        return self.explanation(staged=staged, before=before, **sizes).text()

    @public
    def explanation(
        self, *, staged: object = (), before: bool = False, **sizes: int
    ) -> Explanation:
        """Return the content of ``explain`` as data, with ``as_json``: equal for equal programs."""
        from staticgrad.compiler.lowering.fuse import fusion
        from staticgrad.compiler.reports.explain import Explanation, Sharing, dead_nodes, unread_of

        asked, once = bool(sizes) or bool(staged), self._constants
        plan = self.plan(staged=staged, **sizes) if asked else self._fixed_plan
        schedule = self.schedule if plan is None else plan.schedule
        at = {} if plan is None else dict(plan.sizes)
        graph, reports = self._scheduling.graph_of(schedule), self._scheduling.reports
        computed_once = [section for part in once for section in self._kernels.sections(part)]
        steps = self._kernels.sections(schedule)
        kernels = self._kernels.kernels_of(schedule, *once)
        fused = fusion(graph, self.options.fuse, self.options.disable)
        late = (*self._scheduling.division_reports(schedule), *fused.reports)
        return Explanation(
            graph=self.program_graph.name,
            pipeline=str(self.options.pipeline),
            passes=tuple([report.at(at) for report in reports]),
            late=tuple([report.at(at) for report in late]),
            computed_once=tuple(computed_once),
            steps=steps,
            kernels=len(kernels),
            compilers=Counter(kernel.compiler for kernel in kernels),
            unfused_pairs=unfused_pairs(_renumber(fused, len(schedule.steps))),
            unread=unread_of(self.graph, schedule),
            open_sizes=tuple(self.program_graph.sizes),
            plan=plan,
            sharing=None if plan is None else Sharing.of(plan),
            dead=dead_nodes(
                self.program_graph, self.graph, None if plan is None else dict(plan.sizes)
            ),
            source_graph=self.program_graph if before else None,
            tuning=self._choices(schedule),
        )

    def _choices(self, schedule: Schedule) -> tuple[str, ...]:
        if not self.options.tune:
            return ()
        from staticgrad.compiler.compiling.tuning import choices

        return tuple(map(str, choices(schedule, dict(self.options.sizes))))

    @public
    def report(self, path: str | Path, **sizes: int) -> Path:
        """Write the memory report of this program as an HTML page.

        It shows which tensors, scopes and lines hold memory when, in the plan and where everything
        is stored, what is computed again, and what less memory would cost.

        Args:
            path: where to write it, ``"memory.html"``.
            sizes: values of the named sizes that ``compile`` did not get.

        Returns:
            The path.

        Raises:
            UnknownNameError, SizeGuardError, BudgetInfeasible: as ``plan``.
            ArgumentError: ``path`` is not a path. OSError: the file cannot be written.
        """
        from staticgrad.compiler.compiling.tradeoffs import tradeoff
        from staticgrad.compiler.reports.memory_page import memory_page
        from staticgrad.compiler.reports.pictures import write_report

        front = tradeoff(self, sizes)
        return write_report(path, memory_page(self.program_graph.name, self.plan(**sizes), front))

    @public
    def wait(self) -> None:
        """Wait until every kernel has its full code, before runs are measured.

        The first runs of a new program may use code that was compiled quickly, while a thread in
        the background compiles the full code (the setting ``tier``). Results are equal.

        Examples:
            >>> import numpy as np
            >>> import staticgrad as sg
            >>> x = sg.input("x", ("n",), "float32")
            >>> f = sg.compile(sg.sum(sg.tanh(x)))
            >>> first = f.run({"x": np.ones(5, "float32")})
            >>> f.wait()
        """
        native.wait()

    @public
    def profile(self, feeds: Feeds | None = None, *, runs: int = 10) -> Profile:
        """Measure each step with these feeds: time, bytes, operations, share of the limits.

        Steps run one after the other, so many times; parameters are then as they were before.
        The limits are those of this machine, measured by the first profile of a process.
        """
        from staticgrad.compiler.reports.profiling import profile_of
        from staticgrad.compiler.runtime.probed import timed_runs

        self.wait()
        table = timed_runs(self._executor, feeds or {}, runs)
        steps = self._kernels.sections(table.plan.schedule)
        return profile_of(
            self.program_graph.name, table, steps, lambda v, n: compile(v, threads=n).run
        )

    @public
    def export(
        self,
        path: str | Path,
        *,
        header: str | Path | None = None,
        libraries: Sequence[str | Path] = (),
        wrappers: Sequence[str] = (),
        **sizes: int | Sequence[int],
    ) -> Path:
        """Write this program as a file that runs without staticgrad.

        ``"step.py"``: a module that needs NumPy and Numba alone. It has kernels as plain loops, the
        plan and ``run(feeds)``; the parameters are in a file of the same name that ends in
        ``.npz``. ``"step.so"``, ``"step.o"`` or ``"step.a"``: a library for C, which needs nothing
        but LAPACK where the program calls it; cc, gcc or clang links it. Files that are there are
        replaced.

        Args:
            path: where to write it.
            header: where to write the header of a library, by default beside it; its stem is the
                prefix of all names.
            libraries: what a ``.so`` takes LAPACK from: names of libraries, ``"openblas"``, their
                paths, or ``"scipy"`` for the one of SciPy's wheel.
            wrappers: ``"python"``, ``"rust"``, ``"julia"``: a module beside a library that calls
                it, ``step_ctypes.py``, ``step.rs``, ``step.jl``.
            sizes: values of named sizes. A library is planned for these; sizes of several values,
                ``batch=(64, 17)``, are arguments of a run. Other sizes stay free, unless
                ``compile`` got them: in a library they are arguments of a run, too, and steps are
                in the order that is planned for typical values: their hints, or 64, or others
                where conditions of the program exclude these. In a module all stay free, and are
                those at which the order of steps is planned. Earlier runs do not matter.

        Returns:
            The path.

        Raises:
            ExportError: a part of the program has no such form, as a call of a user's function; a
                library without a C compiler.
            CompileError: the C compiler fails, as where LAPACK is not in ``libraries``.
            UnknownNameError, SizeGuardError, BudgetInfeasible: as ``plan``.
            ArgumentError: ``path`` is not a path of such a file; no such wrapper or library.
            OSError: a file cannot be written.
        """
        fixed = dict(self.options.sizes)
        free = [name for name, values in sizes.items() if isinstance(values, Sequence)]
        opened = [n for n in self.program_graph.sizes if n not in fixed and n not in sizes]
        value_lists = [v if isinstance(v, Sequence) else [v] for v in sizes.values()]
        chosen = [dict(zip(sizes, values, strict=True)) for values in product(*value_lists)]
        fixed_sizes = [fixed | dict(read_sizes(values)) for values in chosen]
        typical = [typical_sizes(self.program_graph, values) for values in fixed_sizes]
        try:
            plans = [
                self.plan(**chosen_sizes, **other_sizes)
                for chosen_sizes, other_sizes in zip(chosen, typical, strict=True)
            ]
            if self.options.memory_budget is not None:
                for plan in plans:
                    verify_plan(plan)
        except SizeGuardError as error:
            if opened:
                sized = f"give a size that the program takes: f.export(path, {opened[0]}=...)"
                error.hint = "\n".join(filter(None, [sized, error.hint]))
            raise
        stores, graph = self._executor.program.stores, self.program_graph
        file: Path = _EXPORTING.export(
            path,
            graph,
            plans,
            stores,
            fixed,
            self.single,
            header,
            free,
            opened,
            libraries,
            wrappers,
        )
        return file

    def __repr__(self) -> str:
        outputs = ", ".join(self.program_graph.outputs) or "none"
        kernels = self._kernels.kernels_of(self.schedule, *self._constants)
        return f"<compiled {self.program_graph.name}: {len(kernels)} kernels, outputs {outputs}>"

    def _repr_html_(self) -> str:
        """Return the compiled program as HTML: steps, kernels and memory plan."""
        from staticgrad.compiler.reports.pictures import compiled_html

        steps = [(self._kernels.name(step), step) for step in self.schedule.steps]
        return compiled_html(
            repr(self),
            self.program_graph,
            steps,
            self._kernels.kernels_of(self.schedule, *self._constants),
            self._fixed_plan,
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (self.program_graph, self.single, self.options)


parts.register(Compiled, lambda program: parts_by_name(lambda: program.program_graph.parameters))


def _renumber(fused: Fusion, count: int) -> list[KernelPair]:
    """Return the pairs of steps that are not fused, by their numbers among ``count`` steps.

    These are the ones that are left where the steps of constants ran once.
    """
    pairs = fused.neighbours()
    part = constant_steps(fused.schedule)
    if part is None or len(part.places) != count:
        return pairs
    number = {place: position for position, place in enumerate(part.places)}
    return [
        replace(pair, computed_in=number[pair.computed_in], read_in=number[pair.read_in])
        for pair in pairs
        if pair.computed_in in number and pair.read_in in number
    ]


def _make_schedule(graph: Graph, *, linalg: str, **options: Any) -> Schedule:
    """Make a schedule whose routines of linear algebra are those of the setting."""
    with options_block(linalg=linalg), config.read_once():
        return make_schedule(graph, **options)


def _restore(graph: Graph, single: bool, options: Options) -> Compiled:
    return Compiled(graph["output"] if single else graph, options)

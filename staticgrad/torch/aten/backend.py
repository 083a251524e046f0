"""A backend of ``torch.compile``: forward and backward graphs of ATen operators as programs.

AOTAutograd traces both and chooses what the forward pass saves. Each graph is one program if all
of its operators have rows; else PyTorch runs the others between programs. Random numbers are
PyTorch's: it draws them before the program runs, or, where they depend on values or open sizes,
between programs.

Sizes that PyTorch leaves open (``dynamic=True``, or a second batch size) are named sizes of the
program, which is compiled once. Where a row needs their values, there is a program for each set.
Tensors whose axes have another order in memory are read and written in that order, without a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from staticgrad.bridges.fallback import (
    find_fallbacks,
    levels_of,
    warn_of_fallback,
    with_picks,
)
from staticgrad.bridges.programs import ForeignCall, RefusedCallError, ResultOf
from staticgrad.errors import StaticgradError
from staticgrad.extend import Dim, Graph, Value
from staticgrad.extend.optional import torch
from staticgrad.extend.programs import bind_sizes, compile as compile_graph
from staticgrad.extend.sizes import evaluate, named_sizes
from staticgrad.functions import input as graph_input, transpose
from staticgrad.torch.arrays import tensor_of
from staticgrad.torch.aten.draws import take_draws
from staticgrad.torch.aten.operators import OPERATORS
from staticgrad.torch.aten.partition import partition
from staticgrad.torch.aten.program import AtenProgram, draws, has_row
from staticgrad.torch.aten.reading import drop_lossy_decompositions, dtype_name, program_of
from staticgrad.torch.aten.views import find_views, replay_view
from staticgrad.torch.calls import TensorCall, TensorFeed
from staticgrad.torch.sizes import UnnamedSizeError, is_open, name_size, typical


class Note(NamedTuple):
    """One graph that was compiled.

    Attributes:
        kind: ``forward``, ``backward``, or ``inference`` where nothing needs a gradient.
        operators: how many calls of operators it has.
        outside: what PyTorch runs: the names of operators and the reasons.
        runs: its programs.
    """

    kind: str
    operators: int
    outside: list[tuple[str, str]]
    runs: list[_Runs]


def compile_dynamo_graph(
    graph: Any,
    example: Sequence[Any],
    options: Mapping[str, Any],
    note: Callable[[Note], object] = lambda note: None,
) -> Any:
    """Compile a graph that Dynamo captured, with its gradient, for ``torch.compile``."""
    aot = torch._dynamo.backends.common.aot_autograd

    def make_compiler(kind: str) -> Callable[..., Any]:
        return lambda graph, example: _compile_aten_graph(kind, graph, example, options, note)

    run: Callable[..., Any] = aot(
        fw_compiler=make_compiler("forward"),
        bw_compiler=make_compiler("backward"),
        inference_compiler=make_compiler("inference"),
        decompositions=drop_lossy_decompositions(torch._decomp.core_aten_decompositions()),
        partition_fn=partition,
    )(graph, example)
    return run


def _compile_aten_graph(
    kind: str,
    graph: Any,
    example: Sequence[Any],
    options: Mapping[str, Any],
    note: Callable[[Note], object],
) -> Callable[..., Any]:
    """Compile one forward or backward graph of ATen operators, called with a list of arguments."""
    drawn_example, draws = take_draws(graph)
    if draws:
        example = [*example, *drawn_example]
    nodes = [node for node in graph.graph.nodes if node.op == "call_function"]
    # cotangents are not guarded; of the others the example says it
    are_guarded = kind != "backward" and not any(map(_is_negative, example))
    runs_of_all = _Runs(graph, options, are_guarded)
    reasons = map(_find_reason_outside, nodes, runs_of_all.program.calls)
    outside = {k: reason for k, reason in enumerate(reasons) if reason}

    def build(outside: Mapping[int, str]) -> _Split:
        if outside:
            return _split_graph(graph, nodes, runs_of_all.program, outside, options)
        runs_of_all.prepare(example)
        return _Split(runs_of_all, [runs_of_all], [])

    try:
        split, outside = find_fallbacks(build, outside)
        for runs in split.parts:
            runs.compile()
    except StaticgradError as error:  # of no node
        outside = dict.fromkeys(range(len(nodes)), error.headline)
        split = _split_graph(graph, nodes, runs_of_all.program, outside, options)
    for reason in outside.values():
        _warn(reason)
    names = [(str(nodes[k].target), reason) for k, reason in outside.items()]
    names += [(name, "no neighbour that a program runs") for name in split.alone]
    note(Note(kind, len(nodes), names, split.parts))
    return _box_call(split.run, draws)


def _find_reason_outside(node: Any, call: ForeignCall) -> str:
    """Return why PyTorch has to run a node of an ATen graph; empty if a program may."""
    if not has_row(call):
        why = OPERATORS.find_reason(call.operator)
        reason = f"{call.operator.name} has no row in the table of operators"
        return f"{reason}: {why}" if why else reason
    if draws(call):
        return f"random {call.operator.name}"
    values = node.meta.get("val")
    for value in values if isinstance(values, list | tuple) else [values]:
        if isinstance(value, torch.Tensor) and (
            value.device.type != "cpu" or value.layout is not torch.strided
        ):
            return f"{call.operator.name} on {value.device.type}"
    return ""


def _warn(reason: str) -> None:
    """Warn once for each reason that ``torch.compile`` leaves a part of a graph to PyTorch."""
    if not reason.startswith("random "):
        warn_of_fallback(f"torch.compile: PyTorch runs a part of the graph: {reason}")


class _Split(NamedTuple):
    """One graph as programs, and what PyTorch runs between them.

    Attributes:
        run: computes the results of a list of arguments, which it may empty.
        parts: the programs.
        alone: names of operators that PyTorch runs because each would be a program by itself.
    """

    run: Callable[[list[Any]], Any]
    parts: list[_Runs]
    alone: list[str]


def _split_graph(
    graph: Any,
    nodes: Sequence[Any],
    program: AtenProgram,
    outside: Mapping[int, str],
    options: Mapping[str, Any],
) -> _Split:
    """Split an ATen graph, by level, in programs and in what PyTorch runs between them.

    Raises:
        RefusedCallError: a row refuses a node, which has the place.
    """
    from torch.fx.passes.split_module import split_module

    outside = with_picks(program, outside)
    seeded = torch.Tag.nondeterministic_seeded
    random = [k for k in outside if seeded in getattr(nodes[k].target, "tags", ())]
    stages: dict[int, list[int]] = {}  # programs have even numbers; PyTorch's stages follow them
    for k, level in enumerate(levels_of(program, outside, random)):
        stages.setdefault(2 * level + (k in outside), []).append(k)
    stage_of = {nodes[k]: stage for stage, calls in stages.items() for k in calls}
    split = split_module(graph, graph, stage_of.__getitem__)
    parts, alone = [], []
    for stage, calls in stages.items():
        if stage % 2:
            continue
        if len(calls) == 1:
            targets = [nodes[k].target for k in calls]
            alone += [str(op) for op in targets if isinstance(op, torch._ops.OpOverload)]
            continue
        name = f"submod_{stage}"
        part = getattr(split, name)
        runs = _Runs(part, options, are_guarded=False)
        examples = [node.meta.get("val") for node in part.graph.nodes if node.op == "placeholder"]
        try:
            if all(
                example is not None for example in examples
            ):  # else it is built in the first run
                runs.prepare(examples)
        except RefusedCallError as error:
            error.place = calls[error.place or 0]
            raise
        except StaticgradError as error:
            _warn(error.headline)
            continue
        parts.append(runs)
        setattr(split, name, _make_part_module(runs, part))

    def run(args: list[Any]) -> Any:
        arguments = [*args]
        args.clear()
        return split(*arguments)

    return _Split(run, parts, alone)


def _box_call(
    run: Callable[[list[Any]], Any], draws: Sequence[Callable[[], Any]]
) -> Callable[..., Any]:
    """Return a function that PyTorch calls with a list of arguments, which it may empty.

    What ``draws`` give are the last arguments of ``run``.
    """

    def run_boxed(args: list[Any]) -> Any:
        args.extend([draw() for draw in draws])
        return run(args)

    run_boxed._boxed_call = True  # type: ignore[attr-defined]
    return run_boxed


def _make_part_module(runs: _Runs, graph: Any) -> Any:
    """Return a torch module that runs part of a graph by its program, or by PyTorch if refused."""

    class Part(torch.nn.Module):  # type: ignore[misc]
        def forward(self, *args: Any) -> Any:
            """Run a part of a ``torch.compile`` graph; after a refusal call PyTorch's graph."""
            if runs.is_refused:
                return graph(*args)
            try:
                results = runs([*args])
            except StaticgradError as error:
                if runs.ran:
                    raise
                runs.is_refused = True
                _warn(error.headline)
                return graph(*args)
            return results if runs.returns_sequence else results[0]

    return Part()


class _Kind(NamedTuple):
    """A tensor among arguments.

    Attributes:
        shape: numbers and named sizes.
        dtype: its name.
        order: the axes by their strides, the greatest first; None of C order, and where a
            contiguous array has no order of axes like this.
        is_number: whether it is an integer of Python, and no tensor.
    """

    shape: tuple[Any, ...]
    dtype: str
    order: tuple[int, ...] | None
    is_number: bool = False


class _CallPlan(NamedTuple):
    """A graph of ours, and what happens to the arguments and results of its program.

    Attributes:
        graph: None if nothing is computed.
        feeds: the arguments that it reads.
        sources: of each result the place of an argument, ``_Output``, or (value,).
        orders: how the axes of each output come back; None where they stay.
        replays: the views that a result is of its base, as functions.
        sizes: for each named size the place of an argument, and an axis of it, or None where the
            argument is the size; empty if nothing reads them.
    """

    graph: Any
    feeds: list[TensorFeed]
    sources: list[Any]
    orders: list[tuple[int, ...] | None]
    replays: list[Any]
    sizes: dict[str, tuple[int, int | None]]


class _Output(NamedTuple):
    """A result that is an output of a program, with its number."""

    number: int


class _PlanRun:
    """The program of a plan, called with a list of arguments, which it empties.

    Attributes:
        program: None if nothing is computed.
    """

    def __init__(self, plan: _CallPlan, program: Any, are_guarded: bool) -> None:
        self.program, self._plan = program, plan
        self._call = None if program is None else TensorCall(program, plan.feeds, are_guarded)
        self._orders = [(k, order) for k, order in enumerate(plan.orders) if order is not None]
        #: For each result the number of an output, or the complement of an argument's place.
        self._picks: list[int] | None = None
        if not any(plan.replays) and all(isinstance(x, _Output | int) for x in plan.sources):
            self._picks = [x.number if isinstance(x, _Output) else ~x for x in plan.sources]
        self._are_outputs = self._picks == [*range(len(plan.orders))]
        types = () if program is None else program.program_graph.output_types.values()
        is_plain = all(kind.dtype.name != "bfloat16" for kind in types)
        self._tensor_of = torch.from_numpy if is_plain else tensor_of

    def __call__(self, args: list[Any]) -> list[Any]:
        """Return the results: tensors and numbers."""
        return self._finish(args, [] if self._call is None else self._call(args))

    def run_native(self, args: list[Any]) -> list[Any] | None:
        """Return the results if native code reads all tensors; else None."""
        arrays = None if self._call is None else self._call.run_native(args)
        return None if arrays is None else self._finish(args, arrays)

    def _finish(self, args: list[Any], arrays: list[Any]) -> list[Any]:
        for number, order in self._orders:
            arrays[number] = arrays[number].transpose(order)
        tensors = [*map(self._tensor_of, arrays)]
        if self._are_outputs:
            args.clear()
            return tensors
        arguments = [*args]
        args.clear()
        if self._picks is not None:
            return [tensors[k] if k >= 0 else arguments[~k] for k in self._picks]
        sizes = {
            name: arguments[k] if axis is None else arguments[k].shape[axis]
            for name, (k, axis) in self._plan.sizes.items()
        }
        results: list[Any] = []
        for source, replay in zip(self._plan.sources, self._plan.replays, strict=True):
            if isinstance(source, _Output):
                result = tensors[source.number]
            elif isinstance(source, int):
                result = arguments[source]
            else:
                result = source[0]
                if isinstance(result, Dim):
                    result = evaluate(result, sizes)
            for view in replay or ():
                result = view(result, sizes)
            results.append(result)
        return results


class _Runs:
    """One graph: a program for all sizes, or for each set of them, called with a list."""

    def __init__(self, graph: Any, options: Mapping[str, Any], are_guarded: bool) -> None:
        """``are_guarded``: see ``TensorCall``."""
        self.graph, self.options, self._are_guarded = graph, options, are_guarded
        output = next(node for node in graph.graph.nodes if node.op == "output").args[0]
        self.returns_sequence = isinstance(output, list | tuple)
        self.ran = self.is_refused = False
        self.fixed = ""  # why sizes are numbers in programs, where PyTorch leaves them open
        #: Plans that are built and not compiled: for all arguments that there may be, and by kinds.
        self._plan_for_all: _CallPlan | None = None
        self._plan_by_kinds: dict[Any, _CallPlan] = {}
        self._run_for_all: _PlanRun | None = None
        self._run_by_kinds: dict[Any, _PlanRun] = {}
        #: What ran last for some kinds, and the arguments that are no tensors, by place.
        self._latest: tuple[_PlanRun, list[tuple[int, Any]]] | None = None
        outputs = [*output] if self.returns_sequence else [output]
        self._views = find_views(outputs)
        bases = [output if view is None else view[0]
                 for output, view in zip(outputs, self._views, strict=True)]  # fmt: skip
        sizes = [size for view in self._views if view for size in view[2]]
        self._strides = [_stride(base) for base in bases]
        self._are_numbers = [_is_number(base) for base in bases]
        self._sizes = sizes
        placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
        self._tokens = {k for k, node in enumerate(placeholders) if _is_token(node)}
        self.program = program_of(graph, results=[*bases, *sizes])

    @property
    def programs(self) -> list[Any]:
        """The compiled programs."""
        runs = [*self._run_by_kinds.values(), *filter(None, [self._run_for_all])]
        return [run.program for run in runs if run.program is not None]

    def prepare(self, example: Sequence[Any]) -> None:
        """Build the program of an ATen graph for arguments like those that PyTorch traced.

        Raises:
            StaticgradError: a row refuses them.
        """
        example = [None if k in self._tokens else argument for k, argument in enumerate(example)]
        try:
            names: dict[str, Dim] = {}
            self._plan_for_all = self._build_plan(_kinds_of(example, names))
            return
        except (StaticgradError, UnnamedSizeError) as error:
            if not names and not any(map(is_open, example)):
                if isinstance(error, StaticgradError):
                    raise
                return  # built when the values are known
            try:
                hints = [_kind_of(argument, None) for argument in example]
            except UnnamedSizeError:
                return
            self.fixed = getattr(error, "headline", str(error))
        self._plan_by_kinds[tuple(hints)] = self._build_plan(hints)

    def _build_plan(self, kinds: Sequence[Any]) -> _CallPlan:
        """Build the program of an ATen graph for these kinds of arguments, sizes and numbers."""
        operands: list[Any] = []
        inputs: list[Any] = []
        feeds: list[TensorFeed] = []
        shapes: dict[str, list[int]] = {}
        for k, kind in enumerate(kinds):
            if not isinstance(kind, _Kind):
                operands.append(kind)
                continue
            shape, order = kind.shape, kind.order
            memory_shape = shape if order is None else tuple([shape[axis] for axis in order])
            value = graph_input(f"x{k}", memory_shape, kind.dtype)
            inputs.append(value)
            shapes[f"x{k}"] = _typical(memory_shape)
            operands.append(value if order is None else transpose(value, _inverse(order)))
            feeds.append(TensorFeed(k, f"x{k}", order, kind.is_number))
        count = len(operands)
        results = self.program.run(operands)
        outputs: dict[str, Any] = {}
        orders: list[tuple[int, ...] | None] = []
        sources: list[Any] = []
        size_values = dict(zip(self._sizes, results[len(self._views) :], strict=True))
        refs = self.program.results[: len(self._views)]
        first: dict[Any, _Output] = {}  # of a result that is the base of several views
        for k, (ref, value) in enumerate(zip(refs, results, strict=False)):
            if isinstance(ref, ResultOf) and ref.place < count:
                sources.append(ref.place)
            elif isinstance(value, Value) and not self._are_numbers[k]:
                output = first.setdefault(ref, _Output(len(orders)))
                if output.number == len(orders):
                    order = _sort_axes_by_stride(self._strides[k])
                    outputs[f"y{k}"] = value if order is None else transpose(value, order)
                    orders.append(None if order is None else _inverse(order))
                sources.append(output)
            else:
                sources.append((value,))
        replays = [
            None if view is None else [replay_view(node, size_values) for node in view[1]]
            for view in self._views
        ]
        plain = [entry[0] for entry in sources if type(entry) is tuple]
        plain += [value for view in self._views if view for value in map(size_values.get, view[2])]
        if any(isinstance(value, Value) for value in plain):
            raise UnnamedSizeError("a size is computed of a number that is no size")
        sizes = _find_size_sources(kinds, [value for value in plain if isinstance(value, Dim)])
        graph = None
        if outputs:
            graph = Graph(outputs, inputs=inputs, name="torch")
            bind_sizes(graph, shapes)
        return _CallPlan(graph, feeds, sources, orders, replays, sizes)

    def compile(self) -> None:
        """Compile the programs that ``prepare`` has built.

        Raises:
            StaticgradError: a program is refused.
        """
        if self._plan_for_all is not None:
            self._run_for_all = self._compile_plan(self._plan_for_all)
        for kinds, plan in self._plan_by_kinds.items():
            self._run_by_kinds[kinds] = self._compile_plan(plan)

    def _compile_plan(self, plan: _CallPlan) -> _PlanRun:
        program = None if plan.graph is None else compile_graph(plan.graph, **self.options)
        return _PlanRun(plan, program, self._are_guarded)

    def _run_for(self, args: Sequence[Any]) -> _PlanRun:
        """Return the program for these arguments, built for each set of sizes once."""
        kinds = tuple([_kind_of(argument, None) for argument in args])
        run = self._run_by_kinds.get(kinds)
        if run is None:
            run = self._run_by_kinds[kinds] = self._compile_plan(self._build_plan(kinds))
        plain = [(k, kind) for k, kind in enumerate(kinds) if not isinstance(kind, _Kind)]
        self._latest = run, plain
        return run

    def __call__(self, args: list[Any]) -> list[Any]:
        """Return the results of a list of arguments, which is emptied."""
        run = self._run_for_all
        if run is None and self._latest is not None:
            latest, plain = self._latest
            if all(args[k] == argument for k, argument in plain):
                results = latest.run_native(args)
                if results is not None:
                    return results
        results = (run or self._run_for(args))(args)
        self.ran = True
        return results


def _kinds_of(example: Sequence[Any], names: dict[str, Dim]) -> list[Any]:
    """Describe the example arguments of an ATen graph; sizes that have names go into ``names``.

    An open integer of which no tensor has a size is an input.
    """
    kinds = [None if is_open(argument) else _kind_of(argument, names) for argument in example]
    for k, argument in enumerate(example):
        if is_open(argument):
            symbols = {*map(str, argument.node.expr.free_symbols)}
            is_size = symbols <= names.keys()
            kinds[k] = _kind_of(argument, names) if is_size else _Kind((), "int64", None, True)
    return kinds


def _kind_of(argument: Any, names: dict[str, Dim] | None) -> Any:
    """Describe an argument of PyTorch: dtype, shape and strides of a tensor, or a symbolic size.

    ``names``: of sizes that are not known yet, which are added to it; None where all sizes are the
    numbers that they are now.
    """
    if isinstance(argument, torch.Tensor):
        shape = [_size(size, names) for size in argument.shape]
        order = None
        if len(shape) > 1 and not argument.is_sparse:
            order = _sort_axes_by_stride(
                [_size(step, None) for step in argument.stride()], argument.shape
            )
        return _Kind(tuple(shape), _NAMES[argument.dtype], order)
    if is_open(argument):
        return _size(argument, names)
    if isinstance(argument, torch.SymFloat | torch.SymBool):
        raise UnnamedSizeError("a number is not known before it runs")
    return argument


def _size(size: Any, names: dict[str, Dim] | None) -> Any:
    """A size of PyTorch as a number or a named size."""
    return typical(size) if names is None else name_size(size, names)


def _find_size_sources(
    kinds: Sequence[Any], sizes: Sequence[Dim]
) -> dict[str, tuple[int, int | None]]:
    """Find the tensor argument and axis from which a call reads each symbolic size of PyTorch.

    Raises:
        UnnamedSizeError: no argument has one of them as a size.
    """
    names = {dim.name for size in sizes for dim in named_sizes(size)}
    sources: dict[str, tuple[int, int | None]] = {}
    for k, kind in enumerate(kinds):
        axes = enumerate(kind.shape) if isinstance(kind, _Kind) else [(None, kind)]
        for axis, size in axes:
            if isinstance(size, Dim) and str(size) in names:
                sources.setdefault(str(size), (k, axis))
    if names - sources.keys():
        raise UnnamedSizeError(
            f"no argument has the size {', '.join(sorted(names - sources.keys()))}"
        )
    return sources


def _sort_axes_by_stride(stride: Sequence[int] | None, shape: Any = None) -> tuple[int, ...] | None:
    """Sort the axes of a torch tensor by stride, greatest first; None if in C order or expanded.

    ``shape``: None is returned also where no contiguous array has these strides.
    """
    if stride is None or 0 in stride:
        return None
    order = sorted(range(len(stride)), key=lambda axis: (-stride[axis], axis))
    if order == [*range(len(order))]:
        return None
    if shape is not None:
        step = 1
        for axis in reversed(order):
            extent = _size(shape[axis], None)
            if extent != 1 and stride[axis] != step:
                return None
            step *= extent
    return tuple(order)


def _inverse(order: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def _is_token(node: Any) -> bool:
    """Return whether an input only orders calls with effects: None is what PyTorch gives for it."""
    return bool(node.users) and all(
        getattr(user.target, "__name__", "") == "with_effects" and user.args[0] is node
        for user in node.users
    )


def _is_negative(argument: Any) -> bool:
    """Return whether an argument is a view of the negatives of numbers in memory."""
    return isinstance(argument, torch.Tensor) and bool(argument.is_neg())


def _typical(shape: Sequence[Any]) -> list[int]:
    """Return the sizes that PyTorch traced with."""
    return [
        evaluate(size, {dim.name: dim.hint or 0 for dim in named_sizes(size)}) for size in shape
    ]


def _is_number(node: Any) -> bool:
    """Return whether a result is a number of Python: a size."""
    return is_open(getattr(node, "meta", {}).get("val"))


def _stride(node: Any) -> tuple[int, ...] | None:
    """The strides that PyTorch has for a result, of the traced sizes; None if there are none."""
    value = getattr(node, "meta", {}).get("val")
    if not isinstance(value, torch.Tensor) or value.layout is not torch.strided:
        return None
    return tuple([n if isinstance(n, int) else n.node.hint for n in value.stride()])


class _Names(dict[Any, str]):
    """Element type of PyTorch -> its name."""

    def __missing__(self, dtype: Any) -> str:
        self[dtype] = name = dtype_name(dtype)
        return name


_NAMES: Final = _Names()

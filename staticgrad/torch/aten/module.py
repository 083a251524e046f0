"""A module of PyTorch as a module of staticgrad: its graph, exported once, with its weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from linecache import getline
from traceback import walk_tb
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np

from staticgrad.errors import ArgumentError, ExportError
from staticgrad.extend import as_value, kind_of
from staticgrad.extend.building import SourceLine
from staticgrad.extend.optional import torch
from staticgrad.extend.parameters import stored_of
from staticgrad.extend.trees import is_named_tuple
from staticgrad.functions import parameter, stop_gradient
from staticgrad.nn import Module
from staticgrad.nn.initial import source
from staticgrad.random import Generator
from staticgrad.torch.arrays import array_of, autograd_nodes, tensor_of
from staticgrad.torch.aten.operators import USE_BACKEND
from staticgrad.torch.aten.program import AtenProgram
from staticgrad.torch.aten.reading import drop_lossy_decompositions, program_of


class TensorAt(NamedTuple):
    """A tensor in containers of arguments or results: its place among all of them."""

    place: int


class ExportedModule(NamedTuple):
    """The program of a module in one mode.

    Attributes:
        program: its inputs are parameters, buffers and arguments.
        operands: for each input ``("weights", name)``, ``("statistics", name)``, ``("argument",
            place)``, or None if its value is fixed.
        updated: the buffers that the first results are the new values of.
        arguments: positional and named, with ``TensorAt`` for tensors.
        results: the containers of the results, with ``TensorAt`` for tensors.
    """

    program: AtenProgram
    operands: tuple[Any, ...]
    updated: tuple[str, ...]
    arguments: Any
    results: Any


class TorchModule(Module):
    """A module of PyTorch as a function of arrays, whose floating arrays are parameters.

    ``sg.torch.module`` makes it. In training mode it computes what the module computed in training,
    running statistics are updated, and random numbers are drawn by a generator of staticgrad.

    Attributes:
        weights: the parameters, by PyTorch's names.
        statistics: buffers, and parameters without ``requires_grad``: saved with the module,
            unchanged by optimizers.
        generator: of the random numbers, if there are any.
        class_name: the name of the class of PyTorch's module.
    """

    _torch_names: ClassVar[Mapping[str, str]] = {"weights": "", "statistics": ""}
    states: ClassVar[tuple[str, ...]] = ("statistics",)

    def __init__(self, net: Any, programs: Mapping[str, ExportedModule]) -> None:
        self.weights: dict[str, Any] = {}
        self.statistics: dict[str, Any] = {}
        self.class_name = type(net).__name__
        self._programs = _Programs(programs)
        for exported in programs.values():
            self.take_arrays(net, exported)
        arrays = dict(net.named_parameters()) | dict(net.named_buffers())
        same = {id(tensor): name for name, tensor in arrays.items()}
        self._programs.state = {
            name: same.get(id(tensor), name)
            for name, tensor in net.state_dict(keep_vars=True).items()
        }
        used = self.weights.keys() | self.statistics.keys()
        self._programs.fixed = {
            name: array_of(arrays[name]).copy()
            for name in self._programs.state.values()
            if name not in used
        }
        if any(exported.program.draws for exported in programs.values()):
            self.generator = Generator(int(source(None).integers(np.iinfo(np.int64).max)))

    def take_arrays(self, net: Any, exported: ExportedModule) -> None:
        """Make parameters from the tensors of a torch module that its exported program reads."""
        arrays = dict(net.named_parameters()) | dict(net.named_buffers())
        kinds = {
            operand[1]: operand[0]
            for operand in exported.operands
            if operand is not None and operand[0] != "argument"
        }
        for name, tensor in arrays.items():
            if name not in kinds or name in self.weights or name in self.statistics:
                continue
            into = self.weights if kinds[name] == "weights" else self.statistics
            into[name] = created = parameter(name, array_of(tensor).copy())
            stored_of(created).store.in_graph = True  # no path takes the place of its name

    def _has_modes(self) -> bool:
        exported = self._programs.modes["train"]
        return bool(exported.updated or exported.program.draws)

    def forward(self, *args: Any, **named: Any) -> Any:
        """Return the results, in the containers of PyTorch's module."""
        return self.run_exported(
            self._programs.modes["train" if self.training else "eval"], args, named
        )

    def run_exported(self, exported: ExportedModule, args: Any, named: Any) -> Any:
        """Run a program of ``torch.export`` and return its results in the module's containers."""
        arrays_by_place: dict[int, Any] = {}
        _match_arguments(exported.arguments, (args, named), arrays_by_place, "the arguments")
        buffers = [self.statistics[name] for name in exported.updated]
        operands = [
            self._operand(exported, k, arrays_by_place) for k in range(len(exported.operands))
        ]
        results = exported.program.run(operands, random=getattr(self, "generator", None))
        for buffer, new in zip(buffers, results, strict=False):
            buffer.update(stop_gradient(new))
        return _fill_containers(exported.results, results[len(buffers) :])

    def _operand(self, exported: ExportedModule, k: int, arrays_by_place: Mapping[int, Any]) -> Any:
        """Return one operand of an exported torch program: a weight, a buffer or an argument."""
        if exported.operands[k] is None:
            return None
        kind, name = exported.operands[k]
        if kind == "weights":
            return self.weights[name]
        if kind == "statistics":
            return stop_gradient(self.statistics[name])
        value, expected = as_value(arrays_by_place[name]), exported.program.inputs[k]
        if expected is not None and (
            value.dtype.name != expected.dtype
            or value.ndim != len(expected.shape)
            or any(
                n is not None and s != n for s, n in zip(value.shape, expected.shape, strict=True)
            )
        ):
            shape = ", ".join("?" if n is None else str(n) for n in expected.shape)
            raise ArgumentError(
                f"{exported.program.names[k]} is {value.type}; the module was exported for"
                f" {expected.dtype}[{shape}]",
                hint="sg.torch.module(net, x, dynamic_shapes=({0: 'batch'},)) leaves sizes free",
            )
        return value

    def torch_state_dict(self) -> dict[str, Any]:
        """Return weights and buffers as tensors, for ``net.load_state_dict``."""
        arrays = {**self._programs.fixed, **self.weights, **self.statistics}
        return {
            name: tensor_of(np.array(getattr(arrays[array_name], "value", arrays[array_name])))
            for name, array_name in self._programs.state.items()
        }


class _Programs:
    """The programs and fixed arrays of a module; nothing changes them."""

    def __init__(self, modes: Mapping[str, ExportedModule]) -> None:
        self.modes = dict(modes)
        self.state: dict[str, str] = {}
        self.fixed: dict[str, Any] = {}

    def __deepcopy__(self, memo: Any) -> _Programs:
        return self


def module_of(
    net: Any, example: tuple[Any, ...], named: dict[str, Any], dynamic_shapes: Any
) -> TorchModule:
    """Return a module of PyTorch as one of staticgrad.

    Raises:
        ArgumentError: ``net`` is no module of PyTorch.
        ExportError: PyTorch does not export it; an operator has no row; the module has a gradient
            of its own.
    """
    if not isinstance(net, torch.nn.Module):
        raise ArgumentError(
            f"module takes a torch.nn.Module, got {kind_of(net)}",
            hint="sg.torch.module(net, x): net and examples of its arguments",
        )
    check_local(
        net,
        "module",
        "sg.torch.module(net.module, x), and opt.minimize(loss, data_parallel=True)",
    )
    shapes = torch.utils._pytree.tree_map_only(str, torch.export.Dim, dynamic_shapes)
    programs = {}
    for mode in ("train", "eval"):
        with _in_mode(net, mode):
            programs[mode] = exported_of(net, example, named, shapes)
    model = TorchModule(net, programs)
    if not net.training:
        model.eval()
    return model


def net_with_loss(net: Any, loss: Any) -> Any:
    """Return a module of PyTorch that computes the loss of ``net`` from inputs and targets.

    Its class has the name of the class of ``net``, which messages of PyTorch show.

    Args:
        net: called with its inputs: a tensor, a tuple of arguments, or a dict of them by name.
        loss: a function of its result and the targets; None where the result is the loss.
    """

    class NetWithLoss(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, inputs: Any, targets: Any) -> Any:
            if isinstance(inputs, Mapping):
                y = self.net(**inputs)
            else:
                y = self.net(*inputs) if isinstance(inputs, tuple | list) else self.net(inputs)
            return y if loss is None else loss(y, *targets)

    NetWithLoss.__name__ = NetWithLoss.__qualname__ = type(net).__name__
    return NetWithLoss()


def check_local(net: Any, api: str, hint: str) -> None:
    """Refuse modules that exchange gradients or parameters with other processes.

    Raises:
        ArgumentError: a part is such a module.
    """
    for part in net.modules():
        if any(kind.__module__.startswith("torch.distributed.") for kind in type(part).__mro__):
            raise ArgumentError(
                f"{api}: {type(part).__name__} exchanges arrays between processes, which a program"
                " does not",
                hint=hint,
            )


def exported_of(net: Any, example: Any, named: Any, shapes: Any) -> ExportedModule:
    """Return the exported program of a torch module for its present mode, exporting it if needed.

    Raises:
        ExportError: as ``module_of``.
    """
    exported = _read_exported(_export_graph(net, example, named, shapes), net)
    exported.program.check_rows()
    return exported


@contextmanager
def _in_mode(net: Any, mode: str) -> Iterator[None]:
    """Put a torch module into training or evaluation mode inside of the context."""
    modes = [(part, part.training) for part in net.modules()]
    if mode == "eval":
        net.eval()
    elif not net.training:
        net.train()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _export_graph(net: Any, example: Any, named: Any, shapes: Any) -> Any:
    """Export a torch module and decompose it to core ATen operators.

    Raises ExportError for a ``torch.autograd.Function``: ``torch.export`` would drop its backward;
    and for a module that writes into an argument.
    """
    with _watch_call(net) as watch:
        graph = _call_torch_export(net, example, named, shapes)
    if watch.functions:
        raise ExportError(
            f"{watch.functions[0]} is a torch.autograd.Function, whose backward torch.export drops",
            hint="write it by operators, with detach() where no gradient flows",
        )
    if watch.written_arguments:
        raise _write_error(graph.graph_signature.user_inputs[watch.written_arguments[0]])
    _detach_without_gradient(graph)
    table = drop_lossy_decompositions(torch.export.default_decompositions())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch's, of its own trees
        return graph.run_decompositions(table)


def _call_torch_export(net: Any, example: Any, named: Any, shapes: Any) -> Any:
    """Call ``torch.export``; raise ExportError for an error of it or of the module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            return torch.export.export(
                net, example, named or None, dynamic_shapes=shapes, strict=False
            )
        except ExportError:
            raise
        except Exception as error:
            raise _explain_export(net, error) from error


def _explain_export(net: Any, error: Exception) -> ExportError:
    """Return the error of an export: the user's class, its reason, and the part's line."""
    reason = str(error).strip().partition("\n")[0]
    line, part = _find_module_line(error)
    depends_on_data = any("DataDependent" in type(e).__name__ for e in _causes_of(error))
    details = [f"in {part}.forward, {line.file}:{line.line}: {line.text}"] if line else []
    return ExportError(
        f"torch.export.export of {type(net).__name__} ends with {type(error).__name__}: {reason}",
        details=details,
        hint=USE_BACKEND if depends_on_data else "torch.export.export(net, example) says more",
    )


def _causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those that it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _find_module_line(error: BaseException) -> tuple[SourceLine | None, str]:
    """Find the innermost line of a ``forward`` that is not PyTorch's, and its module's class."""
    for cause in _causes_of(error):
        frames = [*walk_tb(cause.__traceback__)]
        for frame, number in reversed(frames):
            owner = frame.f_locals.get("self")
            if not isinstance(owner, torch.nn.Module):
                continue
            if type(owner).__module__.partition(".")[0] in ("torch", "staticgrad"):
                continue
            file = frame.f_code.co_filename
            text = getline(file, number).strip()
            return SourceLine(file, number, text=text), type(owner).__name__
    return None, ""


def _write_error(name: object) -> ExportError:
    return ExportError(
        f"the module writes into {name}, and a program leaves its arguments unchanged",
        hint="write into a copy and return it: y = x.clone(); y.mul_(2)",
    )


#: The backward functions of custom operators, which stay in the exported graph and need rows.
_OF_OPERATORS: Final = "GeneratedBackwardFor_"


class _Watch(NamedTuple):
    """Observations of one call: names of custom functions, arguments written into by index."""

    functions: list[str]
    written_arguments: list[int]


@contextmanager
def _watch_call(net: Any) -> Iterator[_Watch]:
    """Collect the custom ``torch.autograd`` functions that ``net`` calls, and arguments it writes.

    Functions are nodes of the graph behind the results. Arguments need gradients meanwhile: a
    function of them alone would leave no node. The module gets copies, for PyTorch refuses to write
    into a leaf that needs a gradient; versions of tensors count how often they were written.
    """
    watch = _Watch([], [])
    versions: dict[int, tuple[Any, int]] = {}

    def copy_arguments(_net: Any, args: Any, named: Any) -> Any:
        leaves, structure = torch.utils._pytree.tree_flatten((args, named))
        for index, leaf in enumerate(leaves):
            if isinstance(leaf, torch.Tensor) and leaf.is_floating_point():
                leaves[index] = copy = leaf.clone().requires_grad_().clone()
                versions.setdefault(index, (copy, copy._version))
        return torch.utils._pytree.tree_unflatten(leaves, structure)

    def inspect_call(_net: Any, _args: Any, results: Any) -> None:
        """Walk the graph of a torch module's results for functions; compare versions."""
        tensors = [
            leaf
            for leaf in torch.utils._pytree.tree_leaves(results)
            if isinstance(leaf, torch.Tensor)
        ]
        for node in autograd_nodes(tensors):
            name = type(node).__name__.removesuffix("Backward")
            is_function = isinstance(node, torch.autograd.function.BackwardCFunction)
            if is_function and not name.startswith(_OF_OPERATORS):
                watch.functions.append(name)
        watch.written_arguments.extend(
            index for index, (copy, version) in versions.items() if copy._version != version
        )

    pre_hook = net.register_forward_pre_hook(copy_arguments, with_kwargs=True)
    post_hook = net.register_forward_hook(inspect_call)
    try:
        yield watch
    finally:
        pre_hook.remove()
        post_hook.remove()


def _detach_without_gradient(exported: Any) -> None:
    """Detach results of ``torch.no_grad()`` in an exported graph: decomposition drops that mode."""
    graph = exported.graph_module.graph
    for node in [*graph.nodes]:
        if getattr(node.target, "__name__", "") != "wrap_with_set_grad_enabled":
            continue
        if node.args[0]:
            raise ExportError("torch.enable_grad() inside of torch.no_grad() is not supported")
        for user in [*node.users]:
            with graph.inserting_after(user):
                detached = graph.call_function(torch.ops.aten.detach.default, (user,))
            detached.meta = dict(user.meta)
            user.replace_all_uses_with(
                detached, delete_user_cb=lambda reader, detached=detached: reader is not detached
            )
    exported.graph_module.recompile()


def _read_exported(exported: Any, net: Any) -> ExportedModule:
    """Convert an exported program of PyTorch to plain data: nodes, weights, types."""
    kinds = torch.export.graph_signature
    signature = exported.graph_signature
    every = [*net.named_parameters(remove_duplicate=False)]
    first = {id(tensor): name for name, tensor in reversed(every)}
    names_of = {name: first[id(tensor)] for name, tensor in every}  # one of tied parameters
    trained = {name for name, tensor in every if tensor.requires_grad}
    mutated = {
        spec.target
        for spec in signature.output_specs
        if spec.kind is kinds.OutputKind.BUFFER_MUTATION
    }
    operands: list[Any] = []
    names: list[str] = []
    fixed: dict[int, Any] = {}
    argument_count = 0
    for k, spec in enumerate(signature.input_specs):
        names.append(spec.target or spec.arg.name)
        if spec.kind is kinds.InputKind.USER_INPUT:
            is_number = hasattr(spec.arg, "value")
            operands.append(None if is_number else ("argument", argument_count))
            argument_count += 1
            continue
        if spec.kind is kinds.InputKind.TOKEN:  # of checks whose order PyTorch keeps
            operands.append(None)
            fixed[k] = torch.zeros(())
            continue
        if spec.kind is kinds.InputKind.PARAMETER:
            kind = "weights" if spec.target in trained else "statistics"
            operands.append((kind, names_of[spec.target]))
            continue
        tensor = (
            exported.state_dict[spec.target]
            if spec.target in exported.state_dict
            else exported.constants[spec.target]
        )
        is_number = tensor.is_floating_point() or tensor.is_complex()
        if spec.kind is kinds.InputKind.BUFFER and (is_number or spec.target in mutated):
            operands.append(("statistics", spec.target))
        else:
            operands.append(None)
            fixed[k] = tensor
    order = []
    tokens = [spec for spec in signature.output_specs if spec.kind is kinds.OutputKind.TOKEN]
    for spec in signature.output_specs[len(tokens) :]:
        if spec.kind is kinds.OutputKind.BUFFER_MUTATION:
            order.append(spec.target)
        elif spec.kind is not kinds.OutputKind.USER_OUTPUT:
            raise _write_error(spec.target or spec.arg.name)
    (outputs,) = exported.graph_module.graph.output_node().args
    program = program_of(exported.graph_module, names, fixed, outputs[len(tokens) :])
    operands += [None] * (len(program.inputs) - len(operands))
    specs = exported.call_spec
    inputs = [spec for spec in signature.input_specs if spec.kind is kinds.InputKind.USER_INPUT]
    leaves = [
        spec.arg.value if hasattr(spec.arg, "value") else TensorAt(k)
        for k, spec in enumerate(inputs)
    ]
    results: list[Any] = [TensorAt(k) for k in range(len(program.results) - len(order))]
    return ExportedModule(
        program,
        tuple(operands),
        tuple(order),
        _convert_containers(torch.utils._pytree.tree_unflatten(leaves, specs.in_spec)),
        _convert_containers(torch.utils._pytree.tree_unflatten(results, specs.out_spec)),
    )


def _convert_containers(tree: Any) -> Any:
    """Convert a tree of PyTorch's containers to tuples, lists and dicts."""
    if isinstance(tree, TensorAt) or tree is None or isinstance(tree, bool | int | float | str):
        return tree
    if isinstance(tree, tuple) and not is_named_tuple(type(tree)):
        return tuple(map(_convert_containers, tree))
    if isinstance(tree, list):
        return [*map(_convert_containers, tree)]
    if isinstance(tree, Mapping):
        return {str(name): _convert_containers(value) for name, value in tree.items()}
    if hasattr(tree, "_asdict"):
        return {name: _convert_containers(value) for name, value in tree._asdict().items()}
    raise ExportError(f"arguments and results in {type(tree).__name__} are not supported")


def _match_arguments(expected: Any, actual: Any, into: dict[int, Any], what: str) -> None:
    """Match the arguments of a call with those exported, and collect arrays where tensors were.

    Raises:
        ArgumentError: the containers, or numbers in them, are others.
    """
    if isinstance(expected, TensorAt):
        into[expected.place] = actual
        return
    if isinstance(expected, tuple | list):
        if isinstance(actual, tuple | list) and len(actual) == len(expected):
            for expected_item, actual_item in zip(expected, actual, strict=True):
                _match_arguments(expected_item, actual_item, into, what)
            return
    elif isinstance(expected, dict):
        if isinstance(actual, Mapping) and actual.keys() == expected.keys():
            for name, expected_item in expected.items():
                _match_arguments(expected_item, actual[name], into, f"{name!r}")
            return
    elif isinstance(actual, type(expected)) and actual == expected:
        return
    raise ArgumentError(
        f"{what}: the module was exported for other containers or numbers",
        hint="arguments are those of the example, with arrays instead of tensors",
    )


def _fill_containers(tree: Any, results: Sequence[Any]) -> Any:
    """Put the results of an exported torch program into the containers of the module's output."""
    if isinstance(tree, TensorAt):
        return results[tree.place]
    if isinstance(tree, tuple | list):
        return type(tree)(_fill_containers(child, results) for child in tree)
    if isinstance(tree, dict):
        return {name: _fill_containers(child, results) for name, child in tree.items()}
    return tree

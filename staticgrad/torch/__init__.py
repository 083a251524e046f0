"""Functions of arrays in PyTorch, on its tape, and modules of PyTorch as modules.

Tensors on the CPU are read in place if they are contiguous; others are copied into the program's
memory. Results are new tensors over the arrays that the program wrote, without a copy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from staticgrad.bridges.foreign_programs import Bridged, Programs, caller
from staticgrad.errors import ArgumentError
from staticgrad.extend import namespace
from staticgrad.extend.optional import torch
from staticgrad.extend.trees import flatten, unflatten
from staticgrad.torch.aten.backend import compile_dynamo_graph
from staticgrad.torch.aten.module import TorchModule, module_of
from staticgrad.torch.aten.report import TorchReport, explain_compilation
from staticgrad.torch.aten.steps import TorchStep
from staticgrad.torch.tracing import opaque, run_programs

__all__ = ["backend", "explain", "function", "module", "step"]


def function(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of arrays as a function of tensors that PyTorch differentiates.

    It runs compiled, forward and backward. Gradients are computed for tensors that require one;
    with ``create_graph=True`` they can be differentiated again. Those of complex tensors are
    PyTorch's, the conjugates of ``sg.grad``.

    Args:
        f: as ``sg.function`` takes it, which it may be already: a function of arrays in containers.
            A module is an argument as others are: its tensors are weights.

    Returns:
        The function. Tensors in containers are arrays, Python numbers are as those of
        ``sg.function``, everything else is static; results are tensors in the containers of f. It
        pickles if f does. In graphs of ``torch.compile`` and ``torch.export`` a call is the
        operator ``torch.ops.staticgrad.run``. ``torch.func.vmap`` maps it, and it has tangents
        (``torch.func.jvp``, ``torch.autograd.forward_ad``).

    Raises:
        ArgumentError: f is no function; or when it is called: a tensor that is not on the CPU; f
            updates parameters or draws random numbers.

    >>> import torch  # doctest: +SKIP
    >>> norm = sg.torch.function(lambda x: sg.sqrt((x**2).sum()))  # doctest: +SKIP
    >>> x = torch.tensor([3.0, 4.0], requires_grad=True)  # doctest: +SKIP
    >>> norm(x).backward(), x.grad  # doctest: +SKIP
    (None, tensor([0.6000, 0.8000]))
    """
    is_array = lambda leaf: isinstance(leaf, torch.Tensor)  # noqa: E731 - a test
    run = caller("torch.function", f, is_array, _call_programs, True, _plain)
    return Bridged(function, f, opaque(run))


def module(net: Any, *example: Any, dynamic_shapes: Any = None, **named: Any) -> TorchModule:
    """Return a ``torch.nn.Module`` as a module, with copies of its weights.

    PyTorch exports it (``torch.export``), once for each mode, ``train`` and ``eval``; the result is
    in the mode of ``net``. It takes arrays and values where the example has tensors, and gives
    values in the containers of ``net``, as every module; ``sg.evaluate`` and ``sg.function`` give
    their numbers. It is trained by ``sg.optim``, saved, compiled and exported as other modules are,
    without PyTorch.
    ``net.load_state_dict(model.torch_state_dict())`` takes its weights back. Random numbers, as of
    dropout, are drawn by a generator of its own.

    Args:
        net: the module. Parameters without ``requires_grad`` and buffers are state, which
            optimizers leave unchanged.
        example: tensors and other arguments to trace it with. Numbers in it are fixed.
        dynamic_shapes: the axes whose size is free, as ``torch.export`` takes them; a name counts
            as ``torch.export.Dim``: ``({0: "batch"},)``.
        named: further arguments by name.

    Raises:
        ArgumentError: ``net`` is no module of PyTorch, or ``DistributedDataParallel``.
        ExportError: PyTorch does not export it, an operator has no row in the table of operators
            (the error names it and the line), or a part has a backward of its own.

    >>> import torch  # doctest: +SKIP
    >>> net = torch.nn.Linear(3, 2)  # doctest: +SKIP
    >>> model = sg.torch.module(net, torch.ones(4, 3))  # doctest: +SKIP
    >>> sg.function(model)(np.ones((4, 3), "float32")).shape  # doctest: +SKIP
    (4, 2)
    """
    return module_of(net, example, named, dynamic_shapes)


def step(
    net: Any, loss: Any, optimizer: Any, *, max_norm: float | None = None, **options: Any
) -> TorchStep:
    """Return a training step as one program: forward, backward and the optimizer's update.

    The tensors of ``net`` and of the optimizer's state become views of the memory that the program
    writes: evaluate and save ``net`` by PyTorch at any time, mix these steps with eager ones,
    change learning rates by a scheduler. Gradients are neither stored nor read: ``p.grad`` is
    unchanged, and what ``backward()`` has accumulated there does not count. Random numbers, as of
    dropout, are drawn by a generator of ``sg``, which ``sg.nn.manual_seed`` seeds. A step pickles
    if its arguments do; parameters in memory that processes share (``net.share_memory()``) stay
    there.

    Args:
        net: a ``torch.nn.Module``, in training or evaluation mode.
        loss: a function of its result and targets, ``torch.nn.functional.cross_entropy``. It may
            return a tuple whose first element is the loss. None: ``net`` computes the loss.
        optimizer: of parameters of ``net``: ``torch.optim.SGD``, ``Adam``, ``AdamW``, ``RAdam``,
            ``Adamax``, ``RMSprop``, ``Adagrad`` or ``Adadelta``.
        max_norm: gradients are scaled together to a global norm of at most this.
        options: of ``sg.compile``: ``budget``, ``threads``.

    Returns:
        A function ``step(inputs, *targets)`` that gives what ``loss`` returns, as tensors.
        ``inputs`` is a tensor, or a tuple or dict of arguments of ``net``. The first call exports
        the module; a call with other sizes exports it once more, with these sizes free.

    Raises:
        ArgumentError: another optimizer; SGD's ``dampening``, or a decoupled decay of
            Adam or RAdam; a part that exchanges gradients with other processes, as
            ``DistributedDataParallel``; when it is called: hooks of gradients or of the optimizer.
        ExportError: when it is called, as ``module``.

    >>> import torch  # doctest: +SKIP
    >>> net = torch.nn.Linear(3, 1)  # doctest: +SKIP
    >>> optimizer = torch.optim.AdamW(net.parameters(), 1e-2)  # doctest: +SKIP
    >>> step = sg.torch.step(net, torch.nn.functional.mse_loss, optimizer)  # doctest: +SKIP
    >>> step(torch.ones(4, 3), torch.zeros(4, 1)).shape  # doctest: +SKIP
    torch.Size([])
    """
    return TorchStep(net, loss, optimizer, max_norm, options)


def backend(graph: Any, example: Any, *, options: Any = None, **_: Any) -> Any:
    """Compile graphs of ``torch.compile``, forward and backward: ``backend=sg.torch.backend``.

    Where staticgrad is installed, ``backend="staticgrad"`` says the same. Parts whose operators
    have no row in the table of operators are run by PyTorch, and a warning names them; so are those
    that draw random numbers, which are PyTorch's therefore.

    Args:
        graph: a graph of Dynamo.
        example: its arguments.
        options: of ``sg.compile``: ``torch.compile(f, backend=..., options={"threads": 2})``.

    Returns:
        A function of tensors that PyTorch differentiates.

    >>> import torch  # doctest: +SKIP
    >>> f = torch.compile(lambda x: x.sin().sum(), backend=sg.torch.backend)  # doctest: +SKIP
    >>> f(torch.zeros(3))  # doctest: +SKIP
    tensor(0.)
    """
    return compile_dynamo_graph(graph, example, dict(options or {}))


def explain(
    f: Callable[..., Any],
    *args: Any,
    dynamic: bool | None = None,
    options: Any = None,
    **named: Any,
) -> TorchReport:
    """Return what ``torch.compile(f, backend="staticgrad")`` makes of a function or module.

    It is compiled and called once, and its gradient too if a result needs one; no gradient is
    accumulated. ``print`` shows for each graph the number of operators, programs and kernels, the
    bytes of its plan, what PyTorch runs and why, and where Dynamo ended a graph.

    Args:
        f: a function of tensors, or a ``torch.nn.Module``.
        args: its arguments.
        dynamic: of ``torch.compile``: True leaves all sizes open.
        options: of ``sg.compile``, as ``options=`` of ``torch.compile``.
        named: further arguments by name.

    Returns:
        ``graphs``, each with ``kind``, ``operators``, ``programs``, ``kernels``, ``peak_bytes``
        and ``outside``, and ``breaks``. A program is what ``sg.compile`` gives: its ``explain()``
        shows the plan.

    >>> import torch  # doctest: +SKIP
    >>> print(sg.torch.explain(torch.sin, torch.zeros(3)))  # doctest: +SKIP
    1 graphs, 0 graph breaks
    inference: 1 operators, 1 programs, 1 kernels, peak 0 bytes
    """
    return explain_compilation(f, args, named, dict(options or {}), dynamic)


def _call_programs(programs: Programs, tensors: list[Any]) -> Any:
    """Call compiled programs on torch tensors, on PyTorch's tape if gradients are needed."""
    wrt: tuple[int, ...] = ()
    if torch.is_grad_enabled():
        wrt = tuple([k for k, tensor in enumerate(tensors) if tensor.requires_grad])
    if wrt and torch._C._get_tracing_state() is not None:
        raise ArgumentError(
            f"{programs.name}: torch.jit.trace does not record gradients of functions",
            hint="with torch.no_grad() around torch.jit.trace; torch.export.export has gradients",
        )
    if not (wrt or torch._C._are_functorch_transforms_active() or _are_tangents_open()):
        leaves, tree = run_programs(programs, tensors, _call_programs)
        return unflatten(tree, leaves)
    call = SimpleNamespace(tree=None)  # torch.func copies lists and dicts
    outputs = _tape().apply(programs, wrt, call, *tensors)
    return unflatten(call.tree, outputs[: call.tree.count])


@functools.cache
def _tape() -> Any:
    """Define the ``torch.autograd.Function`` of compiled calls, at the first use of PyTorch."""

    class Call(torch.autograd.Function):  # type: ignore[misc]
        """One call on the tape: its outputs are the results, then what backward reads."""

        @staticmethod
        def forward(
            programs: Programs, wrt: tuple[int, ...], call: SimpleNamespace, *tensors: Any
        ) -> Any:
            """Run the forward program of a torch autograd function."""
            leaves, tree = run_programs(
                programs.forward(wrt) if wrt else programs, tensors, _call_programs
            )
            call.tree = tree.parts[0] if wrt else tree  # what is saved comes after the results
            return tuple(leaves)

        @staticmethod
        def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
            programs, wrt, call, *tensors = args
            inner = programs.forward(wrt) if wrt else programs
            results = _call_programs(inner.map_batches((tuple(in_dims[3:]),)), tensors)
            leaves, tree = flatten(results)  # on the tape below the one that is mapped
            call.tree = tree.parts[0] if wrt else tree
            return tuple(leaves), (0,) * len(leaves)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            """Save residuals and types of results in the context of a torch autograd function."""
            ctx.programs, ctx.wrt, call, *tensors = inputs
            count = call.tree.count
            smooth = [k for k in range(count) if _has_slopes(output[k])]
            ctx.mark_non_differentiable(
                *[tensor for k, tensor in enumerate(output) if k not in smooth]
            )
            ctx.set_materialize_grads(False)
            ctx.smooth, ctx.saved = [k in smooth for k in range(count)], len(output) - count
            ctx.kinds = [(k, output[k].shape, output[k].dtype) for k in smooth]
            ctx.save_for_backward(*tensors, *output[count:])
            ctx.save_for_forward(*tensors)

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> Any:
            """Run the backward program of a torch autograd function; in a second one recompute."""
            programs, saved = ctx.programs, list(ctx.saved_tensors)
            cts = [
                torch.zeros(shape, dtype=dtype) if cotangents[k] is None else cotangents[k]
                for k, shape, dtype in ctx.kinds
            ]
            if torch.is_grad_enabled():  # these are differentiated again, by the arrays
                saved = saved[: programs.count]
                gradients = programs.pullback(ctx.wrt, len(saved) + len(cts))
            else:
                gradients = programs.backward(ctx.wrt, len(saved) + len(cts))
            wrt_slopes = _call_in_batches(gradients, saved + cts)
            slopes: list[Any] = [None] * programs.count
            for place, slope in zip(ctx.wrt, wrt_slopes, strict=True):
                slopes[place] = slope
            return None, None, None, *slopes

        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> Any:
            """Run the forward-mode program of a torch autograd function on tangents."""
            programs, primals = ctx.programs, [*ctx.saved_tensors[: ctx.programs.count]]
            along = tangents[3:]
            wrt = tuple([k for k, tangent in enumerate(along) if tangent is not None])
            pushed = programs.pushforward(wrt)
            remaining = iter(_call_in_batches(pushed, primals + [along[k] for k in wrt]))
            result_tangents = [next(remaining) if is_smooth else None for is_smooth in ctx.smooth]
            return *result_tangents, *[None] * ctx.saved

    return Call


def _call_in_batches(programs: Programs, tensors: list[Any]) -> Any:
    """Call gradient programs on torch tensors, also under ``vmap`` where they have batch axes.

    ``torch.autograd.grad(..., is_grads_batched=True)`` and ``jacobian(..., vectorize=True)`` mark a
    batch in another way than ``torch.func.vmap``.
    """
    batched = [torch._C._functorch.is_legacy_batchedtensor(tensor) for tensor in tensors]
    if not any(batched):
        return _call_programs(programs, tensors)
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    with_batch_axis = [
        torch._remove_batch_dim(tensor, level, 1, 0) if is_one else tensor
        for tensor, is_one in zip(tensors, batched, strict=True)
    ]
    axes = tuple([0 if is_one else None for is_one in batched])
    return [
        torch._add_batch_dim(result, 0, level)
        for result in _call_programs(programs.map_batches((axes,)), with_batch_axis)
    ]


def _plain(leaf: Any) -> Any:
    """Convert a symbolic number of ``torch.compile`` to Python's, which specializes on it."""
    for symbol, kind in ((torch.SymInt, int), (torch.SymFloat, float), (torch.SymBool, bool)):
        if isinstance(leaf, symbol):
            return kind(leaf)
    if isinstance(leaf, torch.fx.Proxy):
        raise ArgumentError(
            f"torch.fx.symbolic_trace has no shapes and dtypes, got {leaf}",
            hint="torch.export.export(module, example), or make_fx(f)(*example)",
        )
    return leaf


def _are_tangents_open() -> bool:
    """Return whether PyTorch's forward mode runs."""
    level: int = torch.autograd.forward_ad._current_level
    return level >= 0


def _has_slopes(tensor: Any) -> bool:
    return bool(tensor.is_floating_point() or tensor.is_complex())


namespace(globals())

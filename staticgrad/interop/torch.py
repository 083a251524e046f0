"""Functions of arrays in PyTorch: compiled, with their gradient, on torch's tape.

Tensors on the CPU are read in place if they are contiguous; others are copied into the program's
memory. Results are new tensors over the arrays that the program wrote, without a copy.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from staticgrad.interop.programs import Bridged, Programs, caller
from staticgrad.language.functions.trees import flatten, unflatten
from staticgrad.language.ir.calls import public
from staticgrad.support.errors import ArgumentError
from staticgrad.support.errors.hints import attributes
from staticgrad.support.optional import ml_dtypes, torch

__all__ = ["function"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = attributes("sg.torch", __all__)


@public
def function(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of arrays as a function of tensors that PyTorch differentiates.

    It runs compiled, forward and backward. Gradients are computed for tensors that require one;
    with ``create_graph=True`` they can be differentiated again. Those of complex tensors are
    PyTorch's, the conjugates of ``sg.grad``.

    Args:
        f: as ``sg.function`` takes it, which it may be already: a function of arrays in containers.
            A module is an argument as others are: its tensors are weights.

    Returns:
        The function. Tensors in containers are arrays, everything else is static; results are
        tensors in the containers of f. It pickles if f does. ``torch.compile`` compiles what is
        around its calls; with ``fullgraph=True`` it refuses them.

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
    run = caller("torch.function", f, is_array, _called, conjugate=True)
    return Bridged(function, f, _apart_from_its_compiler(run))


def _apart_from_its_compiler(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return what ``torch.compile`` calls where it stands, and does not look into."""
    outside: list[Callable[..., Any]] = []

    def entered(*args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" not in sys.modules:  # it takes seconds to load
            return run(*args, **kwargs)
        if not outside:
            outside.append(torch.compiler.disable(run))
        return outside[0](*args, **kwargs)

    marks = {"_torchdynamo_disable": True, "_torchdynamo_disable_msg": "staticgrad compiles it"}
    vars(entered).update(marks)
    return entered


def _called(programs: Programs, tensors: list[Any]) -> Any:
    wrt: tuple[int, ...] = ()
    if torch.is_grad_enabled():
        wrt = tuple([k for k, each in enumerate(tensors) if each.requires_grad])
    if not wrt:
        leaves, tree = flatten(programs.run(*map(_array, tensors)))
        return unflatten(tree, [_tensor(leaf) for leaf in leaves])
    call = SimpleNamespace(tree=None)  # torch.func copies lists and dicts
    found = _tape().apply(programs, wrt, call, *tensors)
    return unflatten(call.tree, found[: call.tree.count])


@functools.cache
def _tape() -> Any:
    """The class of calls on the tape of PyTorch, which is made when PyTorch is first used."""

    class Call(torch.autograd.Function):  # type: ignore[misc]
        """One call on the tape: its outputs are the results, then what backward reads."""

        @staticmethod
        def forward(
            programs: Programs, wrt: tuple[int, ...], call: SimpleNamespace, *tensors: Any
        ) -> Any:
            results, saved = programs.forward(wrt).run(*map(_array, tensors))
            leaves, call.tree = flatten(results)
            return tuple([_tensor(leaf) for leaf in [*leaves, *saved]])

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.programs, ctx.wrt, call, *tensors = inputs
            count = call.tree.count
            smooth = [k for k in range(count) if _has_slopes(output[k])]
            ctx.mark_non_differentiable(*[each for k, each in enumerate(output) if k not in smooth])
            ctx.set_materialize_grads(False)
            ctx.kinds = [(k, output[k].shape, output[k].dtype) for k in smooth]
            ctx.save_for_backward(*tensors, *output[count:])

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> Any:
            programs, given = ctx.programs, list(ctx.saved_tensors)
            cts = [
                torch.zeros(shape, dtype=dtype) if cotangents[k] is None else cotangents[k]
                for k, shape, dtype in ctx.kinds
            ]
            if torch.is_grad_enabled():  # these are differentiated again, by the arrays
                given = given[: programs.count]
                gradients = programs.pullback(ctx.wrt, len(given) + len(cts))
            else:
                gradients = programs.backward(ctx.wrt, len(given) + len(cts))
            found = _called(gradients, given + cts)
            slopes: list[Any] = [None] * programs.count
            for place, slope in zip(ctx.wrt, found, strict=True):
                slopes[place] = slope
            return None, None, None, *slopes

    return Call


def _has_slopes(tensor: Any) -> bool:
    return bool(tensor.is_floating_point() or tensor.is_complex())


def _array(tensor: Any) -> Any:
    """Return the memory of a tensor as an array, without a copy.

    Raises:
        ArgumentError: it is not on the CPU.
    """
    if tensor.device.type != "cpu":
        raise ArgumentError(f"a tensor is on {tensor.device}", hint="tensor.cpu()")
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def _tensor(array: Any) -> Any:
    """Return an array or number as a tensor over the same memory, without a copy."""
    array = np.asarray(array)
    if array.dtype.kind == "V":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)

"""Training steps of PyTorch as one program: forward, backward and the optimizer's update.

The tensors of the module and of the optimizer's state are views of the memory that the program
writes. Eager steps, ``state_dict`` and learning rate schedulers of PyTorch see and change the same
numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from weakref import ref

import numpy as np

import staticgrad.language.functions as sg
from staticgrad.autodiff.reverse import slopes_of_free
from staticgrad.interop.aten.module import (
    ExportedModule,
    TorchModule,
    check_whole,
    exported_of,
)
from staticgrad.interop.torch_arrays import array_of, tensor_of
from staticgrad.language.functions import parameter
from staticgrad.language.functions.random import Generator
from staticgrad.language.ir.pairs import stored_of
from staticgrad.language.storage.parameter import ALIGNMENT
from staticgrad.nn.initial import source
from staticgrad.optim.gradients import global_norm
from staticgrad.optim.rules import SGD, Adagrad, Adam, AdamW, RMSProp
from staticgrad.optim.state import slot, states_kept_by
from staticgrad.optim.variants import Adadelta, Adamax, RAdam
from staticgrad.programs.function import Function
from staticgrad.support.errors import ArgumentError
from staticgrad.support.errors.wording import kind_of
from staticgrad.support.optional import torch


class _Rule(NamedTuple):
    """An optimizer of PyTorch: how it is made here, its options, the names of its state.

    Attributes:
        make: from a learning rate, the options of a group, and a name.
        reads: options that ``make`` reads; another value is another program.
        refused: options that may only have this value.
        slots: the name of a state there -> here, of some options.
        counts: whether PyTorch counts steps.
        counts_here: whether the rule does, too.
        decays: whether the decay is added to the gradient before the rule.
    """

    make: Callable[..., Any]
    reads: tuple[str, ...]
    refused: Mapping[str, Any]
    slots: Callable[[Mapping[str, Any]], Mapping[str, str]]
    counts: bool = True
    counts_here: bool = True
    decays: bool = True


def _with_betas(kind: Any) -> Callable[..., Any]:
    def make(rate: Any, each: Mapping[str, Any], **named: Any) -> Any:
        beta1, beta2 = each["betas"]
        if each.get("amsgrad"):
            named["amsgrad"] = True
        return kind(rate, beta1=beta1, beta2=beta2, eps=each["eps"], **named)

    return make


def _moments(each: Mapping[str, Any]) -> Mapping[str, str]:
    largest = {"max_exp_avg_sq": "largest_moment"} if each.get("amsgrad") else {}
    return {"exp_avg": "first_moment", "exp_avg_sq": "second_moment", **largest}


_PLAIN: Final = {"differentiable": False}
_COUPLED: Final = {**_PLAIN, "decoupled_weight_decay": False}
_BETAS: Final = ("betas", "eps")
_RULES: Final[dict[str, _Rule]] = {
    "SGD": _Rule(
        lambda rate, each, **named: SGD(rate, each["momentum"], each["nesterov"], **named),
        ("momentum", "nesterov"),
        {**_PLAIN, "dampening": 0},
        lambda each: {"momentum_buffer": "momentum"} if each["momentum"] else {},
        counts=False,
        counts_here=False,
    ),
    "Adam": _Rule(_with_betas(Adam), (*_BETAS, "amsgrad"), _COUPLED, _moments),
    "AdamW": _Rule(
        lambda rate, each, **named: _with_betas(AdamW)(
            rate, each, weight_decay=each["weight_decay"], **named
        ),
        (*_BETAS, "amsgrad"),
        _PLAIN,
        _moments,
        decays=False,
    ),
    "RAdam": _Rule(_with_betas(RAdam), _BETAS, _COUPLED, _moments),
    "Adamax": _Rule(
        _with_betas(Adamax),
        _BETAS,
        _PLAIN,
        lambda each: {"exp_avg": "first_moment", "exp_inf": "largest"},
    ),
    "RMSprop": _Rule(
        lambda rate, each, **named: RMSProp(
            rate, each["alpha"], each["eps"], each["momentum"], each["centered"], **named
        ),
        ("alpha", "eps", "momentum", "centered"),
        _PLAIN,
        lambda each: {
            "square_avg": "second_moment",
            **({"grad_avg": "first_moment"} if each["centered"] else {}),
            **({"momentum_buffer": "momentum"} if each["momentum"] else {}),
        },
        counts_here=False,
    ),
    "Adagrad": _Rule(
        lambda rate, each, **named: Adagrad(rate, each["eps"], **named),
        ("eps",),
        _PLAIN,
        lambda each: {"sum": "squares"},
        counts_here=False,
    ),
    "Adadelta": _Rule(
        lambda rate, each, **named: Adadelta(rate, each["rho"], each["eps"], **named),
        ("rho", "eps"),
        _PLAIN,
        lambda each: {"square_avg": "second_moment", "acc_delta": "moves"},
        counts_here=False,
    ),
}
#: Options of every rule that another program is made for.
_READ_OF_ALL: Final = ("weight_decay", "maximize")


#: What takes the place of a step that is refused.
_BY_PYTORCH: Final = "torch.compile(loss, backend='staticgrad') with optimizer.step()"


class _Group(NamedTuple):
    """One group of an optimizer's parameters.

    Attributes:
        rule: what steps it here, at a learning rate that is a parameter.
        sign: -1 where the optimizer maximizes.
        decay: what is added to gradients, times the parameter.
        parameters: those that the program trains, by PyTorch's tensors.
        steps: the steps of each of them as PyTorch counts them; None where it does not.
        slots: the names of the state of each, there -> here.
        count: the steps as ``rule`` counts them; None where it does not.
    """

    rule: Any
    rate: Any
    sign: int
    decay: float
    parameters: dict[Any, Any]
    slots: Mapping[str, str]
    steps: Any
    count: Any


class TorchStep:
    """A training step of a PyTorch module as one compiled program; ``sg.torch.step`` makes it."""

    def __init__(
        self, net: Any, loss: Any, optimizer: Any, max_norm: float | None, options: dict[str, Any]
    ) -> None:
        if not isinstance(net, torch.nn.Module):
            raise ArgumentError(
                f"step takes a torch.nn.Module, got {kind_of(net)}",
                hint="sg.torch.step(net, loss, optimizer)",
            )
        if loss is not None and not callable(loss):
            raise ArgumentError(f"step: loss is {kind_of(loss)}, not a function")
        check_whole(
            net, "step", f"torch.compile(net, backend='staticgrad') {_BY_PYTORCH.partition(' ')[2]}"
        )
        self._net, self._loss, self._optimizer = net, loss, optimizer
        self._max_norm, self._options = max_norm, options
        self._whole = _with_loss(net, loss)
        self._rule = _rule_of(optimizer)
        for each in optimizer.param_groups:
            self._check_options(each)
        self._model: TorchModule | None = None
        self._groups: list[_Group] = []
        self._tensors: list[Any] = []
        self._modules, self._parts = _parts_of(net)
        self._programs: dict[Any, Function[..., Any]] = {}
        #: By containers, modes and numbers: what was exported of them, in order.
        self._exported: dict[Any, list[tuple[ExportedModule, Function[..., Any]]]] = {}
        self._state: Any = None
        self._loaded = False
        here = ref(self)

        def noted(_: Any) -> None:
            step = here()
            if step is not None:
                step._loaded = True

        optimizer.register_load_state_dict_post_hook(noted)

    def __reduce__(self) -> Any:
        made = self._net, self._loss, self._optimizer, self._max_norm, self._options
        return TorchStep, made

    def __call__(self, inputs: Any, *targets: Any) -> Any:
        """Run one step; return the loss, a tensor, from before the update."""
        self._check()
        leaves, spec = torch.utils._pytree.tree_flatten((inputs, targets))
        tensors = [each for each in leaves if isinstance(each, torch.Tensor)]
        modes = (
            *[each.training for each in self._modules],
            *[key for each in self._modules for key in _hooks_of(each)],
            torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu"),
        )
        kind = spec, modes, tuple([_kind(each) for each in leaves])
        program = self._programs.get(kind)
        if program is None:
            program = self._programs[kind] = self._made(kind, leaves, spec)
        for group, each in zip(self._groups, self._optimizer.param_groups, strict=True):
            rate = group.rate.store.array
            now = float(each["lr"])
            if each.get("lr_decay") and group.steps.size:  # Adagrad's, which is no rule's here
                now /= 1.0 + each["lr_decay"] * float(group.steps[0])
            if rate[()] != now:
                rate[()] = now
            if group.count is not None and group.steps.size:
                group.count.store.array[()] = int(group.steps[0])
        found = program(*[array_of(each) for each in tensors])
        for group in self._groups:
            if group.steps is not None:
                np.add(group.steps, 1, out=group.steps)
        self._optimizer._opt_called = True  # for schedulers of learning rates
        return torch.utils._pytree.tree_map(tensor_of, found)

    @property
    def module(self) -> TorchModule:
        """The module with the loss, as ``sg.torch.module`` has it, after the first step."""
        if self._model is None:
            raise ArgumentError("step: there is no program before the first step")
        return self._model

    # -- tensors of PyTorch ------------------------------------------------------------------------

    def _check(self) -> None:
        """Start again where parts, tensors, options or the state of the optimizer are others.

        Raises:
            ArgumentError: hooks of gradients or of the optimizer, which a program cannot call.
        """
        for name in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
            if getattr(self._optimizer, name):
                raise ArgumentError(
                    f"step: the optimizer has {name.strip('_').replace('_', ' ')}, which a program"
                    " cannot call",
                    hint=_BY_PYTORCH,
                )
        for _, name, tensor, *_ in self._tensors:
            _check_hooks(name, tensor)
        if any(place.get(name) is not part for place, name, part in self._parts):
            self._modules, self._parts = _parts_of(self._net)
            self._model = None
        if self._model is None:
            self._groups, self._programs, self._exported = [], {}, {}
            return
        state = self._options_now()
        if state != self._state or any(
            place.get(name) is not tensor
            or tensor.data_ptr() != address
            or tensor.requires_grad != trained
            for place, name, tensor, address, trained in self._tensors
        ):
            self._model, self._groups, self._programs, self._exported = None, [], {}, {}
        elif self._loaded:
            for group in self._groups:
                self._share_state(group)
            self._loaded = False

    def _options_now(self) -> Any:
        names = (*self._rule.reads, *_READ_OF_ALL)
        return [
            (id(each), len(each["params"]), *[each[name] for name in names])
            for each in self._optimizer.param_groups
        ]

    def _made(self, kind: Any, leaves: Sequence[Any], spec: Any) -> Function[..., Any]:
        """Return the program for arguments like these, and share the tensors that it uses."""
        tensors = [each for each in leaves if isinstance(each, torch.Tensor)]
        alike = *kind[:2], tuple([_alike(each) for each in leaves])
        others = self._exported.setdefault(alike, [])
        for exported, program in others:
            if all(_takes(*each) for each in zip(_arguments(exported), tensors, strict=True)):
                return program
        arguments = torch.utils._pytree.tree_unflatten(leaves, spec)
        taken = [_arguments(exported) for exported, _ in others]
        sizes = [_free(each, [types[k] for types in taken]) for k, each in enumerate(tensors)]
        given = iter(sizes)
        free = [next(given) if isinstance(each, torch.Tensor) else None for each in leaves]
        shapes = torch.utils._pytree.tree_unflatten(free, spec) if any(sizes) else None
        exported = exported_of(self._whole, arguments, {}, shapes)
        if self._model is None:
            self._model, self._loaded = TorchModule(self._whole, {"step": exported}), False
            self._state = self._options_now()
        else:
            self._model.take_arrays(self._whole, exported)
        model = self._model
        if exported.program.draws and not hasattr(model, "generator"):
            model.generator = Generator(int(source(None).integers(np.iinfo(np.int64).max)))
        self._share()
        places = [k for k, each in enumerate(leaves) if isinstance(each, torch.Tensor)]
        plain = [None if isinstance(each, torch.Tensor) else each for each in leaves]

        def step(*arrays: Any) -> Any:
            filled = [*plain]
            for place, array in zip(places, arrays, strict=True):
                filled[place] = array
            given = torch.utils._pytree.tree_unflatten(filled, spec)
            results = model.called(exported, given, {})
            self._apply(results[0] if isinstance(results, tuple | list) else results)
            return results

        program = Function(step, (), {}, self._options)
        others.append((exported, program))
        return program

    def _share(self) -> None:
        """Let tensors of the module and of the optimizer be views of parameters."""
        model = self.module
        arrays = {**model.weights, **model.statistics}
        self._tensors = []
        found: dict[Any, Any] = {}
        for prefix, module in self._whole.named_modules():
            for place in (module._parameters, module._buffers):
                for name, tensor in place.items():
                    whole = f"{prefix}.{name}".lstrip(".")
                    if tensor is None:
                        continue
                    _check_hooks(whole.removeprefix("net."), tensor)
                    if whole in arrays:
                        found[tensor] = _shared(tensor, arrays[whole])
                    trained = tensor.requires_grad
                    self._tensors.append((place, name, tensor, tensor.data_ptr(), trained))
        if self._groups and all(
            each in group.parameters or each not in found
            for group, settings in zip(self._groups, self._optimizer.param_groups, strict=True)
            for each in settings["params"]
        ):
            return
        self._groups = []
        for k, each in enumerate(self._optimizer.param_groups):
            self._check_options(each)
            rate = stored_of(parameter(f"group{k}.rate", np.float64(each["lr"])))
            rule = self._rule.make(rate, each, name=f"group{k}")
            chosen = {t: found[t] for t in each["params"] if t in found and t.requires_grad}
            count = None
            if self._rule.counts_here:
                with states_kept_by(rule):
                    count = rule.state("step")
            sign = -1 if each.get("maximize") else 1
            decay = each["weight_decay"] if self._rule.decays else 0.0
            steps = np.zeros(len(chosen), np.float32) if self._rule.counts else None
            slots = self._rule.slots(each)
            group = _Group(rule, rate, sign, decay, chosen, slots, steps, count)
            self._share_state(group)
            self._groups.append(group)

    def _share_state(self, group: _Group) -> None:
        for k, (tensor, own) in enumerate(group.parameters.items()):
            state = self._optimizer.state[tensor]
            for theirs, ours in group.slots.items():
                with states_kept_by(group.rule):
                    made = slot(own, ours)
                array = made.store.array
                if (earlier := state.get(theirs)) is not None:
                    array[...] = array_of(earlier)
                else:
                    array[...] = 0
                state[theirs] = tensor_of(array)
            if group.steps is not None:
                group.steps[k] = float(state.get("step", 0))
                state["step"] = torch.from_numpy(group.steps)[k]
        if group.steps is not None and group.steps.size and np.ptp(group.steps):
            raise ArgumentError(
                "step: the parameters of a group have made different numbers of steps:"
                f" {int(group.steps.min())} to {int(group.steps.max())}",
                hint="optimizer.add_param_group({'params': [...]}) for those that began later",
            )

    def _check_options(self, settings: Mapping[str, Any]) -> None:
        for name, value in self._rule.refused.items():
            if settings.get(name, value) != value:
                raise ArgumentError(
                    f"step: {type(self._optimizer).__name__} with {name}={settings[name]!r} is not"
                    " supported",
                    hint=_BY_PYTORCH,
                )

    def _apply(self, loss: Any) -> None:
        """End the traced step with the update of each group."""
        slopes = slopes_of_free(loss, set())
        by_node = {p.node: slope for p, slope in slopes.items()}
        used = [
            (group, {p: by_node[p.node] for p in group.parameters.values() if p.node in by_node})
            for group in self._groups
        ]
        if self._max_norm is not None:
            every = [slope for _, each in used for slope in each.values()]
            norm = global_norm(every).astype("float64")
            factor = sg.minimum(self._max_norm / (norm + 1e-6), 1.0)  # as clip_grad_norm_
            small = iter([slope * factor.astype(slope.dtype) for slope in every])
            used = [(group, {p: next(small) for p in each}) for group, each in used]
        for group, each in used:
            if group.sign < 0:
                each = {p: -slope for p, slope in each.items()}
            if group.decay:
                each = {p: slope + group.decay * p for p, slope in each.items()}
            if each:
                group.rule.apply_gradients(each)


def _with_loss(net: Any, loss: Any) -> Any:
    """Return a module that computes the loss of ``net`` from inputs and targets."""

    class Step(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, inputs: Any, targets: Any) -> Any:
            if isinstance(inputs, Mapping):
                y = self.net(**inputs)
            else:
                y = self.net(*inputs) if isinstance(inputs, tuple | list) else self.net(inputs)
            return y if loss is None else loss(y, *targets)

    return Step()


def _parts_of(net: Any) -> tuple[list[Any], list[tuple[Any, str, Any]]]:
    """Return the modules in a module, and each with the place and the name that it has."""
    modules = [*net.modules()]
    parts = [(each._modules, *item) for each in modules for item in each._modules.items()]
    return modules, parts


def _hooks_of(module: Any) -> Sequence[int]:
    """Return the keys of the hooks that a call of a module runs, which are in the program."""
    if module._forward_hooks or module._forward_pre_hooks:
        return *module._forward_hooks, *module._forward_pre_hooks
    return ()


def _check_hooks(name: str, tensor: Any) -> None:
    """Refuse a tensor whose gradient is given to hooks.

    Raises:
        ArgumentError: it has some.
    """
    if tensor._backward_hooks or getattr(tensor, "_post_accumulate_grad_hooks", None):
        raise ArgumentError(
            f"step: {name} has hooks of its gradient, which a program cannot call",
            hint=_BY_PYTORCH,
        )


def _rule_of(optimizer: Any) -> _Rule:
    rule = _RULES.get(type(optimizer).__name__)
    if rule is None or type(optimizer) is not getattr(torch.optim, type(optimizer).__name__, None):
        raise ArgumentError(
            f"step takes torch.optim.{', '.join(_RULES)}, got {kind_of(optimizer)}",
            hint="another rule: torch.compile(loss, backend='staticgrad') and optimizer.step(), or"
            " sg.torch.module with an optimizer of sg.optim",
        )
    return rule


def _kind(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        return leaf.dtype, tuple(leaf.shape)
    return leaf


def _alike(leaf: Any) -> Any:
    return (leaf.dtype, leaf.ndim) if isinstance(leaf, torch.Tensor) else leaf


def _arguments(exported: ExportedModule) -> list[Any]:
    """Return the shapes that a program takes; sizes that are free are None."""
    types = zip(exported.operands, exported.program.types, strict=True)
    return [each.shape for which, each in types if which and which[0] == "argument" and each]


def _takes(shape: Sequence[int | None], tensor: Any) -> bool:
    return all(
        n == size or (n is None and size > 1) for n, size in zip(shape, tensor.shape, strict=True)
    )


def _free(tensor: Any, shapes: Sequence[Sequence[int | None]]) -> dict[int, Any]:
    """The axes whose size is free from now on: those where earlier programs have another size."""
    return {
        axis: torch.export.Dim.AUTO
        for axis, size in enumerate(tensor.shape)
        if size > 1 and any(shape[axis] != size for shape in shapes)
    }


def _shared(tensor: Any, made: Any) -> Any:
    """Let a tensor be a view of a parameter's memory; return the parameter.

    Memory that processes share stays where it is: the parameter takes it.
    """
    own = stored_of(made)
    if tensor.is_shared() and tensor.is_contiguous() and tensor.data_ptr() % ALIGNMENT == 0:
        theirs = tensor.detach()
        own.store.array = array_of(torch.view_as_real(theirs) if own.store.is_complex else theirs)
        return own
    array = own.store.array
    view = tensor_of(array)
    if own.store.is_complex:
        view = torch.view_as_complex(view)
    if tensor.data_ptr() != view.data_ptr():
        with torch.no_grad():
            view.copy_(tensor.detach())
            tensor.data = view
    return own

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

import staticgrad.functions as sg
from staticgrad.errors import ArgumentError
from staticgrad.extend import kind_of
from staticgrad.extend.gradients import gradients_of_free_parameters
from staticgrad.extend.optional import torch
from staticgrad.extend.parameters import ALIGNMENT, stored_of
from staticgrad.extend.programs import Function
from staticgrad.functions import parameter
from staticgrad.nn.initial import source
from staticgrad.optim import global_norm, slot
from staticgrad.optim.rules import SGD, Adagrad, Adam, AdamW, RMSProp
from staticgrad.optim.state import states_kept_by
from staticgrad.optim.variants import Adadelta, Adamax, RAdam
from staticgrad.random import Generator
from staticgrad.torch.arrays import array_of, tensor_of
from staticgrad.torch.aten.module import (
    ExportedModule,
    TorchModule,
    check_local,
    exported_of,
    net_with_loss,
)


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


def _make_rule_with_betas(kind: Any) -> Callable[..., Any]:
    """Build the rule of an Adam-like optimizer of PyTorch, whose ``betas`` are a pair."""

    def make(rate: Any, settings: Mapping[str, Any], **named: Any) -> Any:
        beta1, beta2 = settings["betas"]
        if settings.get("amsgrad"):
            named["amsgrad"] = True
        return kind(rate, beta1=beta1, beta2=beta2, eps=settings["eps"], **named)

    return make


def _moments(settings: Mapping[str, Any]) -> Mapping[str, str]:
    largest = {"max_exp_avg_sq": "largest_moment"} if settings.get("amsgrad") else {}
    return {"exp_avg": "first_moment", "exp_avg_sq": "second_moment", **largest}


_PLAIN: Final = {"differentiable": False}
_COUPLED: Final = {**_PLAIN, "decoupled_weight_decay": False}
_BETAS: Final = ("betas", "eps")
_RULES: Final[dict[str, _Rule]] = {
    "SGD": _Rule(
        lambda rate, settings, **named: SGD(
            rate, settings["momentum"], settings["nesterov"], **named
        ),
        ("momentum", "nesterov"),
        {**_PLAIN, "dampening": 0},
        lambda settings: {"momentum_buffer": "momentum"} if settings["momentum"] else {},
        counts=False,
        counts_here=False,
    ),
    "Adam": _Rule(_make_rule_with_betas(Adam), (*_BETAS, "amsgrad"), _COUPLED, _moments),
    "AdamW": _Rule(
        lambda rate, settings, **named: _make_rule_with_betas(AdamW)(
            rate, settings, weight_decay=settings["weight_decay"], **named
        ),
        (*_BETAS, "amsgrad"),
        _PLAIN,
        _moments,
        decays=False,
    ),
    "RAdam": _Rule(_make_rule_with_betas(RAdam), _BETAS, _COUPLED, _moments),
    "Adamax": _Rule(
        _make_rule_with_betas(Adamax),
        _BETAS,
        _PLAIN,
        lambda settings: {"exp_avg": "first_moment", "exp_inf": "largest"},
    ),
    "RMSprop": _Rule(
        lambda rate, settings, **named: RMSProp(
            rate,
            settings["alpha"],
            settings["eps"],
            settings["momentum"],
            settings["centered"],
            **named,
        ),
        ("alpha", "eps", "momentum", "centered"),
        _PLAIN,
        lambda settings: {
            "square_avg": "second_moment",
            **({"grad_avg": "first_moment"} if settings["centered"] else {}),
            **({"momentum_buffer": "momentum"} if settings["momentum"] else {}),
        },
        counts_here=False,
    ),
    "Adagrad": _Rule(
        lambda rate, settings, **named: Adagrad(rate, settings["eps"], **named),
        ("eps",),
        _PLAIN,
        lambda settings: {"sum": "squares"},
        counts_here=False,
    ),
    "Adadelta": _Rule(
        lambda rate, settings, **named: Adadelta(rate, settings["rho"], settings["eps"], **named),
        ("rho", "eps"),
        _PLAIN,
        lambda settings: {"square_avg": "second_moment", "acc_delta": "moves"},
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
        if isinstance(net, torch.jit.ScriptModule):
            raise ArgumentError(
                f"step: {kind_of(net)} is TorchScript, which torch.export does not read",
                hint="the module that torch.jit.script or torch.jit.trace was given",
            )
        if not isinstance(net, torch.nn.Module):
            raise ArgumentError(
                f"step takes a torch.nn.Module, got {kind_of(net)}",
                hint="sg.torch.step(net, loss, optimizer)",
            )
        if loss is not None and not callable(loss):
            raise ArgumentError(f"step: loss is {kind_of(loss)}, not a function")
        check_local(
            net, "step", f"torch.compile(net, backend='staticgrad') {_BY_PYTORCH.partition(' ')[2]}"
        )
        self._net, self._loss, self._optimizer = net, loss, optimizer
        self._max_norm, self._options = max_norm, options
        self._net_with_loss = net_with_loss(net, loss)
        rule = _RULES.get(type(optimizer).__name__)
        if rule is None or type(optimizer) is not getattr(
            torch.optim, type(optimizer).__name__, None
        ):
            raise ArgumentError(
                f"step takes torch.optim.{', '.join(_RULES)}, got {kind_of(optimizer)}",
                hint="another rule: torch.compile(loss, backend='staticgrad') and optimizer.step(),"
                " or sg.torch.module with an optimizer of sg.optim",
            )
        self._rule = rule
        for settings in optimizer.param_groups:
            self._check_options(settings)
        self._model: TorchModule | None = None
        self._groups: list[_Group] = []
        self._tensors: list[Any] = []
        self._modules, self._parts = _parts_of(net)
        self._programs: dict[Any, Function[..., Any]] = {}
        #: By containers, modes and numbers: what was exported of them, in order.
        self._exported: dict[Any, list[tuple[ExportedModule, Function[..., Any]]]] = {}
        self._state: Any = None
        self._loaded = False
        self_ref = ref(self)

        def note_loading(_: Any) -> None:
            step = self_ref()
            if step is not None:
                step._loaded = True

        optimizer.register_load_state_dict_post_hook(note_loading)

    def __reduce__(self) -> Any:
        arguments = self._net, self._loss, self._optimizer, self._max_norm, self._options
        return TorchStep, arguments

    def __call__(self, inputs: Any, *targets: Any) -> Any:
        """Run one step; return the loss, a tensor, from before the update."""
        self._check()
        leaves, spec = torch.utils._pytree.tree_flatten((inputs, targets))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        modes = (
            *[module.training for module in self._modules],
            *[key for module in self._modules for key in _hooks_of(module)],
            torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu"),
        )
        kind = spec, modes, tuple([_kind(leaf) for leaf in leaves])
        program = self._programs.get(kind)
        if program is None:
            program = self._programs[kind] = self._make_program(kind, leaves, spec)
        for group, settings in zip(self._groups, self._optimizer.param_groups, strict=True):
            rate = group.rate.store.array
            now = float(settings["lr"])
            if settings.get("lr_decay") and group.steps.size:  # Adagrad's, which is no rule's here
                now /= 1.0 + settings["lr_decay"] * float(group.steps[0])
            if rate[()] != now:
                rate[()] = now
            if group.count is not None and group.steps.size:
                group.count.store.array[()] = int(group.steps[0])
        results = program(*[array_of(tensor) for tensor in tensors])
        for group in self._groups:
            if group.steps is not None:
                np.add(group.steps, 1, out=group.steps)
        self._optimizer._opt_called = True  # for schedulers of learning rates
        return torch.utils._pytree.tree_map(tensor_of, results)

    @property
    def module(self) -> TorchModule:
        """The module with the loss, as ``sg.torch.module`` has it, after the first step."""
        if self._model is None:
            raise ArgumentError("step: there is no program before the first step")
        return self._model

    # -- tensors of PyTorch ------------------------------------------------------------------------

    def _check(self) -> None:
        """Retrace a PyTorch training step if modules, tensors, options or optimizer state changed.

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
            (id(settings), len(settings["params"]), *[settings[name] for name in names])
            for settings in self._optimizer.param_groups
        ]

    def _make_program(self, kind: Any, leaves: Sequence[Any], spec: Any) -> Function[..., Any]:
        """Compile the training step for arguments like these, and share its tensors' memory."""
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        alike = *kind[:2], tuple([_alike(leaf) for leaf in leaves])
        others = self._exported.setdefault(alike, [])
        for exported, program in others:
            if all(
                _takes(*pair) for pair in zip(_read_argument_shapes(exported), tensors, strict=True)
            ):
                return program
        arguments = torch.utils._pytree.tree_unflatten(leaves, spec)
        earlier_shapes = [_read_argument_shapes(exported) for exported, _ in others]
        sizes = [
            _free(tensor, [types[k] for types in earlier_shapes])
            for k, tensor in enumerate(tensors)
        ]
        remaining = iter(sizes)
        free = [next(remaining) if isinstance(leaf, torch.Tensor) else None for leaf in leaves]
        shapes = torch.utils._pytree.tree_unflatten(free, spec) if any(sizes) else None
        exported = exported_of(self._net_with_loss, arguments, {}, shapes)
        if self._model is None:
            self._model, self._loaded = TorchModule(self._net_with_loss, {"step": exported}), False
            self._state = self._options_now()
        else:
            self._model.take_arrays(self._net_with_loss, exported)
        model = self._model
        if exported.program.draws and not hasattr(model, "generator"):
            model.generator = Generator(int(source(None).integers(np.iinfo(np.int64).max)))
        self._share()
        places = [k for k, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        plain = [None if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]

        def step(*arrays: Any) -> Any:
            """Compute a torch module's loss and update its parameters: one traced step."""
            filled = [*plain]
            for place, array in zip(places, arrays, strict=True):
                filled[place] = array
            arguments = torch.utils._pytree.tree_unflatten(filled, spec)
            results = model.run_exported(exported, arguments, {})
            self._apply(results[0] if isinstance(results, tuple | list) else results)
            return results

        program = Function(step, (), {}, self._options)
        others.append((exported, program))
        return program

    def _share(self) -> None:
        """Make tensors of the torch module and optimizer views of our parameters."""
        model = self.module
        arrays = {**model.weights, **model.statistics}
        self._tensors = []
        shared: dict[Any, Any] = {}
        for prefix, module in self._net_with_loss.named_modules():
            for place in (module._parameters, module._buffers):
                for name, tensor in place.items():
                    path = f"{prefix}.{name}".lstrip(".")
                    if tensor is None:
                        continue
                    _check_hooks(path.removeprefix("net."), tensor)
                    if path in arrays:
                        shared[tensor] = _share_memory(tensor, arrays[path])
                    trained = tensor.requires_grad
                    self._tensors.append((place, name, tensor, tensor.data_ptr(), trained))
        if self._groups and all(
            tensor in group.parameters or tensor not in shared
            for group, settings in zip(self._groups, self._optimizer.param_groups, strict=True)
            for tensor in settings["params"]
        ):
            return
        self._groups = []
        for k, settings in enumerate(self._optimizer.param_groups):
            self._check_options(settings)
            rate = stored_of(parameter(f"group{k}.rate", np.float64(settings["lr"])))
            rule = self._rule.make(rate, settings, name=f"group{k}")
            chosen = {t: shared[t] for t in settings["params"] if t in shared and t.requires_grad}
            count = None
            if self._rule.counts_here:
                with states_kept_by(rule):
                    count = rule.state("step")
            sign = -1 if settings.get("maximize") else 1
            decay = settings["weight_decay"] if self._rule.decays else 0.0
            steps = np.zeros(len(chosen), np.float32) if self._rule.counts else None
            slots = self._rule.slots(settings)
            group = _Group(rule, rate, sign, decay, chosen, slots, steps, count)
            self._share_state(group)
            self._groups.append(group)

    def _share_state(self, group: _Group) -> None:
        """Share the state of a PyTorch optimizer's group (moments, step counts) with our slots."""
        for k, (tensor, p) in enumerate(group.parameters.items()):
            state = self._optimizer.state[tensor]
            for theirs, ours in group.slots.items():
                with states_kept_by(group.rule):
                    slot_parameter = slot(p, ours)
                array = slot_parameter.store.array
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
        """Refuse options of a PyTorch optimizer that have no counterpart here."""
        for name, value in self._rule.refused.items():
            if settings.get(name, value) != value:
                raise ArgumentError(
                    f"step: {type(self._optimizer).__name__} with {name}={settings[name]!r} is not"
                    " supported",
                    hint=_BY_PYTORCH,
                )

    def _apply(self, loss: Any) -> None:
        """Differentiate the loss of a torch module and update each parameter group."""
        slopes = gradients_of_free_parameters(loss, set())
        by_node = {p.node: slope for p, slope in slopes.items()}
        used = [
            (group, {p: by_node[p.node] for p in group.parameters.values() if p.node in by_node})
            for group in self._groups
        ]
        if self._max_norm is not None:
            every = [slope for _, gradients in used for slope in gradients.values()]
            norm = global_norm(every).astype("float64")
            factor = sg.minimum(self._max_norm / (norm + 1e-6), 1.0)  # as clip_grad_norm_
            small = iter([slope * factor.astype(slope.dtype) for slope in every])
            used = [(group, {p: next(small) for p in gradients}) for group, gradients in used]
        for group, gradients in used:
            if group.sign < 0:
                gradients = {p: -slope for p, slope in gradients.items()}
            if group.decay:
                gradients = {p: slope + group.decay * p for p, slope in gradients.items()}
            if gradients:
                group.rule.apply_gradients(gradients)


def _parts_of(net: Any) -> tuple[list[Any], list[tuple[Any, str, Any]]]:
    """Return the modules in a module, and each with the place and the name that it has."""
    modules = [*net.modules()]
    parts = [(module._modules, *item) for module in modules for item in module._modules.items()]
    return modules, parts


def _hooks_of(module: Any) -> Sequence[int]:
    """Return the keys of the hooks that a call of a module runs, which are in the program."""
    if module._forward_hooks or module._forward_pre_hooks:
        return *module._forward_hooks, *module._forward_pre_hooks
    return ()


def _check_hooks(name: str, tensor: Any) -> None:
    """Refuse a tensor of PyTorch that has gradient hooks.

    Raises:
        ArgumentError: it has some.
    """
    if tensor._backward_hooks or getattr(tensor, "_post_accumulate_grad_hooks", None):
        raise ArgumentError(
            f"step: {name} has hooks of its gradient, which a program cannot call",
            hint=_BY_PYTORCH,
        )


def _kind(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        return leaf.dtype, tuple(leaf.shape)
    return leaf


def _alike(leaf: Any) -> Any:
    return (leaf.dtype, leaf.ndim) if isinstance(leaf, torch.Tensor) else leaf


def _read_argument_shapes(exported: ExportedModule) -> list[Any]:
    """Return the argument shapes of an exported torch program; None for sizes that are free."""
    types = zip(exported.operands, exported.program.inputs, strict=True)
    return [
        argument_type.shape
        for which, argument_type in types
        if which and which[0] == "argument" and argument_type
    ]


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


def _share_memory(tensor: Any, parameter_value: Any) -> Any:
    """Make a torch tensor a view of a parameter's memory; return the parameter.

    Memory that processes share stays where it is: the parameter takes it.
    """
    stored = stored_of(parameter_value)
    if tensor.is_shared() and tensor.is_contiguous() and tensor.data_ptr() % ALIGNMENT == 0:
        theirs = tensor.detach()
        stored.store.array = array_of(
            torch.view_as_real(theirs) if stored.store.is_complex else theirs
        )
        return stored
    array = stored.store.array
    view = tensor_of(array)
    if stored.store.is_complex:
        view = torch.view_as_complex(view)
    if tensor.data_ptr() != view.data_ptr():
        with torch.no_grad():
            view.copy_(tensor.detach())
            tensor.data = view
    return stored

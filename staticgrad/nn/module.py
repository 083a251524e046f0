"""Module: a function with parameters, made of its attributes.

Nothing is registered. A module's parameters are those among its attributes, in lists, tuples and
dicts of them, and in modules there; paths of attributes name them (``layers.0.weight``). A module
is a tree as lists and dicts are, whose leaves are its parameters and arrays, so that functions take
and give modules. Everything else that it holds is static: where ``sg.function`` meets a module,
another number, flag or mode (``train``, ``eval``) is another program.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from inspect import Parameter as Argument, Signature
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, Self, TypeVar

import numpy as np

from staticgrad.errors import ArgumentError, ParameterValueError
from staticgrad.errors.calls import check_call, check_takes_nothing, raised_inside
from staticgrad.errors.tracebacks import boundary, cut
from staticgrad.errors.wording import kind_of, shown
from staticgrad.functions.call_types import P, R
from staticgrad.functions.random import Generator
from staticgrad.functions.trees import Contents, flatten
from staticgrad.ir.calls import public
from staticgrad.ir.execution import computing, computing_kind, in_graphs
from staticgrad.ir.kinds import AnyValue, Operand
from staticgrad.ir.nodes import Parameter
from staticgrad.ir.op import Array
from staticgrad.ir.value import Value
from staticgrad.nn.drawing import contents, drawn
from staticgrad.nn.naming import copied_apart, name_apart
from staticgrad.nn.picture import module_html
from staticgrad.nn.scopes import as_scopes, scope_of
from staticgrad.storage.parameter import write_all

if TYPE_CHECKING:
    from staticgrad.nn.torch_weights import Incomplete

_FROM_TORCH: Final = "model.load_torch(state) converts names and layouts of PyTorch"
R_co = TypeVar("R_co", covariant=True)


class WithForward(Protocol[P, R_co]):
    """A module as its ``forward`` is typed: calls take and give the same."""

    @property
    def forward(self) -> Callable[P, R_co]:
        """What it computes."""


class Module:
    """A function with parameters: subclasses set attributes, ``forward`` says what it computes.

    ``__init__`` of a subclass needs not call this one's, for there is none. ``forward``
    is ordinary code over ordinary functions. Called with tensors it computes at once, with values
    of a graph it builds more of the graph.

    The first call of a module names the parameters inside of it by their paths
    (``inner.weight``; of a second model ``inner_1.weight``), and what it builds belongs to scopes
    of these paths (``inner``), which errors, graphs and reports show.

    Attributes:
        training: whether it behaves as in training (dropout drops); set by ``train`` and ``eval``.
        states: names of attributes that ``state_dict`` keeps, but optimizers do not step.

    >>> import numpy as np, staticgrad as sg
    >>> class Scaled(sg.nn.Module):
    ...     def __init__(self):
    ...         self.inner = sg.nn.Linear(3, 2)
    ...         self.scale = sg.parameter("scale", np.ones(2, "float32"))
    ...     def forward(self, x):
    ...         return self.inner(x) * self.scale
    >>> model = Scaled()
    >>> model
    Scaled: 10 parameters
      inner: Linear(3, 2): weight f32[3, 2], bias f32[2]
      scale f32[2]
    >>> list(model.state_dict())
    ['inner.weight', 'inner.bias', 'scale']
    >>> sg.function(model)(np.ones((4, 3), "float32")).shape
    (4, 2)
    """

    training: bool = True
    states: ClassVar[tuple[str, ...]] = ()

    if TYPE_CHECKING:
        forward: Any
    else:

        @boundary
        def __setattr__(self, name: str, value: Any) -> None:
            if isinstance(value, np.ndarray) and isinstance(vars(self).get(name), Parameter):
                raise ParameterValueError(
                    f"{type(self).__name__}.{name} is a parameter, and would be none as an array",
                    hint=f"model.{name}.value = array keeps it one",
                )
            if isinstance(value, Parameter | list | tuple | dict):
                name_apart(value)
            super().__setattr__(name, value)

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            """What the module computes; subclasses say."""
            raise ArgumentError(
                f"{type(self).__name__} does not say what it computes",
                hint="def forward(self, x): in the class",
            )

    def __call__(self: WithForward[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What ``forward`` gives, in the mode of its operands."""
        try:
            with _mode_of(args, kwargs), scope_of(self):
                try:
                    return self.forward(*args, **kwargs)
                except TypeError as error:
                    if raised_inside(error):
                        raise
                    refused = error
                check_call(type(self), self.forward, args, kwargs)
                raise refused
        except Exception as error:
            cut(error)
            raise

    # -- what it holds ----------------------------------------------------------------------------

    def tree_contents(self) -> Contents:
        """Its attributes, by name: those that hold values or arrays, and all others."""
        parts = {name: value for name, value in vars(self).items() if _holds_values(value)}
        return Contents(parts, {n: v for n, v in vars(self).items() if n not in parts})

    def modules(self) -> Iterator[Module]:
        """This module and those inside of it, each once."""
        for _, module in self.named_modules():
            yield module

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """This module, whose path is empty, and those inside of it with their paths, each once."""
        seen: set[int] = set()
        for path, found in _inside("", self):
            if isinstance(found, Module) and id(found) not in seen:
                seen.add(id(found))
                yield path, found

    def scopes(self) -> AbstractContextManager[None]:
        """Name what is built by their paths from this module: ``decoder/layers.0``.

        A call of the module does so by itself. The block does it where parts of the module are
        called by other code than its ``forward``: ``model.decoder(model.encoder(x))``.

        Returns:
            What ``with`` enters.

        >>> import staticgrad as sg
        >>> net = sg.nn.Sequential(sg.nn.Linear(3, 4), sg.nn.Linear(4, 2))
        >>> with net.scopes():
        ...     y = net.layers[1](net.layers[0](sg.input("x", ("n", 3), "float32")))
        >>> y.node.origin.scope
        'layers.1'
        """
        return as_scopes(self, kinds=False)

    def parameters(self) -> list[Parameter]:
        """What optimizers step: each parameter once, in the order in which attributes were set."""
        return [parameter for _, parameter in self.named_parameters()]

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """The same, with paths."""
        return ((path, p) for path, p, is_state in _stored(self) if not is_state)

    def state_dict(self) -> dict[str, Array]:
        """Copies of all that it keeps, by path: parameters, running statistics, generators."""
        return {path: np.array(p.value) for path, p, _ in _stored(self)}

    @public
    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Set what it keeps, all of it or nothing.

        Args:
            state: arrays by path, as ``state_dict`` gives them.
            strict: names that only one side has are an error, too.

        Raises:
            ParameterValueError: with all that is different: missing and unknown names, shapes,
                element types.
        """
        if not isinstance(state, Mapping):
            raise ParameterValueError(
                f"load_state_dict takes arrays by name, not {kind_of(state)}",
                hint="model.load_state_dict(other.state_dict())",
            )
        from staticgrad.nn import torch_weights as of_torch  # it reads the classes of layers

        own = {path: parameter for path, parameter, _ in _stored(self)}
        differences = [f"{name}: missing" for name in own if name not in state]
        differences += [f"{shown(name)}: unknown" for name in state if name not in own]
        differences = differences if strict else []
        pairs = []
        for name in own.keys() & state.keys():
            store = own[name].store
            try:
                pairs.append((store, store.fitted(state[name])))
            except ParameterValueError as error:
                differences.append(f"{name}: {error.headline}")
        if any(map(of_torch.is_torch, state.values())) and of_torch.is_converted(self):
            differences.append("tensors of PyTorch, whose layers have other layouts")
        if differences:
            count = len(differences)
            raise ParameterValueError(
                f"{type(self).__name__} and the state differ in {count} place{'s'[: count > 1]}",
                details=sorted(differences),
                hint=_FROM_TORCH if of_torch.is_torch_state(self, state) else "nothing was changed",
            )
        write_all(pairs)

    @public
    def load_torch(self, source: Any, strict: bool = True) -> Incomplete:
        """Set the parameters to those of a model of PyTorch, all of them or none.

        Names and layouts are converted (``nn/torch_weights.py``): a ``Linear`` is transposed, the
        ``in_proj_weight`` of an attention is split, ``0.weight`` of a ``Sequential`` is
        ``layers.0.weight``. The classes and the attributes of both models must be the same.

        Args:
            source: a state dict, of tensors or of arrays; a module of PyTorch; or the name of a
                file: ``.safetensors``, ``.npz``, or one of ``torch.save``, which needs torch.
            strict: names that only one side has are an error.

        Returns:
            The names that only one side has: ``missing_keys`` and ``unexpected_keys``.

        Raises:
            ParameterValueError: with all that is different: missing and unexpected names, shapes,
                element types.
            MissingPackageError: a file of ``torch.save``, and torch is not installed.

        >>> import numpy as np, staticgrad as sg
        >>> net = sg.nn.Sequential(sg.nn.Linear(3, 2, bias=False), sg.nn.ReLU())
        >>> net.load_torch({"0.weight": np.ones((2, 3), "float32")})
        Incomplete(missing_keys=[], unexpected_keys=[])
        """
        from staticgrad.nn.torch_weights import load_torch  # it reads the classes of layers

        return load_torch(self, source, strict)

    def torch_state(self) -> dict[str, Array]:
        """Copies of the parameters under the names and in the layouts of PyTorch.

        >>> import staticgrad as sg
        >>> {name: a.shape for name, a in sg.nn.GRU(3, 4, bias=False).torch_state().items()}
        {'weight_ih_l0': (12, 3), 'weight_hh_l0': (12, 4)}
        """
        from staticgrad.nn.torch_weights import torch_state  # it reads the classes of layers

        return torch_state(self)

    # -- modes ------------------------------------------------------------------------------------

    @public
    def train(self, mode: bool = True) -> Self:
        """Behave as in training, or not; returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Behave as after training; returns the module."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients that backward passes have left in the parameters."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def __deepcopy__(self, memo: dict[Any, Any]) -> Self:
        """A module with parameters of its own, whose names are new: both may be in one graph."""
        stores = (found.store for _, found in _inside("", self) if isinstance(found, Parameter))
        return copied_apart(self, stores, memo)

    def __str__(self) -> str:
        return drawn(self, self.parameters())

    def __repr__(self) -> str:
        return drawn(self, self.parameters(), most=20)  # lines of a screen

    def _repr_html_(self) -> str:
        return module_html(self)


class Layer(Module):
    """A module that gives a value for one, of the same kind: of tensors a tensor."""

    if not TYPE_CHECKING:  # a type checker knows what ``object`` takes

        @boundary
        def __init__(self, *given: Any, **options: Any) -> None:
            check_takes_nothing(type(self).__name__, given, options)

        __init__.__signature__ = Signature([Argument("self", Argument.POSITIONAL_ONLY)])

    if TYPE_CHECKING:

        def __call__(self, x: Operand[AnyValue]) -> AnyValue: ...


def _mode_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> computing:
    """That of the first operand that is no parameter: where there is none, the present one."""
    if args and isinstance(args[0], Value) and not args[0].is_stored:
        leaves: Iterable[Any] = args  # nearly always: flattening takes longer than the rest
    else:
        leaves = itertools.chain(args, kwargs.values(), flatten((args, kwargs))[0])
    for leaf in leaves:
        if isinstance(leaf, Value) and not leaf.is_stored:
            return computing(type(leaf).kind) if leaf.computes else in_graphs()  # type: ignore[attr-defined]
    return computing(computing_kind())


def _holds_values(attribute: Any) -> bool:
    if isinstance(attribute, list | tuple):
        return any(map(_holds_values, attribute))
    if isinstance(attribute, dict):
        return any(map(_holds_values, attribute.values()))
    return isinstance(attribute, Value | np.ndarray | Module)


def _inside(path: str, found: Any) -> Iterator[tuple[str, Any]]:
    """An attribute and what is inside of it: modules, generators and parameters, with paths."""
    if isinstance(found, Module | Generator | Parameter):
        yield path, found
    for name, each in contents(found):
        yield from _inside(f"{path}.{name}" if path else str(name), each)


def _stored(module: Module) -> Iterator[tuple[str, Parameter, bool]]:
    """Every parameter once, with its path, and whether no optimizer steps it."""
    states = {
        id(parameter)
        for each in module.modules()
        for name in each.states
        for _, parameter in _inside("", getattr(each, name, None))
    }
    seen = set()
    for path, found in _inside("", module):
        if isinstance(found, Parameter) and found.node not in seen:
            seen.add(found.node)
            yield path, found, id(found) in states or not found.dtype.is_float

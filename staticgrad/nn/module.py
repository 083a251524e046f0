"""Module: a function with parameters, which are stored in its attributes.

Nothing is registered. A module's parameters are those in its attributes, in lists, tuples and
dicts of them, and in modules there; attribute paths name them (``layers.0.weight``). A module is
a tree like lists and dicts, and its leaves are its parameters and arrays, so functions can take
and return modules. Everything else in it is static: ``sg.function`` traces another program if a
number, flag or mode (``train``, ``eval``) of the module changes.

A layer has no path when it is created, so ``Linear`` calls its weight ``linear3.weight``. A module
that no other one calls is a root: its parameters get their paths as names,
``blocks.1.attn.query.weight``, and nodes that the modules inside of it build get scopes of these
paths. Names are new in deep copies: target networks, teachers and ensembles are made by
``copy.deepcopy(model)`` and stand in one graph with their original, where two parameters of one
name would be an error.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import fields
from inspect import Parameter as Argument, Signature, signature, unwrap
from math import prod
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    NoReturn,
    Protocol,
    Self,
    TypeVar,
    dataclass_transform,
)
from weakref import WeakValueDictionary

import numpy as np

from staticgrad.errors import ArgumentError, ParameterValueError, UnknownNameError
from staticgrad.extend import (
    AnyValue,
    Array,
    ArrayLike,
    NamedTuple,
    Parameter,
    Symbolic,
    Value,
    adopt_overrides,
    are_plain,
    boundary,
    check_call,
    check_takes_nothing,
    computed_at_once,
    cut_frames,
    dataclass,
    deprecated_attribute,
    kind_of,
    list_names,
    public,
    quote,
    raised_inside,
)
from staticgrad.extend.building import (
    GENERATORS,
    ModuleCall,
    Session,
    check_updates,
    collect_updates,
    computing,
    computing_kind,
    in_graphs,
    next_serial,
    note_module_call,
    running_session,
    traced_in,
    within,
)
from staticgrad.extend.hints import OF_MODULES, no_such_attribute
from staticgrad.extend.pages import PrintedText, details, fragment, paragraph, table, text_block
from staticgrad.extend.parameters import ComplexParameter, ParameterStore, stored_of, write_all
from staticgrad.extend.trees import (
    Contents,
    ObjectParts,
    flatten,
    is_module,
    items_of,
    parts,
    parts_in,
)
from staticgrad.functions.call_types import P, R
from staticgrad.nn import torch_weights
from staticgrad.nn.torch_weights import (
    Incomplete,
    Matching,
    is_converted,
    is_torch,
    is_torch_state,
    same,
)
from staticgrad.random import Generator

M = TypeVar("M")


class NumberedNames:
    """Names that are given once: ``linear``, then ``linear1``; another object gets the next one.

    ``joint`` separates a number from the name.
    """

    def __init__(self, joint: str = "") -> None:
        self._joint = joint
        self._numbers: dict[str, Iterator[int]] = {}  # a given name -> the next numbers behind it

    def __contains__(self, name: str) -> bool:
        """Return whether the name has been given."""
        return name in self._numbers

    def new(self, name: str) -> str:
        """Return ``name``, or, if it has been given, ``name`` with the next free number."""
        fresh, tried = itertools.count(1), name
        while self._numbers.setdefault(tried, fresh) is not fresh:  # other threads give names, too
            tried = f"{name}{self._joint}{next(self._numbers[name])}"
        return tried


#: Beginnings of the names of parameters that layers make.
_of_layers: Final = NumberedNames()
#: Names of parameters that were made for an attribute of a module.
_of_attributes: Final = NumberedNames("_")
#: Names that are paths -> what has them now.
_paths: Final[WeakValueDictionary[str, ParameterStore]] = WeakValueDictionary()
#: The key of a deep copy's memo that says that a module around this one is copied.
_INSIDE: Final = "staticgrad.nn: inside of a module"


def new_layer_name(kind: str) -> str:
    """A name for the parameters of one more layer of a kind: ``linear``, ``linear1`` and so on."""
    return _of_layers.new(kind)


def name_by_path(stored: Iterable[tuple[str, Parameter]]) -> None:
    """Name parameters by their paths from a module that is called.

    Names stay that users gave, that are paths already, or that a graph has; so does that of a
    parameter of the module itself, as a path without a dot says less. Where another module has the
    same paths they get a number: ``blocks_1.0.scale``.
    """
    fresh = [(path, p.store) for path, p in stored if "." in path and _is_free(p.store)]
    if not fresh:
        return
    names = [path for path, _ in fresh]
    for number in itertools.count(1):
        if not any(name in _paths for name in names):
            break
        names = [f"_{number}.".join(path.split(".", 1)) for path, _ in fresh]
    for name, (_, store) in zip(names, fresh, strict=True):
        store.rename(name)
        _paths[name] = store


def _is_free(store: ParameterStore) -> bool:
    if store.in_graph or _paths.get(store.name) is store:
        return False
    return store.name.partition(".")[0] in _of_layers or store.made_for_module


def name_apart(value: Any) -> None:
    """Number the names of parameters that were made for an attribute of a module just now.

    A class whose ``__init__`` has ``self.scale = sg.parameter("scale", array)`` may be
    instantiated several times: the second has ``scale_1``. What has stood in a module, or may stand
    in a graph, keeps its name: other nodes have been made since it was.
    """
    fresh = {p.store: p for p in _parameters_in(value) if not p.store.in_module}
    if not fresh:
        return
    is_made_now = next_serial() - min([p.node.serial for p in fresh.values()]) <= len(fresh)
    for store in fresh:
        store.in_module, store.made_for_module = True, is_made_now
        if is_made_now and (name := _of_attributes.new(store.name)) != store.name:
            store.rename(name)


def _parameters_in(value: Any, depth: int = 8) -> list[Parameter]:
    """Collect the parameters in an attribute of a module, in containers up to a depth."""
    if isinstance(value, Parameter):
        return [value]
    if isinstance(value, ComplexParameter):
        return [value.stored]
    parameters: list[Parameter] = []
    for part in (parts_in(value) or ()) if depth else ():
        if part.__class__ not in _PLAIN:
            parameters += _parameters_in(part, depth - 1)
    return parameters


def copied_apart(module: M, stores: Iterable[ParameterStore], memo: dict[Any, Any]) -> M:
    """Return a deep copy whose parameters have new names: ``linear_copy.weight``."""
    if _INSIDE in memo:
        return _copy_by_default(module, memo)
    stores_by_id = {id(store): store for store in stores}
    already_copied = memo.keys() & stores_by_id.keys()
    memo[_INSIDE] = True
    try:
        copied = _copy_by_default(module, memo)
    finally:
        del memo[_INSIDE]
    layers: dict[str, str] = {}
    for key, store in stores_by_id.items():
        fresh = memo.get(key)
        if key not in already_copied and isinstance(fresh, ParameterStore):
            layer, dot, attribute = store.name.partition(".")
            if layer not in layers:
                layers[layer] = new_layer_name(re.sub(r"_copy\d*$", "", layer) + "_copy")
            fresh.rename(layers[layer] + dot + attribute)
    return copied


def _copy_by_default(module: M, memo: dict[Any, Any]) -> M:
    """Return the default result of ``copy.deepcopy`` for an object without ``__deepcopy__``."""
    reduced: Any = module.__reduce_ex__(4)
    make, arguments, *state_parts = reduced
    copied: Any = make(*deepcopy(arguments, memo))
    memo[id(module)] = copied
    state = deepcopy(state_parts[0], memo) if state_parts and state_parts[0] is not None else {}
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    if hasattr(copied, "__setstate__"):
        copied.__setstate__(state)
    else:
        vars(copied).update(attributes or {})
        for name, value in (slots or {}).items():
            setattr(copied, name, value)
    typed_copy: M = copied
    return typed_copy


class _CallPosition(NamedTuple):
    """The position of the running code in the tree of modules.

    Attributes:
        paths: of the modules inside of the root, by identity; "" is the root itself.
        path: of the module that is called.
        kinds: whether scopes have the names of classes behind.
    """

    paths: dict[int, str]
    path: str = ""
    kinds: bool = False


_called: Final[ContextVar[_CallPosition | None]] = ContextVar("staticgrad_modules", default=None)
_PLAIN: Final = frozenset((int, float, str, bool, type(None)))
_CONTAINERS: Final = (list, tuple, dict, Generator)
_NO_SCOPE: Final[AbstractContextManager[None]] = nullcontext()
_IN_GRAPHS: Final = in_graphs()  # one block for all: it may be entered several times


@contextmanager
def as_scopes(*roots: Module, kinds: bool = True) -> Iterator[None]:
    """Give nodes that the modules in ``roots`` build in this context scopes of their paths.

    ``kinds``: append the names of their classes.
    """
    paths: dict[int, str] = {}
    for root in roots:
        for module_id, path in _name_parameters(root).items():
            paths.setdefault(module_id, path)
    token = _called.set(_CallPosition(paths, "", kinds))
    try:
        yield
    finally:
        _called.reset(token)


class scope_of:  # noqa: N801 - a context manager, used as a function
    """The scope of a module that is called: its path from the module that calls it."""

    __slots__ = ("_module", "_scope", "_token")

    def __init__(self, module: Any) -> None:
        self._module = module

    def __enter__(self) -> None:
        module, around = self._module, _called.get()
        path = None if around is None else around.paths.get(id(module))
        if around is None or path is None:
            around, path = _CallPosition(_name_parameters(module)), ""
        relative_path = path.removeprefix(f"{around.path}.")
        name = f"{relative_path} {type(module).__name__}" if around.kinds else relative_path
        self._scope = within(scope=name) if path and path != around.path else _NO_SCOPE
        same = path == around.path
        self._token = _called.set(
            around if same else _CallPosition(around.paths, path, around.kinds)
        )
        self._scope.__enter__()

    def __exit__(self, *exc_info: object) -> None:
        self._scope.__exit__(None, None, None)
        _called.reset(self._token)


def _name_parameters(root: Any) -> dict[int, str]:
    """Name the parameters in a module that is called by their paths; return those of its modules.

    The call's mode is noted for the steps of optimizers if a layer depends on it.
    """
    paths: dict[int, str] = {}
    stored: list[tuple[str, Parameter]] = []
    moded: list[Module] = []
    _walk_module(root, "", paths, stored, moded)
    name_by_path(stored)
    if moded:
        names = dict.fromkeys(type(layer).__name__ for layer in moded if not layer.training)
        is_evaluated = names and not root.training
        evaluated = f"{type(root).__name__} ({list_names([*names])})" if is_evaluated else ""
        note_module_call([p.store for _, p in stored], evaluated)
    return paths


def _walk_module(
    container: Any,
    path: str,
    paths: dict[int, str],
    stored: list[tuple[str, Parameter]],
    moded: list[Module],
) -> None:
    """Walk a module and its containers; collect paths of submodules and their parameters.

    ``moded`` gets the modules whose results depend on their mode.
    """
    if is_module(container):
        if id(container) in paths:
            return
        paths[id(container)] = path
        if isinstance(container, Module) and container._has_modes():
            moded.append(container)
        inside: Iterable[tuple[Any, Any]] = vars(container).items()
    else:
        inside = _items_in(container)
    for name, part in inside:
        if part.__class__ in _PLAIN:
            continue
        if isinstance(part, Parameter | ComplexParameter):
            stored.append((f"{path}.{name}" if path else str(name), stored_of(part)))
        elif isinstance(part, _CONTAINERS) or is_module(part):
            _walk_module(part, f"{path}.{name}" if path else str(name), paths, stored, moded)


def drawn(module: Any, parameters: Sequence[Parameter], most: int | None = None) -> str:
    """Draw the module in a line, if it contains no module; else in a line for each, at ``most``."""
    lines = list(_tree_lines("", module))
    if len(lines) == 1:
        return lines[0]
    count = sum(prod(map(int, p.shape)) for p in parameters)
    lines[0] = f"{lines[0]}: {count:,} parameter{'s'[: count != 1]}"
    if most is not None and len(lines) > most:
        lines[most - 1 :] = [f"  ... {len(lines) - most + 1} more lines, which print(module) shows"]
    return "\n".join(lines)


def _tree_lines(name: str, module: Any) -> Iterator[str]:
    """Yield the text lines of a module's tree: one for each submodule and parameter."""
    inner = [(path, child) for path, child in _entries("", module) if _has_line(child)]
    title = f"{name}: {_text_of_call(module)}" if name else _text_of_call(module)
    parameter_lines = [
        f"{path} {p.type}" for path, p in _entries("", module) if isinstance(p, Parameter)
    ]
    if not inner:
        yield title + (f": {', '.join(parameter_lines)}" if parameter_lines else "") + _mode(module)
        return
    yield title + _mode(module)
    for path, child in inner:
        if isinstance(child, Module):
            yield from (f"  {line}" for line in _tree_lines(path, child))
        else:
            yield f"  {path}: {getattr(child, '__name__', child)}"
    yield from (f"  {line}" for line in parameter_lines)


def _mode(module: Any) -> str:
    return "" if module.training else " (eval)"


def _has_line(child: Any) -> bool:
    return is_module(child) or (callable(child) and not isinstance(child, type | Generator))


def _entries(path: str, container: Any) -> Iterator[tuple[str, Any]]:
    for name, child in contents(container):
        inner = f"{path}.{name}" if path else str(name)
        yield inner, child
        if isinstance(child, list | tuple | dict):
            yield from _entries(inner, child)


def _text_of_call(module: Any) -> str:
    """Format a module as a call of its class with the arguments that it has as attributes."""
    attributes = vars(module)
    arguments = []
    for name, argument in signature(type(module)).parameters.items():
        default, value = argument.default, attributes.get(name)
        if default is True and name in attributes and value is None:
            value = False
        if not isinstance(value, bool | int | float | str | tuple) or value == default:
            continue
        required = default is Argument.empty and argument.kind is not Argument.KEYWORD_ONLY
        arguments.append(repr(value) if required else f"{name}={value!r}")
    return (
        f"{type(module).__name__}({', '.join(arguments)})" if arguments else type(module).__name__
    )


def contents(container: Any) -> Iterable[tuple[Any, Any]]:
    """Return the direct contents of a module, container or generator, by name."""
    return vars(container).items() if is_module(container) else _items_in(container)


def _items_in(container: Any) -> Iterable[tuple[Any, Any]]:
    generator_parts = parts(container) if isinstance(container, Generator) else None
    return (
        (items_of(container) or ()) if generator_parts is None else generator_parts.by_key().items()
    )


def module_html(module: Module) -> str:
    """Return a module as HTML: its parameters in a table, and the tree of submodules."""
    rows, total = [], 0
    for path, parameter in module.named_parameters():
        count = prod(map(int, parameter.shape))
        total += count
        rows.append((path, str(parameter.type), f"{count:,}"))
    mode = "in training" if module.training else "as after training"
    return fragment(
        paragraph(f"{type(module).__name__}: {total:,} parameters, {mode}"),
        text_block(str(module)),
        details("parameters", table(("path", "type", "elements"), rows, numbers=(2,))),
    )


_FROM_TORCH: Final = "model.load_torch(state) converts names and layouts of PyTorch"
R_co = TypeVar("R_co", covariant=True)


class ModuleState(dict[str, Array]):
    """Arrays by path, as ``Module.state_dict`` gives them."""

    @boundary
    def __missing__(self, name: str) -> NoReturn:
        more = ", ..." * (len(self) > 3)
        raise UnknownNameError(
            f"the state has no {quote(name)}: its names are {list_names([*self][:3])}{more}",
            hint="model.torch_state() has PyTorch's names and layouts, torch_mapping() both",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # as a plain dict: files do not depend on this class


class WithForward(Protocol[P, R_co]):
    """A module as its ``forward`` is typed: calls take and give the same."""

    @property
    def forward(self) -> Callable[P, R_co]:
        """Compute the result."""


class Module:
    """A function with parameters: subclasses set attributes and define ``forward``.

    ``__init__`` of a subclass needs not call this one's, for there is none. ``forward``
    is ordinary code over ordinary functions. Called with tensors it computes at once, with values
    of a graph it builds nodes of the graph.

    The first call of a module names the parameters inside of it by their paths
    (``inner.weight``; in a second model ``inner_1.weight``), and the nodes it builds get scopes
    of these paths (``inner``), which errors, graphs and reports show.

    Attributes:
        training: True in training mode (dropout is active); set by ``train`` and ``eval``.
        states: names of attributes that ``state_dict`` contains, but optimizers do not update.

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

        def __setattr__(self, name: str, value: Any) -> None:
            try:
                if isinstance(value, np.ndarray) and isinstance(vars(self).get(name), Parameter):
                    raise ParameterValueError(
                        f"{type(self).__name__}.{name} is a parameter; an array would replace it",
                        hint=f"model.{name}.value = array sets its value",
                    )
                if isinstance(value, Parameter | ComplexParameter | list | tuple | dict):
                    name_apart(value)
                super().__setattr__(name, value)
            except Exception as error:
                cut_frames(error)
                raise

        @boundary
        def __getattr__(self, name: str) -> NoReturn:
            raise no_such_attribute(self, name, OF_MODULES)

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            """Compute the module's result; subclasses define it."""
            raise ArgumentError(
                f"{type(self).__name__} does not say what it computes",
                hint="def forward(self, x): in the class",
            )

    @boundary
    def __call__(self: WithForward[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the result of ``forward``, in the mode of its operands."""
        this: Any = self
        if are_plain(args, kwargs) and not this.parameters():
            at_once: R = computed_at_once(this._call_in_mode, args, kwargs)
            return at_once
        result: R = this._call_in_mode(args, kwargs)
        return result

    def _call_in_mode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a module's ``forward`` in its mode and scope; outside of a trace collect updates."""
        with _mode_of(args, kwargs), scope_of(self):
            if running_session() is not None or computing_kind() is not None:
                return self._forward(args, kwargs)
            call = ModuleCall()
            with collect_updates(call):
                result = self._forward(args, kwargs)
            if call.updates:
                call.mark_nodes([v for v in flatten(result)[0] if isinstance(v, Symbolic)])
            return result

    def _forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a module's ``forward``, and explain arguments that do not fit."""
        try:
            return self.forward(*args, **kwargs)
        except TypeError as error:
            if raised_inside(error):
                raise
            refused = error
        check_call(type(self), self.forward, args, kwargs)
        raise refused

    # -- what it holds ----------------------------------------------------------------------------

    def tree_contents(self) -> Contents:
        """Return its attributes, by name: those that hold values or arrays, and all others."""
        parts = {name: value for name, value in vars(self).items() if _holds_values(value)}
        return Contents(parts, {n: v for n, v in vars(self).items() if n not in parts})

    def modules(self) -> Iterator[Module]:
        """This module and those inside of it, each once."""
        for _, module in self.named_modules():
            yield module

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """This module, whose path is empty, and those inside of it with their paths, each once."""
        seen: set[int] = set()
        for path, module in _inside("", self):
            if isinstance(module, Module) and id(module) not in seen:
                seen.add(id(module))
                yield path, module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules in its attributes, and in lists and dicts there, with their paths."""
        for name, attribute in contents(self):
            yield from _outermost(str(name), attribute)

    def children(self) -> Iterator[Module]:
        """The modules in its attributes, and in lists and dicts there."""
        return (child for _, child in self.named_children())

    def get_submodule(self, path: str) -> Module:
        """Return the module of a path, as ``named_modules`` gives it: ``blocks.1.attention``.

        Raises:
            UnknownNameError: there is none.
        """
        modules = dict(self.named_modules())
        if path not in modules:
            raise UnknownNameError(
                f"{type(self).__name__} has no module {quote(path)}:"
                f" they are {list_names([name for name in modules if name])}"
            )
        return modules[path]

    def apply(self, fn: Callable[[Module], object]) -> Self:
        """Call a function with each module inside, then with this one, as PyTorch does."""
        for module in reversed([*self.modules()]):
            fn(module)
        return self

    def scopes(self) -> AbstractContextManager[None]:
        """Name the nodes built inside by their paths from this module: ``decoder/layers.0``.

        A call of the module does so by itself. The block does it where parts of the module are
        called by other code than its ``forward``: ``model.decoder(model.encoder(x))``.

        >>> net = sg.nn.Sequential(sg.nn.Linear(3, 4), sg.nn.Linear(4, 2))
        >>> with net.scopes():
        ...     y = net.layers[1](net.layers[0](sg.input("x", ("n", 3), "float32")))
        >>> y.node.origin.scope
        'layers.1'
        """
        return as_scopes(self, kinds=False)

    def parameters(self) -> list[Parameter]:
        """Return the parameters for optimizers: each once, in the order of the attributes."""
        return [parameter for _, parameter in self.named_parameters()]

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield parameters with their paths."""
        return ((path, p) for path, p, is_state in walk_parameters(self) if not is_state)

    def state_dict(self) -> dict[str, Array]:
        """Copies of all that it keeps, by path: parameters, running statistics, generators.

        Names and layouts are those of this library; ``torch_state`` has PyTorch's.
        """
        return ModuleState({path: p.store.numbers(p.value) for path, p, _ in walk_parameters(self)})

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
        parameters = {path: parameter for path, parameter, _ in walk_parameters(self)}
        differences = [f"{name}: missing" for name in parameters if name not in state]
        differences += [f"{quote(name)}: unknown" for name in state if name not in parameters]
        differences = differences if strict else []
        pairs = []
        for name in parameters.keys() & state.keys():
            store = parameters[name].store
            try:
                pairs.append((store, store.fit_array(state[name])))
            except ParameterValueError as error:
                differences.append(f"{name}: {error.headline}")
        own_layouts = [*layouts(self)]
        if any(map(is_torch, state.values())) and is_converted(own_layouts):
            differences.append("tensors of PyTorch, whose layers have other layouts")
        if differences:
            count = len(differences)
            raise ParameterValueError(
                f"{type(self).__name__} and the state differ in {count} place{'s'[: count > 1]}",
                details=sorted(differences),
                hint=_FROM_TORCH if is_torch_state(own_layouts, state) else "nothing was changed",
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

        >>> net = sg.nn.Sequential(sg.nn.Linear(3, 2, bias=False), sg.nn.ReLU())
        >>> net.load_torch({"0.weight": np.ones((2, 3), "float32")})
        Incomplete(missing_keys=[], unexpected_keys=[])
        """
        return torch_weights.load_torch([*layouts(self)], source, strict, type(self).__name__)

    def torch_state(self) -> dict[str, Array]:
        """Copies of the parameters under the names and in the layouts of PyTorch.

        >>> {name: a.shape for name, a in sg.nn.GRU(3, 4, bias=False).torch_state().items()}
        {'weight_ih_l0': (12, 3), 'weight_hh_l0': (12, 4)}
        """
        return torch_weights.torch_state(layouts(self))

    def torch_mapping(self) -> str:
        """Names and shapes in PyTorch beside those here, a line for each array or group of them.

        ``load_torch`` reads by it and ``torch_state`` writes by it.

        >>> print(sg.nn.Sequential(sg.nn.Linear(3, 2), sg.nn.BatchNorm1d(2)).torch_mapping())
        0.weight (2, 3)          -> layers.0.weight (3, 2), transposed
        0.bias (2,)              -> layers.0.bias (2,)
        1.num_batches_tracked () -> not used
        1.weight (2,)            -> layers.1.weight (2,)
        1.bias (2,)              -> layers.1.bias (2,)
        1.running_mean (2,)      -> layers.1.running_mean (2,)
        1.running_var (2,)       -> layers.1.running_var (2,)
        """
        paths = {p.node: path for path, p, _ in walk_parameters(self)}
        return PrintedText(torch_weights.torch_mapping(layouts(self), paths))

    #: Parts of a path here -> PyTorch's; "" leaves the part out.
    _torch_names: ClassVar[Mapping[str, str]] = {}

    def _torch_layouts(self) -> Iterator[Matching]:
        """Yield its own arrays whose layouts are not the same in PyTorch."""
        yield from ()

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

    #: Whether methods of the class read ``training``.
    _reads_mode: ClassVar[bool] = False

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        codes = [getattr(unwrap(m), "__code__", None) for m in vars(cls).values() if callable(m)]
        if any(code is not None and "training" in code.co_names for code in codes):
            cls._reads_mode = True

    def _has_modes(self) -> bool:
        """Return whether its result depends on ``training``, apart from modules inside."""
        return self._reads_mode

    def zero_grad(self) -> None:
        """Forget the gradients that backward passes have left in the parameters."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def __deepcopy__(self, memo: dict[Any, Any]) -> Self:
        """Return a module with new parameters, whose names are new: both may be in one graph."""
        stores = (
            parameter.store
            for _, parameter in _inside("", self)
            if isinstance(parameter, Parameter)
        )
        return copied_apart(self, stores, memo)

    def __str__(self) -> str:
        return drawn(self, self.parameters())

    def __repr__(self) -> str:
        return drawn(self, self.parameters(), most=20)  # lines of a screen

    def _repr_html_(self) -> str:
        return module_html(self)


parts.register(
    Module,
    lambda module: ObjectParts(
        module.state_dict,
        module.load_state_dict,
        lambda: dict(module.named_parameters()),
        stored=None
        if type(module).state_dict is not Module.state_dict  # a class with a state of its own
        else lambda: {path: parameter for path, parameter, _ in walk_parameters(module)},
    ),
)


class Layer(Module):
    """A module that gives a value for one, of the same kind: of tensors a tensor."""

    if not TYPE_CHECKING:  # a type checker knows what ``object`` takes

        @boundary
        def __init__(self, *args: Any, **options: Any) -> None:
            check_takes_nothing(type(self).__name__, args, options)

        __init__.__signature__ = Signature([Argument("self", Argument.POSITIONAL_ONLY)])

    if TYPE_CHECKING:

        def __call__(self, x: ArrayLike[AnyValue]) -> AnyValue: ...


@dataclass_transform(eq_default=False)
class FunctionLayer(Layer):
    """A function of x and of the layer's fields: ``class ELU(FunctionLayer, function=elu)``.

    The fields that a subclass declares are the arguments of its constructor, as of a dataclass, and
    of the function, by name.
    """

    _function: ClassVar[Any] = None
    _options: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, function: Callable[..., Any] | None = None, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        adopt_overrides(cls)
        if function is not None:
            cls._function = staticmethod(function)
        if vars(cls).get("__annotations__"):
            dataclass(eq=False, repr=False)(cls)
            cls._options = tuple([field.name for field in fields(cls)])  # type: ignore[arg-type]
            cls.__init__.__module__ = cls.__module__  # where its annotations are names
            cls.__init__ = public(cls.__init__)  # type: ignore[method-assign]

    computed = deprecated_attribute("0.2", "compute")

    def compute(self, *operands: Any) -> Any:
        """The function of operands and of the fields."""
        return self._function(*operands, **{n: getattr(self, n) for n in self._options})

    def forward(self, x: Any) -> Any:
        return self.compute(x)


def _mode_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> computing:
    """Choose how a module call runs by its arguments: graph values, tensors or arrays."""
    if args and isinstance(args[0], Value) and not args[0].is_stored:
        leaves: Iterable[Any] = args  # nearly always: flattening takes longer than the rest
    else:
        leaves = itertools.chain(args, kwargs.values(), flatten((args, kwargs))[0])
    for leaf in leaves:
        if isinstance(leaf, Value) and not leaf.is_stored:
            return computing(type(leaf).kind) if leaf.computes else _IN_GRAPHS  # type: ignore[attr-defined]
    return computing(computing_kind())


def _holds_values(attribute: Any) -> bool:
    parts = parts_in(attribute)
    if parts is not None:
        return any(map(_holds_values, parts))
    return isinstance(attribute, Value | np.ndarray | Module) or hasattr(attribute, "__dlpack__")


def _inside(path: str, container: Any) -> Iterator[tuple[str, Any]]:
    container = stored_of(container)
    if isinstance(container, Module | Generator | Parameter):
        yield path, container
    for name, child in contents(container):
        yield from _inside(f"{path}.{name}" if path else str(name), child)


def _outermost(path: str, container: Any) -> Iterator[tuple[str, Module]]:
    """Yield the modules in a container that are in no other module there, with their paths."""
    if isinstance(container, Module):
        yield path, container
        return
    for name, child in contents(container):
        yield from _outermost(f"{path}.{name}", child)


def walk_parameters(module: Module) -> Iterator[tuple[str, Parameter, bool]]:
    """Yield every parameter of a module once, with its path, and whether optimizers leave it."""
    states = {
        id(parameter)
        for submodule in module.modules()
        for name in submodule.states
        for _, parameter in _inside("", getattr(submodule, name, None))
    }
    seen = set()
    for path, parameter in _inside("", module):
        if isinstance(parameter, Parameter) and parameter.node not in seen:
            seen.add(parameter.node)
            yield path, parameter, id(parameter) in states or not parameter.dtype.is_float


def layouts(container: Any, path: str = "") -> Iterator[Matching]:
    """Yield the PyTorch layouts of a module's weights and those of its submodules."""
    if isinstance(container, Parameter):
        yield Matching((container,), (path,), same, same)
    renamed: Mapping[str, str] = {}
    done: set[int] = set()
    if isinstance(container, Module):
        renamed = container._torch_names
        for matching in container._torch_layouts():
            done.update(map(id, matching.parameters))
            yield matching._replace(
                names=tuple([_join_path(path, name) for name in matching.names])
            )
    elif not isinstance(container, list | tuple | dict):
        return
    for name, part in contents(container):
        for matching in layouts(part, _join_path(path, renamed.get(name, str(name)))):
            if not done.issuperset(map(id, matching.parameters)) or not matching.parameters:
                yield matching


def _join_path(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


@contextmanager
@public
def updates() -> Iterator[dict[Parameter, Any]]:
    """Collect the next values of parameters inside of this context, for a graph.

    So it is of running statistics, of ``p.update(value)``, ``opt.minimize(loss)`` and the steps of
    generators. ``sg.function`` does it by itself; a graph with other updates makes those of modules
    and generators by itself. The dict is filled when the block ends.
    """
    noted = Session()
    next_values: dict[Parameter, Any] = {}
    streams_before = {generator: generator.streams for generator in list(GENERATORS)}
    with traced_in(noted):
        yield next_values
    for generator in list(GENERATORS):
        if isinstance(generator.step, Parameter) and generator.streams > streams_before.get(
            generator, 0
        ):
            noted.updates += generator.updates.items()
    check_updates(noted.updates)
    next_values.update(noted.updates)

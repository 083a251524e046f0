"""Nodes and symbolic values: one application of an op, and what it gives; and sessions of traces.

Nodes are immutable and compared by ``is``: two equal nodes are two (recomputation needs that;
merging them is a pass).

A traced function may update parameters, and arrays that it closes over become constants. The
session of the trace records both. An update is the value of every later read in the same session:
in a graph the read is another value (static single assignment); in a function that runs eagerly
updates that are pending are written before the parameter is read.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import copysign
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self
from weakref import WeakSet

import numpy as np

from staticgrad.errors import (
    ArgumentError,
    GradientError,
    GraphError,
    LargeConstantWarning,
    OpDefinitionError,
    Related,
    StaticgradError,
    warn,
)
from staticgrad.errors.tracebacks import boundary
from staticgrad.errors.values import NoNumbers, never_set
from staticgrad.errors.wording import quote
from staticgrad.language.calls.execution import (
    computing_kind,
    is_at_once,
    reading,
    register_graph_values,
    register_parameters,
)
from staticgrad.language.calls.functional import functions
from staticgrad.language.calls.pickling import WRITER, Reduced, WriterVersion
from staticgrad.language.ir.discovery import load_ops
from staticgrad.language.ir.forms import Form
from staticgrad.language.ir.kinds import set_default_kind
from staticgrad.language.ir.op import (
    Array,
    Constant,
    Input,
    Op,
    ParameterLeaf,
    as_array,
    result_types,
)
from staticgrad.language.ir.pairs import SymbolicComplex, is_complex_data
from staticgrad.language.ir.value import Value
from staticgrad.language.storage.parameter import ParameterStore, ParameterValue
from staticgrad.language.types.arrays import ArrayData, Shape, TensorType, reference_to
from staticgrad.language.types.dtype import DType
from staticgrad.support.building import here
from staticgrad.support.contexts import Block, Nested
from staticgrad.support.source import Location

_serial = itertools.count()
_LARGE_CONSTANT: Final = 10**6  # bytes
_NUMBERS: Final = frozenset({bool, int, float})


class Node:
    """One application of an op.

    ``origin`` is the user's line, ``order`` the derivative order (0: built by the user, k+1: built
    while differentiating order k); both stand outside equality. ``serial`` is the creation order.
    A node never changes, so that what has been found out about it is kept with it: ``verified``,
    that ``types`` are what the op infers; ``normal``, the marks of those rule tables in whose
    normal form it is; ``calls``, the calls of modules that computed it and update parameters.
    """

    __slots__ = (
        "__weakref__",
        "_form",
        "args",
        "calls",
        "normal",
        "op",
        "order",
        "origin",
        "serial",
        "types",
        "verified",
    )  # fmt: skip

    def __init__(
        self,
        op: Op,
        args: tuple[Symbolic, ...],
        types: tuple[TensorType, ...],
        origin: Location,
        order: int = 0,
    ) -> None:
        self.op = op
        self.args = args
        self.types = types
        self.origin = origin
        self.order = order
        self.serial = next(_serial)
        self.verified = False
        self.normal = 0
        self.calls: tuple[ModuleCall, ...] = ()
        self._form: Form | None = None

    @property
    def values(self) -> tuple[Symbolic, ...]:
        """The results."""
        if len(self.types) == 1:
            return (Symbolic(self),)
        return tuple([Symbolic(self, i) for i in range(len(self.types))])

    @property
    def form(self) -> Form:
        """Return the memory-access form of the node's op (map, reduction, view, ...)."""
        if self._form is None:
            try:
                self._form = self.op.form(*self.types, *[arg.type for arg in self.args])
            except OpDefinitionError as error:
                error.at = self.origin
                raise
        return self._form

    def share_form(self, node: Node) -> None:
        """Take over the form of a node of an equal op and equal types, if it has been computed."""
        self._form = node._form

    @property
    def is_leaf(self) -> bool:
        return isinstance(self.op, Input | ParameterLeaf | Constant)

    @property
    def label(self) -> str:
        """The user's name of an input or parameter; empty for what is neither."""
        return self.op.label if isinstance(self.op, Input | ParameterLeaf) else ""

    def __reduce__(self) -> Reduced:
        """Take an input or parameter apart; what else there is needs its graph."""
        if not isinstance(self.op, Input | ParameterLeaf):
            raise GraphError(
                "a value inside a graph cannot be pickled or deep-copied without its graph",
                hint="pickle a Graph that has it as an output; inputs and parameters travel alone",
                related=[(self.op.name, str(self.types[0]), self.origin)],
            )
        return restored_leaf, (WRITER, self.op, self.origin, self.order)

    def __repr__(self) -> str:
        return f"<node {self.op.name} {', '.join(map(str, self.types))} at {self.origin}>"


def restored_leaf(
    writer: WriterVersion, op: Input | ParameterLeaf, origin: Location, order: int
) -> Node:
    """The input or parameter that a pickle took apart."""
    load_ops()  # whoever unpickles a value may use its operators next
    return leaf_node(op, origin, order)


def leaf_node(op: Input | ParameterLeaf | Constant, origin: Location, order: int = 0) -> Node:
    """Return a new node without operands."""
    return Node(op, (), (op.infer(),), origin, order)


_marks = itertools.count()


def next_serial() -> int:
    """A number between those of the nodes that there are and those of later ones."""
    return next(_serial)


def new_mark() -> int:
    """A bit of ``Node.normal`` for a pass of its own: it has nothing to do at such a node."""
    return 1 << next(_marks)


class Symbolic(NoNumbers, Value):
    """A value of a graph under construction: result ``index`` of ``node``."""

    __slots__ = ("index", "node")

    kind: ClassVar[type[Value]]

    def __init__(self, node: Node, index: int = 0) -> None:
        self.node, self.index = node, index

    @property
    def type(self) -> TensorType:
        return self.node.types[self.index]

    @property
    def key(self) -> tuple[Node, int]:
        """Identity as a dictionary key (nodes hash by identity)."""
        return (self.node, self.index)

    if not TYPE_CHECKING:  # read by every function: a call each, not also one of ``type``

        @property
        def shape(self) -> Shape:
            return self.node.types[self.index].shape

        @property
        def dtype(self) -> DType:
            return self.node.types[self.index].dtype

        @property
        def ndim(self) -> int:
            return len(self.node.types[self.index].shape)

        shape = never_set(shape, "x.reshape(shape) gives a new value")
        dtype = never_set(dtype, "x.astype(dtype) gives a new value")

    def _is_determined(self) -> bool:
        nodes = ancestors([self])
        sizes = (size for node in nodes for of in node.types for size in of.shape)
        is_read = any(isinstance(node.op, Input | ParameterLeaf) for node in nodes)
        return not is_read and all(isinstance(size, int) for size in sizes)

    @classmethod
    def bind(cls, op: Op, args: tuple[Any, ...]) -> Any:
        """Apply ``op`` to graph values: a new node; return its result, or a tuple of them."""
        try:
            inferred: Any = result_types(op, [arg.node.types[arg.index] for arg in args])
        except StaticgradError as error:
            raise error.with_related([describe(arg, i) for i, arg in enumerate(args)]) from None
        if isinstance(inferred, TensorType):
            node = Node(op, args, (inferred,), *here(skip=2))
            node.verified = True
            return Symbolic(node)
        if not isinstance(inferred, tuple) or not all(isinstance(t, TensorType) for t in inferred):
            raise OpDefinitionError(
                f"{op.name}: infer gives {quote(inferred)}, not a TensorType or a tuple of them",
                hint="the operand's own type, or x.with_shape(shape), x.with_dtype(dtype)",
            )
        node = Node(op, args, inferred, *here(skip=2))
        node.verified = bool(inferred)
        return node.values

    @staticmethod
    def bind_types(op: Op, args: tuple[Any, ...], types: tuple[TensorType, ...]) -> Any:
        """Do the same where the types of the results are known, from an earlier call."""
        origin, order = here(skip=2)
        node = Node(op, args, types, origin, order)
        node.verified = True
        return Symbolic(node) if len(types) == 1 else node.values

    @classmethod
    def lift(cls, data: object, like: DType | None = None) -> Self:
        """A constant node."""
        return constant(data, like)  # type: ignore[return-value]

    @property
    def name(self) -> str:
        """The name of an input or a parameter; else empty."""
        return self.node.label

    def _describe(self) -> Related:
        return describe(self, 0, "value")

    def __repr__(self) -> str:
        return f"<{self.node.label or self.node.op.name}: {self.type}>"


Symbolic.kind = SymbolicComplex.part_kind = Symbolic  # parameters too
Symbolic.complex_kind = SymbolicComplex
set_default_kind(Symbolic)
register_graph_values(Symbolic)


class Parameter(Symbolic):
    """A symbolic value with a stored array that updates may replace; ``sg.parameter`` makes it.

    Beside a tensor, and inside of ``sg.eager_mode()``, it is the tensor of its present array, a
    leaf of the tape: ``backward`` leaves its gradient in ``grad``.

    Args:
        node: what stands for it in graphs.

    >>> import numpy as np, staticgrad as sg
    >>> w = sg.parameter("w", np.zeros(2))
    >>> w.value = [1.0, 2.0]
    >>> w, w.value
    (<w: f64[2]>, array([1., 2.]))
    """

    __slots__ = ()
    _numbers = "its present array: w.value; later ones: sg.Graph(updates={w: value})"
    is_stored = True

    @boundary
    def __init__(self, node: Node) -> None:
        if not isinstance(node, Node):
            raise ArgumentError(
                f"Parameter: {quote(node)} is not a node",
                hint="sg.parameter(name, array) makes a parameter",
            )
        # these exist: ``__setattr__`` has nothing to refuse
        super().__setattr__("node", node)
        super().__setattr__("index", 0)

    @boundary
    def __setattr__(self, name: str, value: Any) -> None:
        if not hasattr(type(self), name):
            raise self._no_attribute(name)
        super().__setattr__(name, value)

    @property
    def kind(self) -> type[Value]:  # type: ignore[override]
        """Values of graphs, unless parameters are what they hold here."""
        return computing_kind() or Symbolic

    @property
    def store(self) -> ParameterStore:
        op = self.node.op
        assert isinstance(op, ParameterLeaf)
        return op.store

    @property
    def name(self) -> str:
        return self.store.name

    @property
    def value(self) -> Array:
        """Return a read-only copy of the parameter's current value.

        ``w.value = array`` sets it, ``w.value -= step`` too; ``w.value.copy()`` is an array to work
        on.
        """
        noted = running_session()
        if noted is not None:
            noted.settle_pending(self)
        return ParameterValue.of(self.store.read())

    @value.setter
    def value(self, array: Any) -> None:
        noted = running_session()
        if noted is not None:
            noted.settle_pending(self)
        self.store.write(array)

    @property
    def grad(self) -> Any:
        """Return the gradient that eager backward passes accumulated in the parameter, or None.

        Raises:
            UnknownAttributeError: nothing has computed with it at once, nor does it here.
        """
        if self.store.leaf is None and computing_kind() is None:
            raise self._no_attribute("grad")
        return None if self.store.leaf is None else self.store.leaf.grad

    @grad.setter
    def grad(self, gradient: Any) -> None:
        """Set the parameter's accumulated gradient, or clear it with None.

        Raises:
            GradientError: no tensor has met the parameter. Else as of a tensor.
        """
        if self.store.leaf is not None:
            self.store.leaf.grad = gradient
        elif gradient is not None:
            raise GradientError(
                f"parameter {self.name!r} has no gradient: it was not used in eager mode",
                hint="of values of a graph gradients are values: dw = sg.grad(loss, w)",
                related=[describe(self, 0)],
            )

    def zero_grad(self) -> None:
        """Forget the gradient, if there is one."""
        self.grad = None

    @boundary
    def update(self, value: Any) -> None:
        """Update the parameter: ``value`` is what every later read gives.

        In ``sg.function`` it happens at each call: what the function reads afterwards is the new
        value, as in ``f.eagerly(...)`` and ``eager_mode``; what it computed before does not change.
        No gradient passes through an update. In a module that is called to build a graph by hand,
        it happens in each run of a graph with updates that contains what the call computed.

        Args:
            value: a value of the graph that is traced, of the parameter's type; or an array, or a
                tensor.

        Raises:
            GraphError: a value of a graph where no function is traced and no module is called; one
                of another type; or one in a body, which may run several times or not at all.
            ParameterValueError: an array that does not fit.

        >>> import staticgrad as sg
        >>> calls = sg.parameter("calls", 0)
        >>> @sg.function
        ... def f(x):
        ...     before = x * calls
        ...     calls.update(calls + 1)
        ...     return before, x * calls
        >>> f(2.0 * np.ones(()))
        (np.float64(0.0), np.float64(2.0))
        >>> f(2.0 * np.ones(()))
        (np.float64(2.0), np.float64(4.0))
        """
        noted = running_session()
        is_symbolic = isinstance(value, Symbolic)
        if noted is not None:
            if noted.inside:
                raise self._refuse_in_body(noted.inside[-1])
            if isinstance(value, Parameter):
                noted.settle_pending(value)
                value = noted.read(value)
            keeps_value = is_symbolic or noted.computes
            pair = (self, value if keeps_value else constant(value, self.dtype))
            check_updates([pair], noted.computes)  # at this line, not where the trace ends
            noted.update(*pair)
        elif is_symbolic and value.kind is Symbolic:
            if body := _body.innermost():
                raise self._refuse_in_body(body)
            call = _call.innermost()
            if call is None:
                raise _no_numbers(self, value)
            check_updates([(self, value)])
            call.updates.append((self, value))
        else:
            self.store.write(value.value if is_symbolic else value)

    def _refuse_in_body(self, body: str) -> GraphError:
        return GraphError(
            f"update of parameter {self.name!r} inside of {body}",
            hint="a body runs several times, or not at all: let it hand the value on, and"
            " update the parameter outside",
        )


def _at_once(name: str) -> Any:
    """Return a conversion method (``__float__``, ``tolist``) that works in eager mode only."""
    refused = getattr(NoNumbers, name)

    @boundary
    @functools.wraps(refused)
    def method(self: Parameter, *args: Any, **kwargs: Any) -> Any:
        kind = computing_kind()
        if kind is None or (args and str(args[0]).startswith("__")):  # copies ask what a class has
            return refused(self, *args, **kwargs)
        return getattr(kind.lift(self), name)(*args, **kwargs)

    return method


for _name in ("array", "bool", "float", "getattr", "index", "int", "iter"):
    setattr(Parameter, f"__{_name}__", _at_once(f"__{_name}__"))
register_parameters(Parameter)


def describe(value: Symbolic, position: int, what: str = "") -> Related:
    """Operand as (name, type text, origin) for an error message."""
    label = value.node.label or what or f"operand {position + 1}"
    return label, str(value.type), value.node.origin


def _no_numbers(parameter: Parameter, value: Any) -> GraphError:
    """Return the error for updating a parameter by a graph value outside of a graph's updates."""
    return GraphError(
        f"update of parameter {parameter.name!r}: {quote(value)} has no numbers here",
        hint="inside of a function under @sg.function it is an update of each call\n"
        "in a graph: sg.Graph(outputs, updates={w: value}); in the forward of a module it is an"
        " update of graphs that contain its result",
        related=[describe(parameter, 0), describe(value, 1, "its next value")],
    )


# -- calls of modules -----------------------------------------------------------------------------


class ModuleCall:
    """The updates that a module makes when it is called to build a graph by hand.

    The nodes that the call built refer to it (``Node.calls``), so that a graph that contains one
    of them can make the updates (``advances.py``).
    """

    def __init__(self) -> None:
        self.updates: list[tuple[Parameter, Symbolic]] = []
        self.serial = next_serial()

    def mark_nodes(self, results: Iterable[Symbolic]) -> None:
        """Attach a call's parameter updates to the nodes of its results, which depend on them.

        Raises:
            GraphError: the call built no node of a result, so no graph contains one.
        """
        if not any(value.node.serial > self.serial for value in results):
            raise _no_numbers(*self.updates[0])
        roots = [*results, *(value for _, value in self.updates)]
        for node in ancestors(roots, oldest=self.serial):
            if not node.is_leaf:
                node.calls = (*node.calls, self)


_call: Final = Nested[ModuleCall | None]("staticgrad_module_call", None)
_body: Final = Nested[str]("staticgrad_body", "")


def takes_updates() -> bool:
    """Return whether an update of a parameter by a value of a graph has an effect where it is made:
    in a trace, or in a call of a module."""
    return running_session() is not None or _call.innermost() is not None


def collect_updates(call: ModuleCall) -> Block[ModuleCall | None]:
    """Inside, updates of parameters by values of a graph, outside of traces, go to ``call``."""
    return Block(_call, call)


# -- sessions -------------------------------------------------------------------------------------


class Session:
    """One trace, or one run at once.

    Attributes:
        computes: whether it runs at once: values are tensors then.
        updates: parameters with their latest values, in the order of the program.
        pending: the same by node; of a run at once, those that are not written yet.
        versions: of a trace: the values that reads after updates have, by parameter.
        steppers: the optimizers that have stepped a parameter, of each that has been updated.
        arrays: arrays that became constants, with what the constants hold.
        graph_calls: the nodes of calls of graphs, by scope, one set for each call.
        inside: the functions in it that are building bodies, ``scan`` and so on, outermost first.
        present: of a run at once: the tensors of parameters, by what holds their arrays.
        born: optimizers that were made in it.
        drawn: parameters made in it whose first values no seed of its own says.
        kept: parameters made in it which an optimizer from outside keeps, for other traces too.
        given: of a run at once: the tensors for which inputs stand in next values. What writes
            these computes them, as a graph, when the run ends.
        due: of a run at once: the steps of optimizers whose gradients are computed when they are
            written, at the first read of an updated parameter or at the end.
        settle: of a run at once: writes what is pending.
        read_stores: of a run at once: what holds the arrays of the parameters that it read.
        inputs: the values or tensors of the function's arrays; None if these are not known.
        draws: whether it drew random numbers that differ between the ranks of a job.
    """

    def __init__(self, computes: bool = False) -> None:
        self.computes = computes
        self.inputs: Sequence[Any] | None = None
        self.draws = False
        self.tensors: dict[Node, Any] = {}
        self.due: list[Any] = []
        self.updates: list[tuple[Parameter, Any]] = []
        self.pending: dict[Node, Any] = {}
        self.versions: dict[Node, list[Any]] = {}
        self.steppers: dict[Node, list[object]] = {}
        self.settle: Callable[[], None] | None = None
        self.read_stores: dict[Any, None] = {}
        self.arrays: list[tuple[Callable[[], Array | None], ArrayData]] = []
        self.graph_calls: dict[str, list[WeakSet[Node]]] = {}
        self.inside: list[str] = []
        self.present: dict[object, Any] = {}
        self.born: list[object] = []
        self.drawn: list[Parameter] = []
        self.state_nodes: set[Node] = set()

    def update(self, parameter: Parameter, value: Any) -> None:
        """Record an update in a trace: later reads of the parameter give this value."""
        if self.is_pending(parameter):
            if self.settle is not None:
                self.settle()
            self.updates = [pair for pair in self.updates if pair[0].node is not parameter.node]
        self.updates.append((parameter, value))
        self.pending[parameter.node] = value
        self.steppers.setdefault(parameter.node, [])
        if not self.computes:
            latest = functions.stop_gradient(value)
            self.versions.setdefault(parameter.node, []).append(latest)

    def step(self, optimizer: object, updates: Mapping[Parameter, Any]) -> None:
        """Let every later read of these parameters have the values after an optimizer's step."""
        for parameter, value in updates.items():
            self.steppers.setdefault(parameter.node, []).append(optimizer)
            parameter.update(value)

    def is_pending(self, parameter: Parameter) -> bool:
        """Return whether an update of a parameter has been recorded, and is not written."""
        return parameter.node in self.pending

    def read(self, parameter: Any) -> Any:
        """Return the graph value of a parameter at this point of a trace, updates included.

        An update passes no gradient on, as on a tape: a gradient by the parameter is the sum of
        those by all of its values.
        """
        if parameter.dtype.is_complex:  # whose parts are those of the stored one
            versions = self.versions.get(parameter.stored.node)
            return parameter.of(versions[-1]) if versions else parameter
        versions = self.versions.get(parameter.node)
        return versions[-1] if versions else parameter.node.values[0]

    def settle_pending(self, parameter: Parameter) -> None:
        """Write what is pending in a run at once before a parameter is read or set."""
        if self.settle is not None and self.is_pending(parameter):
            self.settle()

    def updated_by_others(self, optimizer: object) -> set[Node]:
        """Return the parameters that other code than this optimizer has updated in the trace."""
        steppers = self.steppers.items()
        return {
            node
            for node, optimizers in steppers
            if all(stepper is not optimizer for stepper in optimizers)
        }

    def note_array(self, source: Any, data: ArrayData) -> None:
        """Remember where a constant comes from, as long as it is there."""
        with suppress(TypeError):  # a list, or another object that cannot be referred to
            self.arrays.append((reference_to(source, as_array), data))


_running: Final = Nested[Session | None]("staticgrad_session", None)


def running_session() -> Session | None:
    """That of the trace which is running, if one is."""
    return _running.innermost()


@contextmanager
def body_of_a(name: str) -> Iterator[None]:
    """Trace the body of ``name`` in the running trace, or in a new one, inside of this context."""
    noted = _running.innermost()
    if noted is None:
        with Block(_body, name):
            yield
        return
    noted.inside.append(name)
    try:
        yield
    finally:
        noted.inside.pop()


@contextmanager
def traced_in(noted: Session) -> Iterator[None]:
    """Inside, a function is traced, or runs at once."""
    with Block(_running, noted), reading(None if noted.computes else noted.read):
        yield


# -- leaves ---------------------------------------------------------------------------------------


def constant(data: object, dtype: DType | None = None) -> Symbolic:
    """Make a constant node of an array or Python scalar; ``dtype`` converts scalars.

    Warns (LargeConstantWarning) of more than a megabyte.
    """
    if data.__class__ in _NUMBERS and not (dtype is not None and dtype.is_complex):
        sign = copysign(1.0, data) if data.__class__ is float else 1.0
        number, types = _share_number(data, sign, dtype)
        return Symbolic(Node(number, (), types, *here(skip=1)))
    if (dtype is not None and dtype.is_complex) or is_complex_data(data):
        noted = running_session()
        if noted is not None and not isinstance(data, np.generic):
            noted.note_array(data, ArrayData(as_array(data)))
        return SymbolicComplex.constant(data, dtype, constant)  # type: ignore[return-value]
    array = as_array(data)
    op = Constant(ArrayData(array, dtype))
    noted = running_session()
    if noted is not None and not isinstance(data, np.generic):
        noted.note_array(data, op.data)
    if op.data.array.nbytes > _LARGE_CONSTANT and not is_at_once():
        warn(
            LargeConstantWarning,
            f"{op.data.type}, {op.data.array.nbytes / 1e6:.1f} MB, is copied into the graph as a"
            " constant: an input or a parameter is not",
        )
    return Symbolic(leaf_node(op, *here(skip=1)))


@functools.lru_cache(1024, typed=True)
def _share_number(
    data: Any, sign: float, dtype: DType | None
) -> tuple[Constant, tuple[TensorType, ...]]:
    """Return the constant of a Python number and its type; ``sign`` distinguishes the zeros."""
    op = Constant(ArrayData(data, dtype))
    return op, (op.data.type,)


def ancestors(
    values: Iterable[Symbolic], stop: Container[Node] = (), oldest: int = 0
) -> list[Node]:
    """Return all ancestors of graph values, themselves included, each node once; iterative.

    Those in ``stop``, and those older than serial ``oldest``, are left out.
    """
    visited: dict[Node, None] = {}
    pending = [value.node for value in values]
    while pending:  # not by ``reach``: its calls for each node double the time
        node = pending.pop()
        if node in visited or node.serial < oldest or node in stop:
            continue
        visited[node] = None
        pending += [arg.node for arg in node.args]
    return list(visited)


def check_updates(updates: Sequence[tuple[Any, Any]], computed: bool = False) -> None:
    """Check updates (parameter, next value) of a graph or of tensors (``computed``)."""
    seen: set[Any] = set()
    for parameter, value in updates:
        if computed and isinstance(value, Value):
            _check_type(parameter, value)
        elif not computed:
            if not (is_value(parameter) and isinstance(parameter.node.op, ParameterLeaf)):
                raise GraphError(
                    f"update of {quote(parameter)}, which is not a parameter",
                    hint="sg.parameter(name, array) makes what updates can change",
                    related=[related_of(parameter)] if is_value(parameter) else [],
                )
            if not is_value(value):
                raise GraphError(
                    f"update of parameter {parameter.name!r}: {quote(value)} is not a symbolic"
                    " value",
                    hint=hint_of(value),
                    related=[related_of(parameter)],
                )
            _check_type(parameter, value)
        if parameter.node in seen:
            raise GraphError(
                f"parameter {parameter.name!r} is updated twice",
                hint="updates are simultaneous: write its next value as one expression",
                related=[related_of(parameter)],
            )
        seen.add(parameter.node)


def _check_type(parameter: Parameter, value: Value) -> None:
    """Check that a parameter's next value has its shape and dtype."""
    if parameter.type != value.type:
        dtype_name = parameter.dtype.numpy.name
        if parameter.shape != value.shape:
            hint = "an update keeps shape and dtype; reduce or reshape the new value"
        elif parameter.dtype.is_float and value.dtype.is_float:
            hint = (
                "an update keeps its dtype, and np.float64 and float64 arrays widen what they"
                " meet\n"
                f"use Python floats or {dtype_name} arrays,"
                f" or convert: value.astype({dtype_name!r})"
            )
        else:
            advice = f"an update keeps its dtype: value.astype({dtype_name!r})"
            hint = f"{advice}, or a parameter of another one"
        next_one = [related_of(value, "its next value")] if is_value(value) else []
        raise GraphError(
            f"update of parameter {parameter.name!r}: {parameter.type} becomes {value.type}",
            hint=hint,
            related=[related_of(parameter), *next_one],
        )


def hint_of(value: Any) -> str:
    """Say what to write in place of something that is no value."""
    if isinstance(value, dict) and any(is_value(key) for key in value):
        return "updates stand beside the outputs: sg.Graph(outputs, updates)"
    if isinstance(value, list | tuple | dict):
        return "one name per value; sg.stack([a, b]) makes one value of several"
    if hasattr(value, "updates"):  # a graph
        return "of a graph itself: sg.compile(graph), or sg.Graph(outputs, updates=graph)"
    return "sg.constant(array) makes a value of an array or a number"


def is_value(data: Any) -> bool:
    """Return whether ``data`` is a value of a graph."""
    return isinstance(data, Value) and hasattr(data, "node")


def related_of(value: Any, what: str = "value") -> Related:
    """A value as (name, type text, origin) for an error message."""
    label = value.node.label or what
    return label, str(value.type), value.node.origin

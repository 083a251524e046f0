"""Nodes and symbolic values: one application of an op, and what it gives.

Nodes are immutable and compared by ``is``: two equal nodes are two (recomputation needs that;
merging them is a pass).
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np

from staticgrad.language.ir.execution import computing_kind, register_parameters, running_session
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
from staticgrad.language.ir.roots import check_updates
from staticgrad.language.ir.value import Value
from staticgrad.language.storage.parameter import ParameterStore, ParameterValue
from staticgrad.language.types.arrays import ArrayData, Shape, TensorType
from staticgrad.language.types.dtype import DType
from staticgrad.support.building import here
from staticgrad.support.errors import (
    ArgumentError,
    GradientError,
    GraphError,
    LargeConstantWarning,
    OpDefinitionError,
    Related,
    StaticgradError,
    warn,
)
from staticgrad.support.errors.tracebacks import boundary
from staticgrad.support.errors.values import NoNumbers, never_set
from staticgrad.support.errors.wording import shown
from staticgrad.support.source import Location

_serial = itertools.count()
_LARGE_CONSTANT: Final = 10**6  # bytes


class Node:
    """One application of an op.

    ``origin`` is the user's line, ``order`` the derivative order (0: built by the user, k+1: built
    while differentiating order k); both stand outside equality. ``serial`` is the creation order.
    A node never changes, so that what has been found out about it is kept with it: ``verified``,
    that ``types`` are what the op infers; ``normal``, the marks of those rule tables in whose
    normal form it is.
    """

    __slots__ = (
        "__weakref__",
        "_form",
        "args",
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
        self.op, self.args, self.types = op, args, types
        self.origin, self.order = origin, order
        self.serial = next(_serial)
        self.verified, self.normal = False, 0
        self._form: Form | None = None

    @property
    def values(self) -> tuple[Symbolic, ...]:
        """The results."""
        if len(self.types) == 1:
            return (Symbolic(self),)
        return tuple([Symbolic(self, i) for i in range(len(self.types))])

    @property
    def form(self) -> Form:
        """The memory access of the node."""
        if self._form is None:
            try:
                self._form = self.op.form(*self.types, *[arg.type for arg in self.args])
            except OpDefinitionError as error:
                error.at = self.origin
                raise
        return self._form

    @property
    def is_leaf(self) -> bool:
        return isinstance(self.op, Input | ParameterLeaf | Constant)

    @property
    def label(self) -> str:
        """The user's name of an input or parameter; empty for what is neither."""
        return self.op.label if isinstance(self.op, Input | ParameterLeaf) else ""

    def __reduce__(self) -> tuple[object, ...]:
        from staticgrad.language.ir.pickling import pickle_node

        return pickle_node(self)

    def __repr__(self) -> str:
        return f"<node {self.op.name} {', '.join(map(str, self.types))} at {self.origin}>"


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

    @classmethod
    def bind(cls, op: Op, args: tuple[Any, ...]) -> Any:
        """A new node; its result, or a tuple of them."""
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
                f"{op.name}: infer gives {shown(inferred)}, not a TensorType or a tuple of them",
                hint="the operand's own type, or x.with_shape(shape), x.with_dtype(dtype)",
            )
        node = Node(op, args, inferred, *here(skip=2))
        node.verified = bool(inferred)
        return node.values

    @classmethod
    def lift(cls, data: object, like: DType | None = None) -> Self:
        """A constant node."""
        return constant(data, like)  # type: ignore[return-value]

    @property
    def name(self) -> str:
        """The name of an input or a parameter; else empty."""
        return self.node.label

    def _described(self) -> Related:
        return describe(self, 0, "value")

    def __repr__(self) -> str:
        return f"<{self.node.label or self.node.op.name}: {self.type}>"


Symbolic.kind = SymbolicComplex.part_kind = Symbolic  # parameters too
Symbolic.complex_kind = SymbolicComplex
set_default_kind(Symbolic)


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
                f"Parameter: {shown(node)} is not a node",
                hint="sg.parameter(name, array) makes a parameter",
            )
        super().__init__(node)

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
        """A copy of the current value, read-only: writing to it would not reach the parameter.

        ``w.value = array`` sets it, ``w.value -= step`` too; ``w.value.copy()`` is an array to work
        on.
        """
        noted = running_session()
        if noted is not None:
            noted.settled(self)
        return ParameterValue.of(self.store.read())

    @value.setter
    def value(self, array: Any) -> None:
        noted = running_session()
        if noted is not None:
            noted.settled(self)
        self.store.write(array)

    @property
    def grad(self) -> Any:
        """The gradient that backward passes of tensors have added up here, an array, or None.

        Raises:
            UnknownAttributeError: nothing has computed with it at once, nor does it here.
        """
        if self.store.leaf is None and computing_kind() is None:
            raise self._no_attribute("grad")
        return None if self.store.leaf is None else self.store.leaf.grad

    @grad.setter
    def grad(self, gradient: Any) -> None:
        """Set it, or forget it with None.

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
        """Let ``value`` be the value of every later read.

        In ``sg.function`` it happens at each call: what the function reads afterwards is the new
        value, as in ``f.eagerly(...)`` and ``eager_mode``; what it computed before does not change.
        No gradient passes through an update.

        Args:
            value: a value of the graph that is traced, of the parameter's type; or an array, or a
                tensor.

        Raises:
            GraphError: a value of a graph where no function is traced; one of another type; or one
                in a body, which may run several times or not at all.
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
        own = isinstance(value, Symbolic)
        if noted is not None:
            if noted.inside:
                raise GraphError(
                    f"update of parameter {self.name!r} inside of {noted.inside[-1]}",
                    hint="a body runs several times, or not at all: let it hand the value on, and"
                    " update the parameter outside",
                )
            if isinstance(value, Parameter):
                noted.settled(value)
                value = noted.read(value)
            kept = own or noted.computes
            pair = (self, value if kept else constant(value, self.dtype))
            check_updates([pair], noted.computes)  # at this line, not where the trace ends
            noted.update(*pair)
        elif own and value.kind is Symbolic:
            raise GraphError(
                f"update of parameter {self.name!r}: {shown(value)} has no numbers here",
                hint="inside of a function under @sg.function it is an update of each call\n"
                "in a graph: sg.Graph(outputs, updates={w: value}); of modules sg.nn.updates()"
                " collects them",
                related=[describe(self, 0), describe(value, 1, "its next value")],
            )
        else:
            self.store.write(value.value if own else value)


def _at_once(name: str) -> Any:
    """A method of Python's or NumPy's that takes numbers: in ``eager_mode`` there are some."""
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


# -- leaves ---------------------------------------------------------------------------------------


def constant(data: object, dtype: DType | None = None) -> Symbolic:
    """A constant node of an array or Python scalar; ``dtype`` converts scalars.

    Warns (LargeConstantWarning) of more than a megabyte.
    """
    if (dtype is not None and dtype.is_complex) or is_complex_data(data):
        noted = running_session()
        if noted is not None and type(data) is np.ndarray:
            noted.note_array(data, ArrayData(data))
        return SymbolicComplex.constant(data, dtype, constant)  # type: ignore[return-value]
    array = data if isinstance(data, bool | int | float) else as_array(data)
    op = Constant(ArrayData(array, dtype))
    noted = running_session()
    if noted is not None and type(data) is np.ndarray:
        noted.note_array(data, op.data)
    if op.data.array.nbytes > _LARGE_CONSTANT:
        warn(
            LargeConstantWarning,
            f"{op.data.type}, {op.data.array.nbytes / 1e6:.1f} MB, is copied into the graph as a"
            " constant: an input or a parameter is not",
        )
    return Symbolic(Node(op, (), (op.data.type,), *here(skip=1)))

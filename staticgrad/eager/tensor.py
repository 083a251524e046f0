"""Tensor: an array that remembers how it was made, so that it can be differentiated.

Eager counterparts of symbolic values: an op bound to tensors runs at once (``Op.eager``, by
default its NumPy reference) and, if an operand needs a gradient, leaves a node on the tape. The
classes of ops and their rules are those of the compiler. The walk back is in ``tape.py``.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    array([2., 4.], dtype=float32)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Self, cast
from weakref import ref

import numpy as np

from staticgrad.eager import tape
from staticgrad.eager.binding import Application, application, rule_reads, silent, type_of
from staticgrad.eager.tape import (
    Edge,
    Handle,
    Hook,
    Recorded,
    copies_before_write,
    no_grad,
    recording,
    redirect_to_copy,
    selection,
    shared_with,
)
from staticgrad.errors import (
    DTypeError,
    GradientError,
    OpDefinitionError,
    ShapeError,
    TapeError,
    UnknownAttributeError,
)
from staticgrad.errors.hints import instead_of_method
from staticgrad.errors.tracebacks import boundary
from staticgrad.errors.values import as_object, is_scipy_product, library_call, no_write
from staticgrad.errors.wording import did_you_mean
from staticgrad.language.calls.arguments import public
from staticgrad.language.ir.nodes import Parameter, running_session
from staticgrad.language.ir.op import Array, Op, as_array
from staticgrad.language.ir.pairs import Complex, is_complex_data
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.cotangent import STAND_INS
from staticgrad.language.ops.elementwise import array_dtype
from staticgrad.language.ops.movement import swapaxes, transpose
from staticgrad.language.ops.operands import dtype_of, leaf_array
from staticgrad.language.ops.selection import where
from staticgrad.language.storage.parameter import ParameterStore
from staticgrad.language.types.arrays import Shape, TensorType, convert_array
from staticgrad.language.types.dtype import F32, DType, whole_bools
from staticgrad.support.deprecations import deprecated_attribute

_array: Final = attrgetter("array")
_NUMBERS: Final = (bool, int, float)


class WithArray:
    """The attributes that an eager value takes from its array ``data``."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def data(self) -> Array: ...

    def item(self) -> Any:
        """The one element, as a Python number. Raises ValueError where there are more."""
        return self.data.item()

    def numpy(self) -> Array:
        """The array itself, not a copy."""
        return self.data

    def tolist(self) -> Any:
        """The elements as Python numbers, in nested lists."""
        return self.data.tolist()

    @boundary
    def __setitem__(self, key: object, item: object) -> NoReturn:
        raise no_write("a tensor", "np.array(x.detach())")

    @boundary
    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A copy of the array for other libraries: nothing is written into a tensor.

        Raises GradientError where operations are recorded and the tensor needs a gradient.
        """
        refuse_to_lose_gradient(self, "an array of another library")
        if copy is False:
            raise BufferError("a tensor gives a copy of its array")
        array: Any = self.data.copy()
        return array.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device)

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, number = self.data.__dlpack_device__()
        return int(kind), int(number)

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Self]:
        elements: Any = self
        return (elements[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.data)

    def __complex__(self) -> complex:
        return complex(self.data.item())

    def __format__(self, spec: str) -> str:
        """Format a tensor without axes as its number, ``f"{loss:.3f}"``."""
        return (
            format(self.data.item(), spec)
            if spec and not self.data.ndim
            else super().__format__(spec)
        )


class Tensor(WithArray, Recorded, Value):
    """An array, and where it came from.

    Attributes:
        data: the array. Assigning it, or writing into it, is not recorded.
        grad: the gradient, an array like ``data``; None before a backward pass, and on what an
            operation made, unless ``retain_grad`` was called.
        requires_grad: whether operations on it are recorded; so for the results of such.
        grad_fn: the recorded operation that made it, or None.
        edge: where its gradient arrives; None where it needs none.

    >>> from staticgrad.eager import Tensor
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    array([2., 4.], dtype=float32)
    """

    __slots__ = ("__weakref__", "_grad", "_parked", "array", "edge", "type")

    kind: ClassVar[type[Value]]
    meeting = (
        "with sg.eager_mode(): sg.arange(n), sg.zeros(n) and what is computed of parameters alone"
        " are tensors; outside of it they are values of a graph, which has no numbers yet\nin a"
        " graph, the array of a tensor t is sg.parameter(name, t.data) or sg.constant(t.data)"
    )
    computes = True
    array: Array
    type: TensorType
    edge: Edge | None
    _grad: Array | None
    _parked: Edge  # that of a leaf which needs no gradient for a while
    #: A function by rows, of tensors: ``rowwise.by_rows``, which sets it.
    of_rows: ClassVar[Callable[..., Any]]
    #: ``checkpoint.run_checkpointed``, which sets it: ``run_checkpointed(f, args, policy)`` runs f
    #: again to be differentiated, and stores what the policy saves.
    run_checkpointed: ClassVar[Callable[..., Any]]

    def __new__(cls, data: Any = None, requires_grad: bool = False, dtype: Any = None) -> Self:
        """A tensor; of complex numbers the pair of two."""
        if is_complex_data(data) or (dtype is not None and dtype_of(dtype).is_complex):
            pairs: Any = cls.complex_kind
            return pairs.made_of(data, requires_grad, dtype)  # type: ignore[no-any-return]
        return super().__new__(cls)

    @public
    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None) -> None:
        """Copy ``data`` into a tensor.

        Args:
            data: numbers: an array, a list, a number, another tensor.
            requires_grad: whether operations on it are recorded.
            dtype: the element type; by default an array keeps its own, and Python's numbers and
                lists of them become float32, int64 or bool.

        Raises:
            DTypeError: ``dtype`` names no element type.
            GradientError: ``requires_grad`` of integers or bools; or ``data`` are tensors that need
                gradients, which a copy would cut off.
        """
        if recording.innermost() and _needs_gradient(data):
            raise GradientError(
                "Tensor(...) copies arrays: the gradient of a tensor in it would be lost",
                hint="sg.stack([a, b]) joins tensors; x.detach() gives one without a gradient",
            )
        with np.errstate(all="ignore"):
            array = leaf_array(data, dtype, of_floats=F32)
        self.array = np.array(whole_bools(array), order="C")
        self.type = type_of(self.array)
        self._grad, self.edge = None, None
        if requires_grad:
            self.requires_grad = True

    @staticmethod
    def of(array: Array) -> Tensor:
        """A tensor of this array itself, no copy, that needs no gradient."""
        return _tensor_of(array, type_of(array))

    if TYPE_CHECKING:

        @property
        def of_kind(self) -> Self: ...

    @property
    def data(self) -> Array:
        if copies_before_write:
            self.settle()
        return self.array

    @data.setter
    def data(self, array: Any) -> None:
        array_dtype(array, "Tensor.data")
        self.array = as_array(array, "Tensor.data")
        self.type = type_of(self.array)
        if self.edge is not None and self.edge.node is None:
            self.edge.type = self.type

    def settle(self) -> None:
        """Keep the values that the array had before a parameter that it shares was written."""
        self.array = redirect_to_copy(self.array)

    @property
    def grad(self) -> Array | None:
        return self._grad

    @grad.setter
    @boundary
    def grad(self, gradient: Any) -> None:
        """Set the gradient: an array of this tensor's shape and element type, or None.

        Raises:
            GradientError: a tensor of integers or bools.
            ShapeError, DTypeError: another shape or element type.
        """
        if gradient is None:
            self._grad = None
            return
        if not self.type.dtype.is_float:
            raise GradientError(f"a tensor of {self.type.dtype.numpy} carries no gradient")
        array = as_array(gradient, "Tensor.grad")
        if array.shape != self.type.shape:
            raise ShapeError(f"a gradient of shape {array.shape}, a tensor of shape {self.shape}")
        dtype = self.type.dtype.numpy
        if array.dtype != dtype:
            raise DTypeError(
                f"a gradient of {array.dtype}, a tensor of {dtype}",
                hint=f'gradient.astype("{dtype}")',
            )
        self._grad = array

    @property
    def requires_grad(self) -> bool:
        return self.edge is not None

    @requires_grad.setter
    @boundary
    def requires_grad(self, required: bool) -> None:
        """Set, of a leaf, whether operations on it are recorded from here on.

        Raises:
            GradientError: a tensor of integers or bools, or one that an operation made.
        """
        if required and not self.type.dtype.is_float:
            raise GradientError(
                f"a tensor of {self.type.dtype.numpy} carries no gradient",
                hint='Tensor(data, requires_grad=True, dtype="float32")',
            )
        if self.grad_fn is not None:
            if required:
                return
            raise GradientError(
                "this tensor is the result of a recorded operation",
                hint="y.detach() is the same array without a gradient",
            )
        if not required:
            if self.edge is not None:
                self._parked, self.edge = self.edge, None
        elif self.edge is None:
            parked: Edge | None = getattr(self, "_parked", None)
            self.edge = (parked or Edge(self.type)).owned_by(self)
            self.edge.type = self.type

    @property
    def grad_fn(self) -> tape.TapeNode | None:
        return None if self.edge is None else self.edge.node

    @classmethod
    def bind(cls, op: Op, args: tuple[Any, ...]) -> Any:
        """Run ``op`` on tensors at once; record it on the tape if an operand needs a gradient."""
        applied = application(op, args)
        if copies_before_write:
            for arg in args:
                arg.settle()
        chosen = selection.innermost()
        if chosen is None:
            results = silent.context.run(applied.run, op, *map(_array, args))
        else:
            results = chosen.run(applied, op, [*map(_array, args)])
        if applied.is_tuple:
            outs = tuple(map(_tensor_of, results, applied.outs))
        else:
            outs = (_tensor_of(results, applied.outs[0]),)
        if applied.node is not None and recording.innermost():
            for arg in args:
                if arg.edge is not None:
                    _record(applied, op, args, outs)
                    break
        return outs if applied.is_tuple else outs[0]

    @classmethod
    def by_rows(cls, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """A function by rows: one operation on the tape, where that keeps less."""
        named = {name: cls._met(arg) for name, arg in kwargs.items()}
        return cls.of_rows(function, *map(cls._met, args), **named)

    @classmethod
    def _met(cls, arg: Any) -> Any:
        """An argument that a tensor meets: a parameter is its present array then."""
        return cls.lift(arg) if isinstance(arg, Parameter) else arg

    @classmethod
    def lift(cls, data: object, like: DType | None = None) -> Self:
        """Copy ``data`` into a tensor that needs no gradient; return a tensor unchanged.

        A parameter gives the leaf of the tape that it is, with its present array.
        """
        if isinstance(data, Tensor):
            return data  # type: ignore[return-value]
        if isinstance(data, Parameter):
            return leaf_of(data)  # type: ignore[return-value]
        if isinstance(data, Complex):
            complex_value: Any = data
            stored = complex_value.is_stored
            kind: Any = cls.complex_kind
            return kind.of(leaf_of(complex_value.stored)) if stored else complex_value  # type: ignore[no-any-return]
        if (like is not None and like.is_complex) or is_complex_data(data):
            kind = cls.complex_kind
            return kind.constant(data, like, cls.lift)  # type: ignore[no-any-return]
        source: Any = data
        if type(data) not in _NUMBERS or like is None:
            source = as_array(data, "Tensor")
            array_dtype(source, "Tensor")
        if like is not None and like.is_storage:
            return Tensor.of(convert_array(np.asarray(source), like))  # type: ignore[return-value]
        return Tensor.of(np.array(source, None if like is None else like.numpy))  # type: ignore[return-value]

    @boundary
    def detach(self) -> Tensor:
        """A tensor of the same array that needs no gradient."""
        return Tensor.of(self.data)

    if not TYPE_CHECKING:  # a type checker shall find what is not there

        @boundary
        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(name)
            raise UnknownAttributeError(
                f"a tensor has no attribute {name!r}",
                hint=lambda: (
                    instead_of_method(name, of_tensor=True)
                    or did_you_mean(
                        name, [attribute for attribute in dir(type(self)) if attribute[0] != "_"]
                    )
                ),
            )

    def __repr__(self) -> str:
        text = np.array2string(self.data, prefix="Tensor(", separator=", ")
        made_by = f", grad_fn=<{type(self.grad_fn).__name__}>"
        needs = made_by if self.grad_fn else ", requires_grad=True"
        return f"Tensor({text}{needs if self.requires_grad else ''})"

    def _repr_html_(self) -> str:
        """Show a tensor as an HTML table: type, gradient and elements."""
        from staticgrad.support.pictures.markup import fragment, table, text_block

        def elements(array: object) -> str:
            return np.array2string(np.asarray(array), threshold=200, edgeitems=3, separator=", ")

        rows = [("type", str(self.type)), ("requires_grad", str(self.requires_grad))]
        if self.grad_fn is not None:
            rows.append(("grad_fn", type(self.grad_fn).__name__))
        if self.grad is not None:
            rows.append(("grad", elements(self.grad)))
        return fragment(table(("", ""), rows), text_block(elements(self.data)))

    # -- as an array ------------------------------------------------------------------------------

    @property
    def shape(self) -> Shape:
        return self.array.shape

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def size(self) -> int:
        return self.array.size

    def transpose(self, *axes: Any) -> Self:
        """The axes in reverse; by two integers those two exchanged; by a tuple all permuted."""
        if len(axes) != 2:
            return cast(Self, transpose(self, axes[0] if len(axes) == 1 else axes or None))
        return cast(Self, swapaxes(self, *axes))

    @public
    def copy(self, order: str = "C") -> Self:
        """Return a tensor with a copy of the elements; gradients go through."""
        return cast(Self, where(np.True_, self, self))

    @boundary
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return the elements as an array of NumPy.

        Raises GradientError where operations are recorded and the tensor needs a gradient.
        """
        if is_scipy_product(sys._getframe(2)):
            object_array: Array = as_object(self)
            return object_array
        refuse_to_lose_gradient(self, "an array of NumPy")
        return np.array(self.data, dtype, copy=copy)

    def __float__(self) -> float:
        return float(self.data.item())

    def __int__(self) -> int:
        return int(self.data.item())

    def __index__(self) -> int:
        return self.data.__index__()

    def __copy__(self) -> Self:
        """The same array and place on the tape, in another tensor."""
        copied = object.__new__(type(self))
        for name in ("array", "type", "edge", "_grad", "_parked"):
            if hasattr(self, name):
                setattr(copied, name, getattr(self, name))
        return copied

    @boundary
    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle or deepcopy a leaf. Raises GradientError for the result of an operation."""
        if self.grad_fn is not None:
            raise GradientError(
                "the result of a recorded operation is pickled or copied without its operands",
                hint="y.detach() is the same array without a gradient; y.copy() a recorded copy",
            )
        return _restore_leaf, (self.data, self.requires_grad, self._grad)

    # -- gradients --------------------------------------------------------------------------------

    @public
    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Add the gradient of this tensor to ``grad`` of everything that it was made of.

        Args:
            gradient: the cotangent of this tensor, of its shape; by default 1, for one element.
            retain_graph: keep the tape, for another pass.

        Raises:
            GradientError (a ValueError): more than one element, and no ``gradient``.
            ShapeError (a ValueError): a ``gradient`` of another shape.
            TapeError (a RuntimeError): nothing was recorded, or the tape has been released.
        """
        edge, seed = self.backward_seed(gradient)
        nodes = tape.nodes_behind([edge])
        for target in {edge for node in nodes for edge in node.operands if edge is not None}:
            tensor = target.tensor()
            gradient_array = None if tensor is None else tensor.grad
            if gradient_array is not None and gradient_array.shape != target.type.shape:
                raise ShapeError(
                    f"a gradient of shape {gradient_array.shape} is set on a tensor {target.type}",
                    hint="zero_grad() removes it",
                )
        with no_grad():
            cotangents = tape.TapeSweep(nodes, release=not retain_graph).run([(edge, seed)])
        seed_arrays = {id(seed.array)}
        sums = []
        with np.errstate(all="ignore"):
            while cotangents:  # what has to be copied is let go of, one after the other
                target, ct = cotangents.popitem()
                tensor, gradient_array = target.tensor(), copy_if_shared(ct.array, seed_arrays)
                del ct
                if tensor is not None:
                    if tensor.grad is not None:
                        np.add(tensor.grad, gradient_array, out=gradient_array)
                    sums.append((tensor, gradient_array))
        for (
            tensor,
            gradient_array,
        ) in sums:  # Only here, where nothing can fail any more, anything changes.
            tensor._grad = gradient_array

    seeded = deprecated_attribute("0.2", "backward_seed")
    recomputed = deprecated_attribute("0.2", "run_checkpointed")

    def backward_seed(self, gradient: Any) -> tuple[Edge, Tensor]:
        """Return the edge of this tensor and ``gradient`` as a tensor of its dtype, default 1.

        Raises the errors of ``backward``.
        """
        if self.edge is None:
            raise TapeError(
                "this tensor needs no gradient: nothing that it was made of requires one",
                hint="Tensor(..., requires_grad=True), outside of no_grad()",
            )
        if gradient is None and self.size != 1:
            raise GradientError(
                f"a tensor of shape {self.shape} has no one gradient: it needs a seed",
                hint="reduce it first, y.sum(), or pass backward(gradient)",
            )
        seed = Tensor.lift(np.ones_like(self.data) if gradient is None else gradient)
        if seed.shape != self.shape:
            raise ShapeError(f"a gradient of shape {seed.shape}, a tensor of shape {self.shape}")
        return self.edge, seed.astype(self.dtype)

    @staticmethod
    def fitting(type: TensorType, share: Any, rule: str) -> Any:
        """``share``, if it is a cotangent of ``type``; else OpDefinitionError: a wrong rule."""
        if isinstance(share, float):  # a rule that hands on an unused cotangent
            return _tensor_of(np.full(type.shape, share, type.dtype.numpy), type)
        if share.type != type:
            raise OpDefinitionError(f"{rule}: a cotangent {share.type} of an operand {type}")
        return share

    def recorded_by(self, node: tape.TapeNode, number: int) -> Edge | None:
        """The edge of this tensor, now a result of ``node``; None for integers and bools."""
        if self.type.dtype.kind == "f":
            self.edge = Edge(self.type, node, number)
        return self.edge

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self._grad = None

    @boundary
    def retain_grad(self) -> None:
        """Have backward passes write ``grad`` of this tensor, too, though an operation made it."""
        if self.edge is None:
            raise GradientError("a tensor that needs no gradient has none to retain")
        self.edge.owned_by(self)

    @boundary
    def register_hook(self, hook: Hook) -> Handle:
        """Call ``hook`` with the gradient in every backward pass, once all paths are added up.

        What it returns, unless None, takes the gradient's place. ``remove()`` takes the hook off.
        """
        if self.edge is None:
            raise GradientError("a tensor that needs no gradient never calls a hook")
        if self.edge.hooks is None:
            self.edge.hooks = {}
        return Handle(self.edge.hooks, hook)


Tensor.kind = tape.TapeNode.tensor = Tensor


class Hollow(Tensor):
    """A tensor without an array, for operands of which a rule reads only the type."""

    __slots__ = ()

    def __init__(self, type: TensorType) -> None:
        self.type, self._grad, self.edge = type, None, None

    def settle(self) -> None:
        """There is no array."""

    @property
    def array(self) -> Any:  # type: ignore[override]
        raise OpDefinitionError(
            f"a derivative rule reads a value of {self.type} that was not kept for it",
            hint="what a rule reads may depend on types, and on which cotangents are required",
        )

    shape, ndim, size = Value.shape, Value.ndim, Value.size  # type: ignore[assignment]


STAND_INS[Hollow] = Hollow


class TapeLeaf(Hollow):
    """A parameter on a tape: where its gradients arrive. Its arrays come from ``met``.

    ``latest`` is the tensor of the array that was read last, ``base`` the bytes that this and views
    of it share with the parameter: while a tape still has them, and the parameter is not written.
    """

    __slots__ = ("_node", "base", "latest")

    def __init__(self, parameter: Parameter) -> None:
        super().__init__(parameter.type)
        self._node = ref(parameter.node)  # the node holds this, in turn
        self.latest = self.base = _no_tensor
        if self.type.dtype.is_float:
            self.edge = Edge(self.type).owned_by(self)

    @property
    def parameter(self) -> Parameter | None:
        """The parameter, if it is still there."""
        node = self._node()
        return None if node is None else Parameter(node)

    def met(self, store: ParameterStore) -> Tensor:
        """Return the tape's tensor of a parameter's array, the latest one if still valid."""
        latest: Tensor | None = self.latest()
        if latest is None:
            base = shared_with(store, self.base(), self.forget)
            if base is None:
                array = store.read()
            else:
                self.base = ref(base)
                array = base.view(store.array.dtype).reshape(store.array.shape)
            latest = _tensor_of(array, self.type)
            latest.edge = self.edge
            if base is not None:
                self.latest = ref(latest)
        return latest

    def forget(self) -> None:
        """The present array is about to change."""
        self.latest = self.base = _no_tensor


_no_tensor: Final[Callable[[], Any]] = type(None)


def leaf_of(parameter: Parameter) -> Tensor:
    """Return the tape's leaf tensor of a parameter, after its pending updates are written.

    In a function that runs at once pending updates of it are written first.
    """
    store, noted = parameter.store, running_session()
    if store.leaf is None:
        store.leaf = TapeLeaf(parameter)
    if noted is None:
        return cast(TapeLeaf, store.leaf).met(store)
    noted.settle_pending(parameter)
    leaf = noted.present.get(store)
    if leaf is None:
        noted.read_stores[store] = None
        leaf = noted.present[store] = store.leaf.met(store)
    return cast(Tensor, leaf)


def _tensor_of(array: Any, type: TensorType) -> Tensor:
    """A tensor that needs no gradient, of an array of this type (of a NumPy scalar: 0-d)."""
    out = object.__new__(Tensor)
    out.array = array if array.__class__ is np.ndarray else np.asarray(array)
    out.type = type
    out._grad = out.edge = None
    return out


def _record(applied: Application, op: Op, args: tuple[Any, ...], outs: tuple[Tensor, ...]) -> None:
    """Record an operation on the tape, with only the arrays that its derivative rule reads."""
    needed = tuple([arg.edge is not None for arg in args])
    hollows = applied.saved_forms.get(needed)
    if hollows is None:
        types = [arg.type for arg in args], [out.type for out in outs]
        hollows = applied.saved_forms[needed] = tuple([
            [None if read else Hollow(type) for read, type in zip(reads, group, strict=True)]
            for reads, group in zip(rule_reads(op, *types, needed), types, strict=True)
        ])  # fmt: skip
    of_args, of_outs = hollows
    applied.node(
        op, args, outs,
        [arg if hollow is None else hollow for hollow, arg in zip(of_args, args, strict=True)],
        [out.array if h is None else h for h, out in zip(of_outs, outs, strict=True)],
    )  # fmt: skip


def _restore_leaf(array: Array, requires_grad: bool, gradient: Array | None) -> Tensor:
    tensor = Tensor.of(array)
    tensor.requires_grad = requires_grad
    tensor._grad = gradient
    return tensor


def refuse_to_lose_gradient(tensor: Any, target: str) -> None:
    """Raise GradientError if a recorded tensor becomes ``target``, whose results have no gradient.

    What a user asks for by name, ``tensor.data``, ``numpy()``, ``float(tensor)``, is given.
    """
    if not (tensor.requires_grad and recording.innermost()):
        return
    called, instead = library_call(sys._getframe(2))
    needing = "a tensor that needs a gradient"
    converted = f"{called} converts {needing}" if called else f"{needing} is converted"
    raise GradientError(
        f"{converted} to {target}: the gradient would be lost",
        hint=f"{instead}\n" * bool(instead)
        + "x.detach() is the same array without a gradient; of a parameter it is w.value",
    )


def _needs_gradient(data: Any) -> bool:
    """Return whether ``data`` is a tensor that needs a gradient, or a list that contains one."""
    if isinstance(data, list | tuple):
        return any(map(_needs_gradient, data))
    return isinstance(data, Tensor) and data.requires_grad


def copy_if_shared(array: Array, array_ids: set[int]) -> Array:
    """``array``, or a copy where others hold it (``array_ids``) or it is a view."""
    is_exclusive = array.base is None and array.flags.writeable and id(array) not in array_ids
    array_ids.add(id(array))
    return array if is_exclusive else array.copy()

"""Jacobians and Hessians of values and functions: dense, sparse, and products with a Hessian.

The pattern of a sparse one comes from the graph, and a colouring says which columns share a product
(``autodiff/sparsity.py``). One compiled program computes all products.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, ClassVar, Final, overload

import numpy as np

from staticgrad.autodiff import jacobian as of_values
from staticgrad.autodiff.jacobian import Direction
from staticgrad.autodiff.sparsity import (
    column_colours,
    dependence,
    is_mostly_full,
    read_columns,
    read_rows,
    read_symmetric,
    star_colours,
    units,
)
from staticgrad.autodiff.structure import Key, Leaf, Structure
from staticgrad.errors import (
    ArgumentError,
    GradientError,
    ShapeError,
    StaticgradWarning,
    warn,
)
from staticgrad.errors.tracebacks import called_as, called_name
from staticgrad.errors.wording import kind_of, quote
from staticgrad.functions.batching import over_elements
from staticgrad.functions.call_types import Fed, Gradient, OfArrays, OfValue, P
from staticgrad.functions.creation import input as graph_input
from staticgrad.language.calls.arguments import public
from staticgrad.language.calls.execution import in_graphs
from staticgrad.language.calls.pickling import reduce_wrapper
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.nodes import running_session
from staticgrad.language.ir.op import Array
from staticgrad.language.ir.value import Value
from staticgrad.language.trees import flatten, unflatten
from staticgrad.programs import transformed
from staticgrad.programs.arguments import is_value
from staticgrad.programs.derivatives import (
    AnyFunction,
    Wrt,
    are_tensors,
    check_value,
    differentiates_by,
    is_function,
    rules_of_functions,
    rules_of_tensors,
)
from staticgrad.programs.function import Function
from staticgrad.support.forks import ProcessLock
from staticgrad.support.records import NamedTuple

#: Elements of an argument from which on a Hessian that is mostly full is warned of.
_MANY: Final = 50
#: How far a product with the matrix may be from the derivative along the vector, by eps ** this.
_NEAR: Final = 0.4


class _Products(NamedTuple):
    """A plan to compute a matrix: its pattern (CSR), a colour for each column, or row, and by what
    it is multiplied, a sum of unit vectors for each colour.
    """

    pattern: Any
    colours: Any
    forward: bool
    seeds: Any


class SparseDerivative:
    """A function that gives a matrix of derivatives as a sparse array of SciPy's."""

    names_messages: ClassVar[bool] = True

    def __init__(
        self,
        f: AnyFunction,
        name: str,
        argnums: int,
        sparsity: Any,
        mode: Direction | None,
        symmetric: bool,
    ) -> None:
        self.name, self._argnums, self._sparsity, self._mode = name, argnums, sparsity, mode
        self._symmetric = symmetric
        self._f = transformed.gradient("grad", f, argnums, False, True) if symmetric else f
        self._cached_products: dict[Any, _Products] = {}
        self._lock = ProcessLock()
        self._made_of = f, name, argnums, sparsity, mode, symmetric
        self.__module__ = getattr(f, "__module__", type(self).__module__)
        self._forward = self._program(transformed.jvp)
        self._reverse = self._program(transformed.vjp)

    def __reduce__(self) -> Any:
        qualname = getattr(self._made_of[0], "__qualname__", "")
        return reduce_wrapper(self, qualname, (SparseDerivative, self._made_of))

    @public
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the matrix at these arguments: a row for each element of the result, in C order.

        Raises:
            ArgumentError: values of a graph or tensors; an argument that is no floating array.
            GradientError: the function gives no one floating value; a pattern that was given
                leaves out derivatives.
            ShapeError: a pattern of another shape.
        """
        args, x = self._check_arguments(args, kwargs)
        key = self._key(args, kwargs)
        with self._lock.mutex:
            cached = self._cached_products.get(key)
        products = cached or self._products(args, kwargs)
        matrix = self._matrix(products, args, kwargs, x)
        if cached is None:
            if self._sparsity is not None:
                self._check(matrix, args, kwargs, x)
            with self._lock.mutex:
                self._cached_products[key] = products
        return matrix

    @public
    def pattern(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pattern of possible nonzeros, for arguments of these shapes, as ones.

        Raises:
            As a call.
        """
        args, _ = self._check_arguments(args, kwargs)
        return self._products(args, kwargs).pattern.copy()

    @public
    def products(self, *args: Any, **kwargs: Any) -> int:
        """Return the number of products with the matrix for arguments of these shapes.

        Raises:
            As a call.
        """
        args, _ = self._check_arguments(args, kwargs)
        plan = self._products(args, kwargs)
        return len(plan.seeds) if plan.pattern.nnz else 0

    # -- what is computed -------------------------------------------------------------------------

    def _program(self, rule: AnyFunction) -> Function[..., Any]:
        """Compile products of the sparse derivative with many seeds, forward or reverse."""

        def products(args: Any, kwargs: Any, seeds: Any) -> Any:
            f, x = self._of_one(args, kwargs)

            def along(seed: Any) -> Any:
                return rule(f, x, seed, True)[1]

            return called_as(self.name, over_elements, along, (seeds,), {}, (0, 0), None)

        return Function(products, (), {}, {})

    def _of_one(self, args: Any, kwargs: Any) -> tuple[AnyFunction, Any]:
        """Return the function of the differentiated argument alone, and that argument."""

        def f(x: Any) -> Any:
            result = self._f(*args[: self._argnums], x, *args[self._argnums + 1 :], **kwargs)
            if flatten(result)[1].kind is not object:
                raise GradientError(f"{self.name}: the function gives containers, not one value")
            return result

        return f, args[self._argnums]

    def _matrix(self, plan: _Products, args: Any, kwargs: Any, x: Any) -> Any:
        """Compute a sparse Jacobian or Hessian from compressed products, by its colouring."""
        pattern, colours = plan.pattern, plan.colours
        if not pattern.nnz:
            data = np.zeros(0, x.dtype)
        else:
            program = self._forward if plan.forward else self._reverse
            products = program(args, kwargs, plan.seeds).reshape(len(plan.seeds), -1)
            if self._symmetric:
                data = read_symmetric(pattern, colours, products)
            elif plan.forward:
                data = read_columns(pattern, colours, products)
            else:
                data = read_rows(pattern, colours, products)
        csr_arrays = (data, pattern.indices.copy(), pattern.indptr.copy())
        return type(pattern)(csr_arrays, shape=pattern.shape)

    # -- patterns ---------------------------------------------------------------------------------

    def _products(self, args: Any, kwargs: Any) -> _Products:
        """Plan the products of a sparse derivative: pattern, colouring and direction."""
        tangent, result_tangent = self._linear(args, kwargs)
        pattern = self._own_pattern(tangent, result_tangent)
        if self._symmetric:
            pattern = _ones(pattern + pattern.T)
            count = pattern.shape[0]
            if count >= _MANY and is_mostly_full(pattern):
                warn(
                    StaticgradWarning,
                    f"{self.name}: {pattern.nnz} of {count} x {count} elements may be other than"
                    f" zero, so it takes {count} products: sg.hessian(f) gives the same, as an"
                    " array",
                )
            colours = star_colours(pattern)
            return _Products(pattern, colours, True, units(colours, tangent))
        ways = {
            forward: column_colours(pattern if forward else pattern.T)
            for forward in (True, False)
            if self._mode in (None, "forward" if forward else "reverse")
        }
        forward = min(ways, key=lambda way: (ways[way].max(initial=-1), not way))
        seeds = units(ways[forward], tangent if forward else result_tangent)
        return _Products(pattern, ways[forward], forward, seeds)

    def _own_pattern(self, tangent: Any, result_tangent: Any) -> Any:
        """Return the sparsity pattern: found in the graph, or given by the user."""
        if self._sparsity is None:
            return _ones(dependence(Graph({"tangent": result_tangent}), result_tangent, tangent))
        pattern = _ones(self._sparsity)
        shape = (prod(result_tangent.shape), prod(tangent.shape))
        if pattern.shape != shape:
            raise ShapeError(
                f"{self.name}: the pattern is {pattern.shape}, the matrix is {shape}",
                hint="a row for each element of the result, a column for each of the argument",
            )
        return pattern

    def _linear(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Build the graph from a tangent of the argument to that of the result."""
        leaves, tree = flatten((args, kwargs))
        with in_graphs():
            values = [
                graph_input(f"argument{k}", leaf.shape, leaf.dtype)
                if isinstance(leaf, np.ndarray | np.generic)
                else leaf
                for k, leaf in enumerate(leaves)
            ]
            graph_args, named = unflatten(tree, values)
            f, x = self._of_one(graph_args, named)
            tangent = graph_input("tangent", x.shape, x.dtype)
            return tangent, transformed.jvp(f, x, tangent, True)[1]

    def _check(self, matrix: Any, args: Any, kwargs: Any, x: Any) -> None:
        """Check a sparse derivative against a directional derivative, which needs no pattern."""
        along = np.random.default_rng(0).uniform(0.5, 1.5, x.shape).astype(x.dtype)
        expected = self._forward(args, kwargs, along[None]).ravel()
        product = matrix @ along.ravel()
        near = float(np.finfo(x.dtype).eps) ** _NEAR
        scale = near * float(np.abs(expected).max(initial=0.0))
        if not np.allclose(product, expected, near, scale, equal_nan=True):
            raise GradientError(
                f"{self.name}: the pattern leaves out elements of the matrix that are not zero",
                hint="sparsity=None finds one from the graph; f.pattern(*args) shows it",
            )

    # -- arguments --------------------------------------------------------------------------------

    def _check_arguments(self, args: tuple[Any, ...], kwargs: Any) -> tuple[tuple[Any, ...], Any]:
        """Check the arguments of a sparse derivative, and return the differentiated array."""
        if running_session() is not None or any(map(is_value, flatten((args, kwargs))[0])):
            raise ArgumentError(
                f"{self.name}: sparse matrices are SciPy's, and are made of arrays alone",
                hint="call it without sg.function, with arrays: it compiles what it runs\n"
                "in a graph: sg.jacobian(f), or products by sg.jvp and sg.vjp",
            )
        if self._argnums >= len(args):
            raise ArgumentError(f"{self.name}: there is no argument {self._argnums} by position")
        x = args[self._argnums]
        x = np.asarray(x) if isinstance(x, np.ndarray | np.generic | float) else x
        if not isinstance(x, np.ndarray) or (x.dtype.kind, x.itemsize) not in _FLOATS:
            kind = f" of {x.dtype}" if isinstance(x, np.ndarray) else ""
            raise ArgumentError(
                f"{self.name}: argument {self._argnums} is {quote(args[self._argnums])}{kind},"
                " not an array of float32 or float64"
            )
        return (*args[: self._argnums], x, *args[self._argnums + 1 :]), x

    def _key(self, args: Any, kwargs: Any) -> Any:
        leaves, tree = flatten((args, kwargs))
        return str(tree), tuple(
            (leaf.shape, leaf.dtype) if isinstance(leaf, np.ndarray | np.generic) else repr(leaf)
            for leaf in leaves
        )

    def __repr__(self) -> str:
        return f"<{self.name}>"


#: Element types that matrices of SciPy and derivatives both have: kind and bytes.
_FLOATS = (("f", 4), ("f", 8))


def _ones(matrix: Any) -> Any:
    """Convert a sparsity pattern to a CSR array of ones, without explicit zeros."""
    from scipy.sparse import csr_array

    pattern = csr_array(matrix != 0) if isinstance(matrix, np.ndarray) else csr_array(matrix)
    pattern.eliminate_zeros()
    pattern.sum_duplicates()
    pattern.data = np.ones(pattern.nnz, np.int8)
    return pattern


@public
def sparse_jacobian(
    f: Callable[..., Any],
    argnums: int = 0,
    *,
    sparsity: Any = None,
    mode: Direction | None = None,
) -> SparseDerivative:
    """The Jacobian of a function of arrays as a sparse matrix, by few products with it.

    Which elements may be other than zero is read from the graph of the derivative, once for each
    set of shapes. Columns without a common row share a product (``mode="forward"``), or rows
    without a common column (``"reverse"``): a band of width w takes w products, whatever its
    length (Curtis, Powell and Reid, 1974; Gebremedhin et al., 2005).

    Args:
        f: takes arrays, and gives one floating value.
        argnums: the place of the argument, a floating array, by which it is differentiated.
        sparsity: a pattern in the place of the graph's, a sparse or dense matrix whose elements
            other than zero say where derivatives may be. The first call checks it by one product.
        mode: ``"forward"`` or ``"reverse"``; by default the one that takes fewer products.

    Returns:
        A function of the same arguments that gives a ``scipy.sparse.csr_array`` of f's elements by
        those of the argument, both in C order. Its ``pattern(*args)`` is the pattern, and
        ``products(*args)`` the number of products of a call.

    Raises:
        ArgumentError: no function; another mode.

    >>> import numpy as np, staticgrad as sg
    >>> second = sparse_jacobian(lambda x: x[2:] - 2.0 * x[1:-1] ** 2 + x[:-2])
    >>> second(np.arange(5.0)).toarray()
    array([[  1.,  -4.,   1.,   0.,   0.],
           [  0.,   1.,  -8.,   1.,   0.],
           [  0.,   0.,   1., -12.,   1.]])
    >>> second.products(np.zeros(1000))
    3
    """
    _check_function(f, argnums)
    return SparseDerivative(f, "sparse_jacobian", argnums, sparsity, mode, symmetric=False)


@public
def sparse_hessian(
    f: Callable[..., Any], argnums: int = 0, *, sparsity: Any = None
) -> SparseDerivative:
    """The second derivatives of a function of arrays as a sparse matrix, by few products with it.

    As ``sparse_jacobian`` of the gradient; since the matrix is symmetric an element may be read in
    its row or in its column, and a star colouring takes fewer products (Coleman and More, 1984).
    A matrix that is mostly full takes a product for each column, with a warning.

    Args:
        f: takes arrays, and gives one floating value of one element.
        argnums: the place of the argument, a floating array.
        sparsity: a pattern in the place of the graph's, as in ``sparse_jacobian``.

    Returns:
        A function of the same arguments that gives a ``scipy.sparse.csr_array`` of the argument's
        elements by its elements; with ``pattern`` and ``products``.

    Raises:
        ArgumentError: no function.

    >>> import numpy as np, staticgrad as sg
    >>> chain = sparse_hessian(lambda x: (x[1:] * x[:-1] ** 2).sum())
    >>> chain(np.array([1.0, 2.0, 3.0])).toarray()
    array([[4., 2., 0.],
           [2., 6., 4.],
           [0., 4., 0.]])
    """
    _check_function(f, argnums)
    return SparseDerivative(f, "sparse_hessian", argnums, sparsity, None, symmetric=True)


def _check_function(f: Any, argnums: Any) -> None:
    """Refuse a function or ``argnums`` that a sparse derivative cannot take."""
    name = called_name()
    if not is_function(f):
        raise ArgumentError(
            f"{name}: f is {kind_of(f)}, not a function", hint=f"sg.{name}(lambda x: ...)(array)"
        )
    if type(argnums) is not int or argnums < 0:
        raise ArgumentError(
            f"{name}: argnums is {quote(argnums)}, not a place: 0 is the first argument"
        )


@overload
def jacobian(
    y: Value, x: Value, mode: Direction | None = None, allow_disconnected: bool = False
) -> Value: ...
@overload
def jacobian(
    y: Value, x: list[Leaf], mode: Direction | None = None, allow_disconnected: bool = False
) -> list[Value]: ...
@overload
def jacobian(
    y: Value, x: tuple[Leaf, ...], mode: Direction | None = None, allow_disconnected: bool = False
) -> tuple[Value, ...]: ...
@overload
def jacobian(
    y: Value, x: dict[Key, Leaf], mode: Direction | None = None, allow_disconnected: bool = False
) -> dict[Key, Value]: ...
@overload
def jacobian(
    y: Value, x: Structure, mode: Direction | None = None, allow_disconnected: bool = False
) -> Any: ...
@overload
def jacobian(  # type: ignore[overload-overlap]
    y: Gradient[P], *, mode: Direction | None = None, allow_disconnected: bool = False
) -> OfValue[P]: ...
@overload
def jacobian(
    y: Callable[P, Value], *, mode: Direction | None = None, allow_disconnected: bool = False
) -> Gradient[P]: ...
@overload
def jacobian(
    y: Callable[P, Value],
    argnums: tuple[int, int],
    mode: Direction | None = None,
    allow_disconnected: bool = False,
) -> OfArrays[P, tuple[Value, Value]]: ...
@overload
def jacobian(
    y: Callable[P, Any],
    argnums: Wrt = 0,
    mode: Direction | None = None,
    allow_disconnected: bool = False,
) -> OfArrays[P, Any]: ...
@public
@differentiates_by("x")
def jacobian(
    y: Any,
    x: Any = 0,
    mode: Direction | None = None,
    allow_disconnected: bool = False,
    *,
    argnums: Any = None,
) -> Any:
    """The derivative of every element of ``y`` by every element of ``x``.

    ``jacobian(y, x)[i, j]`` is d y[i] / d x[j], with as many axes for i and j as y and x have. It
    takes one ``grad`` per element of y (``"reverse"``) or one ``jvp`` per element of x
    (``"forward"``), all at a time, over a batch of unit vectors, which holds so many derivatives of
    each intermediate value: prefer ``vjp``, ``jvp`` or ``hvp`` where a product is enough.

    Args:
        y: a floating value. Or a function that gives floating values in containers.
        x: a floating value, or a list, tuple or dict of them. Of a function the second argument is
            ``argnums``.
        mode: ``"forward"`` or ``"reverse"``; by default the one that takes fewer products.
        allow_disconnected: zeros, instead of an error, for what no differentiable path leads to.
        argnums: of a function, as in ``grad``.

    Returns:
        A value of shape ``y.shape + x.shape`` in the dtype of ``y`` (in reverse mode: of ``x``), in
        the containers of ``x``. For a function, a function that gives one Jacobian per output, in
        the containers of the outputs.

    Raises:
        GradientError, DisconnectedError: as ``grad``.
        ArgumentError: another mode.

    >>> import numpy as np, staticgrad as sg
    >>> x = sg.input("x", (2,), "float64")
    >>> y = sg.stack([x[0] * x[1], x[0] + 3.0 * x[1]])
    >>> sg.evaluate(jacobian(y, x), {"x": [5.0, 7.0]})
    array([[7., 5.],
           [1., 3.]])
    >>> jacobian(lambda x: x**2)(np.array([5.0, 7.0]))
    array([[10.,  0.],
           [ 0., 14.]])
    """
    if is_function(y):
        return rules_of_functions().jacobian(y, x, mode, allow_disconnected)
    rules = rules_of_tensors() if are_tensors(y) else of_values
    return rules.jacobian(y, x, mode, allow_disconnected)


@overload
def hessian(y: Value, x: Value, allow_disconnected: bool = False) -> Value: ...
@overload
def hessian(y: Callable[P, Value], *, allow_disconnected: bool = False) -> OfValue[P]: ...
@overload
def hessian(
    y: Callable[P, Any], argnums: Wrt = 0, allow_disconnected: bool = False
) -> OfArrays[P, Any]: ...
@public
@differentiates_by("x")
def hessian(y: Any, x: Any = 0, allow_disconnected: bool = False, *, argnums: Any = None) -> Any:
    """The second derivatives of ``y``, a 0-d value, by every pair of elements of ``x``, one value.

    The Jacobian of the gradient, forward over reverse: one ``hvp`` per element of x, all at a
    time. Prefer ``hvp`` where a product is enough. Blocks of several values:
    ``jacobian(grad(y, a), b)``.

    Args:
        y: a floating value of one element, or a function that gives one.
        x: a floating value. Of a function the second argument is ``argnums``.
        allow_disconnected: zeros, instead of an error, where the gradient does not depend on ``x``.
        argnums: of a function, as in ``grad``.

    Returns:
        A value of shape ``x.shape + x.shape`` in the dtype of ``x``. For a function,
        a function; for several arrays, containers of containers, a block for each pair.

    Raises:
        GradientError, DisconnectedError: as ``jacobian``.

    >>> import numpy as np, staticgrad as sg
    >>> x = sg.input("x", (2,), "float64")
    >>> sg.evaluate(hessian(x[0] ** 2 * x[1], x), {"x": [5.0, 7.0]})
    array([[14., 10.],
           [10.,  0.]])
    >>> hessian(lambda x: x[0] ** 2 * x[1])(np.array([5.0, 7.0]))
    array([[14., 10.],
           [10.,  0.]])
    """
    if is_function(y):
        return rules_of_functions().hessian(y, x, allow_disconnected)
    rules = rules_of_tensors() if are_tensors(y) else of_values
    return rules.hessian(y, x, allow_disconnected)


@overload
def hvp(y: Value, x: Value, v: Any, allow_disconnected: bool = False) -> Value: ...
@overload
def hvp(y: Value, x: list[Leaf], v: Any, allow_disconnected: bool = False) -> list[Value]: ...
@overload
def hvp(
    y: Value, x: tuple[Leaf, ...], v: Any, allow_disconnected: bool = False
) -> tuple[Value, ...]: ...
@overload
def hvp(
    y: Value, x: dict[Key, Leaf], v: Any, allow_disconnected: bool = False
) -> dict[Key, Value]: ...
@overload
def hvp(y: Value, x: Structure, v: Any, allow_disconnected: bool = False) -> Any: ...
@overload
def hvp(y: AnyFunction, x: Fed, v: Any, allow_disconnected: bool = False) -> Array: ...
@overload
def hvp(y: AnyFunction, x: AnyValue, v: Any, allow_disconnected: bool = False) -> AnyValue: ...
@overload
def hvp(
    y: AnyFunction,
    x: Any,
    v: Any,
    allow_disconnected: bool = False,
    *,
    argnums: int | tuple[int, ...] | None = None,
) -> Any: ...
@public
def hvp(
    y: Any,
    x: Any,
    v: Any,
    allow_disconnected: bool = False,
    *,
    argnums: int | tuple[int, ...] | None = None,
) -> Any:
    """The Hessian of ``y`` by ``x``, times ``v``, without the Hessian.

    Forward over reverse: the tangent of the gradient when x moves along v. It costs about as much
    as two gradients, and keeps fewer values than reverse over reverse would: nothing waits for a
    second way back.

    Args:
        y: a floating 0-d value, or a function that gives one.
        x: a floating value, or a list, tuple or dict of them. Of a function the argument at which
            it is taken, or a tuple of all arguments.
        v: for each value of ``x`` a value or array of its type, in the containers of ``x``.
        allow_disconnected: zeros, instead of an error, where the gradient of ``y`` does not depend
            on ``x`` (it is linear in it), or y itself does not.
        argnums: of a function, as in ``vjp``; ``v`` is of these arguments alone.

    Returns:
        The containers of ``x``, each product of exactly the type of what it belongs to.

    Raises:
        GradientError, DisconnectedError: as ``grad`` and ``jvp``.

    >>> import numpy as np, staticgrad as sg
    >>> x = sg.input("x", (2,), "float64")
    >>> sg.evaluate(hvp((x**3).sum(), x, [1.0, 10.0]), {"x": [2.0, 3.0]})
    array([ 12., 180.])
    >>> hvp(lambda x: (x**3).sum(), np.array([2.0, 3.0]), np.array([1.0, 10.0]))
    array([ 12., 180.])
    """
    if is_function(y):
        return rules_of_functions().hvp(y, x, v, allow_disconnected, argnums)
    check_value(argnums)
    rules = rules_of_tensors() if are_tensors(y) else of_values
    return rules.hvp(y, x, v, allow_disconnected)

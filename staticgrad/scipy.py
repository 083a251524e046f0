"""SciPy's solvers over trees of arrays, with compiled derivatives.

SciPy sees one vector of float64; functions see the containers, shapes and dtypes of ``x0``. Values
and derivatives are programs that are compiled once for each function and kind of ``x0``. Public as
``sg.scipy``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.extend import kind_of, namespace
from staticgrad.extend.ops import astype, concatenate, stack
from staticgrad.extend.programs import Function, made_once
from staticgrad.extend.trees import flatten, paths, unflatten
from staticgrad.programs.derivatives import jvp, value_and_grad, vjp
from staticgrad.programs.function import function
from staticgrad.programs.sparse import hessian, hvp, jacobian, sparse_jacobian

__all__ = [
    "hessian_operator", "jacobian_operator", "least_squares", "minimize", "ravel", "root",
]  # fmt: skip


#: Methods of ``scipy.optimize.minimize`` in lower case -> the derivatives that they read; others
#: read the gradient.
_READ: Final = {
    **dict.fromkeys(("nelder-mead", "powell", "cobyla", "cobyqa"), ""),
    **dict.fromkeys(("newton-cg", "trust-ncg", "trust-krylov", "trust-constr"), "products"),
    **dict.fromkeys(("dogleg", "trust-exact"), "hessian"),
}


def ravel(tree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Return the elements of a tree of arrays as one float64 vector, and the way back.

    Args:
        tree: floating arrays and numbers in containers; integers become float64. A complex number
            is two elements, its real and its imaginary part.

    Returns:
        The vector, and a function from vectors to trees with the shapes and dtypes of this one. The
        function takes values of a graph, too.

    >>> vector, unravel = sg.scipy.ravel({"a": np.ones((2, 2)), "b": 3.0})
    >>> vector, unravel(vector * 2)["a"].tolist()
    (array([1., 1., 1., 1., 3.]), [[2.0, 2.0], [2.0, 2.0]])
    """
    return _ravel_tree("ravel", tree)


def _ravel_tree(name: str, tree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Flatten a tree of arrays to a float64 vector, and return the way back."""
    leaves, shape = flatten(tree)
    arrays = [np.asarray(leaf) for leaf in leaves]
    for path, array in zip(paths(shape, "x"), arrays, strict=True):
        if array.dtype.kind not in "fiuc":
            raise ArgumentError(f"{name}: {path} is {array.dtype}, not an array of numbers")
    vectors = [_split_complex(array).ravel() for array in arrays]
    ends = np.cumsum([0, *(vector.size for vector in vectors)]).tolist()
    kinds = [(a.shape, a.dtype.name if a.dtype.kind in "fc" else "float64") for a in arrays]

    def unravel(vector: Any) -> Any:
        leaves = []
        for first, end, (sizes, dtype) in zip(ends[:-1], ends[1:], kinds, strict=True):
            if dtype.startswith("complex"):
                pairs = vector[first:end].reshape((*sizes, 2))
                leaves.append((pairs[..., 0] + 1j * pairs[..., 1]).astype(dtype))
            else:
                leaves.append(vector[first:end].reshape(sizes).astype(dtype))
        return unflatten(shape, leaves)

    return np.concatenate([np.zeros(0), *vectors]).astype("float64"), unravel


def _split_complex(array: Any) -> Any:
    """Return real arrays unchanged, complex ones with a last axis of real and imaginary parts."""
    return np.stack([array.real, array.imag], -1) if array.dtype.kind == "c" else array


class _VectorFunctions:
    """A function of a tree as functions of a vector: its value, derivatives and their products."""

    def __init__(
        self, f: Callable[..., Any], unravel: Callable[[Any], Any], is_complex: bool
    ) -> None:
        self._f, self._unravel = f, unravel
        if is_complex:  # derivatives are by real and imaginary parts, elements of the vector
            self._f = lambda v, *args: f(unravel(v), *args)
            self._unravel = lambda v: v
        #: What a call gave -> the program; made when they are first called.
        self._programs: dict[str, Function[..., Any]] = {}

    def values(self, v: Any, *args: Any) -> Any:
        """The results of the function, of values of a graph."""
        return _concatenate_leaves(self._f(self._unravel(v), *args))

    def number(self, x: Any, *args: Any) -> Any:
        """The one number that the function gives.

        Raises:
            ArgumentError: it gives several, as a value with its derivatives.
        """
        result = self._f(x, *args)
        if isinstance(result, tuple):
            raise ArgumentError(
                f"f gives {len(result)} results, not one number",
                hint="derivatives are computed: return the value alone, without jac=True",
            )
        return result

    def slope(self, v: Any, *args: Any) -> Any:
        value, slopes = value_and_grad(self.number)(self._unravel(v), *args)
        return astype(value, "float64"), _concatenate_leaves(slopes)

    def product(self, v: Any, way: Any, *args: Any) -> Any:
        hessian_product = hvp(lambda x: self._f(x, *args), self._unravel(v), self._unravel(way))
        return _concatenate_leaves(hessian_product)

    def along(self, v: Any, way: Any, *args: Any) -> Any:
        x, tangent = self._unravel(v), self._unravel(way)
        return _concatenate_leaves(jvp(lambda x: self._f(x, *args), x, tangent, True)[1])

    def back(self, v: Any, ct: Any, *args: Any) -> Any:
        return vjp(lambda v: self.values(v, *args), v, ct, True)[1]

    def value(self, v: Any, *args: Any) -> Any:
        return astype(self.number(self._unravel(v), *args), "float64")

    def matrix(self, v: Any, *args: Any) -> Any:
        return jacobian(lambda v: self.values(v, *args), allow_disconnected=True)(v)

    def curvature(self, v: Any, *args: Any) -> Any:
        return hessian(lambda v: self.value(v, *args), allow_disconnected=True)(v)

    def program(self, name: str) -> Function[..., Any]:
        """The method of that name for arrays, compiled."""
        if name not in self._programs:
            self._programs[name] = function(getattr(self, name))
        return self._programs[name]


def _concatenate_leaves(tree: Any) -> Any:
    """Return the elements of a tree of values as one vector, in the order of ``ravel``."""
    leaves = []
    for leaf in flatten(tree, keep_complex=True)[0]:
        is_complex = getattr(getattr(leaf, "dtype", None), "is_complex", False)
        real = stack([leaf.real, leaf.imag], -1) if is_complex else leaf
        leaves.append(astype(real, "float64").ravel())
    return concatenate(leaves) if len(leaves) > 1 else leaves[0]


def _of_vectors(name: str, f: Any, x0: Any) -> tuple[_VectorFunctions, Any, Callable[[Any], Any]]:
    """Return a function of a tree as compiled functions of SciPy's vectors, made once."""
    if not callable(f):
        raise ArgumentError(f"{name}: f is {kind_of(f)}, not a function")
    if isinstance(x0, list) and all(isinstance(n, int | float | np.generic) for n in x0):
        x0 = np.array(x0)  # as SciPy reads it
    vector, unravel = _ravel_tree(name, x0)
    if not vector.size:
        raise ArgumentError(f"{name}: x0 has no numbers")
    leaves, tree = flatten(x0)
    kinds = tuple([(np.shape(leaf), np.asarray(leaf).dtype.str) for leaf in leaves])
    is_complex = any(np.iscomplexobj(leaf) for leaf in leaves)
    functions = made_once(
        f, ("scipy", tree, kinds), lambda: _VectorFunctions(f, unravel, is_complex)
    )
    return functions, vector, unravel


def minimize(
    f: Callable[..., Any], x0: Any, args: tuple[Any, ...] = (), *,
    method: str | Callable[..., Any] | None = None, **options: Any,
) -> Any:  # fmt: skip
    """Minimize a function of a tree of arrays by ``scipy.optimize.minimize``.

    Methods that read a gradient get it, those of Newton's kind products with the Hessian too, and
    ``dogleg`` and ``trust-exact`` the Hessian.

    Args:
        f: of ``x`` and ``args``, gives one number.
        x0: where to begin: arrays in containers, also complex ones. A list of numbers is a vector.
        args: further arguments of f: arrays in containers; numbers and strings are static.
        method: as SciPy's: a name, or a function that SciPy calls with the value's function, the
            vector, ``args`` and, by name, ``jac`` and the options.
        options: those of SciPy's function, ``bounds``, ``tol``, ...; constraints, bounds and
            callbacks are in terms of the vector (``ravel``).

    Returns:
        SciPy's result, with ``x`` and ``jac`` in the containers of ``x0``. Of a complex z, ``jac``
        is df/dRe(z) + 1j df/dIm(z), the direction of steepest ascent.

    >>> result = sg.scipy.minimize(
    ...     lambda p: ((p["a"] - 1.0) ** 2).sum() + (p["b"] + 2.0) ** 2,
    ...     {"a": np.zeros(2), "b": 0.0},
    ... )
    >>> result.x["a"].round(6), float(result.x["b"].round(6))
    (array([1., 1.]), -2.0)
    """
    from scipy.optimize import minimize as scipy_minimize

    functions, vector, unravel = _of_vectors("minimize", f, x0)
    reads = _READ.get(method.lower() if isinstance(method, str) else "", "gradient")
    if reads:
        options.setdefault("jac", True)
    if reads == "products":
        options.setdefault("hessp", functions.program("product"))
    if reads == "hessian":
        options.setdefault("hess", functions.program("curvature"))
    fun = functions.program("slope" if options.get("jac") is True else "value")
    result = scipy_minimize(fun, vector, args=args, method=method, **options)
    slope = "grad" if method == "trust-constr" else "jac"  # whose jac is that of the constraints
    return _in_containers(result, unravel, ("x", slope))


def root(
    f: Callable[..., Any], x0: Any, args: tuple[Any, ...] = (), *, method: str = "hybr",
    **options: Any,
) -> Any:  # fmt: skip
    """Find a zero of a function of a tree of arrays by ``scipy.optimize.root``.

    ``hybr`` and ``lm`` get the Jacobian, ``krylov`` its products; other methods read values alone.
    In a function that is traced or differentiated, use ``sg.implicit.root``.

    Args:
        f: of ``x`` and ``args``, gives as many numbers as x has, in any containers. A complex
            number is two.
        x0, args, method, options: as ``minimize``.

    Returns:
        SciPy's result, with ``x`` in the containers of ``x0``.

    >>> sg.scipy.root(lambda x: {"y": x**3 - 8.0}, np.array([1.0])).x.round(6)
    array([2.])
    """
    from scipy.optimize import root as scipy_root

    functions, vector, unravel = _of_vectors("root", f, x0)
    count = functions.program("values")(vector, *args).size
    if count != vector.size:
        raise ArgumentError(
            f"root: f gives {count} real numbers, and x has {vector.size}",
            hint="as many equations as unknowns; sg.scipy.least_squares takes more equations",
        )
    if method in ("hybr", "lm"):
        options.setdefault("jac", functions.program("matrix"))
    result = scipy_root(functions.program("values"), vector, args=args, method=method, **options)
    return _in_containers(result, unravel, ("x",))


def least_squares(
    f: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    *,
    jac: Literal["dense", "sparse", "products"] = "dense",
    **options: Any,
) -> Any:
    """Minimize a sum of squared residuals by ``scipy.optimize.least_squares``.

    Args:
        f: of ``x`` and ``args``, gives residuals in containers; of a complex one, the real and the
            imaginary part are two.
        x0, args, options: as ``minimize``.
        jac: "dense", "sparse" (``sg.sparse_jacobian``), or "products": a ``LinearOperator``, for
            Jacobians that do not fit into memory.

    Returns:
        SciPy's result, with ``x`` and ``grad`` in the containers of ``x0``.

    >>> t = np.linspace(0.0, 1.0, 5)
    >>> def residuals(p, seen):
    ...     return p["a"] * np.exp(p["rate"] * t) - seen
    >>> seen = 2.0 * np.exp(-t)
    >>> fit = sg.scipy.least_squares(residuals, {"a": 1.0, "rate": 0.0}, (seen,))
    >>> float(fit.x["a"].round(6)), float(fit.x["rate"].round(6))
    (2.0, -1.0)
    """
    from scipy.optimize import least_squares as scipy_least_squares

    functions, vector, unravel = _of_vectors("least_squares", f, x0)
    kinds: dict[str, Callable[[], Any]] = {
        "dense": lambda: functions.program("matrix"),
        "sparse": lambda: sparse_jacobian(functions.values),
        "products": lambda: lambda v, *args: _jacobian_operator(functions, v, args),
    }
    result = scipy_least_squares(
        functions.program("values"), vector, jac=kinds[jac](), args=args, **options
    )
    return _in_containers(result, unravel, ("x", "grad"))


def jacobian_operator(f: Callable[..., Any], x: Any, *args: Any) -> Any:
    """Return the Jacobian of a function at ``x`` as a ``scipy.sparse.linalg.LinearOperator``.

    Products are forward mode, those of the transpose reverse mode; no matrix is made.

    Args:
        f: of ``x`` and ``args``, gives values in containers.
        x: arrays in containers. Its elements are the columns, in the order of ``ravel``.
        args: further arguments of f.

    >>> operator = sg.scipy.jacobian_operator(lambda x: x ** 2, np.array([1.0, 3.0]))
    >>> operator @ np.array([1.0, 1.0])
    array([2., 6.])
    """
    functions, vector, _ = _of_vectors("jacobian_operator", f, x)
    return _jacobian_operator(functions, vector, args)


def _jacobian_operator(functions: _VectorFunctions, v: Any, args: tuple[Any, ...]) -> Any:
    """Build SciPy's LinearOperator from compiled products with the Jacobian and its transpose."""
    from scipy.sparse.linalg import LinearOperator

    count = functions.program("values")(v, *args).size
    along, back = functions.program("along"), functions.program("back")
    return LinearOperator(
        (count, v.size),
        matvec=lambda way: along(v, _vector(way), *args),
        rmatvec=lambda ct: back(v, _vector(ct), *args),
        dtype=np.float64,
    )


def hessian_operator(f: Callable[..., Any], x: Any, *args: Any) -> Any:
    """Return the Hessian of a function at ``x`` as a ``scipy.sparse.linalg.LinearOperator``.

    Args:
        f: of ``x`` and ``args``, gives one number.
        x, args: as ``jacobian_operator``.

    >>> operator = sg.scipy.hessian_operator(lambda x: sg.sum(x ** 3), np.array([1.0, 3.0]))
    >>> operator @ np.array([1.0, 1.0])
    array([ 6., 18.])
    """
    from scipy.sparse.linalg import LinearOperator

    functions, vector, _ = _of_vectors("hessian_operator", f, x)
    product = functions.program("product")
    times = lambda way: product(vector, _vector(way), *args)  # noqa: E731
    return LinearOperator((vector.size,) * 2, matvec=times, rmatvec=times, dtype=np.float64)


def _vector(array: Any) -> Any:
    return np.ascontiguousarray(array, "float64").reshape(-1)


def _in_containers(result: Any, unravel: Callable[[Any], Any], names: tuple[str, ...]) -> Any:
    for name in names:
        if name in result:
            result[name] = unravel(np.asarray(result[name]))
    return result


namespace(globals())

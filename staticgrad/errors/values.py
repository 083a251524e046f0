"""Operations that values and named sizes refuse, and what to write instead.

A symbolic value has no number, no truth and no elements before its graph runs, it is never written
into, and NumPy's functions take it only where there is one of ours. Each of these ends in one error
at the user's line.

A named size refuses impossible bounds, and to be a number before the feeds are known. Every way in
which Python and NumPy ask an object for its number ends here, in one message that says what to
write instead. The arithmetic of sizes is in ``types/dim.py``.
"""

from __future__ import annotations

import ast
import linecache
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import wraps
from operator import index
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, TypeVar

import numpy as np

from staticgrad.errors import (
    ArgumentError,
    DTypeError,
    ImmutableError,
    MaskedArrayError,
    RankError,
    StaticgradError,
    SymbolicValueError,
    UnknownAttributeError,
)
from staticgrad.errors.hints import (
    NUMBERS,
    WRITE,
    has_name,
    instead_of,
    instead_of_call,
    instead_of_draw,
    instead_of_method,
    runs,
)
from staticgrad.errors.tracebacks import make_boundaries
from staticgrad.errors.wording import Related, did_you_mean, kind_of, quote
from staticgrad.support.building import user_frame
from staticgrad.support.source import position


def masked_array(what: str, related: Sequence[Related] = ()) -> MaskedArrayError:
    """The error for a masked array."""
    return MaskedArrayError(
        f"{what} is a masked array, and no kernel reads its mask",
        hint="fill it, array.filled(0), and pass the mask as an array of its own",
        related=related,
    )


def never_set(what: Any, hint: str) -> Any:
    """Return a property whose assignment raises an error that says what to write."""

    def refuse(self: Any, _new: object) -> NoReturn:
        raise ImmutableError(
            f"{self!r} keeps its {what.fget.__name__}", hint=hint, related=[self._describe()]
        )

    return what.setter(refuse)


_AS_ARRAY: Final = "np.asarray()"
_DETERMINED: Final = (
    "it depends on no input: sg.evaluate(value) gives its numbers now; functions of NumPy's arrays"
    " compute at once"
)


@make_boundaries
class NoNumbers:
    """Base of symbolic values. Subclasses say in ``_describe`` how messages list them."""

    __slots__ = ()
    #: How to come by the numbers; a parameter has some already.
    _numbers: ClassVar[str] = NUMBERS

    def _describe(self) -> Related:
        """The value as an operand of a message: name, type text, where made."""
        raise TypeError("a symbolic value says how messages list it")

    def _is_determined(self) -> bool:
        """Return whether constants alone determine the numbers."""
        return False

    def __bool__(self) -> NoReturn:
        raise self._no_value(
            "bool()",
            "sg.where(condition, a, b) chooses; a & b, a | b, ~a for 'and', 'or', 'not'\n"
            "(a < x) & (x < b) for a < x < b; sg.maximum(a, b) for max(a, b), x.max() for max(x)\n"
            "for if and while in the graph: sg.cond(x > 0, f, g), sg.while_loop(test, body, init)",
        )

    def __float__(self) -> NoReturn:
        if runs(sys._getframe(2), "STORE_SUBSCR"):
            raise self._no_value(
                "an element of an array",
                "collect values in a list, and sg.stack(values) is one;\n"
                "or begin with sg.zeros(shape), and out = out.at[i].set(y) writes into it",
            )
        raise self._no_value(
            "float()", f"inside the graph: sg.sin(x) for math.sin(x), and so on\n{self._numbers}"
        )

    def __int__(self) -> NoReturn:
        raise self._no_value("int()", f"inside the graph: x.astype('int64')\n{self._numbers}")

    def __complex__(self) -> NoReturn:
        raise self._no_value("complex()", self._numbers)

    def __index__(self) -> NoReturn:
        raise self._no_value(
            "an index",
            "an index known in a run: x[i], or sg.take(x, i, axis)\n"
            "range() takes an int, for Python's loops run while the graph is built:\n"
            "sg.fori_loop(0, n, body, init) runs in the graph, n times",
        )

    def __iter__(self) -> Iterator[Any]:
        count = self._length(
            "iteration",
            "for row in x, in the graph: sg.scan(f, init, x), sg.map(f, x)\n"
            "whole-array operations: x.sum() for sum(x)",
        )
        value: Any = self
        return (value[i] for i in range(count))

    def __len__(self) -> int:
        return self._length("len()", "x.shape[0] is the size of the first axis, by its name")

    def _length(self, what: str, instead: str) -> int:
        """Return the literal size of a value's first axis for ``len``; else raise."""
        shape: tuple[Any, ...] = self.shape  # type: ignore[attr-defined]
        if not shape:
            raise RankError(
                f"{what}: {self!r} has no axes",
                hint="x[None] adds one; x.ravel() has one in any case",
                related=[self._describe()],
            )
        if not isinstance(shape[0], int):
            raise SymbolicValueError(
                f"{what} of {self!r}: the size {shape[0]} of its first axis is only known in a run",
                hint=f"{instead}\nor give the axis a literal size",
                related=[self._describe()],
            )
        return shape[0]

    def __contains__(self, item: object) -> NoReturn:
        raise self._no_value(
            "'in'",
            "inside the graph: (x == item).any()\n"
            "for a place in a list: any(x is y for y in values)",
        )

    def __array__(self, *_args: Any, **_kwargs: Any) -> Any:
        if is_scipy_product(sys._getframe(2)):
            return as_object(self)
        if sys._getframe(2).f_globals.get("__name__") == "numpy.ma.core":
            raise masked_array("the operand to the left", [self._describe()])
        if runs(sys._getframe(2), "BINARY_SUBSCR"):
            raise self._no_value(
                "an index of an array",
                "indices of a run: sg.take(array, x, axis), or sg.constant(array)[x]",
            )
        if runs(sys._getframe(2), "STORE_SUBSCR"):
            raise self._no_value(
                "a part of an array",
                "out = sg.asarray(array), and out = out.at[:2, :2].set(y) writes into it, a new"
                " value;\nfor rows one after the other collect them in a list: sg.stack(rows)",
            )
        raise self._no_value(
            _AS_ARRAY, f"to make one value of several: sg.stack([a, b])\n{self._numbers}"
        )

    def __format__(self, spec: str) -> str:
        if spec:
            raise self._no_value(f"the format {spec!r}", self._numbers)
        return repr(self)

    def __setitem__(self, key: object, item: object) -> NoReturn:
        raise no_write(repr(self), related=[self._describe()])

    def __delitem__(self, key: object) -> NoReturn:
        raise ImmutableError(
            f"nothing can be deleted from {self!r}",
            hint="join what stays: sg.concatenate([x[:i], x[i + 1 :]])",
            related=[self._describe()],
        )

    if not TYPE_CHECKING:  # a type checker shall find what is not there

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):  # Python and NumPy ask for what a class may have
                raise AttributeError(name)
            raise self._no_attribute(name)

        @property
        def value(self) -> Any:
            raise self._no_attribute("value")

        @value.setter
        def value(self, array: Any) -> None:
            raise self._no_attribute("value")

    def _no_attribute(self, name: str) -> UnknownAttributeError:
        """Return the error for an attribute that a value does not have, with a hint."""

        def hint() -> str:
            names = [name for name in dir(type(self)) if not name.startswith("_")]
            instead = instead_of_method(name)
            return self._numbers if instead is NUMBERS else instead or did_you_mean(name, names)

        return UnknownAttributeError(
            f"{self!r} has no attribute {name!r}", hint=hint, related=[self._describe()]
        )

    def _no_value(self, what: str, instead: str) -> SymbolicValueError:
        """Return the error for reading numbers of a graph's value, which has none before a run."""
        law = distribution_called(sys._getframe(2))
        called, ours = library_call(sys._getframe(2))
        if law:
            instead = f"of values: {law}"
        elif called:
            instead = self._numbers if what == _AS_ARRAY else instead
            what, instead = called, f"{ours}\n{self._numbers}" if ours else instead
        if self._is_determined() and not law:
            instead = f"{_DETERMINED}\n{instead}"
        return SymbolicValueError(
            f"{what} needs a number, but {self!r} is symbolic: it has no value before a run",
            hint=instead,
            related=[self._describe()],
        )


def no_write(what: str, numbers: str = "", related: Sequence[Related] = ()) -> ImmutableError:
    """Return the error for ``x[key] = y``, which another library may have written.

    ``numbers`` is an argument of that library's function which it can write into.
    """
    called, ours = library_call(sys._getframe(2))
    if not called:
        return ImmutableError(f"{what} cannot be written into", hint=WRITE, related=related)
    copy = f"of numbers alone: {called}({numbers})" if numbers else ""
    return ImmutableError(
        f"{called} writes into its operand, and {what} cannot be written into",
        hint="\n".join(filter(None, [ours, copy])) or WRITE,
        related=related,
    )


def is_scipy_product(frame: Any) -> bool:
    """Return whether SciPy multiplies by a sparse matrix in this frame.

    It takes its operand for an array, and leaves the product to an operand that is an object.
    """
    is_product = frame.f_code.co_name in ("_matmul_dispatch", "_rmatmul_dispatch")
    return is_product and str(frame.f_globals.get("__name__")).startswith("scipy.sparse.")


#: Modules whose frames stand between a value and the user's call of SciPy.
_OF_ARRAYS: Final = ("scipy.", "numpy", "staticgrad.")


def distribution_called(frame: Any) -> str:
    """Return ``sg.stats.norm.logpdf`` if SciPy's method of that name is running; else ''."""
    path = ""
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(_OF_ARRAYS):
        law = frame.f_locals.get("self")
        law = getattr(law, "dist", getattr(law, "_dist", law))
        name = getattr(law, "name", None) or type(law).__name__.removesuffix("_gen")
        method = frame.f_code.co_name
        if str(type(law).__module__).startswith("scipy.stats") and not method.startswith("_"):
            path = f"sg.stats.{name}.{method}"
        frame = frame.f_back
    return path if path and has_name("sg.stats", path.split(".")[2]) else ""


def library_call(frame: Any) -> tuple[str, str]:
    """Return the other library's function that was called with a value, and what to write.

    Both are empty if the user's own line reads the value, or a library without such a name.
    """
    user, called = user_frame(), ("", "")
    while frame is not None and frame is not user:
        called = _public_name(frame) or called
        frame = frame.f_back
    if not called[0]:  # a compiled function, or an object such as a distribution
        path, callee = _callee(user)
        name = path.rpartition(".")[2]
        owner = getattr(callee, "__self__", callee)
        kind = str((owner if isinstance(owner, type) else type(owner)).__module__)
        if kind.startswith("numpy.random"):
            return f"{path}()", instead_of_draw(name)
        module = getattr(callee, "__module__", None) or kind
        called = _public_place(str(module), getattr(callee, "__name__", name)) or called
    return (".".join(called), instead_of_call(*called)) if called[0] else ("", "")


def _public_name(frame: Any) -> tuple[str, str] | None:
    """Return the package and public name of the library function that a frame runs."""
    names = [(str(frame.f_globals.get("__name__")), frame.f_code.co_name)]
    if "self" in frame.f_locals:  # of a method, that of the class
        names = [(type(frame.f_locals["self"]).__module__, type(frame.f_locals["self"]).__name__)]
    wrapped = [
        function for function in frame.f_locals.values() if isinstance(function, FunctionType)
    ]
    names += [
        (function.__module__, function.__name__) for function in wrapped
    ]  # by decorators of SciPy's
    places = (_public_place(module, name) for module, name in names)
    return next((place for place in places if place is not None), None)


def _public_place(module: str, name: str) -> tuple[str, str] | None:
    """Return the public package of another library that has a function, and its name."""
    root, package = module.partition(".")[0], module.partition("._")[0]
    if root in ("staticgrad", "numpy", "builtins") or name.startswith("_"):
        return None
    for place in (root, package):
        if callable(getattr(sys.modules.get(place), name, None)):
            return place, name
    return None


def _callee(frame: Any) -> tuple[str, Any]:
    """Return the text of what a line calls, ``rng.normal``, and the object; empty if unknown.

    Of a method of NumPy's generators, which is compiled, the object is the generator or its class.
    """
    line, end_line, column, end_column = position(frame.f_code, frame.f_lasti)
    if end_line is None:
        return "", None
    file = frame.f_code.co_filename
    lines = [linecache.getline(file, number).encode() for number in range(line, end_line + 1)]
    lines[-1] = lines[-1][:end_column]
    lines[0] = lines[0][column:]
    try:
        call = ast.parse(b"(" + b"".join(lines) + b")", mode="eval").body
    except SyntaxError:
        return "", None
    if not isinstance(call, ast.Call):
        return "", None
    function = call.func
    callee = _object_of(function, frame)
    if isinstance(function, ast.Attribute):
        owner = _object_of(function.value, frame)
        of_numpy = owner if isinstance(owner, type) else type(owner)
        if of_numpy.__module__.startswith("numpy.random"):
            callee = owner
    return ast.unparse(function), callee


def _object_of(expression: ast.expr, frame: Any) -> Any:
    """Return the object of an expression of names, attributes and elements, or None.

    Of a call that makes an object it is the object's class: nothing is called again.
    """
    if isinstance(expression, ast.Name):
        return frame.f_locals.get(expression.id, frame.f_globals.get(expression.id))
    if isinstance(expression, ast.Attribute):
        return getattr(_object_of(expression.value, frame), expression.attr, None)
    if isinstance(expression, ast.Subscript) and isinstance(expression.slice, ast.Constant):
        container, key = _object_of(expression.value, frame), expression.slice.value
        if isinstance(container, list | tuple | dict):
            with suppress(IndexError, KeyError, TypeError):
                return container[key]  # type: ignore[index]
    if isinstance(expression, ast.Call):
        made_by = _object_of(expression.func, frame)
        return np.random.Generator if made_by is np.random.default_rng else made_by
    return None


def as_object(value: Any) -> Any:
    """Return an array without axes that contains ``value`` itself."""
    array = np.empty((), object)
    array[()] = value
    return array


def no_graph_attribute(name: str, names: Iterable[str]) -> AttributeError:
    """Return the error for an attribute that a graph does not have."""
    if name.startswith("_"):
        return AttributeError(name)
    hint = _OF_GRAPHS.get(name) or (lambda: did_you_mean(name, names))
    return UnknownAttributeError(f"a graph has no attribute {name!r}", hint=hint)


#: Attributes that a graph does not have -> what to write.
_OF_GRAPHS: Final = {
    **dict.fromkeys(
        ("run", "eval", "evaluate", "execute", "compile", "forward"),
        "f = sg.compile(graph), then f.run(feeds)",
    ),
    **dict.fromkeys(
        ("replace", "clone_replace", "replace_inputs", "substitute", "clone", "subs"),
        "its outputs over other values: graph(x=new), or sg.replace(graph.outputs, {x: new})",
    ),
    **dict.fromkeys(
        ("vmap", "vectorize", "map"),
        "its outputs over a batch: sg.vectorize(graph.outputs, {x: batch})",
    ),
    **dict.fromkeys(("call", "inline", "apply"), "a graph is called itself: graph(x=value)"),
}


OF_SPARSE: Final = (
    "A.toarray() is dense; sg.sparse.csr(A) has methods: A.sin(), A.sum(axis), A.apply(function)\n"
    "sg.sparse.spsolve(A, b) solves systems"
)


def no_operand(function: str, operand: object) -> DTypeError:
    """Return the error for an operand that cannot become an array."""
    hints = {
        "NoneType": "a function without return gives None",
        "str": "a value by name: the input itself, graph[name] for an output",
        "generator": "np.array(list(x)), of a generator of numbers",
        **dict.fromkeys(("Decimal", "Fraction"), "float(x); of a list np.array(x, 'float64')"),
        "Dim": "",
    }
    kind = type(operand).__module__
    what = "None is" if operand is None else f"{quote(operand)} is {kind_of(operand)},"
    return DTypeError(
        f"{function}: {what} not a value, a number or an array",
        hint=hints.get(type(operand).__name__, OF_SPARSE if "sparse" in kind else ""),
    )


def no_ufunc(ufunc: Any, method: str) -> StaticgradError:
    """The error for a NumPy ufunc that values do not follow, or not in this way."""
    library = "np." if hasattr(np, ufunc.__name__) else ""
    called = library + ufunc.__name__ + ("" if method == "__call__" else f".{method}")
    return _not_covered(called, WRITE if method == "at" else "")


def no_function(function: Any) -> StaticgradError:
    """The error for a NumPy function that values do not follow."""
    module = function.__module__.removeprefix("numpy").removeprefix(".")
    return _not_covered(".".join(["np", *module.split("."), function.__name__]).replace("..", "."))


def _not_covered(called: str, instead: str = "") -> SymbolicValueError:
    return SymbolicValueError(
        f"{called} takes arrays: there is no such function of values here",
        hint=instead or "\n".join(filter(None, [instead_of(called.rpartition(".")[2]), NUMBERS])),
    )


Operator = TypeVar("Operator", bound=Callable[..., Any])

#: NumPy functions that are Python operators: ``np.int64(2) * batch`` arrives as one of them.
_OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "divmod": divmod,
    "equal": operator.eq,
    "not_equal": operator.ne,
}


class UnknownNumber:
    """Base of sizes that depend on names."""

    __slots__ = ()

    def _refuse(self, what: str, instead: str) -> SymbolicValueError:
        return SymbolicValueError(
            f"{what}: the size {self} has no value before feeds are bound",
            hint=f"{instead}\nor give the axis a literal size where it is declared",
        )

    def __bool__(self) -> NoReturn:
        raise self._refuse("bool()", "a condition on a size cannot steer how a graph is built")

    def __index__(self) -> NoReturn:
        raise self._refuse(
            "a whole number is needed", "use x.shape, sg.zeros(shape) and whole-array operations"
        )

    def __float__(self) -> NoReturn:
        raise self._refuse("float()", "as a number inside the graph: sg.size_value(size)")

    if not TYPE_CHECKING:  # to a type checker a size is not a function

        def __call__(self, *_args: object, **_named: object) -> NoReturn:
            raise UnknownAttributeError(
                f"the size {self} is not called: size and shape are attributes",
                hint="x.size counts the elements, x.shape[0] is the size of the first axis",
            )

    def __truediv__(self, other: object) -> Any:
        if _takes_over(other):
            return NotImplemented
        raise self._refuse("/", "a size divides with //; for a number: sg.size_value(size) / 2")

    def __rtruediv__(self, other: object) -> Any:
        if _takes_over(other):
            return NotImplemented
        raise self._refuse("/", "as a number inside the graph: 1.0 / sg.size_value(size)")

    def __pow__(self, other: object) -> Any:
        if _takes_over(other):
            return NotImplemented
        raise self._refuse("**", "as a number inside the graph: sg.size_value(size) ** 2")

    def __rpow__(self, other: object) -> Any:
        if _takes_over(other):
            return NotImplemented
        raise self._refuse("**", "as a number inside the graph: 2 ** sg.size_value(size)")

    def __lt__(self, other: object) -> Any:
        return self._refuse_comparison("<", other)

    def __le__(self, other: object) -> Any:
        return self._refuse_comparison("<=", other)

    def __gt__(self, other: object) -> Any:
        return self._refuse_comparison(">", other)

    def __ge__(self, other: object) -> Any:
        return self._refuse_comparison(">=", other)

    def _refuse_comparison(self, sign: str, operand: object) -> Any:
        if _takes_over(operand):
            return NotImplemented
        raise self._refuse(
            f"{self} {sign} {operand}", "promise it where it is declared: sg.dim(name, min=, max=)"
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        same = _OPERATORS.get(ufunc.__name__)
        if same is None or method != "__call__" or kwargs:
            raise self._refuse(
                f"np.{ufunc.__name__}", "as a number inside the graph: sg.size_value(size)"
            )
        left, right = (i if isinstance(i, UnknownNumber) else self.whole(i) for i in inputs)
        return same(left, right)

    def whole(self, number: Any) -> int:
        """Return the other operand of a symbolic size's arithmetic as an int, or raise."""
        try:
            return operator.index(number)
        except TypeError:
            raise self._refuse(
                f"{number!r} is not a size",
                "sizes are whole numbers; as a number inside the graph: sg.size_value(size)",
            ) from None


def _takes_over(operand: object) -> bool:
    """Return whether ``other`` has operators that take precedence: NumPy's convention."""
    return getattr(operand, "__array_priority__", 0.0) > 0.0


def over_sizes(method: Operator) -> Operator:
    """Make an operator of symbolic sizes: takes integers and sizes, defers to values.

    Raises SymbolicValueError for other numbers.
    """

    @wraps(method)
    def operate(self: UnknownNumber, operand: Any) -> Any:
        if not isinstance(operand, int | UnknownNumber):
            if _takes_over(operand):
                return NotImplemented
            operand = self.whole(operand)
        return method(self, operand)

    return operate  # type: ignore[return-value]  # it also takes what has an index


def check_size(name: Any, min: Any, max: Any, hint: Any, multiple_of: Any) -> None:
    """Refuse invalid bounds of a named size."""
    if not name or not isinstance(name, str):
        raise ArgumentError(
            f"a size needs a name, got {name!r}", hint='sg.dim("batch"); a literal size is an int'
        )
    for what, bound in (("min", min), ("max", max), ("hint", hint), ("multiple_of", multiple_of)):
        if not _is_whole(bound) and not (bound is None and what in ("max", "hint")):
            raise ArgumentError(f"size {name!r}: {what}={bound!r} is not a whole number")
    promised = f"min={min}, max={max}, multiple_of={multiple_of}"
    if min < 0 or multiple_of < 1 or (max is not None and max < min):
        raise ArgumentError(f"size {name!r}: no size has {promised}")
    if hint is not None and (hint < min or (max is not None and hint > max)):
        raise ArgumentError(f"size {name!r}: hint={hint} is outside {promised}")


def _is_whole(bound: Any) -> bool:
    try:
        index(bound)
    except TypeError:
        return False
    return not isinstance(bound, bool)

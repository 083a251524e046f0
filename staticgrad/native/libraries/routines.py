"""The code of routines: functions of libraries and of users, which rows of a table call.

    register("lapack", make)  # make("potrf.f64") gives the code of the routine "lapack:potrf.f64"

A routine has the entry of a kernel, ``f(record, own, begin, end)``: iterations ``begin`` to ``end``
(exclusive) of those that its step has. The record holds i64 words: a pointer for each operand that
workers share, in the order of the operands, then the step's sizes, then ``RoutineCode.words``.
``own`` points to a pointer for each other operand, scratch and check words, in their order. Where
an iteration fails, the routine writes its number and how it failed into the two check words, unless
they have the number of an earlier one (-1: none has failed).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Final

from staticgrad.errors import CallError, NameConflictError, UnknownNameError
from staticgrad.native.lock import LOCK
from staticgrad.support import config
from staticgrad.support.records import dataclass

#: ``(record, own, begin, end)``, addresses as integers.
PythonRoutine = Callable[[int, int, int, int], None]
#: From the rest of the routine's name, the number of the iteration that failed, and how it did.
Failure = Callable[[str, int, int], BaseException]
#: From the rest of the name, the source of a kernel and the functions of LAPACK whose addresses end
#: its record, behind those of a guard and of its state.
Linked = Callable[[str], tuple[str, tuple[str, ...]]]


@dataclass(frozen=True)
class RoutineCode:
    """A routine ready to run.

    ``address`` is its machine code, and ``words`` what its record ends with, as the addresses of
    functions that it calls. ``python`` does the same as Python code, for a process whose jit is
    off. ``keep`` must live as long as the address is called.
    """

    address: int
    words: tuple[int, ...] = ()
    python: PythonRoutine | None = None
    keep: object = None


@dataclass(frozen=True)
class _Registered:
    make: Callable[[str], RoutineCode] | None
    failure: Failure | None
    linked: Linked | None


#: Families that register themselves when a module is imported.
_BUILT_IN: Final = {
    "fft": "staticgrad.native.libraries.fourier",
    "host": "staticgrad.native.libraries.user_calls",
    "limit": "staticgrad.native.libraries.limits",
    "linalg": "staticgrad.native.libraries.lapack",
    "ranks": "staticgrad.native.libraries.collectives",
    "sparse": "staticgrad.native.libraries.sparse_rows",
    "special": "staticgrad.native.libraries.special_functions",
    "superlu": "staticgrad.native.libraries.sparse_solvers",
}
_registered: Final[dict[str, _Registered]] = {}
_codes: Final[dict[tuple[str, bool], RoutineCode]] = {}


def register(
    family: str,
    make: Callable[[str], RoutineCode] | None = None,
    failure: Failure | None = None,
    linked: Linked | None = None,
) -> None:
    """Register a family of library routines: steps may call names that begin with ``family:``.

    Args:
        family: the prefix of the names.
        make: returns the code of a routine, by the rest of its name. It is called once for each
            routine, for the first program that calls it. None: that of ``linked`` is compiled.
        failure: returns the error that the run raises if an iteration has failed, from the rest of
            the name, the number of the iteration, and the word that the routine noted beside it.
        linked: returns a routine as a kernel, which a library for C may contain, too.

    Raises:
        NameConflictError: there is such a family.
    """
    with LOCK:
        if _registered.setdefault(family, entry := _Registered(make, failure, linked)) is not entry:
            raise NameConflictError(f"there are routines of the family {family!r} already")


def forget(family: str) -> None:
    """Take routines back that no program calls any more."""
    with LOCK:
        _registered.pop(family, None)
        for name, jit in [*_codes]:
            if name.split(":")[0] == family:
                del _codes[name, jit]


def code(name: str, jit: bool | None = None) -> RoutineCode:
    """Return the code of a library routine; with the jit off its address is a Python token.

    ``jit``: the setting, where the caller has read it.

    Raises:
        UnknownNameError: no routine has the name.
    """
    if jit is None:
        jit = config.current().jit
    with LOCK:
        routine = _codes.get((name, jit))
        if routine is None:
            make, spec = _entry(name).make, name.partition(":")[2]
            native_routine = _kernel(name) if make is None else make(spec)
            routine = _codes[name, jit] = (
                native_routine if jit else _code_in_python(name, native_routine)
            )
    return routine


def sources(names: Iterable[str]) -> tuple[str, ...]:
    """Return the kernel sources of library routines that have no machine code yet, for ``prepare``.

    Raises UnknownNameError for a name that no family has.
    """
    with LOCK:
        missing = [name for name in names if (name, True) not in _codes]
        kernels = [find_linked_code(name) for name in missing if _entry(name).make is None]
    return tuple(source for source, _ in filter(None, kernels))


def _kernel(name: str) -> RoutineCode:
    """Compile the kernel of a library routine, with the words after its sizes."""
    from staticgrad import native
    from staticgrad.native.libraries import scipy_library

    kernel = find_linked_code(name)
    if kernel is None:
        raise UnknownNameError(f"the routine {name!r} has no code")
    text, functions = kernel
    words: tuple[int, ...] = ()
    if functions:
        guard = scipy_library.guard()
        words = guard.function, guard.state, *map(scipy_library.address, functions)
    code = native.kernel(text)
    return RoutineCode(code.address, words, code.python)


def failure(name: str, iteration: int, how: int) -> BaseException:
    """The error of an iteration of a routine that failed."""
    make = _entry(name).failure
    if make is None:
        return CallError(f"{name} failed in iteration {iteration}: {how}")
    return make(name.partition(":")[2], iteration, how)


def find_linked_code(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The code of a routine for a library for C; None if it needs this process."""
    make = _entry(name).linked
    return None if make is None else make(name.partition(":")[2])


def _entry(name: str) -> _Registered:
    """Return the registered family of a library routine, importing built-in ones."""
    family = name.partition(":")[0]
    if family in _BUILT_IN:
        import_module(_BUILT_IN[family])
    entry = _registered.get(family)
    if entry is None:
        raise UnknownNameError(
            f"there is no routine {name!r}", hint="whoever has its code registers it first"
        )
    return entry


def _code_in_python(name: str, routine: RoutineCode) -> RoutineCode:
    """Return a library routine's code that runs as plain Python (jit off)."""
    from staticgrad.native.plain import control as plain_rows

    if routine.python is None:
        raise UnknownNameError(
            f"the routine {name!r} does not run as Python code", hint="switch the jit on"
        )
    return RoutineCode(
        plain_rows.register_call(routine.python), routine.words, routine.python, routine
    )

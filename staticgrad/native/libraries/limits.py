"""The routine that notes loops which stopped at a bound, or places beyond one, and the errors."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from staticgrad.errors import ArgumentError, ConvergenceError, StaticgradError
from staticgrad.native.libraries.routines import register

#: out = reached; the first element that is false is noted, with the bits of its value.
SOURCE: Final = """
def kernel(t, own, begin, end):
    reached = ptr_u8(t[0])
    values = ptr_f64(t[1])
    out = ptr_u8(t[2])
    noted = ptr_i64(own[0])
    for i in range(begin, end):
        element = load1(reached, i)
        store1(out, i, element)
        if word(element) == 0 and (word(load1(noted, 0)) < 0 or word(load1(noted, 0)) > i):
            store1(noted, 0, i64x1(i))
            store1(noted, 1, bitcast_i64(load1(values, i)))
"""


def bits_of(value: float) -> int:
    """The bits of a float64 as an integer."""
    return int(struct.unpack("=q", struct.pack("=d", value))[0])


def _value_of(bits: int) -> float:
    return float(struct.unpack("=d", struct.pack("=q", bits))[0])


def _ode(function: str, method: str, limit: str) -> tuple[str, str]:
    """Return the error of an ODE solver that reached its limit of steps; ``{}`` is the time
    reached.
    """
    implicit = "" if method in ("rosenbrock", "rodas4") else (
        'method="rosenbrock" of sg.ode.solve takes few steps where an equation is stiff; '
    )  # fmt: skip
    option = "mxstep" if function == "odeint" else "max_steps"
    return (
        f"{function}: {limit} steps of method {method!r} reached time {{:.6g}}, not the end",
        f"{implicit}{option}= allows more steps, rtol= and atol= longer ones;"
        ' on_failure="nan" gives NaN\nno number of steps is enough where the solution does not'
        " exist: where it grows beyond all bounds, or its derivative is NaN",
    )


def _fori_loop(function: str, _: str, limit: str) -> tuple[str, str]:
    """Return the headline and the hint; ``{}`` is the number of iterations."""
    return (
        f"{function}: {{:.0f}} iterations lie between the bounds, and max_steps={limit}",
        "max_steps= is the most iterations that any run needs: a gradient has memory for so many",
    )


def _implicit(function: str, _: str, limit: str) -> tuple[str, str]:
    """Return the headline and the hint; ``{}`` is the residual behind the steps."""
    return (
        f"{function}: {limit} steps left a residual of {{:.3g}}, above tol",
        "begin nearer to the solution, or max_steps= allows more steps, tol= a larger residual;"
        ' on_failure="nan" gives NaN, on_failure="last" the last step',
    )


def _expm(function: str, _: str, limit: str) -> tuple[str, str]:
    """Return the headline and the hint; ``{}`` is the norm of the matrix."""
    return (
        f"{function}: a matrix of 1-norm {{:.3g}} needs more than max_squarings={limit}",
        'max_squarings=40 is enough for norms up to 5.9e12; errors="nan" gives NaN',
    )


def _riccati(function: str, _: str, limit: str) -> tuple[str, str]:
    """Return the headline and the hint."""
    return (
        f"{function}: {limit} doublings do not arrive at an X that stabilizes a",
        "there is one where b reaches each unstable direction of a and q is positive in it;"
        ' errors="nan" gives NaN',
    )


def _bounds(function: str, axis: str, _: str) -> tuple[str, str]:
    """Return the headline and the hint; ``{}`` is the place."""
    return (
        f"{function}: {{:.6g}} lies outside of the points of axis {axis}",
        "bounds_error=False gives fill_value there, or with fill_value=None extrapolates",
    )


#: Kind of loop -> headline and hint, from the public function, its method and the bound.
WORDING: Final[dict[str, Callable[[str, str, str], tuple[str, str]]]] = {
    "bounds": _bounds,
    "expm": _expm,
    "fori_loop": _fori_loop,
    "implicit": _implicit,
    "ode": _ode,
    "riccati": _riccati,
}


def words_of(spec: str) -> tuple[str, str]:
    """Return the error text of a loop's exceeded bound, by the routine's name.

    The headline contains a place for the value of the check, as of ``str.format``.
    """
    loop, _, limit = spec.partition(":")
    kind, function, method = loop.split(".")
    return WORDING[kind](function, method, limit)


def failure(spec: str, _: int, bits: int) -> StaticgradError:
    """Return the error of a check whose value has these bits."""
    headline, hint = words_of(spec)
    kind = ArgumentError if spec.startswith("bounds.") else ConvergenceError
    return kind(headline.format(_value_of(bits)), hint=hint)


register("limit", None, failure, lambda _: (SOURCE, ()))

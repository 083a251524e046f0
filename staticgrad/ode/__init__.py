"""Ordinary differential equations: fixed and adaptive Runge-Kutta steps, as loops of the graph.

The gradient goes through the steps that were taken: of the fixed method through all of them, of the
adaptive one through those that a bound on their number allows (``while_loop``). It is that of the
numbers that were computed, to rounding, and keeps the state of every step. With ``adjoint=True`` it
is the solution of the adjoint equation, which is solved backwards by the same method and keeps
nothing of the steps: it differs from the gradient of the numbers by the error of the method, of the
fixed one of fourth order in the step, of the adaptive one about its tolerances. The adaptive one
finds the states again from the last one, and what decays forwards grows on the way back: for stiff
or chaotic equations take the gradient through the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from staticgrad.errors import ArgumentError, CarryError, DTypeError, RankError
from staticgrad.extend import (
    NonNegativeFloat,
    PositiveInt,
    Value,
    as_value,
    called_name,
    dataclass,
    kind_of,
    names_messages,
    namespace,
    ops,
    present,
    quote,
)
from staticgrad.extend.dtypes import F64, promote
from staticgrad.extend.functions import by_all_operands, zeros_like
from staticgrad.extend.loops import (
    check_function,
    check_structure,
    fori_loop,
    is_eager,
    named_after,
    scan,
    while_loop,
)
from staticgrad.extend.ops import (
    absolute,
    astype,
    broadcast_to,
    concatenate,
    minimum,
    moveaxis,
    part,
    reached_end,
    reshape,
    sqrt,
    stack,
    stop_gradient,
    where,
)
from staticgrad.extend.sizes import maximum
from staticgrad.extend.trees import Tree, flatten, map_leaves, unflatten
from staticgrad.functions import aggregate
from staticgrad.functions.call_types import R
from staticgrad.language.ops.linalg import LU, LUSolve
from staticgrad.linalg.matrices import identity_like
from staticgrad.ode import adjoint as adjoints, solutions

__all__ = ["odeint", "rk4", "rk45", "solve", "solve_ivp"]


#: The derivative of a state (a tree) at a time, perhaps with further arguments.
Slope = Callable[..., Any]


@dataclass(frozen=True)
class _Method:
    """A pair of explicit Runge-Kutta formulae, of which one says the error of the other.

    Args:
        nodes, stages: the times and weights of its slopes; the last stage is the solution.
        error: the weights of the difference between both solutions.
        power: of the error, by which the next step is longer.
        powers: of each slope its weights in the polynomial of the step: of the first power of the
            part of the step, of the second ...; none for the cubic of both ends.
    """

    nodes: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    error: tuple[float, ...]
    power: float
    powers: tuple[tuple[float, ...], ...] = ()


#: J. R. Dormand and P. J. Prince, "A family of embedded Runge-Kutta formulae", 1980; between steps
#: L. F. Shampine, "Some practical Runge-Kutta formulas", 1986, of fourth order.
_RK45: Final = _Method(
    (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
    -0.2,
    (
        (1.0, -8048581381 / 2820520608, 8663915743 / 2820520608, -12715105075 / 11282082432),
        (0.0, 0.0, 0.0, 0.0),
        (0.0, 131558114200 / 32700410799, -68118460800 / 10900136933, 87487479700 / 32700410799),
        (0.0, -1754552775 / 470086768, 14199869525 / 1410260304, -10690763975 / 1880347072),
        (0.0, 127303824393 / 49829197408, -318862633887 / 49829197408, 701980252875 / 199316789632),
        (0.0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844),
        (0.0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423),
    ),
)
#: P. Bogacki and L. F. Shampine, "A 3(2) pair of Runge-Kutta formulas", 1989.
_RK23: Final = _Method(
    (0.0, 1 / 2, 3 / 4, 1.0),
    ((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    (5 / 72, -1 / 12, -1 / 9, 1 / 8),
    -1 / 3,
)
#: Ch. Tsitouras, "Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying
#: assumption", 2011.
_TSIT5: Final = _Method(
    (0.0, 0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0),
    (
        (),
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401,
         -0.028269050394068383),
        (0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081,
         2.324710524099774),
    ),
    (-0.001780011052225777, -0.0008164344596567469, 0.007880878010261995, -0.1447110071732629,
     0.5823571654525552, -0.45808210592918697, 0.015151515151515152),
    -0.2,
    (
        (1.0, -2.763706197274826, 2.9132554618219126, -1.0530884977290216),
        (0.0, 0.1317, -0.2234, 0.1017),
        (0.0, 3.930296236894751, -5.941033872131505, 2.490627285651253),
        (0.0, -12.411077166933676, 30.33818863028232, -16.548102889244902),
        (0.0, 37.50931341651104, -88.1789048947664, 47.37952196281928),
        (0.0, -27.896526289197286, 65.09189467479368, -34.87065786149661),
        (0.0, 1.5, -4.0, 2.5),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class _Rosenbrock:
    """A linearly implicit formula: its stages solve systems with the matrix I - gamma h J.

    Args:
        gamma: what the step is multiplied by in the matrix.
        nodes, stages: the times of slopes, and of each stage the weights of those before it. The
            last row is the solution; what the last stage adds to it is the error.
        couplings: of each stage the weights of those before it beside its slope.
        by_time: of each stage the weight of the slope's derivative by the time.
        power: as of ``_Method``.
        powers: weights of the stages in both further terms of the polynomial of the step.
    """

    gamma: float
    nodes: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    couplings: tuple[tuple[float, ...], ...]
    by_time: tuple[float, ...]
    power: float
    powers: tuple[tuple[float, ...], ...]


_FIFTH: Final = (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950)
#: RODAS: E. Hairer and G. Wanner, "Solving Ordinary Differential Equations II", 1996, section IV.7:
#: fourth order, L-stable, the solution is that of the last stage.
_RODAS: Final = _Rosenbrock(
    0.25,
    (0.0, 0.386, 0.21, 0.63, 1.0, 1.0),
    (
        (),
        (1.544,),
        (0.9466785280815826, 0.2557011698983284),
        (3.314825187068521, 2.896124015972201, 0.9986419139977817),
        _FIFTH,
        (*_FIFTH, 1.0),
        (*_FIFTH, 1.0, 1.0),
    ),
    (
        (),
        (-5.6688,),
        (-2.430093356833875, -0.2063599157091915),
        (-0.1073529058151375, -9.594562251023355, -20.47028614809616),
        (7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160),
        (8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136,
         -6.058818238834054),
    ),
    (0.25, -0.1043, 0.1035, -0.03620000000000023, 0.0, 0.0),
    -0.25,
    (
        (10.12623508344586, -7.487995877610167, -34.80091861555747, -7.992771707568823,
         1.025137723295662),
        (-0.6762803392801253, 6.087714651680015, 16.43084320892478, 24.76722511418386,
         -6.594389125716872),
    ),
)  # fmt: skip
#: The adaptive methods, by all their names.
METHODS: Final[dict[str, Any]] = {
    "rk45": _RK45, "RK45": _RK45, "dopri5": _RK45, "rk23": _RK23, "RK23": _RK23, "bosh3": _RK23,
    "tsit5": _TSIT5, "rosenbrock": _RODAS, "rodas4": _RODAS,
}  # fmt: skip
Name = Literal[
    "rk45", "RK45", "dopri5", "rk23", "RK23", "bosh3", "tsit5", "rk4", "rosenbrock", "rodas4"
]
#: A method of SciPy for stiff equations -> the one here.
_OF_SCIPY: Final[dict[str, Any]] = dict.fromkeys(("Radau", "BDF", "LSODA"), "rosenbrock")
IvpMethod = Literal[
    "RK45", "RK23", "Radau", "BDF", "LSODA", "rk45", "dopri5", "rk23", "bosh3", "tsit5",
    "rosenbrock", "rodas4",
]  # fmt: skip
#: How a solution that needs more steps than ``max_steps`` ends: with an error, or as NaN.
Failure = Literal["raise", "nan"]
_SAFETY, _LEAST, _MOST = 0.9, 0.2, 5.0
_FIRST: Final = 0.01  # of the way: the first step to try


#: Names of a parameter that is the time.
_TIMES: Final = ("t", "time")


@by_all_operands
def rk4(
    f: Callable[..., R],
    y: Any,
    times: Any,
    steps: PositiveInt = 1,
    *,
    args: Sequence[Any] = (),
    adjoint: bool = False,
) -> R:
    """Solve ``y' = f(t, y, *args)`` by the classical method of fourth order.

    Args:
        f: takes a time, a state and ``args``, returns the state's derivative in the state's
            containers and dtypes; of an array it may be a list of its rows.
        y: the state at ``times[0]``, a tree of values; integers become float64.
        times: ascending or descending, a vector of one or more; the solution is given at each.
        steps: equal steps from one time to the next.
        args: what f takes besides, a tuple: values, trees of them, or anything else. Gradients go
            through them, as through values that f reads from around it.
        adjoint: the gradient is solved backwards, from one time to the one before by as many steps,
            each time from the state of the solution. The state has one floating dtype then.

    Returns:
        The states, stacked along a new first axis: ``y`` itself comes first.

    Raises:
        ArgumentError: no function, no times, or no steps.
        RankError: times that are not a vector.
        CarryError: the derivative has other containers, or a dtype that the state cannot take.
        ArgumentError, DTypeError: ``adjoint`` of tensors, or of states of several dtypes.

    >>> y = rk4(lambda t, y: -y, 1.0, np.linspace(0.0, 1.0, 11))
    >>> bool(abs(y[-1] - np.exp(-1.0)) < 1e-6)
    True
    """
    times = _check_times(times)
    y, f = _read_equation(f, y, args)
    if adjoint:
        return adjoints.over_times(
            lambda f, y, times: rk4(f, y, times, steps), f"rk4.{steps}", f, y, times
        )

    def integrate_interval(y: Any, ends: Any) -> tuple[Any, Any]:
        """Integrate an ODE over one interval by equal Runge-Kutta steps."""
        start, end = ends
        h = (end - start) / steps

        def step(i: Any, y: Any) -> Any:
            return _rk4_step(f, start + i * h, y, h)

        y = step(0.0, y) if steps == 1 else fori_loop(0, steps, step, y)
        return y, y

    _, later_states = scan(integrate_interval, y, (times[:-1], times[1:]))
    return _prepend_state(y, later_states)


def _prepend_state(y: Any, later_states: Any) -> Any:
    return map_leaves(
        lambda first, later_states: concatenate([first[None], later_states], 0), y, later_states
    )


def _check_times(times: Any) -> Any:
    """Check the times at which an ODE's solution is wanted."""
    times = as_value(times)
    if times.ndim != 1:
        raise RankError(f"{called_name()}: times is {times.type}, not a vector")
    if times.shape[0] == 0:
        raise ArgumentError(
            f"{called_name()}: times is empty, and the state is given at the first of them"
        )
    return times


def _read_equation(f: Slope, y: Any, args: Any) -> tuple[Any, Slope]:
    """Return an ODE's first state in floats, and its derivative, which is checked."""
    name = called_name()
    if not isinstance(args, tuple | list):
        raise ArgumentError(
            f"{name}: args is {kind_of(args)}, not a tuple",
            hint="args=(a,) for f(t, y, a)",
        )
    check_function("f", f, "t", "y", *(f"arg{k}" for k in range(len(args))))
    _check_order(f, 0, "sg.ode.odeint(f, y, times) calls f(y, t), as SciPy's does")
    values, tree = flatten(map_leaves(as_value, y))  # a complex value is a pair of leaves
    floats = [v if v.dtype.is_float else astype(v, F64) for v in values]

    def slope(t: Any, state: Any) -> Any:
        return _check_slope(name, f(t, state, *args), state, tree)

    return unflatten(tree, floats), named_after(f, slope)


def _check_order(f: Any, time_place: int, cure: str) -> None:
    """Refuse a derivative whose names of parameters say that the time is in the other place."""
    code = getattr(f, "__code__", None)
    begin = 1 if getattr(f, "__self__", None) is not None else 0  # a method has its object first
    names = code.co_varnames[: code.co_argcount][begin : begin + 2] if code else ()
    if len(names) == 2 and names[1 - time_place] in _TIMES and names[time_place] not in _TIMES:
        order = ("t, y", "y, t")[time_place]
        raise ArgumentError(
            f"{called_name()}: the derivative takes ({', '.join(names)}), and is called as"
            f" f({order})",
            hint=f"def f({order}): ...\n{cure}",
        )


@names_messages
def _check_slope(name: str, slope: Any, state: Any, tree: Tree) -> Any:
    """Return an ODE's derivative in the state's shapes and containers.

    If the state is one array, the derivative may be a list of rows, as in SciPy's solvers.
    """
    rows = isinstance(slope, list | tuple) and isinstance(state, Value) and state.ndim
    if rows and state.shape[0] == len(slope):
        slope = stack([*slope])
    leaves, shape = flatten(slope)
    check_structure(shape, tree)
    for place, (leaf, state_leaf) in enumerate(zip(leaves, flatten(state)[0], strict=True)):
        if not isinstance(leaf, Value):
            continue
        if promote(leaf.dtype, state_leaf.dtype) != state_leaf.dtype:
            raise CarryError(
                f"{name}: the derivative is {quote(leaf)}, of a state {state_leaf.type}",
                hint=f"begin with y in {leaf.dtype.name}, or return it"
                f" .astype({state_leaf.dtype.name!r})",
            )
        if leaf.shape != state_leaf.shape:
            leaves[place] = broadcast_to(leaf, state_leaf.shape)
    return unflatten(tree, leaves)


def _rk4_step(f: Slope, t: Any, y: Any, h: Any, k1: Any = None) -> Any:
    """Make one step of the classical fourth-order Runge-Kutta method."""
    k1 = f(t, y) if k1 is None else k1
    k2 = f(t + h / 2, _advance_state(y, h / 2, k1))
    k3 = f(t + h / 2, _advance_state(y, h / 2, k2))
    k4 = f(t + h, _advance_state(y, h, k3))
    return map_leaves(
        lambda y, a, b, c, d: y + _like(h / 6, y) * (a + 2 * b + 2 * c + d),
        y,
        k1,
        k2,
        k3,
        k4,
    )


def _advance_state(y: Any, h: Any, slope: Any) -> Any:
    return map_leaves(lambda y, slope: y + _like(h, y) * slope, y, slope)


def _like(h: Any, y: Any) -> Any:
    return astype(h, y.dtype)


@by_all_operands
def rk45(
    f: Slope,
    y: Any,
    start: Any = None,
    end: Any = None,
    *,
    times: Any = None,
    rtol: NonNegativeFloat = 1e-6,
    atol: NonNegativeFloat = 1e-9,
    first: float | None = None,
    max_steps: Any = 1000,
    on_failure: Failure = "raise",
    args: Sequence[Any] = (),
    adjoint: bool = False,
) -> Any:
    """Solve ``y' = f(t, y, *args)`` up to ``end``, by Dormand-Prince steps of bounded error.

    Args:
        f, y, args: as of ``rk4``; the state at ``start``.
        start, end: times; the end may lie before the start.
        times: in the place of both, or of ``start``, a vector: the solution is given at each.
        rtol, atol: a step is taken where the root mean square of its error over
            ``atol + rtol * abs(y)`` is at most 1.
            The next one is ``0.9 * error**-0.2`` times as long, at least 0.2 and at most 5.
        first: the first step to try; a hundredth of the way by default.
        max_steps: steps to try at most, those that fail included; from each time to the next.
        on_failure: of a solution that needs more steps, "raise" ends the run with an error, "nan"
            gives NaN.
        adjoint: the gradient is solved backwards, with the same tolerances and at most as many
            steps, and stores none of them. It has no ``jvp``.

    Returns:
        The state at ``end``; of ``times`` the states, as ``rk4``. The gradient goes through the
        steps that were taken; the sizes of steps count as given.

    Raises:
        ArgumentError: no function, no times, or a tolerance below 0.
        CarryError: as ``rk4``.
        ArgumentError, DTypeError: ``adjoint`` of tensors, or of states of several dtypes.
        ConvergenceError: in the run, ``max_steps`` steps do not reach the end.

    >>> y = rk45(lambda t, y: -y * y, 1.0, 0.0, 3.0, max_steps=200)
    >>> bool(abs(y - 0.25) < 1e-6)
    True
    """
    ends = times is None and end is not None
    if ends:
        if start is None or getattr(start, "ndim", None) or isinstance(start, list | tuple):
            raise ArgumentError(
                f"rk45: start is {quote(start)} beside an end, and is one time",
                hint="rk45(f, y, times): the states at a vector of times\n"
                "what f takes besides: rk45(f, y, times, args=(a,)) for f(t, y, a)",
            )
    elif (start is None) == (times is None):
        raise ArgumentError(
            "rk45: neither an end nor times" if times is None else "rk45: start and times are two",
            hint="rk45(f, y, start, end), or rk45(f, y, times)",
        )
    y, f = _read_equation(f, y, args)
    control = _Control("rk45", rtol, atol, first, max_steps, on_failure, "rk45")
    if not ends:
        return control.over(f, y, _check_times(start if times is None else times), adjoint)
    dtype = control.dtype_of(y)
    start, end = (astype(as_value(time), dtype) for time in (start, end))
    if adjoint:
        states = control.over(f, y, stack([start, end]), adjoint)
        return map_leaves(lambda leaf: leaf[-1], states)
    return control.solve_interval(f, y, start, end)


@by_all_operands
def solve(
    f: Slope,
    y: Any,
    times: Any,
    args: Sequence[Any] = (),
    *,
    method: Name = "rk45",
    rtol: NonNegativeFloat = 1e-6,
    atol: NonNegativeFloat = 1e-9,
    steps: PositiveInt = 1,
    first: float | None = None,
    max_steps: Any = 1000,
    on_failure: Failure = "raise",
    dense: bool = False,
    events: Any = None,
    adjoint: bool = False,
) -> Any:
    """Solve ``y' = f(t, y, *args)`` at times, by a method of choice.

    Args:
        f, y, times, args: as of ``rk4``.
        method: of adaptive steps "rk45" (also "RK45", "dopri5"), "rk23" ("RK23", "bosh3"), "tsit5",
            and "rosenbrock" ("rodas4"); "rk4" of fixed ones. Stiff equations take many steps of
            explicit methods: "rosenbrock" is implicit and takes states of one dtype. Each of
            its steps computes the Jacobian of f and solves six systems with one LU factorization;
            tensors are refused.
        rtol, atol, first: of adaptive steps, as of ``rk45``.
        steps: of "rk4", equal steps from one time to the next.
        max_steps: of adaptive steps, to try at most from one time to the next; of an
            ``OdeSolution`` in all.
        on_failure: of a solution that needs more steps, "raise" ends the run with an error; "nan"
            gives NaN behind them.
        dense: give an ``OdeSolution``, which is called with further times.
        events: a function g(t, y, ...) of one number, or several: the solution ends where one of
            them crosses zero, and is an ``OdeSolution``. A g with an attribute ``direction`` is one
            of increasing (1) or decreasing (-1) values alone. A zero at the start is no crossing.
        adjoint: as of ``rk4``; not of an ``OdeSolution``.

    Returns:
        The states, stacked along a new first axis, with ``y`` first; or an ``OdeSolution``.
        Gradients go through the steps that were taken, by the state, ``args`` and ``times``.

    Raises:
        ArgumentError: no function, no times, or an option of another method.
        RankError, CarryError, DTypeError: as ``rk4`` and ``rk45``.
        ConvergenceError: in the run, ``max_steps`` steps do not reach the end.

    >>> y = solve(lambda t, y, k: -k * y, sg.constant(1.0), [0.0, 1.0, 2.0], (2.0,), rtol=1e-9)
    >>> bool(abs(sg.evaluate(y) - np.exp([0.0, -2.0, -4.0])).max() < 1e-8)
    True
    >>> fall = lambda t, y: sg.stack([y[1], -9.81 + 0.0 * y[1]])
    >>> ball = solve(fall, np.array([10.0, 0.0]), [0.0, 5.0], events=lambda t, y: y[0])
    >>> bool(abs(sg.evaluate(ball.t) - np.sqrt(20 / 9.81)) < 1e-9)
    True
    """
    return _solve_equation(
        "solve", f, y, times, args, method, rtol, atol, steps, first, max_steps, on_failure, dense,
        events, adjoint,
    )  # fmt: skip


@by_all_operands
def odeint(
    func: Callable[..., Any],
    y0: Any,
    t: Any,
    args: Sequence[Any] = (),
    *,
    tfirst: bool = False,
    rtol: NonNegativeFloat = 1.49012e-8,
    atol: NonNegativeFloat = 1.49012e-8,
    mxstep: Any = 1000,
    method: Name = "rk45",
    on_failure: Failure = "raise",
) -> Any:
    """Solve ``y' = func(y, t, *args)`` at times, with the arguments of ``scipy.integrate.odeint``.

    It is ``solve``, whose functions take the time first; SciPy's method changes between stiff and
    others, here ``method`` says it.

    Args:
        func: takes a state, a time and ``args``; with ``tfirst`` the time comes first.
        y0, t, args: the state at the first of the times, a vector of times, further arguments.
        rtol, atol, mxstep, method, on_failure: those of ``solve``, whose ``max_steps`` is
            ``mxstep``.

    Returns:
        The states, stacked along a new first axis, with ``y0`` first.

    Raises:
        ArgumentError, RankError, CarryError, DTypeError, ConvergenceError: as ``solve``.

    >>> y = odeint(lambda y, t, k: -k * y, sg.constant(1.0), [0.0, 1.0], (2.0,))
    >>> bool(abs(sg.evaluate(y)[1] - np.exp(-2.0)) < 1e-8)
    True
    """
    check_function("func", func, "y", "t", *(f"arg{k}" for k in range(len(args))))
    if not tfirst:
        _check_order(func, 1, "tfirst=True calls f(t, y)")

    def slope(t: Any, y: Any, *further: Any) -> Any:
        return func(t, y, *further) if tfirst else func(y, t, *further)

    f = named_after(func, slope)
    return _solve_equation(
        "odeint", f, y0, t, args, method, rtol, atol, 1, None, mxstep, on_failure
    )  # fmt: skip


@by_all_operands
def solve_ivp(
    fun: Slope,
    t_span: Any,
    y0: Any,
    method: IvpMethod = "RK45",
    t_eval: Any = None,
    *,
    args: Sequence[Any] = (),
    rtol: NonNegativeFloat = 1e-3,
    atol: NonNegativeFloat = 1e-6,
    first_step: float | None = None,
    max_steps: Any = 1000,
    on_failure: Failure = "raise",
) -> solutions.IvpSolution:
    """Solve ``y' = fun(t, y, *args)`` with the arguments of ``scipy.integrate.solve_ivp``.

    It is ``solve``, whose states have the times along the first axis.

    Args:
        fun, args: the derivative of a state at a time, and its further arguments.
        t_span: the first and the last time.
        y0: the state at the first time: an array, a list of numbers, or arrays in containers.
        method: as ``solve``'s; SciPy's implicit "Radau", "BDF" and "LSODA" are "rosenbrock" here.
        t_eval: the times of the result, a vector within ``t_span``. It is needed: the size of a
            result is known before a run.
        rtol, atol, first_step, max_steps, on_failure: those of ``solve``, whose ``first`` is
            ``first_step``, with SciPy's tolerances.

    Raises:
        ArgumentError: there is no ``t_eval``, or ``t_span`` is not a pair. Else as ``solve``.

    >>> y0, t = np.array([1.0, 2.0]), np.array([0.5, 1.0])
    >>> result = solve_ivp(lambda t, y: -y, (0.0, 1.0), y0, t_eval=t, rtol=1e-9)
    >>> bool(abs(sg.evaluate(result.y) - y0[:, None] * np.exp(-t)).max() < 1e-6)
    True
    """
    if t_eval is None:
        raise ArgumentError(
            "solve_ivp: t_eval= is missing, and no result has a size that a run decides",
            hint="t_eval=np.linspace(t0, t1, 100), or t_eval=[t1] for the end\n"
            "sg.ode.solve(f, y, [t0, t1], dense=True) is a function of the time",
        )
    if not isinstance(t_span, tuple | list) or len(t_span) != 2:
        raise ArgumentError(f"solve_ivp: t_span={quote(t_span)} is not a pair", hint="(t0, t1)")
    if isinstance(y0, tuple | list) and not any(
        getattr(row, "ndim", isinstance(row, tuple | list | dict)) for row in y0
    ):
        y0 = stack(y0)  # numbers are one state, as in SciPy
    t = _check_times(t_eval)
    times = concatenate([reshape(astype(as_value(t_span[0]), t.dtype), (1,)), t], 0)
    states = _solve_equation(
        "solve_ivp", fun, y0, times, args, _OF_SCIPY.get(method, method), rtol, atol, 1,
        first_step, max_steps, on_failure,
    )  # fmt: skip
    return solutions.IvpSolution(t, map_leaves(lambda leaf: moveaxis(leaf[1:], 0, -1), states))


def _solve_equation(
    function: str,
    f: Slope,
    y: Any,
    times: Any,
    args: Sequence[Any],
    method: Name,
    rtol: float,
    atol: float,
    steps: int,
    first: Any,
    max_steps: Any,
    on_failure: Failure,
    dense: bool = False,
    events: Any = None,
    adjoint: bool = False,
) -> Any:
    """Solve an ODE by its options; errors of a run begin with the public name."""
    times = _check_times(times)
    start, f = _read_equation(f, y, args)
    crossings = _read_events(events, args)
    is_whole = dense or events is not None
    if is_whole and adjoint:
        raise ArgumentError(
            "solve: adjoint=True gives no OdeSolution, which has all steps",
            hint="without dense= and events=, or the gradient through the steps: adjoint=False",
        )
    if is_whole and times.shape[0] == 1:  # a step of no length
        doubled = concatenate([times, times], 0)
        solution = solve(
            f, start, doubled, method=method, rtol=rtol, atol=atol, steps=steps, first=first,
            max_steps=max_steps, on_failure=on_failure, dense=True, events=crossings or None,
        )  # fmt: skip
        return solution._replace(ts=times, ys=map_leaves(lambda leaf: leaf[:1], solution.ys))
    if method == "rk4":
        if is_whole:
            return solutions.solve_with_fixed_steps(_rk4_step, f, start, times, steps, crossings)
        return rk4(f, start, times, steps, adjoint=adjoint)
    if steps != 1:
        raise ArgumentError(
            f"solve: steps={steps} is of method='rk4', and {method!r} chooses its steps",
            hint="max_steps= bounds their number, first= is the first one",
        )
    control = _controls(method, rtol, atol, first, max_steps, on_failure, function)
    if adjoint and control.method is _RODAS:
        raise ArgumentError(
            f"solve: adjoint=True of {method!r}, whose gradient goes through its steps",
            hint="without adjoint=True; method='rk45' has it",
        )
    if is_whole:
        return solutions.solve_adaptively(control, f, start, times, crossings)
    return control.over(f, start, times, adjoint)


def _read_events(events: Any, args: Sequence[Any]) -> list[Any]:
    """Read ``events=`` as functions of time and state."""
    if events is None:
        return []
    functions = [*events] if isinstance(events, list | tuple) else [events]
    for event in functions:
        check_function("an event", event, "t", "y", *(f"arg{k}" for k in range(len(args))))
        if getattr(event, "direction", 0) not in (-1, 0, 1):
            raise ArgumentError(
                f"solve: the direction of an event is {quote(event.direction)}",
                hint="1 for increasing values, -1 for decreasing ones, 0 for both",
            )
    return [solutions.Crossing(event, tuple(args)) for event in functions]


class _Control:
    """An adaptive method with its tolerances and bounds."""

    def __init__(
        self,
        name: str,
        rtol: float,
        atol: float,
        first: Any,
        max_steps: Any,
        on_failure: Failure,
        function: str,
    ) -> None:
        self.method = METHODS[name]
        self.rtol, self.atol, self.first, self.max_steps = rtol, atol, first, max_steps
        self.fails = on_failure == "raise"
        options = {"rtol": rtol, "atol": atol, "first": first, "max_steps": max_steps}
        options |= {} if self.fails else {"on_failure": on_failure}
        self._loop = f"ode.{function}.{name}"
        powers = self.method.powers
        #: How many powers the polynomial of a step has.
        self.degree = len(powers[0]) if powers and isinstance(self.method, _Method) else 3
        self.key = ".".join([name, *(f"{word}={value}" for word, value in options.items())])

    def dtype_of(self, y: Any) -> Any:
        """Return the dtype of times, that of the state's first leaf."""
        leaves = flatten(y)[0]
        for leaf in leaves:
            if leaf.dtype.is_storage:
                raise DTypeError(
                    f"{called_name()}: the state is {leaf.type}: errors of its steps are below the"
                    " rounding",
                    hint="y.astype('float32'); sg.ode.rk4 takes steps of a fixed size",
                )
        if not leaves:
            raise ArgumentError(f"{called_name()}: the state has no values")
        return leaves[0].dtype

    def over(self, f: Slope, y: Any, times: Any, adjoint: bool = False) -> Any:
        """The states at times; the size of a step is that behind the time before."""
        times = astype(times, self.dtype_of(y))
        if adjoint:
            return adjoints.over_times(self.over, self.key, f, y, times)

        def integrate_interval(carry: Any, ends: Any) -> Any:
            y, h = carry
            first, last = ends
            y, h, part = self._integrate_adaptively(f, y, first, last, h)
            return (y, h), (y, part)

        h = self.first_step(times[0], times[-1])
        _, (later_states, parts) = scan(integrate_interval, (y, h), (times[:-1], times[1:]))
        if self.fails:
            ends = times[:-1] + parts * (times[1:] - times[:-1])
            later_states = solutions.mask_states(self.check_end(parts >= 1.0, ends), later_states)
        return _prepend_state(y, later_states)

    def check_end(self, reached: Any, ends: Any) -> Any:
        """Return ``reached``, bools, which are all true in a run without an error.

        ``ends`` are the times that the steps reached.
        """
        return reached_end(self._loop, self.max_steps, reached, ends) if self.fails else reached

    def first_step(self, start: Any, end: Any) -> Any:
        """The length of the first step to try."""
        interval = absolute(stop_gradient(end - start))
        if self.first is not None:
            return zeros_like(interval) + self.first
        return _FIRST * where(interval > 0, interval, 1.0)

    def solve_interval(self, f: Slope, y: Any, start: Any, end: Any) -> Any:
        """The state at the end."""
        interval = stop_gradient(end - start)
        fraction = _FIRST if self.first is None else self.first / absolute(interval)
        last, _, part = self._integrate_fractions(f, y, start, end, zeros_like(interval) + fraction)
        if self.fails:
            reached = self.check_end(part >= 1.0, start + part * (end - start))
            last = solutions.mask_states(reached, last)
        return last

    def _integrate_adaptively(self, f: Slope, y: Any, start: Any, end: Any, h: Any) -> Any:
        """Integrate an ODE over an interval by adaptive steps; return state and next step.

        It takes the length of the first step. The last state is NaN before the end if that is no
        error.
        """
        interval = absolute(stop_gradient(end - start))
        interval = where(interval > 0, interval, 1.0)
        y, fraction, part = self._integrate_fractions(f, y, start, end, h / interval)
        return y, fraction * interval, part

    def _integrate_fractions(self, f: Slope, y: Any, start: Any, end: Any, fraction: Any) -> Any:
        """Integrate an ODE by trial steps, in fractions of the interval."""

        def test(state: Any) -> Any:
            return state[0] < 1.0

        def trial(state: Any) -> Any:
            """Try one adaptive Runge-Kutta step; accept it if its error is small."""
            part, step, y = state  # the completed fraction of the way, and the step as a fraction
            size = minimum(step, 1.0 - part)
            next_y, error, _ = self.trial(f, start + part * (end - start), y, size * (end - start))
            good = error <= 1.0
            next_part = where(size >= 1.0 - part, 1.0, part + size)
            accepted = map_leaves(lambda new, old: where(good, new, old), next_y, y)
            return where(good, next_part, part), self.following(step, size, error), accepted

        part, fraction, last = while_loop(
            test, trial, (zeros_like(fraction), fraction, y), self.max_steps
        )
        if not self.fails:
            last = solutions.mask_states(part >= 1.0, last)
        return last, fraction, part

    def following(self, step: Any, size: Any, error: Any) -> Any:
        """The next step to try, behind one of a size, which may be shorter than what was tried."""
        factor = _SAFETY * ops.maximum(error, 1e-10) ** self.method.power
        # NaN fails, and the next step is the least part of this one.
        factor = where(factor >= _LEAST, minimum(factor, _MOST), _LEAST)
        longer = size * factor
        return where(error <= 1.0, where(size < step, ops.maximum(step, longer), longer), longer)

    def trial(self, f: Slope, t: Any, y: Any, h: Any) -> tuple[Any, Any, list[Any]]:
        """Return the state after a step, the ratio of its error to the tolerance, the slopes."""
        slopes: list[Any] = []
        next_y = y
        for node, stage in zip(self.method.nodes, self.method.stages, strict=True):
            next_y = _combine_slopes(y, h, stage, slopes)
            slopes.append(f(t + node * h, next_y))
        nothing = map_leaves(zeros_like, y)
        errors = _combine_slopes(nothing, h, self.method.error, slopes)
        return next_y, self.ratio(errors, y, next_y), slopes

    def ratio(self, errors: Any, y: Any, next_y: Any) -> Any:
        """Return the root mean square of errors over the tolerance, of a step from y to next_y."""
        leaves_before, leaves_after = flatten(y)[0], flatten(next_y)[0]
        squares, count = [], 0
        for error, leaf_before, leaf_after in zip(
            flatten(errors)[0], leaves_before, leaves_after, strict=True
        ):
            scale = self.atol + self.rtol * ops.maximum(absolute(leaf_before), absolute(leaf_after))
            squares.append(aggregate.sum((error / scale) ** 2))
            count = count + error.size
        total = squares[0]
        for square in squares[1:]:
            total = total + square
        # An empty state has no error.
        return stop_gradient(sqrt(total / maximum(count, 1)))

    def pieces(self, y: Any, h: Any, next_y: Any, slopes: list[Any]) -> list[Any]:
        """The polynomial of a step: what each power of the part of the step is multiplied by."""
        powers = self.method.powers
        if not powers:
            return solutions.cubic(y, h, next_y, slopes[0], slopes[-1])
        nothing = map_leaves(zeros_like, y)
        return [_combine_slopes(nothing, h, column, slopes) for column in zip(*powers, strict=True)]


class _Implicit(_Control):
    """The control of a linearly implicit method; states are vectors in its steps."""

    def dtype_of(self, y: Any) -> Any:
        dtype = super().dtype_of(y)
        leaves = flatten(y)[0]
        if is_eager(leaves):
            raise ArgumentError(
                f"{called_name()}: method='rosenbrock' takes values of a graph, not tensors",
                hint="inside of a function that sg.function traces",
            )
        for leaf in leaves:
            if leaf.dtype is not dtype:
                raise DTypeError(
                    f"{called_name()}: the state has {dtype.name} and {leaf.dtype.name}",
                    hint="method='rosenbrock' takes states of one dtype: y.astype(dtype)",
                )
        return dtype

    def trial(self, f: Slope, t: Any, y: Any, h: Any) -> tuple[Any, Any, list[Any]]:
        """Return the state after a step, the ratio of its error to the tolerance, the stages."""
        from staticgrad.extend.gradients import jacobian, push_forward  # of implicit steps alone

        leaves, tree = flatten(y)

        def vector(state: Any) -> Any:
            rows = [reshape(as_value(leaf), (-1,)) for leaf in flatten(state)[0]]
            return rows[0] if len(rows) == 1 else concatenate(rows, 0)

        def state_of(v: Any) -> Any:
            state_leaves, start = [], 0
            for leaf in leaves:
                state_leaves.append(reshape(part(v, 0, start, leaf.size), leaf.shape))
                start = start + leaf.size
            return unflatten(tree, state_leaves)

        method, v = self.method, vector(y)
        t = as_value(t)

        def slope(node: float, v: Any) -> Any:
            return vector(f(t + node * h, state_of(v)))

        first = vector(f(t, state_of(v)))
        matrix = jacobian(first, v, "forward", True)
        (by_time,) = push_forward([first], [(t, zeros_like(t) + 1.0)])
        unit = identity_like(matrix)
        lu, permutation, _ = LU()(unit - (method.gamma * h) * matrix)
        stages: list[Any] = []
        unit_step = zeros_like(h) + 1.0
        for number, node in enumerate(method.nodes):
            at = _combine_slopes(v, unit_step, method.stages[number], stages)
            right = h * (slope(node, at) if number else first)
            right = _combine_slopes(right, unit_step, method.couplings[number], stages)
            if by_time is not None and method.by_time[number]:
                right = right + (h * h * method.by_time[number]) * by_time
            solved = LUSolve(False, "nan")(lu, permutation, method.gamma * right[:, None])
            stages.append(solved[:, 0])
        next_vector = _combine_slopes(v, unit_step, method.stages[-1], stages)
        next_y, error = state_of(next_vector), state_of(stages[-1])
        return next_y, self.ratio(error, y, next_y), [state_of(stage) for stage in stages]

    def pieces(self, y: Any, h: Any, next_y: Any, slopes: list[Any]) -> list[Any]:
        unit_step, nothing = zeros_like(h) + 1.0, map_leaves(zeros_like, y)
        change = map_leaves(lambda new, old: new - old, next_y, y)
        first, last = (
            _combine_slopes(nothing, unit_step, (*weights, 0.0), slopes)
            for weights in self.method.powers
        )
        return [
            map_leaves(lambda a, b: a + b, change, first),
            map_leaves(lambda a, b: b - a, first, last),
            map_leaves(lambda a: -a, last),
        ]


def _controls(name: str, *options: Any) -> _Control:
    return (_Implicit if METHODS[name] is _RODAS else _Control)(name, *options)


def _combine_slopes(y: Any, h: Any, weights: tuple[float, ...], slopes: list[Any]) -> Any:
    """Compute a Runge-Kutta combination ``y + h * sum(weight * slope)``."""
    used = [(w, s) for w, s in zip(weights, slopes, strict=True) if w]
    if not used:
        return y

    def combine_leaf(y: Any, *parts: Any) -> Any:
        total = used[0][0] * parts[0]
        for (weight, _), slope in zip(used[1:], parts[1:], strict=True):
            total = total + weight * slope
        return y + _like(h, y) * total

    return map_leaves(combine_leaf, y, *(slope for _, slope in used))


namespace(globals(), operands=present)

"""A program of JAX as plain data, and what computes it: each call by its row.

``reading.py`` makes it of jaxprs. It does not mention JAX, so a function of it is pickled and
loaded where JAX is not installed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from inspect import Parameter as Argument, signature
from typing import Any, Final, NamedTuple

import staticgrad.language.functions as sg
from staticgrad.autodiff import reverse
from staticgrad.interop.lax.primitives import (
    PRIMITIVES,
    SILENT,
    LaxType,
    cast,
    unsupported,
)
from staticgrad.language.ir.value import Value
from staticgrad.support.building import within
from staticgrad.support.errors import ExportError, StaticgradError
from staticgrad.support.source import SourceLine


class ResultAt(NamedTuple):
    """The result of a call, or an input: its place among all of them."""

    place: int


class LaxCall(NamedTuple):
    """One equation of a jaxpr.

    Attributes:
        primitive: JAX's name.
        operands: ``ResultAt``, and arrays of literals.
        parameters: by JAX's names, as plain data; jaxprs in them are programs.
        out: the type of each result.
        line: the user's.
    """

    primitive: str
    operands: tuple[Any, ...]
    parameters: Mapping[str, Any]
    out: tuple[LaxType, ...]
    line: SourceLine | None


class LaxProgram:
    """Inputs, calls and results of one jaxpr.

    Attributes:
        inputs: the type of each.
        constants: arrays, whose places are behind those of the inputs.
        calls: in order; their results have the next places.
        results: ``ResultAt`` and arrays.
    """

    def __init__(
        self,
        inputs: Sequence[LaxType],
        constants: Sequence[Any],
        calls: Sequence[LaxCall],
        results: Sequence[Any],
    ) -> None:
        self.inputs, self.constants = tuple(inputs), tuple(constants)
        self.calls, self.results = tuple(calls), tuple(results)

    def __deepcopy__(self, memo: Any) -> LaxProgram:
        return self  # nothing changes it

    def missing(self) -> list[LaxCall]:
        """Return the calls whose primitive has no row, also those in programs of calls."""
        found = []
        for call in self.calls:
            if call.primitive not in PRIMITIVES and call.primitive not in CALLS:
                found.append(call)
            for each in programs_in(call.parameters):
                found += each.missing()
        return found

    def run(self, operands: Sequence[Any]) -> list[Any]:
        """Return the results, given a value for each input.

        Raises:
            ExportError: a row refuses a variant; it names the primitive and the user's line.
        """
        env: list[Any] = [*operands, *map(sg.constant, self.constants)]
        for call in self.calls:
            env += _computed(call, [_value(each, env) for each in call.operands])
        return [_value(each, env) for each in self.results]


def programs_in(parameters: Any) -> list[LaxProgram]:
    """Return the programs among parameters."""
    if isinstance(parameters, LaxProgram):
        return [parameters]
    if isinstance(parameters, Mapping):
        parameters = [*parameters.values()]
    if isinstance(parameters, list | tuple):
        return [found for each in parameters for found in programs_in(each)]
    return []


def _value(operand: Any, env: Sequence[Any]) -> Any:
    return env[operand.place] if isinstance(operand, ResultAt) else sg.constant(operand)


@cache
def _signature(function: Callable[..., Any]) -> Mapping[str, Argument]:
    return signature(function).parameters


def _computed(call: LaxCall, operands: list[Any]) -> list[Any]:
    try:
        with within(origin=call.line):
            if call.primitive in CALLS:
                results = CALLS[call.primitive](call, operands)
            elif _is_of_keys(call, operands):
                results = _by_halves(call, operands)
            else:
                results = _applied(call, operands, call.out)
            return [_typed(each, kind) for each, kind in zip(results, call.out, strict=True)]
    except StaticgradError as error:
        if isinstance(error, _CallError):
            raise
        raise _refusal(call, operands, error.headline, error.hint) from error
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise _refusal(call, operands, what, "") from error


def _applied(call: LaxCall, operands: Sequence[Any], out: Sequence[LaxType]) -> Sequence[Any]:
    row = PRIMITIVES.get(call.primitive)
    if row is None:
        raise ExportError(f"{call.primitive} has no row", hint=NO_ROW)
    takes = _signature(row)
    facts = {"out": out[0] if len(out) == 1 else out, "primitive": call.primitive}
    anything = any(each.kind is Argument.VAR_KEYWORD for each in takes.values())
    named = {name: each for name, each in call.parameters.items() if name in takes or anything}
    for name, each in call.parameters.items():
        if name not in named and name not in SILENT and each not in (None, False, ()):
            raise unsupported(f"the parameter {name}={each!r}")
    named |= {name: fact for name, fact in facts.items() if name in takes}
    results = row(*operands, **named)
    return results if isinstance(results, tuple) else (results,)


NO_ROW: Final = "staticgrad.interop.lax.primitives.primitive(name) makes a function its row"


def _is_of_keys(call: LaxCall, operands: Sequence[Any]) -> bool:
    """Return whether it moves keys of random numbers, as an index of an array of keys does."""
    return not call.primitive.startswith("random_") and any(each.is_key for each in call.out)


def _by_halves(call: LaxCall, operands: Sequence[Any]) -> list[Any]:
    """The results for the first and the second words of keys, put together."""
    out = [each._replace(dtype="uint32", is_key=False) for each in call.out]
    kinds = call.parameters["key_operands"]
    call = call._replace(
        parameters={k: v for k, v in call.parameters.items() if k != "key_operands"}
    )
    halves = []
    for half in (0, 1):
        parts = [x[..., half] if key else x for x, key in zip(operands, kinds, strict=True)]
        halves.append(_applied(call, parts, out))
    return [sg.stack(pair, -1) for pair in zip(*halves, strict=True)]


def _typed(value: Any, kind: LaxType) -> Any:
    """A result in JAX's element type, whose shape is JAX's."""
    value = cast(value, kind.dtype)
    shape = (*kind.shape, 2) if kind.is_key else kind.shape
    if tuple(value.shape) != tuple(shape):
        raise ExportError(f"the shape is {tuple(value.shape)} where JAX has {tuple(shape)}")
    return value


class _CallError(ExportError):
    """An error that names its primitive and line."""


def _refusal(call: LaxCall, operands: Sequence[Any], what: str, hint: str) -> ExportError:
    """The error for a call: its primitive, the user's line, and what is wrong."""
    types = [str(each.type) for each in operands if isinstance(each, Value)]
    headline = what if what.startswith(call.primitive) else f"{call.primitive}: {what}"
    details = [f"operands: {', '.join(types)}"] if types else []
    return _CallError(headline, details=details, hint=hint, at=call.line)


# -- calls of programs ----------------------------------------------------------------------------

#: Primitive that calls programs -> what computes it.
CALLS: Final[dict[str, Callable[[LaxCall, list[Any]], Sequence[Any]]]] = {}


def _call(*names: str) -> Callable[[Any], Any]:
    def registered(function: Any) -> Any:
        CALLS.update(dict.fromkeys(names, function))
        return function

    return registered


@_call("jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint", "custom_vmap_call",
       "custom_jvp_call_jaxpr", "composite", "call")  # fmt: skip
def _inlined(call: LaxCall, operands: list[Any]) -> Sequence[Any]:
    (program,) = programs_in(call.parameters)
    return program.run(operands)


@_call("cond")
def _cond(call: LaxCall, operands: list[Any]) -> Sequence[Any]:
    which, *given = operands
    branches = [_of_branch(each) for each in call.parameters["branches"]]
    if len(branches) == 2:
        which = which if which.dtype.name == "bool" else sg.not_equal(which, 0)
        return tuple(sg.cond(which, branches[1], branches[0], *given))
    return tuple(sg.switch(which, branches, *given))


def _of_branch(program: LaxProgram) -> Callable[..., Any]:
    return lambda *operands: tuple(program.run(operands))


@_call("while")
def _while(call: LaxCall, operands: list[Any]) -> Sequence[Any]:
    test, body = call.parameters["cond_jaxpr"], call.parameters["body_jaxpr"]
    first = call.parameters["cond_nconsts"]
    second = first + call.parameters["body_nconsts"]
    of_test, of_body, carry = operands[:first], operands[first:second], operands[second:]
    if not carry:
        return ()

    def goes_on(carry: Any) -> Any:
        return test.run([*of_test, *carry])[0]

    def step(carry: Any) -> tuple[Any, ...]:
        return tuple(body.run([*of_body, *carry]))

    def step_of_some(carry: Any) -> tuple[Any, ...]:
        """One step of the loops of a batch that have not ended."""
        some = goes_on(carry)
        return tuple([
            sg.where(some.reshape((*some.shape, *[1] * (new.ndim - some.ndim))), new, old)
            for new, old in zip(step(carry), carry, strict=True)
        ])  # fmt: skip

    if not goes_on(tuple(carry)).ndim:
        return tuple(sg.while_loop(goes_on, step, tuple(carry)))
    return tuple(sg.while_loop(lambda carry: goes_on(carry).any(), step_of_some, tuple(carry)))


@_call("scan")
def _scan(call: LaxCall, operands: list[Any]) -> Sequence[Any]:
    facts = call.parameters
    body, first = facts["jaxpr"], facts["num_consts"]
    second = first + facts["num_carry"]
    fixed, carry, slices = operands[:first], operands[first:second], operands[second:]

    def step(carry: Any, slices: Any) -> Any:
        results = body.run([*fixed, *carry, *(slices or ())])
        return tuple(results[: len(carry)]), tuple(results[len(carry) :])

    last, stacked = sg.scan(
        step, tuple(carry), tuple(slices) if slices else None, facts["length"], facts["reverse"]
    )
    return *last, *stacked


_numbered = itertools.count()


class DerivativeRule:
    """A derivative rule of JAX: programs, each of which is read when it is first needed.

    A program belongs to the operands that move, since rules of JAX may differ by these (as those
    of ``symbolic_zeros=True``). ``read`` makes it and needs JAX. A rule that is pickled has the
    programs that were read, and that for all operands, and so have the rules in these, to the
    second derivative.

    Attributes:
        moves: which operands can move.
        smooth: which results have tangents.
    """

    def __init__(
        self,
        read: Callable[[Sequence[bool]], LaxProgram] | None,
        moves: Sequence[bool],
        smooth: Sequence[bool],
    ) -> None:
        self._read, self.depth = read, 0
        self.moves, self.smooth = tuple(moves), tuple(smooth)
        self._programs: dict[tuple[bool, ...], LaxProgram] = {}

    def pushed(self, args: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
        """Return the tangents of all results, given those of operands (None: it does not move)."""
        moved, program = self._program([each is not None for each in tangents])
        given = [
            sg.zeros_like(x) if tangent is None else tangent
            for x, tangent, moves in zip(args, tangents, moved, strict=True)
            if moves
        ]
        return program.run([*args, *given])

    def pulled(self, args: Sequence[Any], cts: Sequence[Any], needed: Sequence[bool]) -> list[Any]:
        """Return cotangents of operands (None: not needed), given those of smooth results."""
        moved, program = self._program(needed)
        slopes = iter(program.run([*args, *cts]))
        return [next(slopes) if each else None for each in moved]

    def _program(self, needed: Sequence[bool]) -> tuple[tuple[bool, ...], LaxProgram]:
        """Return the program of these operands or of more of them, and which ones these are.

        Raises:
            ExportError: it was not read before it was pickled.
        """
        moved = tuple([a and b for a, b in zip(self.moves, needed, strict=True)])
        if moved not in self._programs and self._read is not None:
            self._programs[moved] = program = self._read(moved)
            for rule in _rules_in(program):
                rule.depth = self.depth + 1
        moved = moved if moved in self._programs else self.moves
        if moved not in self._programs:
            raise ExportError(
                "a derivative of a custom rule of JAX is not in the file: it is the third one, or"
                " the rule refuses that all operands move",
                hint="sg.jax.trace(jax.grad(f), ...): JAX differentiates before",
            )
        return moved, self._programs[moved]

    def __deepcopy__(self, memo: Any) -> DerivativeRule:
        return self

    def __getstate__(self) -> Any:
        if self.depth < 2:
            with suppress(Exception):  # a rule of the user's may refuse that all operands move
                self._program(self.moves)
        return {**self.__dict__, "_read": None}


def _rules_in(program: LaxProgram) -> list[DerivativeRule]:
    found = []
    for call in program.calls:
        found += [each for each in call.parameters.values() if isinstance(each, DerivativeRule)]
        for each in programs_in(call.parameters):
            found += _rules_in(each)
    return found


def _results_once(program: LaxProgram, operands: Sequence[Any]) -> Callable[..., list[Any]]:
    """Return a function that gives the results, those for ``operands`` without another run."""
    plain = program.run(operands)

    def results(*given: Any) -> list[Any]:
        same = all(a is b for a, b in zip(given, operands, strict=True))
        return plain if same else program.run(given)

    return results


@_call("custom_jvp_call")
def _custom_jvp(call: LaxCall, operands: list[Any]) -> Sequence[Any]:
    rule: DerivativeRule = call.parameters["rule"]
    run = _results_once(call.parameters["program"], operands)
    results = run(*operands)
    if not any(rule.moves):
        return results
    found = [*results]
    for place in (k for k, each in enumerate(rule.smooth) if each):
        name = f"jax.custom_jvp.{next(_numbered)}"

        @sg.custom_jvp(name=name)
        def function(*operands: Any, place: int = place) -> Any:
            return run(*operands)[place]

        @function.rule
        def pushed(
            tangents: Any, out: Any, *args: Any, needed: Sequence[bool], place: int = place
        ) -> Any:
            moved = [t if each else None for t, each in zip(tangents, needed, strict=True)]
            return rule.pushed(args, moved)[place]

        found[place] = function(*operands)
    return found


@_call("custom_vjp_call")
def _custom_vjp(call: LaxCall, operands: list[Any]) -> Sequence[Any]:
    rule: DerivativeRule = call.parameters["rule"]
    run = _results_once(call.parameters["program"], operands)
    results = run(*operands)
    smooth = [k for k, each in enumerate(rule.smooth) if each]
    if not smooth or not any(rule.moves):
        return results
    found = [*results]
    for dtype in {results[k].dtype: None for k in smooth}:
        # One function of all results of this type: its rule runs once.
        places = [k for k in smooth if results[k].dtype is dtype]
        shapes = [results[k].shape for k in places]
        name = f"jax.custom_vjp.{next(_numbered)}"

        @sg.custom_vjp(name=name)
        def function(*operands: Any, places: Sequence[int] = places) -> Any:
            every = run(*operands)
            return _packed([every[k] for k in places])

        @function.rule
        def pulled(
            ct: Any,
            out: Any,
            *args: Any,
            needed: Sequence[bool],
            places: Sequence[int] = places,
            shapes: Sequence[Any] = shapes,
        ) -> Any:
            parts = dict(zip(places, _unpacked(ct, shapes), strict=True))
            cts = [
                parts[k] if k in parts else sg.zeros(call.out[k].shape, call.out[k].dtype)
                for k in smooth
            ]
            return tuple(rule.pulled(args, cts, needed))

        for place, each in zip(places, _unpacked(function(*operands), shapes), strict=True):
            found[place] = each
    return found


def _packed(values: Sequence[Any]) -> Any:
    """Return values in one vector; a single one as it is."""
    if len(values) == 1:
        return values[0]
    return sg.concatenate([each.reshape((each.size,)) for each in values])


def _unpacked(vector: Any, shapes: Sequence[Any]) -> list[Any]:
    if len(shapes) == 1:
        return [vector]
    found, at = [], 0
    for shape in shapes:
        size = math.prod(shape)
        found.append(vector[at : at + size].reshape(shape))
        at += size
    return found


@_call("custom_linear_solve")
def _linear_solve(call: LaxCall, operands: list[Any]) -> Sequence[Any]:
    facts = call.parameters
    counts = dict(facts["const_lengths"])
    names = ("matvec", "vecmat", "solve", "transpose_solve")
    constants, at = {}, 0
    for name in names:
        constants[name] = operands[at : at + counts[name]]
        at += counts[name]
    return _solved(dict(facts["jaxprs"]), constants, operands[at:], False)


def _solved(
    programs: Mapping[str, Any], constants: Mapping[str, Any], b: Sequence[Any], transposed: bool
) -> list[Any]:
    """A linear system, and its derivatives by the transposed one, at any order."""
    forward = ("vecmat", "transpose_solve") if transposed else ("matvec", "solve")
    product, solve = (programs[each] for each in forward)
    if solve is None or programs[("transpose_solve", "solve")[transposed]] is None:
        raise unsupported("a linear solve without a transposed one")
    # All constants are operands: a rule is applied in bodies of loops that are built again.
    every = [each for name in constants for each in constants[name]]

    def parted(given: Sequence[Any]) -> tuple[dict[str, list[Any]], list[Any]]:
        rest = iter(given)
        own = {name: [next(rest) for _ in each] for name, each in constants.items()}
        return own, list(rest)

    results = []
    for place in range(len(b)):
        name = f"jax.linear_solve.{next(_numbered)}"

        @sg.custom_vjp(name=name)
        def function(*given: Any, place: int = place) -> Any:
            own, b = parted(given)
            factors = [sg.stop_gradient(each) for each in own[forward[1]]]
            return solve.run([*factors, *b])[place]

        @function.rule
        def pulled(ct: Any, out: Any, *given: Any, place: int = place) -> Any:
            own, b = parted(given)
            cts = [ct if k == place else sg.zeros_like(each) for k, each in enumerate(b)]
            slopes = _solved(programs, own, cts, not transposed)
            xs = _solved(programs, own, b, transposed)
            # The product reads copies: xs depend on the constants, and that path has its slopes.
            fresh = [each * 1.0 if each.dtype.is_float else each for each in own[forward[0]]]
            ys = product.run([*fresh, *xs])
            smooth = [each for each in fresh if each.dtype.is_float]
            found = iter(reverse.vjp(ys, smooth, [-each for each in slopes], True))
            shares: dict[str, list[Any]] = {name: [None] * len(each) for name, each in own.items()}
            shares[forward[0]] = [next(found) if each.dtype.is_float else None for each in fresh]
            return *(share for each in shares.values() for share in each), *slopes

        results.append(function(*every, *b))
    return results

"""A program of JAX as plain data, and what computes it: each call by its row.

``reading.py`` makes it of jaxprs. It does not mention JAX, so a function of it is pickled and
loaded where JAX is not installed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from inspect import Parameter as Argument
from typing import Any, Final, NamedTuple

import staticgrad.language.functions as sg
from staticgrad.extend import Value, gradients
from staticgrad.extend.building import SourceLine, within
from staticgrad.interop.lax.primitives import (
    PRIMITIVES,
    SILENT,
    LaxType,
    cast,
)
from staticgrad.interop.rows import ResultOf, arguments_of, unsupported_variant
from staticgrad.support.errors import ExportError, StaticgradError


class LaxCall(NamedTuple):
    """One equation of a jaxpr.

    Attributes:
        primitive: JAX's name.
        operands: ``ResultOf``, and arrays of literals.
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
        results: ``ResultOf`` and arrays.
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
        """Find calls of a JAX program whose primitive has no row, also in nested programs."""
        calls = []
        for call in self.calls:
            if call.primitive not in PRIMITIVES and call.primitive not in CALLS:
                calls.append(call)
            for program in programs_in(call.parameters):
                calls += program.missing()
        return calls

    def run(self, operands: Sequence[Any]) -> list[Any]:
        """Evaluate a JAX program on values, one for each input, and return the results.

        Raises:
            ExportError: a row refuses a variant; it names the primitive and the user's line.
        """
        env: list[Any] = [*operands, *map(sg.constant, self.constants)]
        for call in self.calls:
            env += _compute_call(call, [_value(operand, env) for operand in call.operands])
        return [_value(result, env) for result in self.results]


def programs_in(parameters: Any) -> list[LaxProgram]:
    """Collect the nested programs among the parameters of a JAX primitive."""
    if isinstance(parameters, LaxProgram):
        return [parameters]
    if isinstance(parameters, Mapping):
        parameters = [*parameters.values()]
    if isinstance(parameters, list | tuple):
        return [program for parameter in parameters for program in programs_in(parameter)]
    return []


def _value(operand: Any, env: Sequence[Any]) -> Any:
    return env[operand.place] if isinstance(operand, ResultOf) else sg.constant(operand)


def _compute_call(call: LaxCall, operands: list[Any]) -> list[Any]:
    """Evaluate one call of a JAX primitive, by its row or as control flow, and cast its results."""
    try:
        with within(origin=call.line):
            if call.primitive in CALLS:
                results = CALLS[call.primitive](call, operands)
            elif _is_of_keys(call, operands):
                results = _apply_to_key_words(call, operands)
            else:
                results = _apply_row(call, operands, call.out)
            return [
                _cast_result(result, kind) for result, kind in zip(results, call.out, strict=True)
            ]
    except StaticgradError as error:
        if isinstance(error, _CallError):
            raise
        raise _refusal(call, operands, error.headline, error.hint) from error
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise _refusal(call, operands, what, "") from error


def _apply_row(call: LaxCall, operands: Sequence[Any], out: Sequence[LaxType]) -> Sequence[Any]:
    """Call the table's function of a JAX primitive with its parameters; refuse unknown ones."""
    row = PRIMITIVES.get(call.primitive)
    if row is None:
        raise ExportError(f"{call.primitive} has no row", hint=NO_ROW)
    takes = arguments_of(row)
    facts = {"out": out[0] if len(out) == 1 else out, "primitive": call.primitive}
    anything = any(parameter.kind is Argument.VAR_KEYWORD for parameter in takes.values())
    named = {name: value for name, value in call.parameters.items() if name in takes or anything}
    for name, value in call.parameters.items():
        if name not in named and name not in SILENT and value not in (None, False, ()):
            raise unsupported_variant(f"the parameter {name}={value!r}")
    named |= {name: fact for name, fact in facts.items() if name in takes}
    results = row(*operands, **named)
    return results if isinstance(results, tuple) else (results,)


NO_ROW: Final = "staticgrad.interop.lax.primitives.primitive(name) makes a function its row"


def _is_of_keys(call: LaxCall, operands: Sequence[Any]) -> bool:
    """Return whether it moves keys of random numbers, as an index of an array of keys does."""
    return not call.primitive.startswith("random_") and any(
        result_type.is_key for result_type in call.out
    )


def _apply_to_key_words(call: LaxCall, operands: Sequence[Any]) -> list[Any]:
    """Apply a JAX primitive to keys as to their two words, and stack the results."""
    out = [result_type._replace(dtype="uint32", is_key=False) for result_type in call.out]
    kinds = call.parameters["key_operands"]
    call = call._replace(
        parameters={k: v for k, v in call.parameters.items() if k != "key_operands"}
    )
    halves = []
    for half in (0, 1):
        parts = [x[..., half] if key else x for x, key in zip(operands, kinds, strict=True)]
        halves.append(_apply_row(call, parts, out))
    return [sg.stack(pair, -1) for pair in zip(*halves, strict=True)]


def _cast_result(value: Any, kind: LaxType) -> Any:
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
    types = [str(operand.type) for operand in operands if isinstance(operand, Value)]
    headline = what if what.startswith(call.primitive) else f"{call.primitive}: {what}"
    details = [f"operands: {', '.join(types)}"] if types else []
    return _CallError(headline, details=details, hint=hint, at=call.line)


# -- calls of programs ----------------------------------------------------------------------------

#: Primitive that calls programs -> what computes it.
CALLS: Final[dict[str, Callable[[LaxCall, list[Any]], Sequence[Any]]]] = {}


def _call(*names: str) -> Callable[[Any], Any]:
    def register_call(function: Any) -> Any:
        CALLS.update(dict.fromkeys(names, function))
        return function

    return register_call


@_call("jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint", "custom_vmap_call",
       "custom_jvp_call_jaxpr", "composite", "call")  # fmt: skip
def _inline(call: LaxCall, operands: list[Any]) -> Sequence[Any]:
    (program,) = programs_in(call.parameters)
    return program.run(operands)


@_call("cond")
def _cond(call: LaxCall, operands: list[Any]) -> Sequence[Any]:
    which, *arguments = operands
    branches = [_of_branch(branch) for branch in call.parameters["branches"]]
    if len(branches) == 2:
        which = which if which.dtype.name == "bool" else sg.not_equal(which, 0)
        return tuple(sg.cond(which, branches[1], branches[0], *arguments))
    return tuple(sg.switch(which, branches, *arguments))


def _of_branch(program: LaxProgram) -> Callable[..., Any]:
    return lambda *operands: tuple(program.run(operands))


@_call("while")
def _while(call: LaxCall, operands: list[Any]) -> Sequence[Any]:
    """Evaluate JAX's ``while`` primitive by ``sg.while_loop``."""
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
    """Evaluate JAX's ``scan`` primitive by ``sg.scan``."""
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


_rule_numbers = itertools.count()


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

    def push_forward(self, args: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
        """Apply the ``custom_jvp`` rule of a JAX program to tangents of its operands."""
        moving, program = self._program([tangent is not None for tangent in tangents])
        moving_tangents = [
            sg.zeros_like(x) if tangent is None else tangent
            for x, tangent, moves in zip(args, tangents, moving, strict=True)
            if moves
        ]
        return program.run([*args, *moving_tangents])

    def pull_back(
        self, args: Sequence[Any], cts: Sequence[Any], needed: Sequence[bool]
    ) -> list[Any]:
        """Return cotangents of operands (None: not needed), given those of smooth results."""
        moving, program = self._program(needed)
        slopes = iter(program.run([*args, *cts]))
        return [next(slopes) if is_moving else None for is_moving in moving]

    def _program(self, needed: Sequence[bool]) -> tuple[tuple[bool, ...], LaxProgram]:
        """Find or trace the JAX rule's program for operands that move, or for a superset of them.

        Raises:
            ExportError: it was not read before it was pickled.
        """
        moving = tuple([a and b for a, b in zip(self.moves, needed, strict=True)])
        if moving not in self._programs and self._read is not None:
            self._programs[moving] = program = self._read(moving)
            for rule in _rules_in(program):
                rule.depth = self.depth + 1
        moving = moving if moving in self._programs else self.moves
        if moving not in self._programs:
            raise ExportError(
                "a derivative of a custom rule of JAX is not in the file: it is the third one, or"
                " the rule refuses that all operands move",
                hint="sg.jax.trace(jax.grad(f), ...): JAX differentiates before",
            )
        return moving, self._programs[moving]

    def __deepcopy__(self, memo: Any) -> DerivativeRule:
        return self

    def __getstate__(self) -> Any:
        if self.depth < 2:
            with suppress(Exception):  # a rule of the user's may refuse that all operands move
                self._program(self.moves)
        return {**self.__dict__, "_read": None}


def _rules_in(program: LaxProgram) -> list[DerivativeRule]:
    rules = []
    for call in program.calls:
        rules += [value for value in call.parameters.values() if isinstance(value, DerivativeRule)]
        for inner in programs_in(call.parameters):
            rules += _rules_in(inner)
    return rules


def _results_once(program: LaxProgram, operands: Sequence[Any]) -> Callable[..., list[Any]]:
    """Return a function that evaluates a JAX program, once for the same operands."""
    plain = program.run(operands)

    def results(*arguments: Any) -> list[Any]:
        same = all(a is b for a, b in zip(arguments, operands, strict=True))
        return plain if same else program.run(arguments)

    return results


@_call("custom_jvp_call")
def _custom_jvp(call: LaxCall, operands: list[Any]) -> Sequence[Any]:
    """Evaluate JAX's ``custom_jvp_call``: results of the program, derivatives by its rule."""
    rule: DerivativeRule = call.parameters["rule"]
    run = _results_once(call.parameters["program"], operands)
    results = run(*operands)
    if not any(rule.moves):
        return results
    outputs = [*results]
    for place in (k for k, is_smooth in enumerate(rule.smooth) if is_smooth):
        name = f"jax.custom_jvp.{next(_rule_numbers)}"

        @sg.custom_jvp(name=name)
        def function(*operands: Any, place: int = place) -> Any:
            return run(*operands)[place]

        @function.rule
        def push_tangents(
            tangents: Any, out: Any, *args: Any, needed: Sequence[bool], place: int = place
        ) -> Any:
            moving_tangents = [
                t if is_needed else None for t, is_needed in zip(tangents, needed, strict=True)
            ]
            return rule.push_forward(args, moving_tangents)[place]

        outputs[place] = function(*operands)
    return outputs


@_call("custom_vjp_call")
def _custom_vjp(call: LaxCall, operands: list[Any]) -> Sequence[Any]:
    """Evaluate JAX's ``custom_vjp_call``: results of the program, cotangents by its rule."""
    rule: DerivativeRule = call.parameters["rule"]
    run = _results_once(call.parameters["program"], operands)
    results = run(*operands)
    smooth = [k for k, is_smooth in enumerate(rule.smooth) if is_smooth]
    if not smooth or not any(rule.moves):
        return results
    outputs = [*results]
    for dtype in {results[k].dtype: None for k in smooth}:
        # One function of all results of this type: its rule runs once.
        places = [k for k in smooth if results[k].dtype is dtype]
        shapes = [results[k].shape for k in places]
        name = f"jax.custom_vjp.{next(_rule_numbers)}"

        @sg.custom_vjp(name=name)
        def function(*operands: Any, places: Sequence[int] = places) -> Any:
            every = run(*operands)
            values = [every[k] for k in places]
            if len(values) == 1:
                return values[0]
            return sg.concatenate([value.reshape((value.size,)) for value in values])

        @function.rule
        def pull_cotangents(
            ct: Any,
            out: Any,
            *args: Any,
            needed: Sequence[bool],
            places: Sequence[int] = places,
            shapes: Sequence[Any] = shapes,
        ) -> Any:
            """Pull cotangents back by the rule of JAX's ``custom_vjp``, packed in one vector."""
            parts = dict(zip(places, _unpack_vector(ct, shapes), strict=True))
            cts = [
                parts[k] if k in parts else sg.zeros(call.out[k].shape, call.out[k].dtype)
                for k in smooth
            ]
            return tuple(rule.pull_back(args, cts, needed))

        for place, output in zip(places, _unpack_vector(function(*operands), shapes), strict=True):
            outputs[place] = output
    return outputs


def _unpack_vector(vector: Any, shapes: Sequence[Any]) -> list[Any]:
    """Split a vector into arrays of these shapes: packed results of a custom JAX rule."""
    if len(shapes) == 1:
        return [vector]
    values, at = [], 0
    for shape in shapes:
        size = math.prod(shape)
        values.append(vector[at : at + size].reshape(shape))
        at += size
    return values


@_call("custom_linear_solve")
def _linear_solve(call: LaxCall, operands: list[Any]) -> Sequence[Any]:
    """Evaluate JAX's ``custom_linear_solve`` with its four programs and their constants."""
    facts = call.parameters
    counts = dict(facts["const_lengths"])
    names = ("matvec", "vecmat", "solve", "transpose_solve")
    constants, at = {}, 0
    for name in names:
        constants[name] = operands[at : at + counts[name]]
        at += counts[name]
    return _solve_linear(dict(facts["jaxprs"]), constants, operands[at:], False)


def _solve_linear(
    programs: Mapping[str, Any], constants: Mapping[str, Any], b: Sequence[Any], transposed: bool
) -> list[Any]:
    """Solve a linear system by JAX's ``solve`` program; derivatives solve the transposed one."""
    forward = ("vecmat", "transpose_solve") if transposed else ("matvec", "solve")
    product, solve = (programs[name] for name in forward)
    if solve is None or programs[("transpose_solve", "solve")[transposed]] is None:
        raise unsupported_variant("a linear solve without a transposed one")
    # All constants are operands: a rule is applied in bodies of loops that are built again.
    every = [constant for name in constants for constant in constants[name]]

    def split_operands(operands: Sequence[Any]) -> tuple[dict[str, list[Any]], list[Any]]:
        remaining = iter(operands)
        by_name = {name: [next(remaining) for _ in values] for name, values in constants.items()}
        return by_name, list(remaining)

    results = []
    for place in range(len(b)):
        name = f"jax.linear_solve.{next(_rule_numbers)}"

        @sg.custom_vjp(name=name)
        def function(*operands: Any, place: int = place) -> Any:
            by_name, b = split_operands(operands)
            factors = [sg.stop_gradient(factor) for factor in by_name[forward[1]]]
            return solve.run([*factors, *b])[place]

        @function.rule
        def pull_cotangents(ct: Any, out: Any, *operands: Any, place: int = place) -> Any:
            """Differentiate a linear solve of JAX: solve the transpose, then the product."""
            by_name, b = split_operands(operands)
            cts = [ct if k == place else sg.zeros_like(term) for k, term in enumerate(b)]
            slopes = _solve_linear(programs, by_name, cts, not transposed)
            xs = _solve_linear(programs, by_name, b, transposed)
            # The product reads copies: xs depend on the constants, and that path has its slopes.
            fresh = [
                constant * 1.0 if constant.dtype.is_float else constant
                for constant in by_name[forward[0]]
            ]
            ys = product.run([*fresh, *xs])
            smooth = [constant for constant in fresh if constant.dtype.is_float]
            remaining = iter(gradients.vjp(ys, smooth, [-slope for slope in slopes], True))
            shares: dict[str, list[Any]] = {
                name: [None] * len(values) for name, values in by_name.items()
            }
            shares[forward[0]] = [
                next(remaining) if constant.dtype.is_float else None for constant in fresh
            ]
            return *(share for values in shares.values() for share in values), *slopes

        results.append(function(*every, *b))
    return results

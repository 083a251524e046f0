"""Primitives of JAX that call programs, a row each: control flow, rules, linear solutions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import staticgrad.functions as sg
from staticgrad.bridges.operands import ForeignType
from staticgrad.bridges.programs import ForeignProgram, programs_in
from staticgrad.bridges.tables import ForeignOperator, unsupported_variant
from staticgrad.errors import ExportError
from staticgrad.extend import gradients
from staticgrad.jax.lax.primitives import make_table
from staticgrad.programs.transformed import vmap

#: Primitive that calls programs -> its row.
CALLS: Final = make_table({})
_call = CALLS.row


@_call("jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint", "custom_vmap_call",
       "custom_jvp_call_jaxpr", "composite", "call", "eval_jaxpr")  # fmt: skip
def _inline(*operands: Any, op: ForeignOperator, **_: Any) -> Any:
    (program,) = programs_in(op)
    return tuple(program.values(operands))


@_call("cond")
def _cond(which: Any, *arguments: Any, branches: Any, **_: Any) -> Any:
    branches = [_of_branch(branch) for branch in branches]
    if len(branches) == 2:
        which = which if which.dtype.name == "bool" else sg.not_equal(which, 0)
        return tuple(sg.cond(which, branches[1], branches[0], *arguments))
    return tuple(sg.switch(which, branches, *arguments))


def _of_branch(program: ForeignProgram) -> Callable[..., Any]:
    return lambda *operands: tuple(program.values(operands))


@_call("while")
def _while(
    *operands: Any, cond_jaxpr: Any, body_jaxpr: Any, cond_nconsts: int, body_nconsts: int, **_: Any
) -> Any:
    """Evaluate JAX's ``while`` primitive by ``sg.while_loop``."""
    test, body = cond_jaxpr, body_jaxpr
    first, second = cond_nconsts, cond_nconsts + body_nconsts
    of_test, of_body, carry = operands[:first], operands[first:second], operands[second:]
    if not carry:
        return ()

    def goes_on(carry: Any) -> Any:
        return test.values([*of_test, *carry])[0]

    def step(carry: Any) -> tuple[Any, ...]:
        return tuple(body.values([*of_body, *carry]))

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
def _scan(
    *operands: Any,
    jaxpr: Any,
    num_consts: int,
    num_carry: int,
    length: Any,
    reverse: bool,
    **_: Any,
) -> Any:
    """Evaluate JAX's ``scan`` primitive by ``sg.scan``."""
    first, second = num_consts, num_consts + num_carry
    fixed, carry, slices = operands[:first], operands[first:second], operands[second:]

    def step(carry: Any, slices: Any) -> Any:
        results = jaxpr.values([*fixed, *carry, *(slices or ())])
        return tuple(results[: len(carry)]), tuple(results[len(carry) :])

    last, stacked = sg.scan(step, tuple(carry), tuple(slices) if slices else None, length, reverse)
    return *last, *stacked


@_call("reduce")
def _reduce(*operands: Any, jaxpr: Any, dimensions: Any, out: Any, **_: Any) -> Any:
    """Evaluate JAX's ``reduce`` with a function of scalars, in halves, as an associative one."""
    arrays, empty = operands[: len(operands) // 2], operands[len(operands) // 2 :]
    count = math.prod([arrays[0].shape[axis] for axis in dimensions])
    shape = (out if len(arrays) == 1 else out[0]).shape
    ends = tuple(range(len(dimensions)))
    rows = [sg.moveaxis(x, tuple(dimensions), ends).reshape((count, *shape)) for x in arrays]
    if not count:
        return tuple([sg.broadcast_to(value, shape) for value in empty])

    def combine(*pair: Any) -> tuple[Any, ...]:
        return tuple(jaxpr.values(pair))

    while count > 1:
        half = count // 2
        pairs = [x[:half].reshape((-1,)) for x in rows]
        pairs += [x[half : 2 * half].reshape((-1,)) for x in rows]
        merged = [x.reshape((half, *shape)) for x in vmap(combine)(*pairs)]
        if count % 2:
            merged = [sg.concatenate([x, row[-1:]]) for x, row in zip(merged, rows, strict=True)]
        rows, count = merged, half + count % 2
    return tuple([x.reshape(shape) for x in rows])


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
        read: Callable[[Sequence[bool]], ForeignProgram] | None,
        moves: Sequence[bool],
        smooth: Sequence[bool],
    ) -> None:
        self._read, self.depth = read, 0
        self.moves, self.smooth = tuple(moves), tuple(smooth)
        self._programs: dict[tuple[bool, ...], ForeignProgram] = {}

    def push_forward(self, args: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
        """Apply the ``custom_jvp`` rule of a JAX program to tangents of its operands."""
        moving, program = self._program([tangent is not None for tangent in tangents])
        moving_tangents = [
            sg.zeros_like(x) if tangent is None else tangent
            for x, tangent, moves in zip(args, tangents, moving, strict=True)
            if moves
        ]
        return program.values([*args, *moving_tangents])

    def pull_back(
        self, args: Sequence[Any], cts: Sequence[Any], needed: Sequence[bool]
    ) -> list[Any]:
        """Return cotangents of operands (None: not needed), given those of smooth results."""
        moving, program = self._program(needed)
        slopes = iter(program.values([*args, *cts]))
        return [next(slopes) if is_moving else None for is_moving in moving]

    def _program(self, needed: Sequence[bool]) -> tuple[tuple[bool, ...], ForeignProgram]:
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


def _rules_in(program: ForeignProgram) -> list[DerivativeRule]:
    rules = []
    for call in program.calls:
        rules += [
            value
            for value in call.operator.attributes.values()
            if isinstance(value, DerivativeRule)
        ]
        for inner in programs_in(call.operator):
            rules += _rules_in(inner)
    return rules


def _results_once(program: ForeignProgram, operands: Sequence[Any]) -> Callable[..., list[Any]]:
    """Return a function that evaluates a JAX program, once for the same operands."""
    plain = program.values(operands)

    def results(*arguments: Any) -> list[Any]:
        same = all(a is b for a, b in zip(arguments, operands, strict=True))
        return plain if same else program.values(arguments)

    return results


@_call("custom_jvp_call")
def _custom_jvp(*operands: Any, program: ForeignProgram, rule: DerivativeRule, **_: Any) -> Any:
    """Evaluate JAX's ``custom_jvp_call``: results of the program, derivatives by its rule."""
    run = _results_once(program, operands)
    results = run(*operands)
    if not any(rule.moves):
        return tuple(results)
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
    return tuple(outputs)


@_call("custom_vjp_call")
def _custom_vjp(
    *operands: Any, program: ForeignProgram, rule: DerivativeRule, out: Any, **_: Any
) -> Any:
    """Evaluate JAX's ``custom_vjp_call``: results of the program, cotangents by its rule."""
    run = _results_once(program, operands)
    results = run(*operands)
    kinds = (out,) if isinstance(out, ForeignType) else out
    smooth = [k for k, is_smooth in enumerate(rule.smooth) if is_smooth]
    if not smooth or not any(rule.moves):
        return tuple(results)
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
                parts[k] if k in parts else sg.zeros(kinds[k].shape, kinds[k].dtype) for k in smooth
            ]
            return tuple(rule.pull_back(args, cts, needed))

        for place, output in zip(places, _unpack_vector(function(*operands), shapes), strict=True):
            outputs[place] = output
    return tuple(outputs)


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
def _linear_solve(*operands: Any, const_lengths: Any, jaxprs: Any, **_: Any) -> Any:
    """Evaluate JAX's ``custom_linear_solve`` with its four programs and their constants."""
    counts = dict(const_lengths)
    names = ("matvec", "vecmat", "solve", "transpose_solve")
    constants, at = {}, 0
    for name in names:
        constants[name] = operands[at : at + counts[name]]
        at += counts[name]
    return tuple(_solve_linear(dict(jaxprs), constants, operands[at:], False))


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
            return solve.values([*factors, *b])[place]

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
            ys = product.values([*fresh, *xs])
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

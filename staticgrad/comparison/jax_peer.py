"""A program written for JAX, jitted: a step with its state, a loss with its parameters, a function.

Imported where JAX is installed and a program for it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticgrad import optim
from staticgrad.comparison.programs import Batch, ComparedProgram
from staticgrad.comparison.report import NoPeer
from staticgrad.extend.optional import jax
from staticgrad.extend.trees import first_part


class JaxTraining:
    """``jax.jit`` of a function over a state; the old state's memory is given to the new one."""

    def __init__(self, chosen: ComparedProgram, program: Any) -> None:
        """Jit the program.

        Args:
            chosen: what it is compared with.
            program: ``(step, state)`` with ``step(state, *arrays)`` giving the loss and the new
                state; ``(loss, parameters)``, trained by plain descent; or a function of arrays.
        """
        doubles = any(np.asarray(a).dtype == np.float64 for a in _arrays(chosen))
        self._doubles, self._chosen = doubles, chosen
        function, state = program if isinstance(program, tuple) else (program, ())
        self._function = function if isinstance(program, tuple) else lambda _, *a: function(*a)
        self._state: Any = None
        self._start = jax.tree.map(np.array, state)  # copies: parameters are trained in place
        with jax.enable_x64(doubles):
            shape = jax.eval_shape(
                self._function, self._copy(), *self._narrow_batch(_example(chosen))
            )
        self._is_loss = not isinstance(shape, tuple)
        self._jitted = self._jit(self._function)
        self.restore()

    def call(self, batch: Batch) -> Any:
        """Run one step and wait for its loss and its state."""
        with jax.enable_x64(self._doubles):
            results = self._jitted(self._state, *self._narrow_batch(batch))
            result, self._state = jax.block_until_ready(results)
            return first_part(result)

    def step(self, batch: Batch) -> float:
        """Run one step and return the loss."""
        return float(np.mean(np.asarray(self.call(batch))))  # by NumPy, which has float64

    def restore(self) -> None:
        """Copy the start values."""
        with jax.enable_x64(self._doubles):
            self._state = self._copy()

    def peak(self, batch: Batch) -> int:
        """Return XLA's planned bytes of a JAX step: temporaries and undonated results."""
        with jax.enable_x64(self._doubles):
            analysis = (
                self._jitted.lower(self._state, *self._narrow_batch(batch))
                .compile()
                .memory_analysis()
            )
        return int(
            analysis.temp_size_in_bytes
            + analysis.output_size_in_bytes
            - analysis.alias_size_in_bytes
        )

    def causes(self, name: str, batch: Batch) -> None:
        """XLA plans one sum."""

    def make_checkpointed(self) -> JaxTraining | None:
        """Return the JAX program under ``jax.checkpoint``, if it is a loss."""
        if not self._is_loss or self._rate() is None:
            return None
        way = object.__new__(JaxTraining)
        vars(way).update(vars(self))
        way._jitted = self._jit(jax.checkpoint(self._function))
        way.restore()
        return way

    def _jit(self, function: Callable[..., Any]) -> Any:
        """Jit a JAX program's step: unchanged, with gradients of its arrays, or with an update."""
        if not self._is_loss:
            return jax.jit(function, donate_argnums=0)
        rate, arguments = self._rate(), self._chosen.gradient_arguments

        def gradient(state: Any, *arrays: Any) -> Any:
            by = [1 + k for k in arguments]
            loss, slopes = jax.value_and_grad(function, by)(state, *arrays)
            return (loss, slopes), state

        def descent(state: Any, *arrays: Any) -> Any:
            loss, slopes = jax.value_and_grad(function)(state, *arrays)
            return loss, jax.tree.map(lambda p, g: p - rate * g, state, slopes)

        if arguments:
            return jax.jit(gradient)
        if rate is not None:
            return jax.jit(descent, donate_argnums=0)
        if self._chosen.optimizer is not None:
            name = type(self._chosen.optimizer).__name__
            raise NoPeer(f"{name} is not translated to JAX: give a step, jax=(step, state)")
        return jax.jit(lambda state, *arrays: (function(state, *arrays), state))

    def _rate(self) -> float | None:
        """Return the learning rate of plain gradient descent, which JAX does here; else None."""
        rule = self._chosen.optimizer
        if type(rule) is not optim.SGD or not isinstance(rule.learning_rate, int | float):
            return None
        plain = not rule.momentum and not rule.weight_decay and rule.accumulate == 1
        plain &= rule.max_norm is None and rule.max_value is None and rule.loss_scale is None
        return float(rule.learning_rate) if plain else None

    def _copy(self) -> Any:
        return jax.tree.map(lambda array: jax.numpy.array(array, copy=True), self._start)

    def _narrow_batch(self, batch: Batch) -> list[Any]:
        return [
            array.astype(np.int32) if array.dtype == np.int64 and not self._doubles else array
            for array in batch.values()
        ]


def _example(chosen: ComparedProgram) -> Batch:
    return chosen.draw(chosen.batch_size, np.random.default_rng(0))


def _arrays(chosen: ComparedProgram) -> list[Any]:
    return [*_example(chosen).values(), *chosen.parameters.values()]

"""Steps of tensors of ``staticgrad.eager``, by the rules that write graphs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError
from staticgrad.extend import ParameterLeaf, Symbolic, ancestors, quote
from staticgrad.extend.tapes import prepare_step
from staticgrad.extend.tensors import rule_input, standing_in
from staticgrad.optim.state import asked_of, states_made_by


class TensorSteps:
    """An optimizer with the tensors that it steps; ``optimizer.on(tensors)`` makes it.

    Tensors without a gradient stay. What the optimizer keeps from step to step is kept here.
    """

    def __init__(self, rule: Any, params: Iterable[Any]) -> None:
        """A rule of ``sg.optim`` over tensors."""
        self.rule = rule
        self.params: list[Any] = list(params)
        self._states: dict[Any, Tensor] = {}
        self._key: Any = None
        self._graph: Any = None
        if not self.params:
            raise ArgumentError(f"{type(rule).__name__}: there are no parameters")
        for param in self.params:
            if not isinstance(param, Tensor):
                what = f"{type(rule).__name__}.on takes tensors of staticgrad.eager"
                raise ArgumentError(
                    f"{what}, not {quote(param)}",
                    hint="updates(loss, params) steps the parameters of a graph",
                )

    def step(self) -> None:
        """Change every tensor by its gradient, in place, a block of elements at a time."""
        self.apply({p: Tensor.of(p.grad) for p in self.params if p.grad is not None})

    def apply(self, grads: dict[Tensor, Tensor]) -> None:
        """Step eager tensors in place by these gradients: all of them or none."""
        if not grads:
            return
        key = tuple((id(p), p.type, g.type) for p, g in grads.items())
        if key != self._key:
            self._key, self._graph = None, _RuleGraph(self.rule, list(grads), self._states)
            self._key = key
        write = prepare_step(*self._graph.step([g.array for g in grads.values()]))
        write()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for tensor in self.params:
            tensor.zero_grad()


class _RuleGraph:
    """A graph that computes a rule's results for the gradients of tensors."""

    def __init__(self, rule: Any, params: Sequence[Any], states: dict[Any, Tensor]) -> None:
        self._tensors: dict[Any, Tensor] = {}  # by the node that stands for each
        slopes = [rule_input(p.type) for p in params]
        self._gradients = [slope.node for slope in slopes]

        def tensor_of(stand_in: Any) -> Tensor:
            return self._tensors[stand_in.node]

        def state(owner: Any, name: str, shape: Any, dtype: Any) -> Symbolic:
            key = (None if owner is None else tensor_of(owner), name)
            if key not in states:
                states[key] = Tensor.of(np.zeros(shape, dtype))
            return stand_in(states[key])

        with (
            standing_in(self._tensors) as stand_in,
            states_made_by(state),
            asked_of(tensor_of),
        ):
            updates = rule.advance(dict(zip(map(stand_in, params), slopes, strict=True)))
        self._updates = [(tensor_of(target), value) for target, value in updates.items()]
        read = ancestors([v for _, v in self._updates if isinstance(v, Symbolic)])
        self._stores = {n: n.op.store for n in read if isinstance(n.op, ParameterLeaf)}

    def step(self, slopes: Sequence[Any]) -> tuple[Any, Any]:
        leaves = dict(zip(self._gradients, slopes, strict=True))
        leaves |= {node: tensor.array for node, tensor in self._tensors.items()}
        leaves |= {node: store.array for node, store in self._stores.items()}
        return [(tensor.array, value) for tensor, value in self._updates], leaves

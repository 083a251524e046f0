"""Averages of parameters over the steps of a training.

Steps of tensors of ``staticgrad.eager``, by the rules that write graphs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from staticgrad.eager.stepping import prepared
from staticgrad.eager.tensor import Tensor
from staticgrad.errors import ArgumentError
from staticgrad.errors.tracebacks import bounded
from staticgrad.errors.wording import shown
from staticgrad.functions import parameter
from staticgrad.ir.calls import Constructed
from staticgrad.ir.execution import holding, in_graphs, running_session
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Parameter, ancestors
from staticgrad.ir.nodes import Symbolic
from staticgrad.ir.op import Input, ParameterLeaf
from staticgrad.optim.gradients import require_decay, require_not_negative
from staticgrad.optim.optimizer import in_compute_dtype, listed_parameters
from staticgrad.optim.schedules import tensor_of
from staticgrad.optim.state import asked_of, states_made_by
from staticgrad.types.arrays import TensorType


@bounded
class Average(metaclass=Constructed):
    """An exponential moving average of parameters: Polyak and Juditsky (1992) with forgetting.

    a' = decay * a + (1 - decay) * p', with p' the parameter after the step, and a at first the
    parameter as it is. The decay of step t (from 0) is at most (1 + t) / (warm_up + t).

    Attributes:
        averages: parameter -> its average, a parameter ``<parameter>.average``.

    >>> import staticgrad as sg
    >>> w = sg.parameter("w", 1.0)
    >>> mean = Average([w], decay=0.5)
    >>> w.value = 3.0
    >>> mean.update()
    >>> float(mean.averages[w].value)
    2.0
    """

    def __init__(
        self, params: Any, decay: float = 0.999, warm_up: float = 0.0, name: str = "average"
    ) -> None:
        """Averages that begin at the values of now.

        Args:
            params: parameters in containers, or what has a method ``parameters()``.
            decay: in [0, 1). warm_up: forget faster in the beginning; 10 is usual, 0 is not at all.
            name: begins the name of the step counter, which ``warm_up`` needs.

        Raises:
            ArgumentError: no parameters, or a decay outside of its range.
        """
        require_decay(decay, "decay")
        require_not_negative(warm_up, "warm_up")
        self.decay, self.warm_up = decay, warm_up
        self.averages = {
            p: parameter(f"{p.name}.average", p.value.astype(p.dtype.compute.numpy))
            for p in listed_parameters(params)
        }
        for p, average in self.averages.items():
            average.store.belong_to(p.store, "average")
        self.count = parameter(f"{name}.step", 0) if warm_up else None

    def parameters(self) -> list[Parameter]:
        """Its state."""
        return [*self.averages.values(), *([] if self.count is None else [self.count])]

    def updates(self, updates: Mapping[Parameter, Any]) -> dict[Parameter, Any]:
        """The averages after a step that makes these ``updates`` of parameters.

        For ``sg.Graph(outputs, {**updates, **average.updates(updates)})``.
        """
        return self._after({p: updates.get(p, p) for p in self.averages}, lambda p: p)

    def update(self) -> None:
        """Take in the parameters: at each call of a function that is traced, or else at once.

        In a function it stands behind ``opt.minimize(loss)``, whose new values it averages.
        """
        noted = running_session()
        if noted is not None:
            from staticgrad.eager.at_once import next_values  # graphs do without the tape

            new = {p.node: value for p, value in noted.updates}
            found = {p: new.get(p.node, p) for p in self.averages}
            with next_values(noted) if noted.computes else nullcontext():
                after = self._after(found, lambda p: p)
            for p, value in after.items():
                p.update(value)
            return
        now = {p: tensor_of(p.value) for p in self.averages}
        for p, value in self._after(now, lambda p: tensor_of(p.value)).items():
            p.value = np.asarray(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the parameters hold their averages; afterwards what they held before."""
        before = {p: p.value for p in self.averages}
        try:
            for p, mean in self.averages.items():
                p.value = mean.value.astype(p.dtype.numpy)
            yield
        finally:
            for p, value in before.items():
                p.value = value

    def _after(self, new: Mapping[Parameter, Any], now: Any) -> dict[Parameter, Any]:
        """The state after parameters have the values ``new``; ``now`` gives what state holds."""
        decay: Any = self.decay
        found: dict[Parameter, Any] = {}
        if self.count is not None:
            t = functions.astype(now(self.count), "float64")
            decay = functions.minimum((1.0 + t) / (self.warm_up + t), self.decay)
            found[self.count] = now(self.count) + 1
        for p, mean in self.averages.items():
            own = decay.astype(mean.dtype) if self.count is not None else decay
            found[mean] = own * now(mean) + (1.0 - own) * in_compute_dtype(new[p], p)
        return found


class TensorSteps:
    """An optimizer with the tensors that it steps; ``optimizer.on(tensors)`` makes it.

    Tensors without a gradient stay. What the optimizer keeps from step to step is kept here.
    """

    def __init__(self, rule: Any, params: Iterable[Any]) -> None:
        """A rule of ``sg.optim`` over tensors.

        Raises:
            ArgumentError: no tensors, or something else among them.
        """
        self.rule = rule
        self.params: list[Any] = list(params)
        self._states: dict[Any, Tensor] = {}
        self._key: Any = None
        self._graph: Any = None
        if not self.params:
            raise ArgumentError(f"{type(rule).__name__}: there are no parameters")
        for each in self.params:
            if not isinstance(each, Tensor):
                what = f"{type(rule).__name__}.on takes tensors of staticgrad.eager"
                raise ArgumentError(
                    f"{what}, not {shown(each)}",
                    hint="updates(loss, params) steps the parameters of a graph",
                )

    def step(self) -> None:
        """Change every tensor by its gradient, in place, a block of elements at a time."""
        self.apply({p: Tensor.of(p.grad) for p in self.params if p.grad is not None})

    def apply(self, grads: dict[Tensor, Tensor]) -> None:
        """Change these tensors by these gradients, in place: all of them, or none on an error."""
        if not grads:
            return
        key = tuple((id(p), p.type, g.type) for p, g in grads.items())
        if key != self._key:
            self._key, self._graph = None, _RuleGraph(self.rule, list(grads), self._states)
            self._key = key
        write = prepared(*self._graph.step([g.array for g in grads.values()]))
        write()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for tensor in self.params:
            tensor.zero_grad()


class _RuleGraph:
    """What a rule computes of the gradients of tensors, as values of a graph."""

    def __init__(self, rule: Any, params: Sequence[Any], states: dict[Any, Tensor]) -> None:
        self._states = states
        self._symbols: dict[Tensor, Symbolic] = {}
        self._tensors: dict[Any, Tensor] = {}  # by the node that stands for each
        stand_ins, slopes = [self._symbol(p) for p in params], [_input(p.type) for p in params]
        self._gradients = [slope.node for slope in slopes]
        with (
            in_graphs(),
            holding(self._symbol),
            states_made_by(self._state),
            asked_of(self._tensor),
        ):
            found = rule.advanced(dict(zip(stand_ins, slopes, strict=True)))
        self._updates = [(self._tensor(target), value) for target, value in found.items()]
        read = ancestors([v for _, v in self._updates if isinstance(v, Symbolic)])
        self._stores = {n: n.op.store for n in read if isinstance(n.op, ParameterLeaf)}

    def step(self, slopes: Sequence[Any]) -> tuple[Any, Any]:
        """The arrays with their next values, and those that are read, given the gradients."""
        leaves = dict(zip(self._gradients, slopes, strict=True))
        leaves |= {node: tensor.array for node, tensor in self._tensors.items()}
        leaves |= {node: store.array for node, store in self._stores.items()}
        return [(tensor.array, value) for tensor, value in self._updates], leaves

    def _symbol(self, tensor: Tensor) -> Symbolic:
        """The input that stands for a tensor: one to change, a state, or a rate."""
        if tensor not in self._symbols:
            self._symbols[tensor] = made = _input(tensor.type)
            self._tensors[made.node] = tensor
        return self._symbols[tensor]

    def _tensor(self, stand_in: Any) -> Any:
        """The tensor for which an input stands."""
        return self._tensors[stand_in.node]

    def _state(self, owner: Any, name: str, shape: Any, dtype: Any) -> Symbolic:
        key = (None if owner is None else self._tensor(owner), name)
        if key not in self._states:
            self._states[key] = Tensor.of(np.zeros(shape, dtype))
        return self._symbol(self._states[key])


def _input(type: TensorType) -> Symbolic:
    found: Symbolic = Symbolic.bind(Input("x", type), ())
    return found

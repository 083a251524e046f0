"""The base of all optimizers: from gradients to updates, for any rule and groups of parameters."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import partial, wraps
from inspect import Signature, signature
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    NamedTuple,
    NoReturn,
    TypeVar,
    dataclass_transform,
)

import numpy as np

from staticgrad.errors import (
    ArgumentError,
    GradientError,
    GraphError,
    ImmutableError,
    ShapeError,
    UnknownArgumentError,
)
from staticgrad.extend import (
    Argument,
    Graph,
    Parameter,
    PositiveFloat,
    PositiveInt,
    Settings,
    Value,
    adopt_overrides,
    boundary,
    check_arguments,
    check_fields,
    deprecated_attribute,
    describe_operands,
    kind_of,
    make_boundaries,
    names_messages,
    positive,
    public,
    quote,
    raised_inside,
    shape_text,
    without_synonyms,
)
from staticgrad.extend.building import running_session, warn_of_evaluation
from staticgrad.extend.gradients import grad, gradients_of_free_parameters, leaves
from staticgrad.extend.hints import OF_OPTIMIZERS, discards_result, no_such_attribute
from staticgrad.extend.ops import astype, clip, equal, where
from staticgrad.extend.parameters import real_gradients
from staticgrad.extend.ranks import Rows, check_mean, rows_of
from staticgrad.extend.trees import ObjectParts, has_parameters, parts
from staticgrad.optim.data_parallel import average_gradients, step_shards
from staticgrad.optim.gradients import (
    LossScale,
    are_finite,
    clip_to_norm,
)
from staticgrad.optim.schedules import RateSchedule, read_rate
from staticgrad.optim.state import (
    ACCUMULATOR,
    as_given,
    keep_states,
    kept_states,
    kept_stores,
    refuse_other_kind,
    slot,
    state_of,
    states_expected_of,
    states_kept_by,
    states_made_once,
    states_noted_by,
)

if TYPE_CHECKING:
    from staticgrad.optim.on_tensors import TensorSteps

_STEP: Final = (
    "an optimizer writes graphs: step = sg.Graph({'loss': loss}, opt.updates(loss, ws)), and each"
    " sg.compile(step).run(feeds) is a step; or under @sg.function opt.minimize(loss), or"
    " opt.apply_gradients({w: dw}) with gradients of your own"
)
_MINIMIZE: Final = (
    "in a function under @sg.function it is a step of each call; of values it returns the graph of"
    " a step: f = sg.compile(opt.minimize(loss, ws)), and each f.run(feeds) is a step"
)
_APPLY: Final = (
    "in a function under @sg.function it is a step of each call; of a graph:"
    " sg.Graph({'loss': loss}, opt.apply(grads))"
)
_LATER: Final = (
    'a rate that changes: sg.optim.cosine(0.1, steps=100); or rate = sg.parameter("rate", 0.1),'
    " Adam(rate), and rate.value = 0.01 later"
)
_ZERO: Final = (
    "nothing: gradients are values, and none is added up; opt.minimize(loss)\n"
    "on the tape: sg.optim.Adam(model.parameters(), lr=0.001)"
)
_TAKES: Final = "an optimizer updates parameters, in a list, tuple or dict"
Updates = dict[Parameter, Any]
T = TypeVar("T")
_KEPT: Final = "states kept"  # no option has this name
_GIVEN: Final = "parameters given"  # to the constructor; no option has this name
_STEPS: Final = "steps of tensors"  # of parameters given that are tensors


def _is_default(value: object, default: object) -> bool:
    return value is default or (
        type(value) is type(default) and not isinstance(value, Value) and bool(value == default)
    )


@dataclass_transform(frozen_default=True, eq_default=False)
def rule(cls: type[T]) -> type[T]:
    """Decorate an optimizer's rule: a frozen dataclass of hyperparameters, PyTorch's names too."""
    rule_class = dataclass(frozen=True, eq=False)(cls)
    plain = rule_class.__init__
    ours = signature(plain)

    @wraps(plain)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        """Read an optimizer's arguments: hyperparameters, also in PyTorch's order and names."""
        kwargs = without_synonyms(cls.__name__, ours, kwargs)
        params = None
        if steps_parameters(ours):
            params, args, kwargs = _parameters_apart(cls.__name__, args, kwargs)
        if args and "learning_rate" in kwargs:
            _read_first(cls.__name__, args[0])
            check_arguments(cls.__name__, ours, (self, *args), kwargs)
        try:
            plain(self, *args, **kwargs)
        except TypeError as error:
            if not raised_inside(error):
                check_arguments(cls.__name__, ours, (self, *args), kwargs)
            raise
        if params is not None:
            vars(self)[_GIVEN] = params

    rule_class.__init__ = init  # type: ignore[method-assign]
    rule_class = make_boundaries(rule_class)
    rule_class.__setattr__ = _refuse_to_set  # type: ignore[method-assign]
    return rule_class


def steps_parameters(ours: Signature) -> bool:
    """Return whether PyTorch's optimizer of this signature takes parameters first: it has a rate.

    ``ParameterGroups`` and ``Average`` do not.
    """
    return "learning_rate" in ours.parameters


def _parameters_apart(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Separate the parameters, which PyTorch's optimizers take first, from the options."""
    if "params" in kwargs:
        params, kwargs = kwargs["params"], {n: v for n, v in kwargs.items() if n != "params"}
    elif args and _holds_parameters(args[0]):
        params, args = args[0], args[1:]
    else:
        return None, args, kwargs
    return _read_given(name, params), args, kwargs


def _holds_parameters(argument: Any) -> bool:
    if isinstance(argument, RateSchedule):
        return False
    return isinstance(argument, list | tuple | dict | Iterator) or has_parameters(argument)


@names_messages
def _read_given(name: str, params: Any) -> list[Any]:
    """Return the parameters or eager tensors that an optimizer's constructor got."""
    if isinstance(params, Iterator):
        params = list(params)
    if isinstance(params, list | tuple) and any(isinstance(param, dict) for param in params):
        raise ArgumentError(
            f"{name}: groups of parameters",
            hint=f"sg.optim.ParameterGroups(sg.optim.{name}(0.1), [(model.head, {{'learning_rate':"
            " 0.01})])",
        )
    if (
        isinstance(params, list | tuple)
        and params
        and all(getattr(t, "computes", 0) for t in params)
    ):
        return [*params]
    parameters = listed_parameters(params)
    if not parameters:
        raise ArgumentError(f"{name}: there are no parameters to update")
    return parameters


@names_messages
def _read_first(name: str, rate: Any) -> None:
    """Refuse what is no rate in the place of the rate."""
    read_rate("learning_rate", rate)


def _refuse_to_set(self: object, name: str, value: Any) -> NoReturn:
    what = f"{type(self).__name__}.{name} is set when the optimizer is made"
    raise ImmutableError(what, hint=_LATER)


class RankOptions(NamedTuple):
    """The options of a step on several ranks: together, state in parts, weighted by rows.

    ``is_late``: the gradients are numbers already.
    """

    data_parallel: bool
    shard_state: bool
    rows: Rows
    is_late: bool = False

    @classmethod
    def of(cls, loss: Any, data_parallel: bool, shard_state: bool, rows: Any) -> RankOptions:
        """Read the options of ``Optimizer.minimize``: data parallel, sharded state, rows."""
        for name, is_used in (("shard_state", shard_state), ("rows", rows is not None)):
            if is_used and not data_parallel:
                raise ArgumentError(
                    f"{name} is of steps of several ranks",
                    hint=f"minimize(loss, data_parallel=True, {name}=...)",
                )
        if data_parallel and rows is None:
            check_mean(loss)
        batch_rows = rows_of("minimize", loss, rows) if data_parallel else Rows()
        return cls(data_parallel, shard_state, batch_rows)

    @property
    def key(self) -> Hashable | None:
        """Equal where the graphs of steps are; None of rows that are values, of one step alone."""
        sizes = [size.tobytes() for size in self.rows.sizes if isinstance(size, np.ndarray)]
        if len(sizes) < len(self.rows.sizes):
            return None
        return (self.data_parallel, self.shard_state, self.rows.attribute, *sizes)


def _read_scale(word: str, scale: Any) -> Any:
    return scale if isinstance(scale, LossScale) else positive(word, scale)


Scale = Annotated[LossScale | float, Argument(_read_scale)]


@make_boundaries
@dataclass(frozen=True, eq=False, kw_only=True)
class Optimizer(Settings):
    """The base of all optimizers. Subclasses define in ``step`` how a gradient becomes an update.

    A step takes the mean of accumulated gradients, clips it by value, then by norm, and hands it to
    the rule. If a step is skipped, only the loss scale changes.

    Args:
        accumulate: gradients of this many runs are added up, in the order of the runs, and their
            mean is applied in the last of them: k mini-batches of a mean loss act as one batch.
        max_value: each element of a gradient is clipped to [-max_value, max_value].
        max_norm: the gradients are scaled together to a global norm of at most this.
        skip_nonfinite: a step whose gradients contain an infinity or NaN changes nothing.
        loss_scale: ``updates`` and ``minimize`` differentiate the loss times this, and divide the
            gradients by it in float32 or wider, so that those of float16 do not vanish; steps that
            are not finite are skipped. A number, or ``LossScale()``, which finds one.
        name: prefix of the state that is shared by all parameters (``sgd.micro_step``); give
            two optimizers of one graph two names.

    >>> issubclass(sg.optim.SGD, Optimizer), sg.optim.SGD(0.1, max_norm=1.0).max_norm
    (True, 1.0)
    """

    accumulate: PositiveInt = 1
    max_value: PositiveFloat | None = None
    max_norm: PositiveFloat | None = None
    skip_nonfinite: bool = False
    loss_scale: Scale | None = None
    name: str = ""
    if TYPE_CHECKING:  # arguments of ``rule`` that are read by other names: PyTorch's
        params: Any = None
        lr: Any = None
        betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        if (noted := running_session()) is not None:
            noted.born.append(self)
        check_fields(self)

    def __repr__(self) -> str:
        """Return the learning rate and the options that differ from their defaults."""
        options = sorted(fields(self), key=lambda option: bool(option.kw_only))
        texts = [
            f"{option.name}={getattr(self, option.name)!r}"
            for option in options
            if option.default is MISSING
            or not _is_default(getattr(self, option.name), option.default)
        ]
        return f"{type(self).__name__}({', '.join(texts)})"

    @public
    def updates(
        self,
        loss: Any,
        params: Any = None,
        *,
        data_parallel: bool = False,
        shard_state: bool = False,
        rows: Any = None,
    ) -> Updates:
        """Return the next value of every parameter, and of the state that this call creates.

        Args:
            loss: a 0-d floating value.
            params: parameters, in a (nested) list, tuple or dict, or an object with a method
                ``parameters()``. By default those that the optimizer was made with.
            data_parallel, shard_state, rows: as in ``minimize``.

        Returns:
            Parameter -> value, for ``Graph(updates=...)``, which adds what the loss draws from and
            running statistics. Every call makes new state, which is saved with the graph, and with
            the optimizer while that has made it for one graph alone.

        Raises:
            GradientError: the loss has no gradient with respect to one of them.
            ArgumentError: an element of ``params`` is not a parameter, or there are no parameters.
        """
        params = self._own_parameters if params is None else params
        if params is None:
            raise UnknownArgumentError(
                f"{type(self).__name__}.updates: missing a required argument: 'params'",
                hint="updates(loss, [w, b]), or updates(loss, model)",
            )
        parameters = listed_parameters(params)
        if not parameters:
            raise ArgumentError("there are no parameters to update", hint="updates(loss, [w, b])")
        _check_floating(f"{type(self).__name__}.updates", parameters)
        with states_noted_by(self), states_made_once():
            gradients = dict(zip(parameters, grad(self._scale_loss(loss), parameters), strict=True))
            ways = RankOptions.of(loss, data_parallel, shard_state, rows)
            return self._step_scaled(gradients, ways)

    def apply(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Return updates as ``updates``, for gradients computed elsewhere, of an unscaled loss."""
        return self.advance(checked_gradients("apply", grads))

    advanced = deprecated_attribute("0.2", "advance")
    scheduled = deprecated_attribute("0.2", "scheduled_step")

    def advance(self, grads: Mapping[Any, Any]) -> Updates:
        """Step an optimizer by gradients in the compute dtype, or accumulate them till a step.

        Steps of parameters in a storage dtype, and their state, have its compute dtype (1e-8 is
        nothing in float16); the new value of a parameter is rounded once. Parameters and gradients
        may as well be tensors: then ``states_made_by`` says what keeps their state.
        """
        states_expected_of(self, grads)
        stores = [p.store for p in grads if isinstance(p, Parameter)]
        warn_of_evaluation(type(self).__name__, stores, running_session())
        computed = {p: in_compute_dtype(g, p) for p, g in grads.items()}
        with states_noted_by(self), states_made_once():
            stepped = (
                self._step_guarded(computed)
                if self.accumulate == 1
                else self._step_accumulated(computed)
            )
        return {
            p: astype(value, p.dtype) if p.dtype.is_storage else value
            for p, value in stepped.items()
        }

    @public
    def minimize(
        self,
        loss: Any,
        params: Any = None,
        *,
        data_parallel: bool = False,
        shard_state: bool = False,
        rows: Any = None,
    ) -> Any:
        """Let each call of a traced function end with a step; of values, return a step's graph.

        What the optimizer keeps for a parameter is made once, and serves every trace. Of a loss
        that is a tensor the step happens now. What a function reads afterwards is the new value, so
        that a loop of steps in a function is as many steps.

        Args:
            loss: a 0-d floating value.
            params: as in ``updates``. By default those that the optimizer was made with; else all
                that the loss depends on through differentiable operations, those of a teacher or a
                frozen part too, but those that the function has updated before in this call
                otherwise than by this optimizer.
            data_parallel: the processes of an MPI job step together, by the mean of their
                gradients over the rows of all; before the first step they take the parameters of
                rank 0, and in eager mode must have them (``sg.distributed``). A process by itself
                computes what it does without.
            shard_state: of data-parallel steps: each rank keeps the state of a part of every
                parameter and steps that part, and all ranks get all new parameters. For rules that
                step each element by itself. ``sg.save`` and ``state_dict``, which all ranks call
                then, give the whole state, as without this option.
            rows: of data-parallel steps: how many rows the loss of this rank is the mean of, a
                number or a 0-d value. By default the size of axis 0 of the function's arrays (of
                the graph's inputs), of those for which it differs between the ranks; outside of a
                function, of a tensor, all ranks count alike. A rank may have 0 rows.

        Returns:
            None in a traced function and of a tensor. Where no function is traced,
            ``Graph({"loss": loss}, updates(loss, params))``: each run of it is a step.

        Raises:
            GraphError: no function is traced, and the graph of a step is thrown away. Else as
                ``updates``.

        Warns:
            EvaluationModeWarning: parameters of a module that was called in evaluation mode since
                their last step, and not in training mode, where a layer depends on the mode.

        >>> w, opt = sg.parameter("w", np.ones(3)), sg.optim.SGD(0.5)
        >>> @sg.function
        ... def step(x):
        ...     loss = ((w - x) ** 2).sum()
        ...     opt.minimize(loss)
        ...     return loss
        >>> step(np.zeros(3)), step(np.zeros(3))
        (np.float64(3.0), np.float64(0.0))
        >>> x = sg.input("x", (3,), "float64")
        >>> f = sg.compile(opt.minimize(((w - x) ** 2).sum(), [w]))
        >>> f.run({"x": np.full(3, 2.0)})["loss"], w.value
        (array(12.), array([2., 2., 2.]))
        """
        params = self._own_parameters if params is None else params
        if isinstance(loss, Value) and loss.computes:
            from staticgrad.extend.tensors import eager_mode, minimize

            with states_kept_by(self):
                with eager_mode():
                    scaled = self._scale_loss(loss)
                parameters = None if params is None else listed_parameters(params)
                ways = RankOptions.of(loss, data_parallel, shard_state, rows)._replace(is_late=True)
                minimize(scaled, parameters, self, partial(self._step_scaled, ways=ways), ways.key)
            return None
        noted = running_session()
        if noted is None and discards_result():
            what = f"{type(self).__name__}.minimize: no function is traced, and nothing reads the"
            raise GraphError(f"{what} graph of a step", hint=_MINIMIZE)
        with states_kept_by(self) if noted is not None else states_noted_by(self):
            if params is None:
                others = () if noted is None else noted.updated_by_others(self)
                with states_made_once():
                    gradients = gradients_of_free_parameters(self._scale_loss(loss), others)
                    ways = RankOptions.of(loss, data_parallel, shard_state, rows)
                    updates = self._step_scaled(gradients, ways)
            else:
                updates = self.updates(
                    loss, params, data_parallel=data_parallel, shard_state=shard_state, rows=rows
                )
        if noted is None:
            return Graph({"loss": loss}, updates, name=type(self).__name__.lower())
        noted.step(self, updates)
        return None

    @public
    def apply_gradients(self, grads: Mapping[Parameter, Any]) -> None:
        """Apply a step as ``minimize``, for gradients computed elsewhere: clipped, noised, summed.

        Arrays and tensors are applied now; what a function reads afterwards is the new value.

        Args:
            grads: the gradient of each parameter, of the loss without a loss scale.

        Raises:
            GraphError: no function is traced, and a gradient is a value of a graph.
            ShapeError: a gradient that is not of its parameter's shape.
            ArgumentError: no gradients by parameter.

        >>> w, opt = sg.parameter("w", np.ones(3)), sg.optim.SGD(0.5)
        >>> @sg.function
        ... def step(x):
        ...     slope = sg.grad(((w - x) ** 2).sum(), w)
        ...     opt.apply_gradients({w: sg.sign(slope)})
        >>> step(np.array([0.0, 1.0, 2.0]))
        >>> w.value
        array([0.5, 1. , 1.5])
        """
        grads = checked_gradients("apply_gradients", grads)
        noted = running_session()
        if noted is None or noted.computes:
            of_graph = [g for g in grads.values() if isinstance(g, Value) and not g.computes]
            if of_graph:
                what = f"{type(self).__name__}.apply_gradients: no function is traced"
                raise GraphError(what, hint=_APPLY, related=describe_operands(of_graph[0]))
            from staticgrad.extend.tensors import step_now

            with states_kept_by(self):
                step_now(grads, self, self.advance)
            return
        with states_kept_by(self):
            updates = self.advance(grads)
        noted.step(self, updates)

    def on(self, tensors: Iterable[Any]) -> TensorSteps:
        """The same rule over tensors of ``staticgrad.eager``: its ``step()`` changes them in place.

        Args:
            tensors: those to change, each by its ``grad``.

        >>> from staticgrad.eager import Tensor
        >>> w = Tensor([1.0, 2.0], requires_grad=True)
        >>> steps = sg.optim.SGD(0.25).on([w])
        >>> (w * w).sum().backward()
        >>> steps.step()
        >>> w.tolist()
        [0.5, 1.0]
        """
        from staticgrad.optim.on_tensors import TensorSteps

        return TensorSteps(self, tensors)

    @property
    def _own_parameters(self) -> list[Any] | None:
        """The parameters that the optimizer was made with."""
        return vars(self).get(_GIVEN)

    def _step_given(self) -> None:
        """Step the optimizer's own parameters by the gradients stored in them."""
        params = self._own_parameters or []
        if params and all(isinstance(param, Parameter) for param in params):
            self.apply_gradients({p: p.grad for p in params if p.grad is not None})
            return
        steps = vars(self).get(_STEPS)
        if steps is None:
            steps = vars(self)[_STEPS] = self.on(params)
        steps.step()

    @public
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of the parameters that the optimizer was made with.

        >>> from staticgrad.eager import Tensor
        >>> w = sg.parameter("w", [1.0, 2.0])
        >>> opt = sg.optim.SGD([w], lr=0.25)
        >>> (Tensor([1.0, 1.0]) * w).sum().backward()
        >>> opt.step()
        >>> opt.zero_grad()
        >>> w.value, w.grad
        (array([0.75, 1.75]), None)
        """
        del set_to_none
        if self._own_parameters is None:
            raise ArgumentError(
                f"{type(self).__name__}.zero_grad: the optimizer was made without parameters",
                hint=_ZERO,
            )
        for param in self._own_parameters:
            param.zero_grad()

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Apply the gradients once: return the next parameters and their state."""
        raise TypeError(f"{type(self).__name__} does not say how it steps")

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        adopt_overrides(cls)
        if "__repr__" not in vars(cls):  # a data class would write every setting
            cls.__repr__ = Optimizer.__repr__  # type: ignore[method-assign]
        if "step" in cls.__dict__:
            cls.step = boundary(_graph_step(cls.step))  # type: ignore[method-assign]

    if not TYPE_CHECKING:  # a type checker shall find what is not there

        def __getattr__(self, name: str) -> NoReturn:
            raise no_such_attribute(self, name, OF_OPTIMIZERS)

    def state(self, name: str, dtype: str = "int64") -> Parameter:
        """A 0-d state parameter of the optimizer as a whole, zero at first."""
        prefix = self.name or type(self).__name__.lower()
        return state_of(None, f"{prefix}.{name}", (), np.dtype(dtype))

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the optimizer's state by name: ``w.momentum``.

        It is the state of ``minimize``, or else the state that ``updates`` created for its graph.

        Raises:
            SavedFileError: ``updates`` made states of one name for two graphs that live.
        """
        return kept_states(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave; before the first step it is kept until then.

        What it gave before the first step, nothing, makes all that is kept zero again. Names that
        differ in their numbers (``linear1.weight``) stand for each other in the order of these.

        Raises:
            SavedFileError: names, shapes or types differ; the first step says so where nothing is
                kept yet.
        """
        refuse_other_kind(self, state)
        keep_states(self, state)

    def parts(self) -> tuple[Optimizer, ...]:
        """The optimizers whose rules it applies: itself, or those of its groups."""
        return (self,)

    def __getstate__(self) -> dict[str, Any]:
        """Return the contents of copies and pickles: the options, and the present state."""
        return {**vars(self), _KEPT: self.state_dict()}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Go on from there, as after ``load_state_dict``."""
        options = dict(state)
        self.load_state_dict(options.pop(_KEPT))
        vars(self).update(options)

    def scheduled_step(self, grads: Mapping[Any, Any]) -> Updates:
        """Step at the learning rate of a schedule, and count the step."""
        rate = vars(self).get("learning_rate")
        if not isinstance(rate, RateSchedule):
            return self.step(grads)
        count = self.state("step")
        now = object.__new__(type(self))  # without the state, which a copy has
        vars(now).update(vars(self), learning_rate=rate.at(count.astype("float64")))
        return {**now.step(grads), count: count + 1}

    def _scale_loss(self, loss: Any) -> Any:
        scale = self._loss_scale()
        if scale is None or not getattr(getattr(loss, "dtype", None), "is_float", False):
            return loss
        return loss * (scale.astype(loss.dtype) if isinstance(scale, Value) else scale)

    def _step_scaled(self, slopes: Mapping[Any, Any], ways: RankOptions) -> Updates:
        """Step by gradients of the scaled loss: unscale, average over ranks, advance."""
        scale = self._loss_scale()
        if scale is None:
            grads = slopes
        else:
            unscaled = {}
            for p, g in slopes.items():
                wide = in_compute_dtype(g, p)
                unscaled[p] = wide / (
                    scale.astype(wide.dtype) if isinstance(scale, Value) else scale
                )
            grads = unscaled
        if not ways.data_parallel:
            return self.advance(grads)
        wide = {p: in_compute_dtype(g, p) for p, g in grads.items()}
        if ways.shard_state:
            return step_shards(self, wide, ways.rows, ways.is_late)
        return self.advance(average_gradients(wide, ways.rows, ways.is_late))

    def _loss_scale(self) -> Any:
        if isinstance(self.loss_scale, LossScale):
            return self.loss_scale.scale(self.state)
        return self.loss_scale

    def _step_guarded(self, grads: Mapping[Any, Any]) -> Updates:
        """Clip gradients and step; if set so, keep old values when gradients are nonfinite."""
        limited = dict(grads)
        if self.max_value is not None:
            top = self.max_value
            limited = {p: clip(g, -top, top) for p, g in limited.items()}
        if self.max_norm is not None:
            limited = dict(
                zip(limited, clip_to_norm([*limited.values()], self.max_norm), strict=True)
            )
        stepped = self.scheduled_step(limited)
        if not self.skip_nonfinite and self.loss_scale is None:
            return stepped
        finite = are_finite([*grads.values()])
        updates = {p: where(finite, new, p) for p, new in stepped.items()}
        if isinstance(self.loss_scale, LossScale):
            updates |= self.loss_scale.adjust(self.state, finite)
        return updates

    def _step_accumulated(self, grads: Mapping[Any, Any]) -> Updates:
        """Accumulate gradients in slots, and step by their mean in every k-th run."""
        seen = self.state("micro_step")
        due = equal(seen + 1, self.accumulate)
        slots = {p: slot(p, ACCUMULATOR) for p in grads}
        totals = {p: slots[p] + gradient for p, gradient in grads.items()}
        stepped = self._step_guarded({p: total / self.accumulate for p, total in totals.items()})
        return {
            **{p: where(due, new, p) for p, new in stepped.items()},
            **{slots[p]: where(due, 0.0, total) for p, total in totals.items()},
            seen: where(due, 0, seen + 1),
        }


def in_compute_dtype(gradient: Any, p: Any) -> Any:
    """The gradient of ``p`` in the dtype in which ``p`` is computed."""
    return astype(gradient, p.dtype.compute) if p.dtype.is_storage else gradient


def registered_optimizers() -> tuple[type[Optimizer], ...]:
    """Return every class of optimizers, in the order of definition, a base before others.

    >>> sg.optim.Adam in sg.optim.registered_optimizers()
    True
    """
    classes: dict[type[Optimizer], None] = {}
    waiting = Optimizer.__subclasses__()
    while waiting:
        cls = waiting.pop(0)
        classes[cls] = None
        waiting += cls.__subclasses__()
    return tuple(classes)


parts.register(
    Optimizer,
    lambda opt: ObjectParts(
        opt.state_dict,
        opt.load_state_dict,
        are_names=True,
        stored=None
        if type(opt).state_dict is not Optimizer.state_dict  # a class with a state of its own
        else lambda: kept_stores(opt),
    ),
)


def _graph_step(step: Any) -> Any:
    """Wrap an optimizer's ``step``: PyTorch's call without arguments, errors for others."""

    @wraps(step)
    def step_or_refuse(self: Optimizer, *grads: Any) -> Any:
        if not grads and self._own_parameters is not None:
            return self._step_given()
        if len(grads) != 1 or not isinstance(grads[0], Mapping):
            what = f"{type(self).__name__}.step takes gradients by parameter, and runs nothing"
            raise UnknownArgumentError(what, hint=_STEP)
        return step(self, *grads)

    return step_or_refuse


# -- parameters and gradients ---------------------------------------------------------------------


def listed_parameters(params: Any) -> list[Parameter]:
    """Return the parameters in ``params``, each once."""
    has_them = has_parameters(params)
    parameters: list[Any] = list(params.parameters()) if has_them else leaves(params, _TAKES)
    for value in parameters:
        if not isinstance(value, Parameter):
            raise ArgumentError(
                f"an optimizer updates parameters; {value!r} is none",
                hint="sg.parameter(name, array) makes one",
                related=describe_operands(value),
            )
    seen = set()
    for p in parameters:
        if p.node in seen:
            raise ArgumentError(f"parameter {p.name!r} is listed twice")
        seen.add(p.node)
    return parameters


def _check_floating(name: str, params: Iterable[Parameter]) -> None:
    """Refuse parameters of an optimizer that are not floating."""
    for p in params:
        if not p.dtype.is_float:
            raise GradientError(
                f"{name}: parameter {p.name!r} is {p.type}: only floating ones have gradients",
                hint="sg.parameter(name, array.astype('float32')), or leave it out",
                related=describe_operands(p),
            )


def checked_gradients(name: str, grads: Any) -> Any:
    """Check that gradients are a dict by parameter with equal shapes, and return it."""
    if not isinstance(grads, Mapping):
        raise ArgumentError(
            f"{name} takes gradients by parameter, not {kind_of(grads)}",
            hint=f"{name}(dict(zip(params, sg.grad(loss, params))))",
        )
    _check_floating(name, listed_parameters(list(grads)))
    grads = real_gradients(grads)
    for p, gradient in zip(listed_parameters(list(grads)), grads.values(), strict=True):
        if np.shape(gradient) != p.shape:
            raise ShapeError(
                f"the gradient of {p.name!r} is {shape_text(np.shape(gradient))}, the parameter"
                f" {shape_text(p.shape)}",
                related=describe_operands(p, gradient),
            )
    return grads


@rule
class ParameterGroups(Optimizer):
    """Different options, or a different optimizer, for some of the parameters.

    Gradients are accumulated, clipped and scaled for all of them together: those options stand
    here.

    Args:
        default: the optimizer of all parameters outside of the groups.
        groups: pairs of what belongs to a group and how that steps. What belongs to it: a function
            of a parameter that gives True or False, or parameters in containers, or what has a
            method ``parameters()``. How it steps: options that differ from ``default``, in a dict,
            or an optimizer. Of several groups the first one has a parameter.

    >>> w, b = sg.parameter("w", np.ones((2, 2))), sg.parameter("b", np.ones(2))
    >>> plain = (lambda p: p.ndim < 2, {"weight_decay": 0.0})
    >>> opt = ParameterGroups(sg.optim.SGD(0.1, weight_decay=0.5), [plain])
    >>> found = opt.updates((w.sum() + b.sum()) * 0.0, [w, b])
    >>> sg.evaluate([found[w][0], found[b]], {})
    [array([0.95, 0.95]), array([1., 1.])]
    """

    default: Optimizer
    groups: Sequence[tuple[Any, Any]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_inner(self.default)
        if isinstance(self.groups, Mapping) or not isinstance(self.groups, Sequence):
            raise _no_groups(self.groups)
        group_rules = [self._group(pair) for pair in self.groups]
        object.__setattr__(self, "_made", group_rules)

    def parts(self) -> tuple[Optimizer, ...]:
        """The default one and those of the groups."""
        group_rules: list[tuple[Any, Optimizer]] = vars(self)["_made"]
        return (self.default, *[how for _, how in group_rules])

    def _group(self, pair: Any) -> tuple[Callable[[Any], bool], Optimizer]:
        """Read a pair of ParameterGroups: a test for parameters, and their optimizer."""
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise _no_groups(pair)
        chosen, how = pair
        if isinstance(how, Mapping):
            how = replace(self.default, **how)
        _check_inner(how)
        if callable(chosen) and not has_parameters(chosen):
            return chosen, how
        members = {p.node for p in listed_parameters(chosen)}
        return (lambda p: getattr(p, "node", None) in members), how

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Return the results of the optimizers of the groups."""
        group_rules: list[tuple[Callable[[Any], bool], Optimizer]] = vars(self)["_made"]
        parts: dict[int, dict[Parameter, Any]] = {}
        for p, g in grads.items():
            place = next((k for k, (has, _) in enumerate(group_rules) if has(as_given(p))), -1)
            parts.setdefault(place, {})[p] = g
        updates: Updates = {}
        for place, part in parts.items():
            how = self.default if place < 0 else group_rules[place][1]
            updates |= how.scheduled_step(part)
        return updates


#: What all parameters of a step have in common.
_SHARED = tuple(field.name for field in fields(Optimizer) if field.name != "name")


def _check_inner(optimizer: Any) -> None:
    """Refuse a group's optimizer that is none."""
    if not isinstance(optimizer, Optimizer):
        raise ArgumentError(
            f"ParameterGroups takes optimizers, not {quote(optimizer)}",
            hint="sg.optim.AdamW(1e-3)",
        )
    for name in _SHARED:
        if getattr(optimizer, name) != getattr(Optimizer, name):
            raise ArgumentError(
                f"ParameterGroups: {name} is of all parameters together",
                hint=f"ParameterGroups(optimizer, groups, {name}=...)",
            )


def _no_groups(groups: Any) -> ArgumentError:
    return ArgumentError(
        f"ParameterGroups takes pairs of what belongs and how it steps, not {kind_of(groups)}",
        hint='ParameterGroups(sg.optim.AdamW(), [(lambda p: p.ndim < 2, {"weight_decay": 0.0})])',
    )

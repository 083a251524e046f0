"""Graphs of PyTensor, and models of PyMC, compiled by staticgrad.

``import staticgrad.pytensor`` registers the mode of PyTensor::

    f = pytensor.function([x], y, mode="STATICGRAD")
    pm.sample(compile_kwargs={"mode": "STATICGRAD"})

``function`` and ``logp`` give functions of arrays, which everything here takes: ``sg.grad``,
``sg.vmap``, ``sg.stats.nuts``, ``sg.scipy.minimize``. The guide is ``staticgrad docs pymc``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from staticgrad.errors import ArgumentError, MissingPackageError
from staticgrad.extend import kind_of, namespace
from staticgrad.extend.building import SourceLine
from staticgrad.extend.optional import nutpie as nutpie_package, pytensor
from staticgrad.extend.programs import Function
from staticgrad.pytensor.function import PyTensorDensity, PyTensorFunction, tree_of
from staticgrad.pytensor.linker import make_mode, register
from staticgrad.pytensor.reading import lines_of_terms, program_of, set_line
from staticgrad.pytensor.sampling import sampled_model

__all__ = ["function", "logp", "mode", "nutpie"]


def mode(**options: Any) -> Any:
    """Return a Mode of PyTensor that runs graphs compiled by staticgrad.

    ``mode="STATICGRAD"`` is the mode without options. A graph is compiled once for all shapes, and
    for all numbers that are sizes (``arange(n)``). A node without a row in the table of Ops is
    computed by PyTensor; a warning names it.

    Args:
        options: as ``sg.compile`` takes them: ``memory_budget="2MiB"``, ``threads=2``.

    Raises:
        MissingPackageError: PyTensor is not installed.

    >>> import pytensor, pytensor.tensor as pt  # doctest: +SKIP
    >>> x = pt.vector("x")  # doctest: +SKIP
    >>> f = pytensor.function([x], pt.exp(x).sum(), mode=sg.pytensor.mode())  # doctest: +SKIP
    >>> f([0.0, 0.0])  # doctest: +SKIP
    array(2.)
    """
    return make_mode(**options)


def function(
    outputs: Any,
    inputs: Any,
    *,
    updates: Mapping[Any, Any] | None = None,
    rewrite: bool = True,
    **options: Any,
) -> Function[..., Any]:
    """Return variables of PyTensor as a function of arrays that runs compiled.

    It is what ``sg.function`` gives: ``sg.grad`` differentiates it, ``f.compile(*arrays)`` is a
    program that can be exported, and it pickles without PyTensor. Shared variables that the outputs
    read become parameters. Those without updates have at each call the values that ``set_value``
    gave them; another shape is compiled anew. The others begin with the values that they have now.
    An exported program, and a pickled function, keep the values that they have then.

    Args:
        outputs: a variable, or several in dicts, lists and tuples, as the results are.
        inputs: the variables that are arguments, in order.
        updates: shared variable -> its value after a call, as ``pytensor.function`` takes them.
        rewrite: apply PyTensor's rewrites first, for formulas that are more accurate.
        options: as ``sg.compile`` takes them.

    Returns:
        The function. Arguments have the names of the inputs; ``f.parameters`` of the function
        inside are the shared variables.

    Raises:
        ArgumentError: no variables; or an output reads one that is no input.
        ExportError: an Op has no row, or its row refuses it; the error names it and your line.

    >>> import pytensor.tensor as pt  # doctest: +SKIP
    >>> x = pt.vector("x")  # doctest: +SKIP
    >>> f = sg.pytensor.function((x**2).sum(), [x])  # doctest: +SKIP
    >>> sg.grad(f)(np.array([3.0, 4.0]))  # doctest: +SKIP
    array([6., 8.])
    """
    inner = _function_of("pytensor.function", outputs, inputs, dict(updates or {}), rewrite)
    return Function(inner, (), {}, options)


def logp(model: Any, *, jacobian: bool = True, **options: Any) -> Function[..., Any]:
    """Return the log density of a PyMC model as a function of arrays that runs compiled.

    Its argument is a dict: the values of the model's free variables by name, on the scale that PyMC
    samples (``model.initial_point()`` is one). Where a parameter of a distribution has no valid
    value the density is -inf. Each call reads the model's data, as ``pm.set_data`` sets it; another
    number of rows is compiled anew.

    Args:
        model: of PyMC.
        jacobian: include the terms of the transforms.
        options: as ``sg.compile`` takes them.

    Raises:
        ArgumentError: no model.
        ExportError: as ``function``.

    >>> import pymc as pm  # doctest: +SKIP
    >>> with pm.Model() as model:  # doctest: +SKIP
    ...     mu = pm.Normal("mu")
    ...     y = pm.Normal("y", mu, 1.0, observed=[0.1, 0.3])
    >>> density = sg.pytensor.logp(model)  # doctest: +SKIP
    >>> draws = sg.stats.nuts(density, model.initial_point(), 1)  # doctest: +SKIP
    """
    return Function(_density_of(model, jacobian, "logp"), (), {}, options)


def nutpie(model: Any, **options: Any) -> Any:
    """Return a model of PyMC as nutpie samples it: with the log density compiled here.

    ``nutpie.sample`` takes it. The trace has the variables, names of axes and coordinates that it
    has of ``nutpie.compile_pymc_model``. nutpie calls C functions, without Python: its chains run
    at the same time. Shared variables are constants with the values that they have now. Chains
    begin at the initial point with uniform noise from -1 to 1.

    Args:
        model: of PyMC, all of whose free variables are continuous.
        options: as ``sg.compile`` takes them.

    Raises:
        MissingPackageError: nutpie is not installed.
        ArgumentError, ExportError: as ``logp``.

    >>> import nutpie, pymc as pm  # doctest: +SKIP
    >>> with pm.Model() as model:  # doctest: +SKIP
    ...     pm.Normal("mu")
    >>> trace = nutpie.sample(sg.pytensor.nutpie(model), draws=500)  # doctest: +SKIP
    """
    nutpie_package()  # before the work for it
    density = _density_of(model, True, "nutpie")
    frozen = PyTensorDensity(density.function.freeze(), density.names)
    outputs = [v for v in model.unobserved_value_vars if v.name not in density.names]
    expand = _function_of("nutpie", outputs, [*model.value_vars], {}, True).freeze()
    return sampled_model(model, frozen, expand, [output.name for output in outputs], options)


def _density_of(model: Any, jacobian: bool, caller: str) -> PyTensorDensity:
    """Return the log density of a model of PyMC.

    Raises:
        ArgumentError: no model.
        ExportError: an Op has no row.
    """
    if not (hasattr(model, "logp") and hasattr(model, "value_vars")):
        raise ArgumentError(f"{caller}: the model is {kind_of(model)}", hint="pm.Model()")
    variables, density = [*model.value_vars], model.logp(jacobian=jacobian)
    terms = [*model.free_RVs, *model.observed_RVs, *model.potentials]
    inner = _function_of(caller, density, variables, {}, True, lines_of_terms(density, terms))
    return PyTensorDensity(inner, [variable.name for variable in variables])


def _function_of(
    caller: str,
    outputs: Any,
    inputs: Any,
    updates: dict[Any, Any],
    rewrite: bool,
    lines: Mapping[Any, SourceLine] = MappingProxyType({}),
) -> PyTensorFunction:
    """Return variables as a function of values.

    Args:
        caller: with which errors begin.
        outputs, inputs, updates, rewrite: as ``function`` takes them.
        lines: of the user, of variables that the running line makes.

    Raises:
        ArgumentError: no variables; or an output reads one that is no input.
        ExportError: an Op has no row.
    """
    basic = pytensor("graph.basic")
    inputs = [*inputs] if isinstance(inputs, list | tuple) else [inputs]
    leaves, tree = tree_of(outputs)
    results = [*leaves, *updates.values()]
    for variable in [*inputs, *results, *updates]:
        if not isinstance(variable, basic.Variable):
            raise ArgumentError(f"{caller} takes variables, got {kind_of(variable)}")
    shared_class = pytensor("compile.sharedvalue").SharedVariable
    sources = pytensor("graph.traversal").graph_inputs(results, blockers=inputs)
    free = [v for v in dict.fromkeys(sources) if not isinstance(v, basic.Constant)]
    shared = [v for v in [*dict.fromkeys([*free, *updates])] if isinstance(v, shared_class)]
    shared = [v for v in shared if v not in inputs]
    unknown = [v for v in free if v not in shared and v not in inputs]
    if unknown:
        listed = ", ".join(map(str, unknown))
        is_swapped = all(variable.owner is not None for variable in inputs)
        raise ArgumentError(
            f"{caller}: the outputs read {listed}, and the inputs have no such variable",
            hint=f"the outputs come first: function(outputs, [{listed}])"
            if inputs and is_swapped
            else "name every variable that they read: function(outputs, [x, y])",
        )
    copies: dict[Any, Any] = {}
    graph = pytensor("graph.fg").FunctionGraph([*inputs, *shared], results, memo=copies)
    for variable, line in lines.items():
        set_line(copies[variable], line)
    if rewrite:
        mode = make_mode().excluding("local_view_op")  # which drops what stops gradients
        if "pymc" in sys.modules:  # a query for the name of a rewrite makes it one that exists
            mode = mode.including("local_check_parameter_to_ninf_switch")
        mode.optimizer.rewrite(graph)
    program = program_of(graph)
    program.check_rows('pytensor.function(..., mode="STATICGRAD") has PyTensor compute such nodes')
    names = _unique_names([*inputs, *shared])
    return PyTensorFunction(
        caller,
        program,
        names[: len(inputs)],
        tree,
        dict(zip(names[len(inputs) :], shared, strict=True)),
        [names[len(inputs) + shared.index(v)] for v in updates],
    )


def _unique_names(variables: list[Any]) -> list[str]:
    """Return a name for each variable: its own if it has one that is unique."""
    names: list[str] = []
    for k, variable in enumerate(variables):
        name = variable.name if (variable.name or "").isidentifier() else f"x{k}"
        while name in names:
            name += "_"
        names.append(name)
    return names


with suppress(MissingPackageError):
    register()


namespace(globals())

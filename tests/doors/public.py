"""Every public name: a door of the table, or not a door, with the reason."""

import dataclasses
import importlib
import inspect
from fnmatch import fnmatchcase

import staticgrad as sg
from staticgrad.exports import FUNCTIONS, MODULES, OTHERS, homes
from staticgrad.support.config import Config
from staticgrad.tools.commands.cli import main as commands
from tests.doors.doors import DOORS

OF_VALUES = "a function of values: every op has its own table of types (tests/laws/test_ops.py)"
LAYER = "a function of values, or a module that calls one"
REPORT = "gives text or pictures, no values"
SETTING = "changes no value: where files are, what is written or checked"
BESIDE = "a part of a door that the table has"

#: Modules of whose names each is a door or has a reason of its own: they take functions or arrays.
DOOR_MODULES = {
    "staticgrad.functions.loops",
    "staticgrad.functions.checkpoints.marks",
    "staticgrad.language.ops.custom",
    "staticgrad.language.ops.marks",
    "staticgrad.programs.transformed",
}
#: Pattern of names -> why they are no door. The first that fits counts.
NO_DOOR = {
    "sg.checkpoint_name": BESIDE,
    "sg.Value": "what programs are written with",
    "sg.StaticgradError": "an error",
    "sg.StaticgradWarning": "a warning",
    "sg.show_config": REPORT,
    "sg.quantize": "rounds to 256 numbers: tests/compiled/test_quantization.py",
    "compile.verify": "computes nothing: tests/analysis proves accesses",
    "sg.options": "its settings are doors",
    "sg.dim": "the column of named sizes",
    "sg.apply_along_axis": "a vmap and a reshape: sg.vmap is a door",
    "sg.apply_over_axes": "calls of its function: the functions are doors",
    "sg.elementwise_grad": "the gradient of a sum: sg.grad is a door",
    "sg.eval_shape": "gives types, no values",
    "sg.hessian_vector_product": "sg.hvp, a door, with the arguments of autograd",
    "sg.multigrad_dict": "sg.grad, a door, by a dict of the arguments",
    "sg.ode.odeint": "sg.ode.solve with SciPy's arguments, beside SciPy in tests/loops",
    "sg.ode.solve_ivp": "sg.ode.solve with SciPy's arguments, beside SciPy in tests/loops",
    "sg.jacfwd": "sg.jacobian, a door, in forward mode",
    "sg.jacrev": "sg.jacobian, a door, in reverse mode",
    "sg.plan_abstract": "takes numbers of bytes, no values",
    "sg.backends*": "takes kernels, no values: tests/compiler/test_backends.py",
    "sg.comparison": "its function is a door",
    "sg.comparison.Comparison": REPORT,
    "sg.comparison.find_mistakes": "plants mistakes in a program of its user and runs both ways",
    "sg.checkpoint_policies.*": BESIDE,
    "sg.distributed.*": "starts ranks and compares them: tests/distributed/test_distributed.py",
    "sg.eager.*": "switches of the tape, and what is done to gradients that are there",
    "sg.errors*": "errors and warnings",
    "sg.pytensor.nutpie": "draws of a model, no value goes in: tests/bridges/test_pymc.py",
    "sg.extend*": "what an extension is written with, no way in for values",
    "sg.fft*": OF_VALUES,
    "sg.interpolate*": "curves of values, beside SciPy in tests/interface/test_interpolate.py",
    "sg.linalg.*": OF_VALUES,
    "sg.ndimage*": OF_VALUES,
    "sg.special*": OF_VALUES,
    "sg.stats*": "distributions, beside SciPy in tests/stats",
    "sg.torch.explain": REPORT,
    "sg.nn*": LAYER,
    "sg.optim.*": "a rule, beside NumPy in tests/laws/optimizer_rules.py",
    "sg.random*": "draws, no value goes in: its types are in its own tests",
    "sg.sparse*": "the column of sparse matrices",
    "sg.testing.*": "checks a user's own ops and graphs",
    "sg.train.*": BESIDE,
    "sg.tree*": "takes containers apart: the arrays are the same objects",
    "sg.xp.*": OF_VALUES,
    "sg.Compiled.*": REPORT,
    "options.*": SETTING,
    "command.*": "takes the text of a graph, or a program: sg.parse, compare",
}
#: Pattern of modules -> why their names are no doors, where no pattern of names fits.
NO_DOORS_IN = {
    "staticgrad.language.ops.*": OF_VALUES,
    "staticgrad.functions": OF_VALUES,
    "staticgrad.functions.standard": "a number, or a question about types",
    "staticgrad.functions.*": OF_VALUES,
    "staticgrad.language.types.dtype": "an element type: each is a column",
}


def names():
    """All of them: functions, modules and their contents, options of compilation, settings."""
    names = [f"sg.{name}" for name in {**homes(FUNCTIONS), **homes(OTHERS), **MODULES}]
    for name, home in MODULES.items():
        contents = getattr(importlib.import_module(home), "__all__", ())
        names += [f"sg.{name}.{attribute}" for attribute in contents]
    names += [f"sg.Compiled.{attribute}" for attribute in dir(sg.Compiled) if attribute[0] != "_"]
    options = [*inspect.signature(sg.compile).parameters]
    names += [f"compile.{option}" for option in options if option != "program"]
    names += [f"options.{setting.name}" for setting in dataclasses.fields(Config)]
    return [*names, *(f"command.{command}" for command in commands.commands)]


def doors_by_name():
    """Public name -> the doors that are its rows."""
    doors_of_name = {}
    for door in DOORS.values():
        for name in door.covers:
            doors_of_name.setdefault(name, []).append(door.name)
    return doors_of_name


def reason(name):
    """Why a name is no door; None if nothing says so."""
    for pattern, why in NO_DOOR.items():
        if fnmatchcase(name, pattern):
            return why
    home = HOMES.get(name, "")
    if home in DOOR_MODULES:
        return None
    return next((why for pattern, why in NO_DOORS_IN.items() if fnmatchcase(home, pattern)), None)


HOMES = {f"sg.{name}": home for name, (home, _) in homes(FUNCTIONS | OTHERS).items()}

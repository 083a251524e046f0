"""``sg.ode``: the module ``staticgrad.language.functions.loops.ode``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.language.functions.loops import ode as _module

if TYPE_CHECKING:
    from staticgrad.language.functions.loops.ode import (
        odeint as odeint, rk4 as rk4, rk45 as rk45, solve as solve, solve_ivp as solve_ivp
    )

sys.modules[__name__] = _module

"""Special functions with the names of ``scipy.special``, elementwise and broadcast.

Kernels compute the functions of gamma, beta and error functions, i0 and i1 by blocks of their own,
in float32 and float64, within the errors of ``vecmath.blocks.ULP``. The others (``bessel.py``,
``integrals.py``, ``polynomials.py``, ``waves.py`` and others) are SciPy's: a step calls them in
float64, and rounds the results of float32 once; those of ``cumulative.py`` are of both kinds, and
those of ``quadratures.py`` and ``constants.py`` take numbers alone. The page on accuracy
states the errors of values and derivatives. SciPy's are not exported to files. Orders, degrees and
parameters mostly carry no gradient: asking for it is an error.

Integers and bools become float64. SciPy's ufuncs of these names take values of a graph, too. Public
as ``sg.special``: the functions of the modules ``_HOMES``, and those of ``_OTHERS``. Type checkers
read ``__init__.pyi``.
"""

from __future__ import annotations

import sys
from types import FunctionType
from typing import Final

from staticgrad.exports import homes
from staticgrad.extend import namespace, present, register_functions
from staticgrad.functions import elementwise
from staticgrad.language.ops import special as special_ops, transcendental
from staticgrad.nn.functional import basics as nn
from staticgrad.special import (
    bessel,
    combinatorics,
    constants,
    cumulative,
    elliptic,
    gamma_functions,
    integrals,
    kelvin,
    noncentral,
    polynomials,
    quadratures,
    quantiles,
    waves,
)

#: Modules whose functions are all public here.
_HOMES: Final = (
    bessel, combinatorics, cumulative, elliptic, gamma_functions, integrals, kelvin, noncentral,
    polynomials, quadratures, constants, waves,
)  # fmt: skip
#: Other modules -> the functions that are public here, too: ``name``, or ``name=attribute``.
_OTHERS: Final = {
    bessel: "jn=jv",
    elementwise: "sinc",
    nn: "softplus",
    quantiles: """
        betaincc betainccinv betaincinv gammainccinv gammaincinv multigammaln stdtr stdtrit
    """,
    special_ops: """
        digamma entr erfcx erfinv gamma gammaln i0 i0e i1 i1e kl_div log_ndtr ndtr psi=digamma
        rel_entr xlog1py
    """,
    transcendental: "cbrt erf erfc exp2 expit expm1 log1p xlogy",
}
#: Public name -> (the name of a module, the attribute there).
NAMES: Final = {
    **{
        name: (home.__name__, name)
        for home in _HOMES
        for name, function in vars(home).items()
        if isinstance(function, FunctionType) and function.__module__ == home.__name__
        if not name.startswith("_")
    },
    **homes({home.__name__: names for home, names in _OTHERS.items()}),
}
globals().update(
    {name: getattr(sys.modules[home], attribute) for name, (home, attribute) in NAMES.items()}
)
__all__ = sorted(NAMES)

namespace(globals(), operands=present)
register_functions("special", {name: globals()[name] for name in __all__})

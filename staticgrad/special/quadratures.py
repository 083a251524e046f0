"""Nodes and weights of Gauss quadratures, by the names of ``scipy.special``: constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from staticgrad.special.values import define_on_numbers


def _nodes(name: str, operands: str, of: str) -> Callable[..., Any]:
    values = " ".join(["3", *["1.5"] * len(operands.split())]).replace(" ", ", ")
    text = f"Nodes and weights of the quadrature of {of} of degree n; with mu=True their sum, too."
    return define_on_numbers(
        name,
        f"n {operands} mu=False",
        text,
        f"len(sg.special.{name}({values})[0])\n    3",
        __name__,
    )


roots_legendre: Final = _nodes("roots_legendre", "", "Legendre polynomials")
p_roots: Final = roots_legendre
roots_chebyt: Final = _nodes("roots_chebyt", "", "Chebyshev polynomials of the first kind")
t_roots: Final = roots_chebyt
roots_chebyu: Final = _nodes("roots_chebyu", "", "Chebyshev polynomials of the second kind")
u_roots: Final = roots_chebyu
roots_chebyc: Final = _nodes("roots_chebyc", "", "Chebyshev polynomials C on [-2, 2]")
c_roots: Final = roots_chebyc
roots_chebys: Final = _nodes("roots_chebys", "", "Chebyshev polynomials S on [-2, 2]")
s_roots: Final = roots_chebys
roots_jacobi: Final = _nodes("roots_jacobi", "alpha beta", "Jacobi polynomials")
j_roots: Final = roots_jacobi
roots_laguerre: Final = _nodes("roots_laguerre", "", "Laguerre polynomials")
l_roots: Final = roots_laguerre
roots_genlaguerre: Final = _nodes("roots_genlaguerre", "alpha", "generalized Laguerre polynomials")
la_roots: Final = roots_genlaguerre
roots_hermite: Final = _nodes("roots_hermite", "", "Hermite polynomials of the physicists")
h_roots: Final = roots_hermite
roots_hermitenorm: Final = _nodes(
    "roots_hermitenorm", "", "Hermite polynomials of the probabilists"
)
he_roots: Final = roots_hermitenorm
roots_gegenbauer: Final = _nodes("roots_gegenbauer", "alpha", "Gegenbauer polynomials")
cg_roots: Final = roots_gegenbauer
roots_sh_legendre: Final = _nodes("roots_sh_legendre", "", "shifted Legendre polynomials")
ps_roots: Final = roots_sh_legendre
roots_sh_chebyt: Final = _nodes(
    "roots_sh_chebyt", "", "shifted Chebyshev polynomials of the first kind"
)
ts_roots: Final = roots_sh_chebyt
roots_sh_chebyu: Final = _nodes(
    "roots_sh_chebyu", "", "shifted Chebyshev polynomials of the second kind"
)
us_roots: Final = roots_sh_chebyu
roots_sh_jacobi: Final = _nodes("roots_sh_jacobi", "p1 q1", "shifted Jacobi polynomials")
js_roots: Final = roots_sh_jacobi

#: The functions of this module.
NAMES: Final = frozenset(name for name in globals() if "roots" in name)

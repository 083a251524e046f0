"""``sg.special``: the module ``staticgrad.language.functions.special``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.language.functions import special as _module

if TYPE_CHECKING:
    from staticgrad.language.functions.special import (
        beta as beta, betainc as betainc, betaincc as betaincc, betainccinv as betainccinv,
        betaincinv as betaincinv, betaln as betaln, digamma as digamma, entr as entr, erf as erf,
        erfc as erfc, erfcx as erfcx, erfinv as erfinv, expit as expit, gamma as gamma, gammainc as
        gammainc, gammaincc as gammaincc, gammainccinv as gammainccinv, gammaincinv as gammaincinv,
        gammaln as gammaln, i0 as i0, i0e as i0e, i1 as i1, i1e as i1e, kl_div as kl_div, log_expit
        as log_expit, log_ndtr as log_ndtr, log_softmax as log_softmax, logit as logit, logsumexp as
        logsumexp, multigammaln as multigammaln, ndtr as ndtr, ndtri as ndtri, polygamma as
        polygamma, rel_entr as rel_entr, softmax as softmax, stdtr as stdtr, stdtrit as stdtrit,
        xlog1py as xlog1py, xlogy as xlogy, zeta as zeta
    )

sys.modules[__name__] = _module

from staticgrad.ir.vecmath.exponential import exp, expm1, tanh
from staticgrad.ir.vecmath.logarithm import log, log1p
UNARY = {"exp": exp, "expm1": expm1, "tanh": tanh, "log": log, "log1p": log1p}

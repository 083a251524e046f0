"""Functions with derivatives by a rule, which composed programs call. Each rule is the derivative.

They are defined once in a process; in NumPy the same function is written out.
"""

import staticgrad as sg


@sg.custom_vjp(name="composed.cube")
def cube(x):
    return x * x * x


cube.rule(lambda ct, out, x: (ct * (3.0 * x * x),))


@sg.custom_vjp(name="composed.blend")
def blend(x, y):
    return x * sg.sin(y)


blend.rule(lambda ct, out, x, y: (ct * sg.sin(y), ct * x * sg.cos(y)))


@sg.custom_jvp(name="composed.wave")
def wave(x):
    return sg.sin(x) * x


wave.rule(lambda tangents, out, x: tangents[0] * (sg.cos(x) * x + sg.sin(x)))

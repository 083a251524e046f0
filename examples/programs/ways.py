"""Three ways to run one function of arrays: line by line, traced, or as a graph made by hand.

Each takes a function of arrays, and gives one that is called in the same way. The programs beside
this file are written over a ``way``: each has a ``run(way)`` that gives arrays, how far those of
two ways may be apart (``TOLERANCE``), and what they must show (``check``).
"""

import time

import numpy as np

import staticgrad as sg


def compiled(function):
    """Traced at the first call, and compiled: ``@sg.function``."""
    return sg.function(function)


def eagerly(function):
    """Python runs it line by line at each call, on the tape."""
    return sg.function(function).eagerly


def graph(function):
    """A graph is made for the sizes of the first call, inputs and updates by hand, and compiled."""
    programs = {}

    def call(*arrays):
        feeds = {f"input{k}": np.asarray(array) for k, array in enumerate(arrays)}
        kinds = tuple((array.shape, array.dtype) for array in feeds.values())
        if kinds not in programs:
            inputs = [sg.input(name, a.shape, a.dtype) for name, a in feeds.items()]
            with sg.nn.updates() as updates:
                found = function(*inputs)
            values, tree = sg.tree.flatten(found)
            outputs = {f"output{k}": value for k, value in enumerate(values)}
            programs[kinds] = sg.compile(sg.Graph(outputs, updates, inputs=inputs)), tree
        program, tree = programs[kinds]
        return sg.tree.unflatten(tree, [*program.run(feeds).values()])

    return call


def show(run, tolerance, *args):
    """Run a program each way, print how long each took, and compare what they gave."""
    results = {}
    for way in (compiled, graph, eagerly):
        begin = time.perf_counter()
        results[way] = run(way, *args)
        print(f"{way.__name__:>8}: {time.perf_counter() - begin:6.2f} s")
    for name, expected in results[compiled].items():
        assert np.array_equal(results[graph][name], expected), name
        np.testing.assert_allclose(results[eagerly][name], expected, tolerance, tolerance, name)
    print(f"the same bits traced and by hand, the same to {tolerance:.0e} line by line")
    return results[compiled]

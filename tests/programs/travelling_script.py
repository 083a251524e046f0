"""A script: everything that is written with @ goes to other processes, and gives the same there.

python tests/programs/travelling_script.py <loky|cloudpickle|spawn|dask>
"""

import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np

import staticgrad as sg

X = np.linspace(0.5, 2.0, 4)


@sg.function
def energy(x, scale):
    return (x**2).sum() * scale + np.sum(np.diff(x) ** 2)


@sg.custom_vjp
def clip(x):
    return sg.minimum(x, 1.0)


@clip.rule
def _(ct, out, x):
    return (ct * 3.0,)


@sg.custom_jvp
def bent(x):
    return sg.maximum(x, 1.0)


@bent.rule
def _(tangents, out, x):
    return tangents[0] * 5.0


@sg.value_and_grad
def loss(x):
    return (clip(x) * bent(x)).sum()


@sg.sparse_jacobian
def residual(x):
    return clip(x) ** 2


@sg.vmap
def row(x):
    return x * energy(X, 2.0)


@sg.checkpoint
def layer(x):
    return sg.tanh(x)


class Model:
    @sg.function
    def step(self, x):
        return layer(x) * 2.0


def descending(x):
    return np.sort(x)[::-1]


@sg.function
def call_host(x):
    return sg.host_call(descending, x, types=x, vjp=lambda ct, out, x: (ct,)) * 2.0


x = sg.input("x", (4,), "float64")
looped = sg.Graph({"y": sg.fori_loop(0, 2, lambda k, c: bent(c) + clip(x), x)})
hosted = sg.compile(sg.Graph({"y": sg.host_call(descending, sg.tanh(x), types=x)}))


def by_name(x):
    """Read everything by its global name, as functions of a script do."""
    slope = sg.grad(lambda x: (clip(x) + bent(x)).sum())(x)
    results = energy(x, 3.0), *loss(x), residual(x).toarray(), row(x), call_host(x), slope
    return [*results, Model().step(x), hosted.run({"x": x})["y"]]


def everything(functions):
    """The bytes of all results of what has come as an argument."""
    energy, clipped, bent, loss, residual, row, step, called, by_name, looped, hosted = functions
    x = looped.inputs[0]
    slopes = sg.grad((looped["y"] + clipped(x) * bent(x)).sum(), x)
    results = energy(X, 3.0), *loss(X), residual(X).toarray(), row(X), step(Model(), X), called(X)
    results = *results, *by_name(X), hosted.run({"x": X})["y"], sg.evaluate(slopes, {"x": X})
    return [np.asarray(result).tobytes() for result in results]


#: What came is sent on before it is called: from a process without the script, too.
ELSEWHERE = """
import pickle, sys, cloudpickle
f, given = pickle.loads(cloudpickle.dumps(pickle.load(sys.stdin.buffer)))
sys.stdout.buffer.write(pickle.dumps(f(given)))
"""


def main(how):
    step = Model.step
    functions = energy, clip, bent, loss, residual, row, step, call_host, by_name, looped, hosted
    expected = everything(functions)
    if how == "loky":
        from joblib import Parallel, delayed

        actual = Parallel(n_jobs=2)(delayed(everything)(functions) for _ in range(2))
    elif how == "dask":
        from distributed import Client, LocalCluster

        cluster = LocalCluster(2, threads_per_worker=1, dashboard_address=None)
        with cluster, Client(cluster) as client:
            actual = client.gather(
                client.map(lambda _: everything(functions), range(4), pure=False)
            )
    elif how == "spawn":
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            actual = [*pool.map(everything, [functions])]
    else:
        import cloudpickle

        sent = cloudpickle.dumps((everything, functions))
        command = [sys.executable, "-c", ELSEWHERE]
        run = subprocess.run(command, input=sent, stdout=subprocess.PIPE, check=True)
        actual = [pickle.loads(run.stdout)]
    for results in actual:
        differ = [
            k
            for k, (left, right) in enumerate(zip(results, expected, strict=True))
            if left != right
        ]
        if differ:
            sys.exit(f"{how}: results {differ} differ")


if __name__ == "__main__":
    main(sys.argv[1])

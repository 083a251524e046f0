"""Child process: threads of small stacks run a program to its end, or refuse it by one error."""

import threading

import numpy as np

import staticgrad as sg
from staticgrad.native import headroom
from tests.safety.child import say


def in_a_thread(stack, work):
    """Return what ``work`` says in a thread whose stack has so many bytes."""
    results = []
    threading.stack_size(stack)
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def attend():
    """Gradients of an attention and two layers: several products in a kernel, with their panels."""
    q = sg.input("q", (1, 2, 96, 64))
    w = sg.input("w", (64, 64))
    loss = (sg.nn.attention(sg.tanh(q @ w), q, q @ w, causal=True) ** 2).sum()
    f = sg.compile({"dq": sg.grad(loss, q), "dw": sg.grad(loss, w)})
    random = np.random.default_rng(0)
    feeds = {"q": random.normal(size=(1, 2, 96, 64)), "w": random.normal(size=(64, 64))}
    return str(bool(np.isfinite(f.run(feeds)["dw"]).all()))


def compile_anew():
    """Kernels that no thread has loaded before."""
    try:
        sg.compile(sg.sin(sg.input("x", (3,))) * 0.73)
    except sg.errors.OutOfMemory as error:
        return str(error).splitlines()[0]
    return "compiled"


if __name__ == "__main__":
    say(in_a_thread(headroom.STACK, attend))
    say(in_a_thread(headroom.STACK // 4, compile_anew))

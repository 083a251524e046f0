"""Twelve programs with complex numbers beside JAX and PyTorch: values, gradients and times.

    python -m benchmarks complex [--seconds 1] [--threads 1] > FILE

Each is a real loss of complex or real arrays in double precision, with its gradient, as one
compiled program here and in JAX, and on the tape of PyTorch. Times are the least of many calls,
those of all columns in turns. Gradients are compared first: PyTorch's are conjugates of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, Final

import numpy as np

import staticgrad as sg
from benchmarks.harness.builders import Builders
from benchmarks.harness.turns import least_times, start_page

COLUMNS: Final = ("staticgrad", "JAX", "PyTorch")
RNG: Final = np.random.default_rng(0)
Arrays = list[np.ndarray[Any, Any]]
#: The loss in a library, and the arrays by which it is differentiated.
Program = tuple[Callable[..., Any], Arrays]


def numbers(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.normal(size=shape) + 1j * RNG.normal(size=shape)


def schroedinger() -> Program:
    """40 split steps of a wave function on 1,024 points; by the potential."""
    x = np.linspace(-8, 8, 1024)
    kinetic = np.exp(-0.5j * 0.02 * (2 * np.pi * np.fft.fftfreq(1024, x[1] - x[0])) ** 2)
    first, target = np.exp(-((x + 2) ** 2)) + 0j, np.exp(-((x - 2) ** 2)) + 0j

    def loss(lib: Any, potential: Any) -> Any:
        half = lib.exp(potential * -0.01j)
        psi = lib.array(first)
        for _ in range(40):
            psi = half * lib.fft.ifft(lib.array(kinetic) * lib.fft.fft(half * psi))
        return -(lib.abs(lib.sum(lib.array(target) * psi)) ** 2)

    return loss, [0.5 * x**2]


def heat() -> Program:
    """Heat on 256 x 256 points after a time, by its spectrum; by the beginning."""
    k = 2 * np.pi * np.fft.fftfreq(256)
    decay = np.exp(-5.0 * (k[:, None] ** 2 + k[None, :129] ** 2))
    target = RNG.normal(size=(256, 256))

    def loss(lib: Any, u: Any) -> Any:
        later = lib.fft.irfft2(lib.array(decay) * lib.fft.rfft2(u))
        return lib.mean((later - lib.array(target)) ** 2)

    return loss, [RNG.normal(size=(256, 256))]


def retrieval() -> Program:
    """Phases of 64 x 64 points from four masked diffraction patterns; by the image."""
    masks = np.exp(2j * np.pi * RNG.uniform(size=(4, 64, 64)))
    seen = abs(np.fft.fft2(masks * numbers(64, 64)))

    def loss(lib: Any, image: Any) -> Any:
        magnitudes = lib.abs(lib.fft.fft2(lib.array(masks) * image))
        return lib.sum((magnitudes - lib.array(seen)) ** 2)

    return loss, [numbers(64, 64)]


def least_squares() -> Program:
    """Residuals of 1,024 complex equations with 256 unknowns; by these."""
    a, b = numbers(1024, 256), numbers(1024)

    def loss(lib: Any, x: Any) -> Any:
        return lib.sum(lib.abs(lib.array(a) @ x - lib.array(b)) ** 2)

    return loss, [numbers(256)]


def circuit() -> Program:
    """Four layers of rotations and phases of ten qubits; by the angles."""
    signs = np.array([[1 - 2 * (state >> q & 1) for state in range(1024)] for q in range(10)])
    entangler = np.exp(0.3j * signs[:-1] * signs[1:]).prod(0)

    def loss(lib: Any, angles: Any) -> Any:
        state = lib.array(np.eye(1, 1024, dtype=complex)[0])
        for layer in range(4):
            for q in range(10):
                cos, sin = lib.cos(angles[layer, q]), lib.sin(angles[layer, q])
                rows = state.reshape(2**q, 2, 2 ** (9 - q))
                up, down = rows[:, 0], rows[:, 1]
                state = lib.stack([cos * up + 1j * sin * down, 1j * sin * up + cos * down], 1)
            state = state.reshape(1024) * lib.array(entangler)
        return lib.sum(lib.abs(state) ** 2 * lib.array(signs[0] * 1.0))

    return loss, [RNG.uniform(size=(4, 10))]


def ising() -> Program:
    """The free energy of 2**8 spins in a complex field, by transfer matrices of 64 states."""
    spins = np.array([[1 - 2 * (state >> q & 1) for q in range(6)] for state in range(64)]) * 1.0
    beside = (spins * np.roll(spins, 1, 1)).sum(1)

    def loss(lib: Any, coupling: Any, field: Any) -> Any:
        along = lib.array(spins @ spins.T) * coupling
        row_energy = lib.array(beside) * coupling + lib.array(spins.sum(1)) * field
        matrix = lib.exp(0.1 * (along + 0.5 * (row_energy[:, None] + row_energy[None, :])))
        size = 0.0
        for _ in range(8):
            matrix = matrix @ matrix
            largest = lib.sum(lib.abs(matrix))
            matrix, size = matrix / largest, 2 * size + lib.log(largest)
        return size + lib.log(lib.abs(lib.sum(lib.diagonal(matrix))))

    return loss, [np.array(0.3 + 0.1j), np.array(0.1 + 0.2j)]


def scattering() -> Program:
    """The wave behind 200 scatterers: a complex system of equations; by their strengths."""
    places = RNG.uniform(size=(200, 2)) * 10
    r = np.linalg.norm(places[:, None] - places[None], axis=-1) + np.eye(200)
    green = np.exp(2j * r) / (4 * np.pi * r) * (1 - np.eye(200))
    wave = np.exp(2j * places[:, 0])

    def loss(lib: Any, strength: Any) -> Any:
        matrix = lib.array(np.eye(200) + 0j) - lib.array(green) * strength
        field = lib.linalg.solve(matrix, lib.array(wave))
        return lib.sum(lib.abs(field) ** 2)

    return loss, [0.1 * numbers(200)]


def low_rank() -> Program:
    """The nuclear norm of a 96 x 64 matrix and its distance from a noisy one; by the matrix."""
    seen = numbers(96, 4) @ numbers(4, 64) + 0.1 * numbers(96, 64)

    def loss(lib: Any, x: Any) -> Any:
        return lib.sum(lib.abs(x - lib.array(seen)) ** 2) + lib.sum(lib.linalg.svdvals(x))

    return loss, [seen + 0.1 * numbers(96, 64)]


def unitaries() -> Program:
    """A state after eight layers, each the Q of a 48 x 48 matrix; by the matrices."""
    first, target = numbers(48), numbers(48)

    def loss(lib: Any, layers: Any) -> Any:
        unitary, state = lib.linalg.qr(layers)[0], lib.array(first)
        for number in range(8):
            state = unitary[number] @ state
        return -(lib.abs(lib.sum(lib.array(target) * state)) ** 2)

    return loss, [numbers(8, 48, 48)]


def whittle() -> Program:
    """The likelihood of 8,192 samples in the frequency domain; by eight coefficients."""
    seen = abs(np.fft.rfft(RNG.normal(size=8192))) ** 2 / 8192
    waves = np.exp(-2j * np.pi * np.outer(np.fft.rfftfreq(8192), np.arange(1, 9)))

    def loss(lib: Any, coefficients: Any) -> Any:
        gain = lib.abs(lib.sum(lib.array(waves) * coefficients, -1) + 1.0) ** 2
        return lib.mean(lib.array(seen) * gain - lib.log(gain))

    return loss, [0.1 * RNG.normal(size=8)]


def network() -> Program:
    """Two complex layers over 128 samples, with magnitudes bent between them; by the weights."""
    x, target = numbers(128, 128), RNG.normal(size=(128, 16))

    def loss(lib: Any, w: Any, v: Any) -> Any:
        hidden = lib.array(x) @ w
        hidden = hidden / (1.0 + lib.abs(hidden))
        return lib.mean((lib.abs(hidden @ v) - lib.array(target)) ** 2)

    return loss, [0.1 * numbers(128, 256), 0.1 * numbers(256, 16)]


def newton() -> Program:
    """Eight steps to the cube roots of 1 from 256 x 256 points; by these."""

    def loss(lib: Any, z: Any) -> Any:
        for _ in range(8):
            square = z * z
            z = z - (square * z - 1.0) / (3.0 * square)
        return lib.mean(lib.abs(z - 1.0) ** 2)

    return loss, [numbers(256, 256) + 2.0]


PROGRAMS: Final = (
    schroedinger, heat, retrieval, least_squares, circuit, ising, scattering, low_rank,
    unitaries, whittle, network, newton,
)  # fmt: skip


class Library:
    """A library under the names that programs call."""

    def __init__(self, namespace: Any, array: Callable[[Any], Any]) -> None:
        self._namespace, self.array = namespace, array
        self.fft, self.linalg = namespace.fft, namespace.linalg

    def __getattr__(self, name: str) -> Any:
        return getattr(self._namespace, name)


def our_function(program: Program) -> Any:
    """Return the loss and its gradients as a function of the arrays."""
    loss, arrays = program
    places = tuple(range(len(arrays)))
    return sg.function(
        sg.value_and_grad(lambda *xs: loss(Library(sg, np.asarray), *xs), argnums=places)
    )


def builders() -> Builders:
    """Return what builds the programs."""

    def build(make: Callable[[], Program]) -> sg.Graph:
        program = make()
        graph: sg.Graph = our_function(program).graph(*program[1])
        return graph

    return {make.__name__: partial(build, make) for make in PROGRAMS}


def calls(make: Callable[[], Program]) -> dict[str, Callable[[], Any]]:
    """Calls that give the loss and its gradients, which are checked against each other."""
    loss, arrays = make()
    places = tuple(range(len(arrays)))
    torch, jax = map(import_module, ("torch", "jax"))

    ours = our_function((loss, arrays))
    program = ours.compile(*arrays)
    feeds = dict(zip([v.node.label for v in program.graph.inputs], arrays, strict=True))

    jnp = jax.numpy
    theirs = jax.jit(
        jax.value_and_grad(lambda *xs: loss(Library(jnp, jnp.asarray), *xs), argnums=places)
    )
    jax_arrays = [jnp.asarray(x) for x in arrays]

    tensors = [torch.from_numpy(np.asarray(x)).requires_grad_() for x in arrays]
    constants: dict[int, Any] = {}  # a constant is made once, as in a compiled program

    def constant(x: Any) -> Any:
        key = hash(x.tobytes())
        if key not in constants:
            constants[key] = torch.from_numpy(np.ascontiguousarray(x))
        return constants[key]

    by_torch = Library(torch, constant)

    def run_torch() -> Any:
        value = loss(by_torch, *tensors)
        return value.detach(), torch.autograd.grad(value, tensors)

    value, slopes = ours(*arrays)
    jax_value, other_slopes = theirs(*jax_arrays)
    third, third_slopes = run_torch()
    for actual in (jax_value, third):
        np.testing.assert_allclose(actual, value, rtol=1e-8, err_msg=make.__name__)
    for slope, jaxed, torch_slope in zip(slopes, other_slopes, third_slopes, strict=True):
        scale = float(np.max(np.abs(slope)))
        np.testing.assert_allclose(jaxed, slope, rtol=1e-6, atol=1e-8 * scale)
        np.testing.assert_allclose(np.conj(torch_slope), slope, rtol=1e-6, atol=1e-8 * scale)
    return {
        "staticgrad": lambda: program.run(feeds),
        "JAX": lambda: jax.block_until_ready(theirs(*jax_arrays)),
        "PyTorch": run_torch,
    }


def main() -> int:
    """Print the page."""
    options, jax, line = start_page("complex", __doc__, 1.0)
    jax.config.update("jax_enable_x64", True)
    print(
        "# Programs with complex numbers\n\n"
        "`python -m benchmarks complex`: a loss and its gradient in complex128, µs a call, the"
        " least of many in turns.\n"
        f"{line}\n\n"
        "Losses of all three agree to 1e-8, gradients to 1e-6 of the largest element: JAX's as they"
        " are, PyTorch's conjugated.\n\n"
        "| program | " + " | ".join(COLUMNS) + " |\n|---|" + "--:|" * len(COLUMNS)
    )
    for make in PROGRAMS:
        with sg.options(threads=options.threads):
            times = least_times(calls(make), options.seconds)
        description = str(make.__doc__).rstrip(".").replace("\n", " ")
        description = description[0].lower() + description[1:]
        cells = " | ".join(f"{times[name] * 1e6:,.0f}" for name in COLUMNS)
        print(f"| {make.__name__}: {description} | {cells} |", flush=True)
    return 0

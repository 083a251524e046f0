"""Packages that are not installed with staticgrad: imported at first use."""

from staticgrad.support.optional import (
    jax,
    material,
    ml_dtypes,
    nutpie,
    onnx,
    pytensor,
    safetensors,
    sklearn,
    tensorboardX,
    torch,
    tqdm,
)

# fmt: off
__all__ = [
    "jax", "material", "ml_dtypes", "nutpie", "onnx", "pytensor", "safetensors", "sklearn",
    "tensorboardX", "torch", "tqdm",
]
# fmt: on

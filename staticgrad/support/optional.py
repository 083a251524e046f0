"""Packages that parts of staticgrad need, and that are not installed with it.

    from staticgrad.support.optional import onnx

    onnx.helper  # is imported now, or the error says how to install it

``PACKAGES`` lists them all.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from staticgrad.errors import MissingPackageError


class Package:
    """A package that is imported when it is called, or when one of its names is first read.

    Args:
        module: the module's name.
        use: what needs which package: the error's first words.
        install: what pip installs: a package, or an extra of staticgrad.
        otherwise: what to do without it.
    """

    def __init__(self, module: str, use: str, install: str, otherwise: str = "") -> None:
        self.__name__, self.use = module, use
        self.hint = f"pip install {install}{otherwise and '; '}{otherwise}"

    def __call__(self, module: str = "") -> Any:
        """Return the package, or a module in it.

        Raises:
            MissingPackageError: it cannot be imported.
        """
        try:
            return import_module(f"{self.__name__}.{module}".rstrip("."))
        except (ImportError, RuntimeError) as error:  # mpi4py without a library raises the latter
            raise self.missing(str(error).splitlines()[0]) from None

    def missing(self, reason: str) -> MissingPackageError:
        """Return the error that says how to install it."""
        return MissingPackageError(f"{self.use}: {reason}", hint=self.hint)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked for by inspection
            raise AttributeError(name)
        return vars(self).setdefault(name, getattr(self(), name))


jax: Final[Any] = Package("jax", "sg.jax needs JAX", "jax")
material: Final = Package(
    "material", "the site needs mkdocs-material", '"staticgrad[docs]"',
    "staticgrad docs --write FOLDER needs none",
)  # fmt: skip
ml_dtypes: Final[Any] = Package(
    "ml_dtypes", "bfloat16 needs the package ml_dtypes", '"staticgrad[bfloat16]"', "or use float16"
)
mpi4py: Final = Package(
    "mpi4py", "several processes need mpi4py and an MPI library", '"staticgrad[mpi]"'
)
nutpie: Final = Package("nutpie", "sg.pytensor.nutpie needs nutpie", "nutpie")
onnx: Final[Any] = Package("onnx", "models of ONNX need the package onnx", '"staticgrad[onnx]"')
pytensor: Final[Any] = Package("pytensor", "sg.pytensor needs PyTensor", "pytensor")
safetensors: Final = Package(
    "safetensors", "files of safetensors need it", '"staticgrad[safetensors]"', "or save as .npz"
)
sklearn: Final = Package(
    "sklearn", "estimators and the images of digits need scikit-learn", '"staticgrad[demo]"'
)
tensorboardX: Final = Package(  # noqa: N816 - its own name
    "tensorboardX", "files of TensorBoard need tensorboardX, or PyTorch with tensorboard",
    "tensorboardX", "or pip install torch tensorboard",
)  # fmt: skip
tqdm: Final = Package("tqdm", "bars of progress need tqdm", "tqdm")
torch: Final[Any] = Package(
    "torch", "sg.torch and files of torch.save need PyTorch", "torch",
    "weights are also read from .safetensors and .npz",
)  # fmt: skip

#: All of them, by the name of the module.
PACKAGES: Final = {
    package.__name__: package
    for package in (
        jax,
        material,
        ml_dtypes,
        mpi4py,
        nutpie,
        onnx,
        pytensor,
        safetensors,
        sklearn,
        tensorboardX,
        torch,
        tqdm,
    )
}

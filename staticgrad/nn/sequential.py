"""One layer after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, overload

from staticgrad.errors import ArgumentError
from staticgrad.errors.wording import kind_of, shown
from staticgrad.nn.module import Layer


class Sequential(Layer):
    """Modules and functions, each of what the one before gives.

    Args:
        layers: what can be called with one value.

    Raises:
        ArgumentError: something that cannot be called.

    >>> import staticgrad as sg
    >>> sg.nn.Sequential(sg.nn.Linear(8, 4), sg.nn.gelu, sg.nn.Dropout(0.1), sg.nn.Linear(4, 2))
    Sequential: 46 parameters
      layers.0: Linear(8, 4): weight f32[8, 4], bias f32[4]
      layers.1: gelu
      layers.2: Dropout(p=0.1)
      layers.3: Linear(4, 2): weight f32[4, 2], bias f32[2]
    """

    def __init__(self, *layers: Callable[..., Any]) -> None:
        for layer in layers:
            found: Any = layer
            if not callable(found) or isinstance(found, type):
                raise ArgumentError(
                    f"Sequential: a layer is {shown(found)}, {kind_of(found)}",
                    hint="Sequential(*layers), and objects of the classes: sg.nn.ReLU()",
                )
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        """What the last layer gives."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        return iter(self.layers)

    @overload
    def __getitem__(self, place: int) -> Callable[..., Any]: ...
    @overload
    def __getitem__(self, place: slice) -> Sequential: ...
    def __getitem__(self, place: int | slice) -> Any:
        """A layer; or those of a slice, shared, in a Sequential."""
        found = self.layers[place]
        return Sequential(*found) if isinstance(found, list) else found

"""One layer after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence
from operator import index as integer
from typing import Any, overload

from staticgrad.errors import ArgumentError, IndexOutOfRange
from staticgrad.errors.tracebacks import bounded
from staticgrad.errors.wording import kind_of, shown
from staticgrad.ir.calls import public
from staticgrad.nn.module import Layer


class ModuleList(list[Any]):
    """A list of modules. Any list is one: parameters are found in lists and dicts.

    >>> import staticgrad as sg
    >>> len(sg.nn.ModuleList(sg.nn.Linear(2, 2) for _ in range(3)))
    3
    """

    @public
    def __init__(self, modules: Iterable[Any] = ()) -> None:
        super().__init__(modules)


class ModuleDict(dict[str, Any]):
    """A dict of modules. Any dict is one: parameters are found in lists and dicts.

    >>> import staticgrad as sg
    >>> list(sg.nn.ModuleDict({"up": sg.nn.Linear(2, 4), "down": sg.nn.Linear(4, 2)}))
    ['up', 'down']
    """

    @public
    def __init__(self, modules: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        super().__init__(modules)


@bounded
class Sequential(Layer, MutableSequence[Callable[..., Any]]):
    """Modules and functions, each of what the one before gives.

    It is a list of them: ``net[0] = layer``, ``net.append(layer)``, ``del net[-1]``, ``net + net``.
    A function that was traced before is traced again then.

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
        self.layers = [_layer(each) for each in layers]

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
        found = self.layers[self._checked(place)]
        return Sequential(*found) if isinstance(found, list) else found

    @overload
    def __setitem__(self, place: int, layer: Callable[..., Any]) -> None: ...
    @overload
    def __setitem__(self, place: slice, layer: Iterable[Callable[..., Any]]) -> None: ...
    def __setitem__(self, place: Any, layer: Any) -> None:
        """Put a layer in the place of another one, or layers in those of a slice."""
        place = self._checked(place)
        if not isinstance(place, slice):
            self.layers[place] = _layer(layer)
        elif isinstance(layer, Iterable):
            self.layers[place] = [_layer(each) for each in layer]
        else:
            raise ArgumentError(
                f"Sequential: in the places of a slice stand layers, not {shown(layer)}",
                hint="net[1:3] = [layer, other]",
            )

    def __delitem__(self, place: int | slice) -> None:
        del self.layers[self._checked(place)]

    def insert(self, index: int, value: Callable[..., Any]) -> None:
        """Put a layer in front of the one at a place.

        Raises:
            ArgumentError: something that cannot be called.
        """
        self.layers.insert(index, _layer(value))

    def extend(self, values: Iterable[Callable[..., Any]]) -> None:
        """Put layers behind the last one, all of them or none.

        Raises:
            ArgumentError: something that cannot be called.
        """
        self.layers.extend([_layer(each) for each in values])

    def __add__(self, other: Iterable[Callable[..., Any]]) -> Sequential:
        """The layers of both, shared."""
        if isinstance(other, Sequential | list | tuple):
            return Sequential(*self.layers, *other)
        return NotImplemented

    def _checked(self, place: Any) -> Any:
        """A place of a layer, or a slice.

        Raises:
            ArgumentError: something else.
            IndexOutOfRange: there is no layer there.
        """
        if isinstance(place, slice):
            return place
        if isinstance(place, bool) or not hasattr(place, "__index__"):
            raise ArgumentError(
                f"Sequential: a layer is at an integer, not {shown(place)}", hint="net[0], net[-1]"
            )
        found, count = integer(place), len(self.layers)
        if not -count <= found < count:
            raise IndexOutOfRange(f"Sequential has {count} layers, none at {found}")
        return found


def _layer(given: Any) -> Callable[..., Any]:
    """What can stand in a Sequential.

    Raises:
        ArgumentError: something that cannot be called.
    """
    if not callable(given) or isinstance(given, type):
        raise ArgumentError(
            f"Sequential: a layer is {shown(given)}, {kind_of(given)}",
            hint="Sequential(*layers), and objects of the classes: sg.nn.ReLU()",
        )
    found: Callable[..., Any] = given
    return found

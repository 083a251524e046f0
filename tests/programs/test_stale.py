"""A value that a compiled function reads outside of it changes between two calls.

A table of places by doors: the second call gives what Python gives, or a warning has said that it
does not. What is right is the number itself: each place is changed from 2 to 7.
"""

import argparse
import array
import collections
import contextvars
import ctypes
import dataclasses
import enum
import functools
import itertools
import operator
import os
import sys
import threading
import types
import typing
import warnings
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import TracingWarning

BEFORE, AFTER = 2.0, 7.0
rate = BEFORE
CONFIG = types.ModuleType("config_of_test_stale")
sys.modules["config_of_test_stale"] = CONFIG


class Default:
    scale = BEFORE


class Small:
    scale = BEFORE


class Large:
    scale = AFTER


size = Small


class Own:
    def __init__(self, scale=BEFORE):
        self.scale = scale


def default_of_the_class():
    c = Default()
    return lambda: c.scale, lambda: setattr(c, "scale", AFTER)


def default_of_a_base():
    class Child(Default):
        pass

    c = Child()
    return lambda: c.scale, lambda: setattr(Child, "scale", AFTER)


def default_of_the_middle_class():
    class Middle(Default):
        pass

    class Child(Middle):
        pass

    c = Child()
    return lambda: c.scale, lambda: setattr(Middle, "scale", AFTER)


def default_set_after_another_attribute_went():
    c = Default()
    c.extra = 1.0

    def change():
        del c.extra
        c.scale = AFTER

    return lambda: c.scale, change


def attribute_deleted():
    class C(Default):
        pass

    C.scale = AFTER
    c = C()
    c.scale = BEFORE
    return lambda: c.scale, lambda: delattr(c, "scale")


def class_attribute():
    class C(Default):
        pass

    c = C()
    return lambda: c.scale, lambda: setattr(C, "scale", AFTER)


def class_as_config():
    class C:
        scale = BEFORE

    return lambda: C.scale, lambda: setattr(C, "scale", AFTER)


def another_class_as_config():
    def change():
        globals()["size"] = Large

    globals()["size"] = Small
    return lambda: size.scale, change


def class_of_the_instance():
    class C(Default):
        def read(self):
            return type(self).scale

    c = C()
    return lambda: c.read(), lambda: setattr(C, "scale", AFTER)


def super_of_the_class():
    class Base:
        scale = BEFORE

    class C(Base):
        def read(self):
            return super().scale

    c = C()
    return lambda: c.read(), lambda: setattr(Base, "scale", AFTER)


def method_replaced_on_the_class():
    class C:
        def read(self):
            return BEFORE

    c = C()
    return lambda: c.read(), lambda: setattr(C, "read", lambda self: AFTER)


def method_hidden_by_the_instance():
    class C:
        def read(self):
            return BEFORE

    c = C()
    return lambda: c.read(), lambda: setattr(c, "read", lambda: AFTER)


def property_over_an_attribute():
    class C(Own):
        @property
        def value(self):
            return self.scale

    c = C()
    return lambda: c.value, lambda: setattr(c, "scale", AFTER)


class Descriptor:
    def __init__(self):
        self.numbers = weakref.WeakKeyDictionary()

    def __get__(self, owner, kind=None):
        return self.numbers.get(owner, BEFORE)

    def __set__(self, owner, value):
        self.numbers[owner] = value


def descriptor():
    class C:
        value = Descriptor()

    c = C()
    return lambda: c.value, lambda: setattr(c, "value", AFTER)


def cached_property():
    class C(Own):
        @functools.cached_property
        def value(self):
            return self.scale

    c = C()

    def change():
        c.scale = AFTER
        vars(c).pop("value", None)

    return lambda: c.value, change


def metaclass():
    class Meta(type):
        @property
        def scale(cls):
            return cls.inner[0]

    class C(metaclass=Meta):
        inner: typing.ClassVar = [BEFORE]

    return lambda: C.scale, lambda: C.inner.__setitem__(0, AFTER)


def slots():
    class C:
        __slots__ = ("scale",)

        def __init__(self):
            self.scale = BEFORE

    c = C()
    return lambda: c.scale, lambda: setattr(c, "scale", AFTER)


def slots_that_are_set_later():
    class C:
        __slots__ = ("scale",)

    c = C()
    return lambda: getattr(c, "scale", BEFORE), lambda: setattr(c, "scale", AFTER)


def slots_of_a_dataclass():
    @dataclasses.dataclass(slots=True)
    class C:
        scale: float = BEFORE

    c = C()
    return lambda: c.scale, lambda: setattr(c, "scale", AFTER)


def getattr_of_the_class():
    class C:
        def __getattr__(self, name):
            if name == "scale":
                return numbers[0]
            raise AttributeError(name)

    numbers = [BEFORE]
    c = C()
    return lambda: c.scale, lambda: numbers.__setitem__(0, AFTER)


def attribute_that_wraps_a_dict():
    class C:
        def __init__(self):
            self.inner = {"scale": BEFORE}

        def __getattr__(self, name):
            if name == "scale":
                return self.inner[name]
            raise AttributeError(name)

    c = C()
    return lambda: c.scale, lambda: c.inner.update(scale=AFTER)


def getattr_with_a_default():
    c = Default()
    return lambda: getattr(c, "k", BEFORE), lambda: setattr(c, "k", AFTER)


def getattr_with_a_computed_name():
    c, names = Own(), ["a", "b"]
    c.a, c.b = BEFORE, 0.0
    return lambda: sum(getattr(c, name) for name in names), lambda: setattr(c, "b", AFTER - BEFORE)


def getattr_with_a_default_of_an_inner_object():
    c = SimpleNamespace(inner=Own())
    return lambda: getattr(c.inner, "k", BEFORE), lambda: setattr(c.inner, "k", AFTER)


def hasattr_of_an_object():
    c = Default()
    return lambda: c.flag if hasattr(c, "flag") else BEFORE, lambda: setattr(c, "flag", AFTER)


def attribute_error():
    c = Default()

    def read():
        try:
            return c.absent
        except AttributeError:
            return BEFORE

    return read, lambda: setattr(c, "absent", AFTER)


def attrgetter():
    c, get = Own(), operator.attrgetter("scale")
    return lambda: get(c), lambda: setattr(c, "scale", AFTER)


def attrgetter_made_inside():
    c = Own(Own())
    c.inner = Own()
    return lambda: operator.attrgetter("inner.scale")(c), lambda: setattr(c.inner, "scale", AFTER)


def dict_of_an_object():
    c = Own()
    return lambda: vars(c)["scale"], lambda: setattr(c, "scale", AFTER)


def fields_as_a_dict():
    @dataclasses.dataclass
    class C:
        scale: float = BEFORE

    c = C()
    return lambda: dataclasses.asdict(c)["scale"], lambda: setattr(c, "scale", AFTER)


def pattern_of_a_class():
    c = Own()

    def read():
        match c:
            case Own(scale=number):
                return number

    return read, lambda: setattr(c, "scale", AFTER)


def dataclass_instance():
    @dataclasses.dataclass
    class C:
        scale: float = BEFORE

    c = C()
    return lambda: c.scale, lambda: setattr(c, "scale", AFTER)


def frozen_dataclass_replaced():
    @dataclasses.dataclass(frozen=True)
    class C:
        scale: float = BEFORE

    holder = {"c": C()}

    def change():
        holder["c"] = dataclasses.replace(holder["c"], scale=AFTER)

    return lambda: holder["c"].scale, change


def object_that_is_equal_and_replaced():
    """The new object is equal to the old one, and then it changes."""

    class C(Own):
        def __eq__(self, other):
            return True

        __hash__ = None

    holder = [C()]

    def change():
        holder[0] = C()
        holder[0].scale = AFTER

    return lambda: holder[0].scale, change


def named_tuple_replaced():
    Pair = collections.namedtuple("Pair", "scale shift")
    holder = [Pair(BEFORE, 0.0)]

    def change():
        holder[0] = holder[0]._replace(scale=AFTER)

    return lambda: holder[0].scale, change


def object_in_a_named_tuple():
    class Pair(typing.NamedTuple):
        inner: typing.Any

    pair = Pair(Own())
    return lambda: pair.inner.scale, lambda: setattr(pair.inner, "scale", AFTER)


def list_in_an_enum():
    class Choice(enum.Enum):
        FIRST = [BEFORE]  # noqa: RUF012

    return lambda: Choice.FIRST.value[0], lambda: Choice.FIRST.value.__setitem__(0, AFTER)


def enum_rebound():
    class Choice(enum.Enum):
        SMALL, LARGE = BEFORE, AFTER

    c = SimpleNamespace(choice=Choice.SMALL)
    return lambda: c.choice.value, lambda: setattr(c, "choice", Choice.LARGE)


def namespace_of_argparse():
    args = argparse.Namespace(lr=BEFORE)
    return lambda: args.lr, lambda: setattr(args, "lr", AFTER)


def simple_namespace():
    args = SimpleNamespace(lr=BEFORE)
    return lambda: args.lr, lambda: setattr(args, "lr", AFTER)


def namespace_in_a_namespace():
    args = SimpleNamespace(inner=argparse.Namespace(lr=BEFORE))
    return lambda: args.inner.lr, lambda: setattr(args.inner, "lr", AFTER)


def chain_map():
    args = collections.ChainMap({}, {"lr": BEFORE})
    return lambda: args["lr"], lambda: args.__setitem__("lr", AFTER)


def second_map_of_a_chain_map():
    defaults = {"lr": BEFORE}
    args = collections.ChainMap({}, defaults)
    return lambda: args["lr"], lambda: defaults.__setitem__("lr", AFTER)


def user_dict():
    args = collections.UserDict(lr=BEFORE)
    return lambda: args["lr"], lambda: args.__setitem__("lr", AFTER)


def user_list():
    args = collections.UserList([BEFORE])
    return lambda: args[0], lambda: args.__setitem__(0, AFTER)


def own_mapping():
    class Config(collections.abc.Mapping):
        def __init__(self):
            self.entries = {"lr": BEFORE}

        def __getitem__(self, name):
            return self.entries[name]

        def __iter__(self):
            return iter(self.entries)

        def __len__(self):
            return len(self.entries)

    args = Config()
    return lambda: dict(args)["lr"], lambda: args.entries.update(lr=AFTER)


def dict_with_attributes():
    class Config(dict):
        __getattr__ = dict.__getitem__

    args = Config(lr=BEFORE)
    return lambda: args.lr, lambda: args.update(lr=AFTER)


def mapping_proxy():
    numbers = {"lr": BEFORE}
    args = types.MappingProxyType(numbers)
    return lambda: args["lr"], lambda: numbers.update(lr=AFTER)


def ordered_dict():
    args = collections.OrderedDict(lr=BEFORE)
    return lambda: args["lr"], lambda: args.update(lr=AFTER)


def default_dict():
    args = collections.defaultdict(lambda: numbers[0])
    numbers = [BEFORE]
    return lambda: args.get("lr", numbers[0]), lambda: args.__setitem__("lr", AFTER)


def counter():
    args = collections.Counter(lr=2)
    return lambda: float(args["lr"]), lambda: args.update(lr=5)


def key_that_comes_later():
    args = {"lr": BEFORE}
    return lambda: args.get("other", args["lr"]), lambda: args.__setitem__("other", AFTER)


def key_that_is_another():
    args = {"lr": BEFORE}

    def change():
        number = args.pop("lr")
        args["other"] = number

    return lambda: args.get("lr", AFTER), change


def five_dicts_deep():
    args = {"a": {"b": {"c": {"d": {"e": BEFORE}}}}}
    inner = args["a"]["b"]["c"]["d"]
    return lambda: args["a"]["b"]["c"]["d"]["e"], lambda: inner.update(e=AFTER)


def twenty_lists_deep():
    inner = deep = [BEFORE]
    for _ in range(20):
        deep = [deep]

    def read():
        inside = deep
        while isinstance(inside, list):
            inside = inside[0]
        return inside

    return read, lambda: inner.__setitem__(0, AFTER)


def dict_of_100():
    args = dict.fromkeys(range(100), BEFORE)
    return lambda: args[3], lambda: args.__setitem__(3, AFTER)


def list_of_3000():
    numbers = [BEFORE] * 3000
    return lambda: numbers[2000], lambda: numbers.__setitem__(2000, AFTER)


def list_of_objects():
    layers = [Default(), Default()]
    layers[0].scale = 0.0
    return lambda: sum(o.scale for o in layers), lambda: setattr(layers[1], "scale", AFTER)


def object_in_a_dict_in_an_object():
    c = SimpleNamespace(parts={"a": [Default()]})
    return lambda: c.parts["a"][0].scale, lambda: setattr(c.parts["a"][0], "scale", AFTER)


def object_as_a_key():
    c = Own()
    scales = {c: 1.0}
    return lambda: next(iter(scales)).scale, lambda: setattr(c, "scale", AFTER)


def object_in_a_tuple():
    c = (Own(), 1)
    return lambda: c[0].scale, lambda: setattr(c[0], "scale", AFTER)


def object_in_a_frozenset():
    c = Own()
    group = frozenset({c})
    return lambda: max(o.scale for o in group), lambda: setattr(c, "scale", AFTER)


def set_that_grows():
    numbers = {BEFORE}
    return lambda: max(numbers), lambda: numbers.add(AFTER)


def deque_that_moves():
    numbers = collections.deque([BEFORE], maxlen=1)
    return lambda: numbers[0], lambda: numbers.append(AFTER)


def int_that_becomes_a_float():
    """An equal number of another type."""
    c = {"scale": 4}
    return lambda: 2.0 if isinstance(c["scale"], int) else 7.0, lambda: c.update(scale=4.0)


def float_of_an_element():
    numbers = np.array([BEFORE, 1.0])
    return lambda: float(numbers[0]), lambda: numbers.__setitem__(0, AFTER)


def numbers_computed_by_numpy():
    numbers = np.array([1.0, 1.0])
    return lambda: (numbers * 2.0).max(), lambda: numbers.__setitem__(0, 3.5)


def slice_of_a_large_array():
    numbers = np.full(30_000, BEFORE)
    return lambda: sg.asarray(numbers[5:8]), lambda: numbers[5:8].fill(AFTER)


def array_in_a_class():
    class C:
        weights = np.full(3, BEFORE)

    c = C()
    return lambda: sg.asarray(c.weights), lambda: setattr(c, "weights", np.full(3, AFTER))


def array_of_objects():
    c = Own()
    objects = np.array([c, None], dtype=object)
    return lambda: objects[0].scale, lambda: setattr(c, "scale", AFTER)


def array_of_python():
    numbers = array.array("d", [BEFORE])
    return lambda: numbers[0], lambda: numbers.__setitem__(0, AFTER)


def bytes_in_place():
    numbers = bytearray([2])
    return lambda: float(numbers[0]), lambda: numbers.__setitem__(0, 7)


def number_of_ctypes():
    number = ctypes.c_double(BEFORE)
    return lambda: number.value, lambda: setattr(number, "value", AFTER)


def environment():
    os.environ["SCALE_OF_TEST_STALE"] = str(BEFORE)
    return (
        lambda: float(os.environ["SCALE_OF_TEST_STALE"]),
        lambda: os.environ.__setitem__("SCALE_OF_TEST_STALE", str(AFTER)),
    )


def environment_by_a_function():
    os.environ["SCALE_OF_TEST_STALE"] = str(BEFORE)
    return (
        lambda: float(os.getenv("SCALE_OF_TEST_STALE")),
        lambda: os.environ.__setitem__("SCALE_OF_TEST_STALE", str(AFTER)),
    )


VARIABLE = contextvars.ContextVar("variable", default=BEFORE)


def context_variable():
    VARIABLE.set(BEFORE)
    return lambda: VARIABLE.get(), lambda: VARIABLE.set(AFTER)


def attribute_of_a_thread():
    settings = threading.local()
    settings.scale = BEFORE
    return lambda: settings.scale, lambda: setattr(settings, "scale", AFTER)


def weak_reference():
    c = Own()
    reference = weakref.ref(c)
    return lambda: reference().scale, lambda: setattr(c, "scale", AFTER)


def weak_dict():
    c = Own()
    objects = weakref.WeakValueDictionary(a=c)
    return lambda: objects["a"].scale, lambda: setattr(c, "scale", AFTER)


def weak_proxy():
    c = Own()
    proxy = weakref.proxy(c)
    return lambda: proxy.scale, lambda: setattr(c, "scale", AFTER)


def global_name():
    globals()["rate"] = BEFORE
    return lambda: rate, lambda: globals().__setitem__("rate", AFTER)


def global_that_comes_later():
    globals().pop("late", None)

    def read():
        try:
            return late
        except NameError:
            return BEFORE

    return read, lambda: globals().__setitem__("late", AFTER)


def name_of_the_function_around():
    k = BEFORE

    def change():
        nonlocal k
        k = AFTER

    return lambda: k, change


def attribute_of_a_module():
    cfg = CONFIG
    cfg.lr = BEFORE
    return lambda: cfg.lr, lambda: setattr(cfg, "lr", AFTER)


def module_imported_inside():
    CONFIG.lr = BEFORE

    def read():
        import config_of_test_stale as cfg

        return cfg.lr

    return read, lambda: setattr(CONFIG, "lr", AFTER)


def name_imported_inside():
    CONFIG.lr = BEFORE

    def read():
        from config_of_test_stale import lr

        return lr

    return read, lambda: setattr(CONFIG, "lr", AFTER)


def object_made_at_the_first_call():
    get = functools.cache(lambda: Own())
    return lambda: get().scale, lambda: setattr(get(), "scale", AFTER)


def object_by_a_number():
    get = functools.lru_cache(maxsize=4)(lambda number: Own(BEFORE + number))
    return lambda: get(0.0).scale, lambda: setattr(get(0.0), "scale", AFTER)


def default_of_an_argument():
    c = Own()

    def inner(config=c):
        return config.scale

    return lambda: inner(), lambda: setattr(c, "scale", AFTER)


def attribute_of_a_function():
    def inner():
        return inner.scale

    inner.scale = BEFORE
    return inner, lambda: setattr(inner, "scale", AFTER)


def partial_function():
    c = Own()
    get = functools.partial(lambda config, name: getattr(config, name), c, "scale")
    return lambda: get(), lambda: setattr(c, "scale", AFTER)


def partial_with_a_dict():
    numbers = {"scale": BEFORE}
    get = functools.partial(dict.get, numbers)
    return lambda: get("scale"), lambda: numbers.update(scale=AFTER)


def bound_method_of_a_dict():
    numbers = {"scale": BEFORE}
    get = numbers.get
    return lambda: get("scale"), lambda: numbers.update(scale=AFTER)


def bound_method():
    class C(Own):
        def read(self):
            return self.scale

    c = C()
    get = c.read
    return lambda: get(), lambda: setattr(c, "scale", AFTER)


def object_that_is_called():
    class C(Own):
        def __call__(self):
            return self.scale

    c = C()
    return lambda: c(), lambda: setattr(c, "scale", AFTER)


def object_with_operators():
    class C(Own):
        def __float__(self):
            return self.scale

    c = C()
    return lambda: float(c), lambda: setattr(c, "scale", AFTER)


def object_that_is_indexed():
    class C(Own):
        def __getitem__(self, place):
            return self.scale

    c = C()
    return lambda: c[0], lambda: setattr(c, "scale", AFTER)


def decorated_function():
    c = Own()

    def scale(f):
        @functools.wraps(f)
        def inner(*args):
            return f(*args) * c.scale

        return inner

    @scale
    def one():
        return 1.0

    return lambda: one(), lambda: setattr(c, "scale", AFTER)


def context_of_a_generator_function():
    import contextlib

    c = Own()

    @contextlib.contextmanager
    def config():
        yield c.scale

    def read():
        with config() as number:
            return number

    return read, lambda: setattr(c, "scale", AFTER)


def default_of_a_class_made_inside():
    class C:
        scale = BEFORE

    return lambda: C().scale, lambda: setattr(C, "scale", AFTER)


def name_read_by_init():
    class C:
        def __init__(self):
            self.scale = numbers["scale"]

    numbers = {"scale": BEFORE}
    return lambda: C().scale, lambda: numbers.update(scale=AFTER)


def nested_function():
    c = Own()

    def read():
        def inner():
            return sum([c.scale for _ in range(1)])

        return inner()

    return read, lambda: setattr(c, "scale", AFTER)


def dict_of_an_object_replaced():
    c = Own()
    return lambda: c.scale, lambda: setattr(c, "__dict__", {"scale": AFTER})


def class_of_an_object_replaced():
    class First:
        def read(self):
            return BEFORE

    class Second:
        def read(self):
            return AFTER

    c = First()
    return lambda: c.read(), lambda: setattr(c, "__class__", Second)


def bases_of_a_class_replaced():
    class C(Small):
        pass

    return lambda: C.scale, lambda: setattr(C, "__bases__", (Large,))


def code_of_a_function_replaced():
    def inner():
        return 2.0

    def later():
        return 7.0

    return lambda: inner(), lambda: setattr(inner, "__code__", later.__code__)


def defaults_of_a_function_replaced():
    def inner(scale=BEFORE):
        return scale

    return lambda: inner(), lambda: setattr(inner, "__defaults__", (AFTER,))


def global_by_a_string():
    globals()["rate"] = BEFORE
    return lambda: globals()["rate"], lambda: globals().__setitem__("rate", AFTER)


def attribute_by_an_operator_of_the_class():
    class C:
        def __getattribute__(self, name):
            return object.__getattribute__(self, "numbers")[name]

    c, numbers = C(), {"scale": BEFORE}
    object.__setattr__(c, "numbers", numbers)
    return lambda: c.scale, lambda: numbers.update(scale=AFTER)


def function_by_the_type_of_an_argument():
    numbers = {"scale": BEFORE}

    @functools.singledispatch
    def read(argument):
        return 0.0

    @read.register
    def read_int(argument: int):
        return numbers["scale"]

    return lambda: read(1), lambda: numbers.update(scale=AFTER)


def event_of_a_thread():
    event = threading.Event()
    return lambda: AFTER if event.is_set() else BEFORE, event.set


def attribute_of_a_string():
    class Text(str):
        pass

    text = Text("scale")
    text.scale = BEFORE
    return lambda: text.scale, lambda: setattr(text, "scale", AFTER)


def list_with_its_own_iteration():
    class Doubled(list):
        def __iter__(self):
            return (2.0 * number for number in list.__iter__(self))

    numbers = Doubled([BEFORE / 2.0])
    return lambda: sum(numbers), lambda: numbers.__setitem__(0, AFTER / 2.0)


def parsed_settings():
    import configparser

    settings = configparser.ConfigParser()
    settings["a"] = {"scale": str(BEFORE)}
    return lambda: settings.getfloat("a", "scale"), lambda: settings.set("a", "scale", str(AFTER))


def module_of_staticgrad():
    class Net(sg.nn.Module):
        scale = BEFORE

        def __init__(self):
            self.linear = sg.nn.Linear(1, 1)

        def __call__(self):
            return self.scale

    net = Net()
    return lambda: net(), lambda: setattr(net, "scale", AFTER)


def module_of_staticgrad_in_a_list():
    class Net(sg.nn.Module):
        scale = BEFORE

        def forward(self):
            return self.scale

    nets = sg.nn.ModuleList([Net()])
    return lambda: nets[0](), lambda: setattr(nets[0], "scale", AFTER)


def number_of_another_process():
    import multiprocessing

    number = multiprocessing.Value("d", BEFORE)
    return lambda: number.value, lambda: setattr(number, "value", AFTER)


def callable_of_a_library():
    c = Own()
    get = np.vectorize(lambda _: c.scale)
    return lambda: float(get(0)), lambda: setattr(c, "scale", AFTER)


PLACES = [
    place
    for name, place in list(globals().items())
    if isinstance(place, types.FunctionType) and place.__module__ == __name__
]
X = np.array([1.0, 2.0, 4.0])


def compile_value(read):
    f = sg.function(lambda x: (x * read()).sum())
    return lambda: f(X)


def compile_gradient(read):
    f = sg.grad(lambda x: (x * x * read()).sum())
    return lambda: f(X)[1] / 4.0 * 7.0


def compile_value_and_gradient(read):
    f = sg.value_and_grad(lambda x: (x * read()).sum())
    return lambda: f(X)[1].sum() / 3.0 * 7.0


def minimize(read):
    def f(x):
        return ((x - read()) ** 2).sum()

    return lambda: sg.scipy.minimize(f, X).x.mean() * 7.0


def compile_method(read):
    class Model:
        def __init__(self):
            self.read = read

        @sg.function
        def run(self, x):
            return (x * self.read()).sum()

    model = Model()
    return lambda: model.run(X)


def close_over_a_module(read):
    class Net(sg.nn.Module):
        def __init__(self):
            self.read = [read]

        def forward(self, x):
            return (x * self.read[0]()).sum()

    net = Net()
    f = sg.function(lambda x: net(x))
    return lambda: f(X)


def call_with_an_object(read):
    holder = SimpleNamespace(read=read)

    class Model:
        def __init__(self):
            self.holder = holder

    model = Model()
    f = sg.function(lambda model, x: (x * model.holder.read()).sum())
    return lambda: f(model, X)


def call_torch(read):
    torch = pytest.importorskip("torch")
    f = sg.torch.function(lambda x: (x * read()).sum())
    return lambda: float(f(torch.from_numpy(X)))


DOORS = [
    compile_value,
    compile_gradient,
    compile_value_and_gradient,
    minimize,
    compile_method,
    close_over_a_module,
    call_with_an_object,
    call_torch,
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_a_changed_value_is_seen_at_the_next_call(place):
    check(place, compile_value)


@pytest.mark.parametrize("door", DOORS[1:], ids=lambda door: door.__name__)
def test_every_way_to_compile_sees_changed_values(door):
    for place in (
        default_of_the_class,
        namespace_of_argparse,
        chain_map,
        getattr_with_a_default,
        list_of_objects,
        slots,
        float_of_an_element,
        context_variable,
        module_of_staticgrad_in_a_list,
    ):
        check(place, door)


def check(place, door):
    read, change = place()
    run = door(read)
    for _ in range(2):
        assert float(run()) == pytest.approx(7.0 * BEFORE, rel=1e-5)
    change()
    for _ in range(2):
        assert float(run()) == pytest.approx(7.0 * AFTER, rel=1e-5)


def long_list():
    numbers = [BEFORE] * 5000
    return lambda: numbers[4000], lambda: numbers.__setitem__(4000, AFTER), r"'numbers', a list of"


def long_dict():
    c = SimpleNamespace(numbers=dict.fromkeys(range(9000), BEFORE))
    return lambda: c.numbers[1], lambda: c.numbers.update({1: AFTER}), "'c.numbers', a dict of 9000"


def element_of_a_large_array():
    numbers = np.full(20_000, BEFORE)
    return lambda: float(numbers[0]), lambda: numbers.fill(AFTER), "'numbers', an array of 160000"


def large_bytes():
    numbers = bytearray([2] * 100_000)
    return lambda: float(numbers[0]), lambda: numbers.__setitem__(0, 7), "'numbers', 100000 bytes"


def iterator():
    numbers = iter([BEFORE, AFTER])
    return lambda: next(numbers), lambda: None, r"the iterator 'numbers'.*pass next\(numbers\)"


def generator_in_an_object():
    c = SimpleNamespace(numbers=(number for number in (BEFORE, AFTER)))
    return lambda: next(c.numbers), lambda: None, "the iterator 'c.numbers'"


def counter_of_itertools():
    numbers = itertools.count(BEFORE, AFTER - BEFORE)
    return lambda: next(numbers), lambda: None, "the iterator 'numbers'"


@pytest.mark.parametrize(
    "place",
    [
        long_list, long_dict, element_of_a_large_array, large_bytes, iterator,
        generator_in_an_object, counter_of_itertools,
    ],
)  # fmt: skip
def test_what_cannot_be_watched_is_warned_of_once(place):
    read, change, says = place()
    f = sg.function(lambda x: (x * read()).sum())
    with pytest.warns(TracingWarning, match=says) as caught:
        assert f(X) == 7.0 * BEFORE
    assert len(caught) == 1
    change()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f(X)
        f(np.ones(5))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: iter([2.0, 7.0]), "the iterator 'source'"),
        (lambda: np.random.default_rng(0), "freezes a number"),
        (lambda: np.random.RandomState(0), "freezes a number"),
    ],
)
def test_sources_of_numbers_as_arguments_are_warned_of(make, says):
    def draw(x, source):
        return x * (source.normal() if hasattr(source, "normal") else next(source))

    with pytest.warns(TracingWarning, match=says):
        sg.function(draw)(X, make())


class Trainer:
    best = 0.0

    def __init__(self):
        self.rate, self.steps, self.losses = 0.5, 0, []
        self.source = iter([1.0])

    @sg.function
    def run(self, x):
        return (x * self.rate).sum()

    def fit(self):
        self.losses.append(float(self.run(X)))
        self.steps += 1
        self.best = -1.0 * self.steps
        setattr(self, f"extra{self.steps}", 1.0)


def test_what_a_function_does_not_read_is_not_watched():
    trainer = Trainer()
    traces = Trainer.run.stats.traces
    for _ in range(4):
        trainer.fit()
    assert Trainer.run.stats.traces == traces + 1
    args = argparse.Namespace(rate=0.5, epoch=0)
    data = SimpleNamespace(large=np.ones(100_000))
    large, names = data.large, dict.fromkeys(map(str, range(9000)))
    f = sg.function(lambda x: (x * args.rate).sum() * large.shape[0] / len(data.large))
    g = sg.function(lambda x: (x * getattr(np, "sin")(args.rate)).sum())  # noqa: B009
    for epoch in range(4):
        args.epoch, names["a"] = epoch, epoch
        assert f(X) == 3.5
        g(X)
    assert (f.stats.traces, g.stats.traces) == (1, 1)


def test_equal_values_are_the_same_value():
    c = SimpleNamespace(rate=0.5, sizes=(1, 2), names=["a"])
    f = sg.function(lambda x: (x * c.rate).sum() + len(c.names) + c.sizes[0])
    for _ in range(3):
        f(X)
        c.rate, c.sizes, c.names[0] = float("0.5"), (1, c.sizes[1]), "".join(["a"])
    assert f.stats.traces == 1
    c.rate = float("nan")
    f(X)
    c.rate = -float("nan")
    f(X)
    assert f.stats.traces == 2


def test_a_graph_is_found_again_when_a_value_returns():
    c = Default()
    f = sg.function(lambda x: (x * c.scale).sum())
    for _ in range(3):
        assert f(X) == 7.0 * BEFORE
        c.scale = AFTER
        assert f(X) == 7.0 * AFTER
        del c.scale
    assert f.stats.traces == 2
    assert f.stats.reasons[1].endswith("c.scale is another")

"""What messages say of names of other libraries is true of what there is."""

import functools
import re

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import StaticgradError, habits, methods, other_names
from staticgrad.ir.functional import numpy_function


def exists(name: str) -> bool:
    """Whether a name that messages call missing is there all the same."""
    if hasattr(np, name) and name not in habits.INSTEAD:  # what NumPy's function of the name does
        return numpy_function(name) is not None
    # sg.Linear is missing, and what is said of it leads to sg.nn.Linear.
    return name in sg.__all__ or any(
        name not in room.__all__ and hasattr(room, name) for room in (sg.nn, sg.optim)
    )


def test_nothing_that_exists_is_said_to_be_missing():
    names = [*habits.INSTEAD, *habits.REASONS]
    assert len(names) > 800
    assert [name for name in names if exists(name)] == []


@pytest.mark.parametrize("room", [sg.nn, sg.optim], ids=["nn", "optim"])
def test_a_missing_name_is_named_in_the_message(room):
    for name in [*habits.INSTEAD, *habits.REASONS]:
        if not hasattr(room, name):
            with pytest.raises(AttributeError, match=name):
                getattr(room, name)


def test_each_name_has_one_reason():
    listed = [name for names in habits.MISSING.values() for name in names.split()]
    assert len(listed) == len(set(listed))


def test_attributes_that_exist_are_not_explained_away():
    owner = sg.compile(sg.input("x", ()) * 2)
    assert {n for n in habits.OF_COMPILED if n in dir(type(owner))} == set()


@pytest.mark.parametrize(
    ("attempt", "says"),
    [
        (lambda x: sg.compile(x, dump="out"), 'sg.options(dump="folder")'),
        (lambda x: sg.compile(x).llvm, "f.kernels[0].llvm"),
        (lambda x: sg.compile(x).dot, "f.graph.dot()"),
        (lambda x: sg.GradientTape, "sg.grad(f)(x)"),
        (lambda x: sg.no_grad, "from staticgrad.eager import no_grad"),
        (lambda x: sg.set_detect_anomaly, 'debug="nan"'),
        (lambda x: sg.recompute_grad, "sg.checkpoint(f)"),
        (lambda x: setattr(sg.parameter("w", np.ones(2)), "requires_grad", False), "frozen"),
        (lambda x: sg.nn.Linear(2, 2).requires_grad_(False), "frozen"),
        (lambda x: sg.optim.warmup_cosine, "sg.optim.warm_up(sg.optim.cosine(rate, steps)"),
    ],
)
def test_hints_say_how_it_is_had_here(attempt, says):
    with pytest.raises(StaticgradError, match=re.escape(says)):
        attempt(sg.input("x", (3,)) + 1.0)


_NOT_THERE = "solve inv det conv2d vectorize complex64 digamma betainc ndtri remat erfinv sgd"


@pytest.mark.parametrize("name", _NOT_THERE.split())
def test_a_name_that_is_missing_is_not_taken_for_a_slip(name):
    with pytest.raises(AttributeError) as caught:
        getattr(sg, name)
    assert "did you mean" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("room", "name", "place"),
    [
        (sg, "compare", "from staticgrad.comparison import compare"),
        (sg, "Batches", "it is sg.train.Batches"),
        (sg.nn, "grad", "it is sg.grad"),
        (sg.optim, "map", "it is sg.map"),  # before sg.tree.map
    ],
)
def test_a_name_of_another_module_says_where_it_is(room, name, place):
    with pytest.raises(AttributeError) as caught:
        getattr(room, name)
    assert caught.value.hint == place


#: What people call on tensors of PyTorch; each is there, or says what is.
_METHODS = (
    "abs add add_ addmm all amax any argmax argsort backward bfloat16 bmm bool byte chunk clamp"
    " clamp_ clamp_min clone contiguous copy_ cpu cuda cumsum data detach detach_ device diag dim"
    " div div_ double dtype element_size eq erf exp exp_ expand expand_as fill_ flatten flip float"
    " floor gather ge grad gt half index_add index_select int inverse is_contiguous is_cuda item"
    " le lerp lgamma log log_softmax logsumexp long lt masked_fill masked_select matmul max mean"
    " min mm movedim mul mul_ mv narrow ndim ndimension ne neg new_full new_ones new_zeros norm"
    " numel numpy permute pow prod register_hook relu relu_ repeat repeat_interleave requires_grad"
    " requires_grad_ reshape round rsqrt scatter scatter_ scatter_add select shape short sigmoid"
    " sign sin size softmax sort split sqrt square squeeze std stride sub sum t tanh to tolist topk"
    " transpose tril type type_as unbind unflatten unfold unsqueeze unsqueeze_ var view view_as"
    " where zero_ zero_grad"
)


@pytest.mark.parametrize("tensor", [False, True], ids=["value", "tensor"])
def test_each_method_of_a_torch_tensor_is_there_or_says_what_is(tensor):
    x = Tensor([[1.0, 2.0]]) if tensor else sg.input("x", (1, 2))
    silent, wrong = [], []
    for name in _METHODS.split():
        try:
            getattr(x, name)
        except AttributeError as error:
            silent += [] if error.hint else [name]
            said = re.findall(r"\bx\.(\w+)", error.hint)
            wrong += [name for each in said if not hasattr(x, each)]
            for path in re.findall(r"\bsg\.([\w.]+\w)", error.hint):
                functools.reduce(getattr, path.split("."), sg)
    assert (silent, wrong) == ([], [])


@pytest.mark.parametrize("table", [methods.OF_VALUES, methods.OF_TENSORS], ids=["value", "tensor"])
def test_a_method_that_exists_is_not_said_to_be_missing(table):
    owner = Tensor if table is methods.OF_TENSORS else type(sg.input("x", ()))
    assert [name for name in table if name in dir(owner) and name not in ("value",)] == []


_OF_MODULES = (
    "add_module apply bfloat16 buffers children compile cpu cuda double eval float forward half"
    " load_state_dict modules named_buffers named_children named_modules named_parameters"
    " parameters register_backward_hook register_buffer register_forward_hook register_parameter"
    " requires_grad_ state_dict to train type zero_grad"
)


def test_each_method_of_a_torch_module_is_there_or_says_what_is():
    layer, silent = sg.nn.Linear(2, 2), []
    for name in _OF_MODULES.split():
        try:
            getattr(layer, name)
        except AttributeError as error:
            silent += [] if error.hint else [name]
            for path in re.findall(r"\bsg\.([\w.]+\w)", error.hint):
                functools.reduce(getattr, path.split("."), sg)
            for said in re.findall(r"\bmodel\.(\w+)", error.hint):
                assert hasattr(layer, said)
    assert silent == []
    with pytest.raises(AttributeError, match="Linear has no 'wieght'") as caught:
        _ = layer.wieght
    assert "weight" in caught.value.hint
    assert not hasattr(layer, "__array_struct__")
    assert not hasattr(layer, "no_such")


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda: sg.nn.functional, r"sg\.nn\.relu"),
        (lambda: sg.nn.init, "xavier_uniform"),
        (lambda: sg.nn.Parameter, r"sg\.parameter\(name"),
        (lambda: sg.randn, r"rng\.uniform"),
        (lambda: sg.utils, r"sg\.train\.Batches"),
        (lambda: sg.optim.Adam(eps=1e-8), "write epsilon="),
        (lambda: sg.input("x", (2, 3)).ravel(1), r"x\.flatten"),
        (lambda: sg.input("x", (2, 3, 4)).transpose(1, 2), "swapaxes"),
        (lambda: sg.zeros(3, 4), "one argument"),
    ],
)
def test_what_newcomers_from_torch_typed_is_answered(call, hint):
    with pytest.raises(sg.StaticgradError) as caught:
        call()
    assert re.search(hint, caught.value.hint), caught.value.hint


#: What people type in their first hour, by where they type it.
_FIRST_HOUR = {
    "nn": "alpha_dropout pdist",
    "optim": (
        "yogi amsgrad nadamw chain apply_updates cosine_decay_schedule join_schedules ema"
        " MultiSteps masked inject_hyperparams add_decayed_weights SparseAdam tree_utils"
    ),
    "": (
        "r_ ogrid trapz in1d degrees errstate ndindex randperm inference_mode is_tensor numpy lerp"
        " set_default_dtype autograd FloatTensor cdist jacrev lax device_put make_jaxpr eval_shape"
    ),
}


def test_what_people_type_in_their_first_hour_is_answered():
    silent = []
    for room, names in _FIRST_HOUR.items():
        for name in names.split():
            with pytest.raises(AttributeError) as caught:
                getattr(getattr(sg, room) if room else sg, name)
            silent += [] if caught.value.hint else [name]
            for path in re.findall(r"\bsg\.([\w.]+\w)", caught.value.hint):
                functools.reduce(getattr, path.split("."), sg)
    assert silent == []


@pytest.mark.parametrize("table", ["OF_SCIPY", "OF_JAX", "OF_TORCH", "OF_OPTAX"])
def test_what_stands_for_names_of_a_library_exists(table):
    rng, wrong = sg.random.Generator(0), []
    for hint in getattr(other_names, table).values():
        for path in re.findall(r"\b((?:sg|rng)\.[\w.]+\w)", hint):
            try:
                functools.reduce(getattr, path.split(".")[1:], sg if path[:2] == "sg" else rng)
            except AttributeError:
                wrong.append((path, hint))
    assert wrong == []


def test_each_library_answers_for_names_of_its_own():
    tables = (other_names.OF_SCIPY, other_names.OF_JAX, other_names.OF_TORCH, other_names.OF_OPTAX)
    names = [name for table in tables for name in table]
    assert len(names) == len(set(names))
    assert not {*names} & {*other_names.SPECIAL_WITHOUT_KERNEL.split()}


def test_an_optimizer_says_what_was_said_of_it():
    opt = sg.optim.SGD(0.1, momentum=0.9, max_norm=1.0)
    assert repr(opt) == "SGD(learning_rate=0.1, momentum=0.9, max_norm=1.0)"
    assert repr(sg.optim.Adam(sg.input("rate", ()))) == "Adam(learning_rate=<rate: f32[]>)"

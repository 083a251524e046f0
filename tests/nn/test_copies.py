"""Deep copies of modules: parameters of their own under names of their own."""

import copy
import pickle

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor

X = np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3)


def net():
    return sg.nn.Sequential(sg.nn.Linear(3, 5), sg.tanh, sg.nn.Linear(5, 2))


def test_a_target_network_follows_its_model():
    model = net()
    target = copy.deepcopy(model)
    opt = sg.optim.SGD(0.1)

    @sg.function
    def step(x):
        loss = ((model(x) - 0.5 * sg.stop_gradient(target(x)) - 1.0) ** 2).mean()
        opt.minimize(loss, model.parameters())
        return loss

    values_before = [p.value for p in target.parameters()]
    losses = [float(step(X)) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert all(
        np.array_equal(p.value, old)
        for p, old in zip(target.parameters(), values_before, strict=True)
    )
    assert not np.array_equal(model.parameters()[0].value, values_before[0])
    target.load_state_dict(model.state_dict())
    assert np.array_equal(target(Tensor(X)).data, model(Tensor(X)).data)


def test_names_of_shared_layers_and_kept_parameters():
    layer = sg.nn.Linear(3, 3)
    model = sg.nn.Sequential(layer, sg.tanh, layer)
    copied = copy.deepcopy(model)
    assert len(copied.parameters()) == 2
    names = [p.name.partition("_copy") for p in copied.parameters()]
    assert {first for first, *_ in names} == {layer.weight.name.partition(".")[0]}
    assert len({suffix.partition(".")[0] for *_, suffix in names}) == 1
    holders = []
    for _ in range(2):
        w = sg.parameter("kept", np.ones(3))
        y = sg.exp(w)
        holder = sg.nn.Module()
        holder.w = w
        holders.append((w, y, holder))
    assert [w.name for w, _, _ in holders] == ["kept", "kept"]


@pytest.mark.slow
@pytest.mark.parametrize("model_first", [True, False])
@pytest.mark.parametrize("times", [1, 2])
def test_optimizers_that_are_copied_with_their_models_go_on(model_first, times):
    def steps(model, opt, count):
        @sg.function
        def step(x):
            opt.minimize(((model(x) - 1.0) ** 2).mean())

        for _ in range(count):
            step(X)

    model, opt = net(), sg.optim.Adam(0.05)
    steps(model, opt, 2)
    pair = (model, opt) if model_first else (opt, model)
    for _ in range(times):
        pair = copy.deepcopy(pair)
    copied, going_on = pair if model_first else pair[::-1]
    steps(model, opt, 2)
    steps(copied, going_on, 2)
    for parameter, copied_parameter in zip(model.parameters(), copied.parameters(), strict=True):
        assert np.array_equal(parameter.value, copied_parameter.value)
    going_on.load_state_dict(opt.state_dict())
    steps(model, opt, 1)
    steps(copied, going_on, 1)
    for parameter, copied_parameter in zip(model.parameters(), copied.parameters(), strict=True):
        assert np.array_equal(parameter.value, copied_parameter.value)


def test_a_pickle_beside_its_model_is_told_how_to_get_names_of_its_own():
    model, x = sg.nn.Linear(3, 2), sg.input("x", ("n", 3), "float32")
    again = pickle.loads(pickle.dumps(model))
    with pytest.raises(sg.errors.NameConflictError, match=r"copy\.deepcopy\(model\)"):
        sg.Graph({"y": model(x) - again(x)})
    zeros = sg.evaluate(sg.Graph({"y": model(x) - copy.deepcopy(again)(x)}), {"x": X})
    assert zeros["y"].tolist() == np.zeros((4, 2)).tolist()

"""Ways to use ``sg.torch.step`` beside the same in PyTorch: equal, or one coded error."""

import pickle
import re

import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError, ExportError, StaticgradError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nn, optim = torch.nn, torch.optim

X, T = torch.linspace(-1, 1, 24).reshape(6, 4), torch.linspace(0, 1, 12).reshape(6, 2)
mse = nn.functional.mse_loss


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))


def groups(net):
    first = {"params": net[0].parameters(), "lr": 0.01}
    return optim.AdamW([first, {"params": net[2].parameters(), "weight_decay": 0.3}], 0.1)


def freeze_first(net):
    net[0].weight.requires_grad_(False)
    return optim.Adam(net.parameters(), 0.1)


def sgd(net):
    return optim.SGD(net.parameters(), 0.1)


def adam(net):
    return optim.Adam(net.parameters(), 0.1)


def freeze(net, optimizer):
    net[0].weight.requires_grad_(False)


def add_group(net, optimizer):
    optimizer.add_param_group({"params": [net[2].weight], "lr": 0.05})


def add_hook(net, optimizer):
    net[0].register_forward_hook(lambda module, args, y: y * 2)


def replace(net, optimizer):
    net[1] = nn.Sigmoid()


def load(net, optimizer):
    optimizer.load_state_dict(pickle.loads(pickle.dumps(optimizer.state_dict())))
    net.load_state_dict(pickle.loads(pickle.dumps(net.state_dict())))


def share(net, optimizer):
    net.share_memory()


def nothing(net, optimizer):
    pass


#: An optimizer, and what happens before the second of three steps.
WAYS = {
    "groups": (groups, nothing),
    "a frozen parameter": (freeze_first, nothing),
    "a part in the optimizer": (lambda net: adam(net[2]), nothing),
    "a rate in a tensor": (lambda net: optim.SGD(net.parameters(), torch.tensor(0.1)), nothing),
    "foreach": (lambda net: optim.Adam(net.parameters(), 0.1, foreach=True), nothing),
    "a parameter is frozen": (adam, freeze),
    "a group is added": (lambda net: adam(net[0]), add_group),
    "a forward hook is added": (sgd, add_hook),
    "a part is replaced": (sgd, replace),
    "states are loaded": (adam, load),
    "memory is shared": (adam, share),
}  # fmt: skip
QUICK = ("a forward hook is added",)


def eager(net, optimizer):
    optimizer.zero_grad()
    loss = mse(net(X), T)
    loss.backward()
    optimizer.step()
    return loss.detach()


@pytest.mark.parametrize(
    "way", [way if way in QUICK else pytest.param(way, marks=pytest.mark.slow) for way in WAYS]
)
def test_steps_are_those_of_pytorch(way):
    make, change = WAYS[way]
    nets = network(), network()
    theirs, ours = map(make, nets)
    step = sg.torch.step(nets[1], mse, ours)
    for k in range(3):
        if k == 1:
            change(nets[0], theirs), change(nets[1], ours)
        torch.testing.assert_close(step(X, T), eager(nets[0], theirs))
    for actual, expected in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-5)


def test_autocast_is_another_program():
    net = torch.nn.Sequential(torch.nn.Linear(X.shape[1], T.shape[1]))
    step, losses = sg.torch.step(net, mse, optim.SGD(net.parameters(), 0.0)), []
    for is_on in (False, True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=is_on):
            losses.append(step(X, T).item())
            expected = mse(net(X), T).item()
        assert losses[-1] == pytest.approx(expected, rel=4e-3 if is_on else 1e-6)
    assert losses[0] == losses[2] != losses[1]


def hook_first(net, optimizer):
    net[0].weight.register_hook(lambda slope: slope * 0)


def hooked_after(net, optimizer):
    net[0].weight.register_post_accumulate_grad_hook(lambda weight: None)


def hooked_before_steps(net, optimizer):
    optimizer.register_step_pre_hook(lambda *_: None)


def hooked_after_steps(net, optimizer):
    optimizer.register_step_post_hook(lambda *_: None)


def hooked_in_backward(net, optimizer):
    net[0].register_full_backward_hook(lambda *_: None)


REFUSED = {
    hook_first: "0.weight has hooks of its gradient",
    hooked_after: "0.weight has hooks of its gradient",
    hooked_before_steps: "the optimizer has optimizer step pre hooks",
    hooked_after_steps: "the optimizer has optimizer step post hooks",
    hooked_in_backward: "BackwardHookFunction is a torch.autograd.Function",
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_a_program_cannot_call_is_one_coded_error(change):
    net = network()
    optimizer = sgd(net)
    step = sg.torch.step(net, mse, optimizer)
    change(net, optimizer)
    with pytest.raises(StaticgradError) as caught:
        step(X, T)
    assert REFUSED[change] in str(caught.value)


def test_hooks_after_the_first_step_are_refused():
    net = network()
    optimizer = sgd(net)
    step = sg.torch.step(net, mse, optimizer)
    step(X, T)
    handle = net[0].weight.register_hook(lambda slope: slope * 0)
    with pytest.raises(ArgumentError, match="hooks of its gradient"):
        step(X, T)
    handle.remove()
    assert step(X, T) < mse(network()(X), T)


def test_gradients_that_backward_accumulated_do_not_count():
    net = network()
    reference = network()
    step = sg.torch.step(net, mse, sgd(net))
    mse(net(X), T).backward()
    old_gradient = net[0].weight.grad.clone()
    torch.testing.assert_close(step(X, T), eager(reference, sgd(reference)))
    torch.testing.assert_close(net[0].weight, reference[0].weight)
    assert torch.equal(net[0].weight.grad, old_gradient)


@pytest.mark.slow
def test_a_step_pickles_and_goes_on():
    net = network()
    step = sg.torch.step(net, mse, adam(net))
    step(X, T)
    again = pickle.loads(pickle.dumps(step))
    torch.testing.assert_close([again(X, T), again(X, T)], [step(X, T), step(X, T)])


def test_parameters_in_shared_memory_stay_there():
    net = network()
    net.share_memory()
    places = [parameter.data_ptr() for parameter in net.parameters()]
    step = sg.torch.step(net, mse, sgd(net))
    reference = network()
    torch.testing.assert_close(step(X, T), eager(reference, sgd(reference)))
    assert [parameter.data_ptr() for parameter in net.parameters()] == places
    assert all(parameter.is_shared() for parameter in net.parameters())
    torch.testing.assert_close(net[0].weight, reference[0].weight)


class CountedScale(nn.Module):
    def forward(self, x):
        count = int(x.sum().item())  # depends on data
        return x * 2 if count > 3 else x


class WithCount(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.scale = nn.Linear(3, 3), CountedScale()

    def forward(self, x):
        return self.scale(self.linear(x))


def test_a_module_that_depends_on_data_is_refused_by_its_line():
    net = WithCount()
    step = sg.torch.step(net, mse, sgd(net))
    with pytest.raises(ExportError) as raised:
        step(torch.ones(2, 3), torch.ones(2, 3))
    message = str(raised.value)
    assert "torch.export.export of WithCount ends with" in message
    assert re.search(
        r"in CountedScale\.forward, .*test_torch_steps\.py:\d+: count = int\(x\.sum", message
    )
    assert "torch.compile(net, backend='staticgrad') ends its program at that line" in message
    assert "Step" not in message


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_module_of_torchscript_is_refused_with_the_cure():
    net = torch.jit.trace(torch.nn.Linear(3, 1), torch.ones(4, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(sg.errors.ArgumentError, match="TorchScript") as caught:
        sg.torch.step(net, torch.nn.functional.mse_loss, optimizer)
    assert "torch.jit.trace was given" in caught.value.hint

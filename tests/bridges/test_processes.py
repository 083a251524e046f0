"""Bridges to PyTorch in spawned processes, and in data-parallel training by PyTorch."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

if not torch.distributed.is_available():
    pytest.skip("PyTorch has no torch.distributed", allow_module_level=True)

X, T = torch.linspace(-1, 1, 24).reshape(6, 4), torch.linspace(0, 1, 12).reshape(6, 2)
W = torch.linspace(-1, 1, 8).reshape(4, 2)
mse = torch.nn.functional.mse_loss


def layer(x, w):
    return sg.tanh(x @ w)


def plain(x, w):
    return torch.tanh(x @ w)


bridged = sg.torch.function(layer)


class Net(torch.nn.Module):
    def __init__(self, normalized=False, f=plain):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)
        self.norm = torch.nn.BatchNorm1d(3) if normalized else torch.nn.Identity()
        self.f, self.w = f, torch.nn.Parameter(W.clone())

    def forward(self, x):
        return self.last(self.norm(torch.tanh(self.first(x)))) + self.f(x, self.w)


def train_net(net, model, x, t, steps=3):
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        mse(model(x), t).backward()
        optimizer.step()
    return [parameter.detach().clone() for parameter in net.parameters()]


def parallel(net):
    return torch.nn.parallel.DistributedDataParallel(net)


def compile_model(model):
    return torch.compile(model, backend="staticgrad")


#: How a network is made, and how it is compiled and made parallel.
PARALLEL = {
    "function": (lambda norm: Net(norm, bridged), parallel),
    "compile of parallel": (Net, lambda net: compile_model(parallel(net))),
    "parallel of compile": (Net, lambda net: parallel(compile_model(net))),
    "compile of parallel of function": (
        lambda norm: Net(norm, bridged),
        lambda net: compile_model(parallel(net)),
    ),
}  # fmt: skip


def train(rank, path, results):
    """One of two processes of data-parallel training by PyTorch, each way and by eager PyTorch."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{path}", rank=rank, world_size=2
    )
    x, t = X[rank::2], T[rank::2]
    for norm in (False, True):
        net = Net(norm)
        results["PyTorch", norm, rank] = train_net(net, parallel(net), x, t)
        for way, (make, wrap) in PARALLEL.items():
            net = make(norm)
            results[way, norm, rank] = train_net(net, wrap(net), x, t)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_data_parallel_training_by_pytorch_averages_gradients(tmp_path):
    results = torch.multiprocessing.Manager().dict()
    torch.multiprocessing.spawn(train, (tmp_path / "store", results), nprocs=2)
    for norm in (False, True):
        for way in PARALLEL:
            for rank in range(2):
                torch.testing.assert_close(results[way, norm, rank], results["PyTorch", norm, rank])
                torch.testing.assert_close(results[way, norm, rank], results[way, norm, 0])
    x, t = torch.cat([X[::2], X[1::2]]), torch.cat([T[::2], T[1::2]])
    torch.testing.assert_close(results["PyTorch", False, 0], train_net(net := Net(), net, x, t))


def test_programs_refuse_data_parallel_modules(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        net = parallel(Net())
        with pytest.raises(ArgumentError, match="step: DistributedDataParallel exchanges arrays"):
            sg.torch.step(net, mse, torch.optim.SGD(net.parameters(), 0.1))
        with pytest.raises(ArgumentError, match=r"data_parallel=True"):
            sg.torch.module(net, X)
    finally:
        torch.distributed.destroy_process_group()


def work(rank, results, function, module, net, step):
    """A spawned process: each kind of bridge gives its results."""
    torch.set_num_threads(1)
    w = W.clone().requires_grad_()
    (slope,) = torch.autograd.grad(function(X, w).sum(), w)
    results["function", rank] = slope
    results["module", rank] = sg.function(module)(X.numpy())
    (slope,) = torch.autograd.grad(compile_model(net)(X).sum(), net.w)
    results["compile", rank] = slope
    results["step", rank] = [step(X, T).item() for _ in range(3)]


@pytest.mark.slow
def test_spawned_processes_take_bridges():
    net, second = Net(), Net()
    module = sg.torch.module(second, X)
    step = sg.torch.step(second, mse, torch.optim.SGD(second.parameters(), 0.1))
    first = step(X, T).item()
    step(X, T)
    w = W.clone().requires_grad_()
    (by_w,) = torch.autograd.grad(bridged(X, w).sum(), w)
    (by_net,) = torch.autograd.grad(net(X).sum(), net.w)
    results = torch.multiprocessing.Manager().dict()
    torch.multiprocessing.spawn(work, (results, bridged, module, net, step), nprocs=2)
    for rank in range(2):
        torch.testing.assert_close(results["function", rank], by_w)
        torch.testing.assert_close(results["compile", rank], by_net)
        np.testing.assert_allclose(results["module", rank], sg.function(module)(X.numpy()))
        assert results["step", rank][0] < first
    # six steps of two processes in the memory that they share, as PyTorch shares it
    assert mse(second(X), T).item() < max(results["step", rank][0] for rank in range(2))


class Transformed(torch.utils.data.Dataset):
    def __init__(self, f):
        self.f = f

    def __len__(self):
        return len(X)

    def __getitem__(self, k):
        return self.f(X[k : k + 1], W)[0]


@pytest.mark.slow
@pytest.mark.parametrize("context", ["spawn", "fork", "forkserver"])
def test_workers_of_data_loaders_call_functions(context):
    loader = torch.utils.data.DataLoader(
        Transformed(bridged), batch_size=3, num_workers=2, multiprocessing_context=context
    )
    torch.testing.assert_close(torch.cat([*loader]), torch.tanh(X @ W))

"""Programs of JAX packages as their users write them, with the packages' containers as arguments.

They are rows of ``python -m benchmarks jax_programs``, which compares and times them. A package
that is not installed leaves its programs out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

import numpy as np

from staticgrad.support.optional import jax


class Case(NamedTuple):
    """A function of arrays in containers with an example of its arguments.

    Attributes:
        package: where it is from.
        f: the function; its result is a loss, or any arrays.
        args: an example.
        smooth: whether it is a loss that is differentiated by its first argument.
        tolerance: of differences, relative to the largest number.
    """

    package: str
    f: Callable[..., Any]
    args: Sequence[Any]
    smooth: bool = True
    tolerance: float = 1e-4


def normal(*shape: int, seed: int = 0) -> Any:
    """Return normal numbers in float32."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def _flax_step() -> Case:
    nn, optax = import_module("flax.linen"), import_module("optax")

    class Net(nn.Module):  # type: ignore[misc,name-defined]
        @nn.compact  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            x = nn.BatchNorm(use_running_average=False)(nn.Conv(8, (3, 3), use_bias=False)(x))
            return nn.Dense(10)(nn.relu(x).mean((1, 2)))

    net, x, y = Net(), normal(8, 12, 12, 3), np.arange(8) % 10
    variables = net.init(jax.random.key(0), x)
    opt = optax.adamw(1e-3)

    def step(variables: Any, state: Any, x: Any, y: Any) -> Any:
        def loss(params: Any) -> Any:
            given_variables = {"params": params, "batch_stats": variables["batch_stats"]}
            scores, new = net.apply(given_variables, x, mutable=["batch_stats"])
            cost = optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()
            return cost, new["batch_stats"]

        (value, stats), slopes = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        updates, state = opt.update(slopes, state, variables["params"])
        params = optax.apply_updates(variables["params"], updates)
        return {"params": params, "batch_stats": stats}, state, value

    state = opt.init(variables["params"])
    return Case("flax, optax", step, (variables, state, x, y), smooth=False, tolerance=1e-3)


def _nnx_transformer() -> Case:
    nnx = import_module("flax.nnx")

    class Block(nnx.Module):  # type: ignore[misc,name-defined]
        def __init__(self, rngs: Any) -> None:
            self.first, self.second = (nnx.LayerNorm(32, rngs=rngs) for _ in range(2))
            self.attention = nnx.MultiHeadAttention(4, 32, rngs=rngs, decode=False)
            self.wide, self.back = nnx.Linear(32, 64, rngs=rngs), nnx.Linear(64, 32, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = x + self.attention(self.first(x))
            return x + self.back(nnx.gelu(self.wide(self.second(x))))

    definition, state = nnx.split(Block(nnx.Rngs(0)))
    return Case(
        "flax.nnx", lambda state, x: (nnx.merge(definition, state)(x) ** 2).mean(),
        (state, normal(2, 16, 32)),
    )  # fmt: skip


def _equinox_module() -> Case:
    eqx = import_module("equinox")
    net = eqx.nn.MLP(4, 3, 32, 2, key=jax.random.key(0))
    arrays, static = eqx.partition(net, eqx.is_inexact_array)

    def loss(arrays: Any, x: Any, y: Any) -> Any:
        return ((jax.vmap(eqx.combine(arrays, static))(x) - y) ** 2).mean()

    return Case("equinox", loss, (arrays, normal(16, 4), normal(16, 3, seed=1)))


def _equinox_batch_norm() -> Case:
    eqx = import_module("equinox")

    class Net(eqx.Module):  # type: ignore[misc,name-defined]
        conv: Any
        norm: Any
        last: Any

        def __init__(self, key: Any) -> None:
            first, second = jax.random.split(key)
            self.conv = eqx.nn.Conv2d(3, 8, 3, padding=1, key=first)
            self.norm = eqx.nn.BatchNorm(8, axis_name="batch", mode="batch")
            self.last = eqx.nn.Linear(8, 5, key=second)

        def __call__(self, x: Any, state: Any) -> Any:
            x, state = self.norm(self.conv(x), state)
            return self.last(jax.nn.relu(x).mean((1, 2))), state

    net, state = eqx.nn.make_with_state(Net)(jax.random.key(0))
    arrays, static = eqx.partition(net, eqx.is_inexact_array)

    def loss(arrays: Any, state: Any, x: Any) -> Any:
        net = eqx.combine(arrays, static)
        batched = jax.vmap(net, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        y, _ = batched(x, state)
        return (y**2).mean()

    return Case("equinox", loss, (arrays, state, normal(8, 3, 10, 10)))


def _tinygp(name: str) -> Callable[[], Case]:
    def make() -> Case:
        tinygp = import_module("tinygp")
        kernels = tinygp.kernels if name == "dense" else tinygp.kernels.quasisep
        x = np.sort(np.random.default_rng(0).uniform(0, 9, 60)).astype("float32")

        def loss(p: Any, x: Any, y: Any) -> Any:
            kernel = jax.numpy.exp(p["scale"]) * kernels.Matern52(jax.numpy.exp(p["length"]))
            gp = tinygp.GaussianProcess(kernel, x, diag=jax.numpy.exp(p["noise"]))
            return -gp.log_probability(y)

        p = {"scale": np.float32(0.1), "length": np.float32(0.3), "noise": np.float32(-1.0)}
        return Case("tinygp", loss, (p, x, np.sin(x)), tolerance=1e-3)

    return make


def _diffrax(solver: str) -> Callable[[], Case]:
    def make() -> Case:
        dfx = import_module("diffrax")

        def loss(y: Any, rates: Any) -> Any:
            term = dfx.ODETerm(lambda t, y, rates: -rates * y + jax.numpy.sin(t))
            steps = dfx.PIDController(rtol=1e-4, atol=1e-6)
            end = dfx.diffeqsolve(term, getattr(dfx, solver)(), 0.0, 3.0, 0.1, y, rates,
                                  stepsize_controller=steps, max_steps=256).ys  # fmt: skip
            return (end**2).sum()

        return Case("diffrax", loss, (np.ones(4, "float32"), np.arange(1, 5, dtype="float32")),
                    tolerance=1e-3)  # fmt: skip

    return make


def _numpyro(name: str) -> Callable[[], Case]:
    def make() -> Case:
        numpyro = import_module("numpyro")
        dist, sample = numpyro.distributions, numpyro.sample
        y = normal(8, seed=3)

        def schools() -> None:
            mu, tau = sample("mu", dist.Normal(0, 5)), sample("tau", dist.HalfCauchy(5))
            with numpyro.plate("j", 8):
                theta = sample("theta", dist.Normal(mu, tau))
                sample("y", dist.Normal(theta, 1.5), obs=y)

        def logistic() -> None:
            w = sample("w", dist.Normal(0, 1).expand([5]).to_event(1))
            logits = normal(100, 5) @ w + sample("b", dist.Normal(0, 1))
            sample("y", dist.Bernoulli(logits=logits), obs=(normal(100, seed=1) > 0).astype(int))

        def mixture() -> None:
            weights = sample("weights", dist.Dirichlet(np.ones(3)))
            means = sample("means", dist.Normal(0, 3).expand([3]).to_event(1))
            factor = sample("factor", dist.LKJCholesky(3, 2.0))
            parts = dist.Normal(means, 0.7)
            sample("x", dist.MixtureSameFamily(dist.Categorical(weights), parts), obs=normal(40))
            sample("z", dist.MultivariateNormal(0, scale_tril=factor), obs=normal(20, 3, seed=2))

        models = {"schools": schools, "logistic": logistic, "mixture": mixture}
        info = numpyro.infer.util.initialize_model(jax.random.key(0), models[name])
        return Case("numpyro", info.potential_fn, (info.param_info.z,), tolerance=1e-3)

    return make


def _optimistix(name: str) -> Callable[[], Case]:
    def make() -> Case:
        optx = import_module("optimistix")
        solvers: Any = {
            "bfgs": (optx.minimise, optx.BFGS, lambda y, a: ((y - a) ** 4).sum() + (y**2).sum()),
            "lm": (optx.least_squares, optx.LevenbergMarquardt,
                   lambda y, a: jax.numpy.concatenate([10 * (y[1:] - y[:-1] ** 2), a - y])),
            "newton": (optx.root_find, optx.Newton, lambda y, a: y**3 + y - a),
        }  # fmt: skip
        solve, solver, f = solvers[name]

        def loss(a: Any) -> Any:
            start = jax.numpy.full(4, 0.5)
            return (solve(f, solver(1e-5, 1e-6), start, a, max_steps=200).value ** 2).sum()

        return Case("optimistix", loss, (np.linspace(0.5, 1.5, 4, dtype="float32"),),
                    tolerance=2e-3)  # fmt: skip

    return make


def _lineax() -> Case:
    lx = import_module("lineax")

    def loss(a: Any, b: Any, c: Any) -> Any:
        x = lx.linear_solve(lx.MatrixLinearOperator(a), b, lx.LU()).value
        fit = lx.linear_solve(lx.MatrixLinearOperator(a[:, :3]), b, lx.QR()).value
        spd = lx.MatrixLinearOperator(a @ a.T + jax.numpy.eye(6), lx.positive_semidefinite_tag)
        z = lx.linear_solve(spd, c, lx.CG(1e-6, 1e-6)).value
        return (x**2).sum() + (fit**2).sum() + (z * c).sum()

    matrix = np.eye(6, dtype="float32") * 3 + normal(6, 6) * 0.5
    return Case("lineax", loss, (matrix, normal(6), normal(6, seed=1)), tolerance=1e-3)


def _jaxopt() -> Case:
    jaxopt = import_module("jaxopt")

    def loss(w: Any, x: Any, y: Any) -> Any:
        return jax.numpy.logaddexp(0, -y * (x @ w)).mean() + 0.01 * (w**2).sum()

    def fit(w: Any, x: Any, y: Any) -> Any:
        return jaxopt.LBFGS(loss, maxiter=15, implicit_diff=False).run(w, x, y).params

    args = np.zeros(5, "float32"), normal(80, 5), np.sign(normal(80, seed=1))
    return Case("jaxopt", fit, args, smooth=False, tolerance=1e-3)


def _blackjax(name: str) -> Callable[[], Case]:
    def make() -> Case:
        blackjax = import_module("blackjax")

        def density(q: Any) -> Any:
            return -0.5 * (q["a"] ** 2).sum() - ((q["b"] - q["a"].sum()) ** 2).sum()

        options = {
            "hmc": (0.1, np.ones(7, "float32"), 8),
            "nuts": (0.1, np.ones(7, "float32")),
            "mala": (0.1,),
        }[name]
        kernel = getattr(blackjax, name)(density, *options)
        state = kernel.init({"a": normal(4), "b": normal(3, seed=1)})
        args = (jax.random.key(1), state)
        return Case("blackjax", kernel.step, args, smooth=False, tolerance=1e-3)

    return make


def _jax_md(name: str) -> Callable[[], Case]:
    def make() -> Case:
        jax_md = import_module("jax_md")
        displacement, shift = jax_md.space.periodic(4.0)
        energy = jax_md.energy.soft_sphere_pair(displacement, sigma=1.2)
        grid = np.stack(np.meshgrid(*[np.arange(4.0)] * 2), -1).reshape(-1, 2)
        r = (grid + 0.1 * normal(16, 2)).astype("float32")
        if name == "energy":
            return Case("jax_md", energy, (r,))
        if name == "nvt":
            start, step = jax_md.simulate.nvt_nose_hoover(energy, shift, 5e-3, 0.5)
            state = start(jax.random.key(0), r)
            return Case("jax_md", step, (state,), smooth=False, tolerance=1e-3)
        start, descend = jax_md.minimize.fire_descent(energy, shift)

        def minimize(r: Any) -> Any:
            state = jax.lax.fori_loop(0, 20, lambda _, s: descend(s), start(r))
            return state.position

        return Case("jax_md", minimize, (r,), smooth=False, tolerance=1e-3)

    return make


def _brax() -> Case:
    envs = import_module("brax.envs")
    env = envs.get_environment("inverted_pendulum", backend="positional")
    state = jax.jit(env.reset)(jax.random.key(0))
    args = (state, np.full(env.action_size, 0.3, "float32"))
    return Case("brax", env.step, args, smooth=False, tolerance=1e-3)


def _haiku() -> Case:
    hk = import_module("haiku")

    def network(x: Any) -> Any:
        core = hk.LSTM(16)
        states, _ = hk.dynamic_unroll(core, x, core.initial_state(x.shape[1]))
        return hk.nets.MLP([32, 3])(hk.LayerNorm(-1, True, True)(states))

    net = hk.without_apply_rng(hk.transform(network))
    x = normal(10, 8, 4)
    params = net.init(jax.random.key(0), x)
    return Case("haiku", lambda params, x: (net.apply(params, x) ** 2).mean(), (params, x))


def _e3nn() -> Case:
    e3nn = import_module("e3nn_jax")

    def loss(w: Any, r: Any) -> Any:
        harmonics = e3nn.spherical_harmonics("0e + 1o + 2e", r, normalize=True)
        product = e3nn.tensor_product(harmonics, harmonics)
        return jax.numpy.tanh(product.array @ w).mean()

    size = e3nn.tensor_product(*[e3nn.Irreps("0e + 1o + 2e")] * 2).dim
    return Case("e3nn_jax", loss, (normal(size, 4) * 0.1, normal(20, 3)))


def _jraph() -> Case:
    jraph = import_module("jraph")
    random = np.random.default_rng(0)
    graph = jraph.GraphsTuple(
        nodes=normal(12, 6), edges=normal(30, 4), senders=random.integers(0, 12, 30),
        receivers=random.integers(0, 12, 30), globals=normal(2, 3), n_node=np.array([5, 7]),
        n_edge=np.array([12, 18]),
    )  # fmt: skip
    w = {"edge": normal(4 + 6 + 6 + 3, 8) * 0.3, "node": normal(6 + 8 + 8 + 3, 5) * 0.3}

    def loss(w: Any, graph: Any) -> Any:
        def update_edge(*parts: Any) -> Any:
            return jax.nn.relu(jax.numpy.concatenate(parts, -1) @ w["edge"])

        def update_node(*parts: Any) -> Any:
            return jax.numpy.tanh(jax.numpy.concatenate(parts, -1) @ w["node"])

        return (jraph.GraphNetwork(update_edge, update_node)(graph).nodes ** 2).mean()

    return Case("jraph", loss, (w, graph))


def _ott() -> Case:
    pointcloud = import_module("ott.geometry.pointcloud")
    linear = import_module("ott.solvers.linear")

    def loss(x: Any, y: Any) -> Any:
        return linear.solve(pointcloud.PointCloud(x, y, epsilon=0.2)).reg_ot_cost

    return Case("ott", loss, (normal(20, 2), normal(24, 2, seed=1) + 1), tolerance=2e-3)


def _evosax() -> Case:
    algorithms = import_module("evosax.algorithms")
    strategy = algorithms.CMA_ES(population_size=16, solution=np.zeros(5, "float32"))
    options = strategy.default_params
    state = strategy.init(jax.random.key(0), np.zeros(5, "float32"), options)

    def generation(key: Any, state: Any) -> Any:
        first, second = jax.random.split(key)
        population, state = strategy.ask(first, state, options)
        fitness = ((population - 1.0) ** 2).sum(-1)
        state, _ = strategy.tell(second, population, fitness, state, options)
        return state.mean, state.std, fitness.min()

    return Case("evosax", generation, (jax.random.key(1), state), smooth=False, tolerance=1e-3)


def _penzai() -> Case:
    mlp = import_module("penzai.models.simple_mlp")
    pz = import_module("penzai.pz")
    model = mlp.MLP.from_config(
        name="mlp", init_base_rng=jax.random.key(0), feature_sizes=[8, 16, 3]
    )
    model, variables = pz.unbind_params(model, freeze=True)

    def loss(variables: Any, x: Any) -> Any:
        y = pz.bind_variables(model, variables)(pz.nx.wrap(x).tag("batch", "features"))
        return (y.unwrap("batch", "features") ** 2).mean()

    return Case("penzai", loss, (variables, normal(16, 8)))


def _dynamiqs() -> Case:
    dq = import_module("dynamiqs")
    a = dq.destroy(6)
    dq.set_progress_meter(False)

    def loss(rate: Any, times: Any) -> Any:
        hamiltonian = rate * (dq.dag(a) @ a) + 0.4 * (a + dq.dag(a))
        result = dq.mesolve(hamiltonian, [0.3 * a], dq.basis(6, 0), times, exp_ops=[dq.dag(a) @ a])
        return result.expects.real.sum()

    times = np.linspace(0, 1, 5, dtype="float32")
    return Case("dynamiqs", loss, (np.float32(1.0), times), tolerance=1e-3)


def _jaxlie() -> Case:
    jaxlie = import_module("jaxlie")

    def loss(tangents: Any, points: Any) -> Any:
        poses = jax.vmap(jaxlie.SE3.exp)(tangents)
        images = jax.vmap(lambda pose, point: pose @ point)(poses, points)
        apart = jax.vmap(lambda p, q: (p.inverse() @ q).log())(
            poses, jax.vmap(jaxlie.SE3.exp)(0.5 * tangents)
        )
        return (images**2).sum() + (apart**2).sum()

    return Case("jaxlie", loss, (normal(10, 6) * 0.5, normal(10, 3, seed=1)), tolerance=1e-3)


def _gpjax() -> Case:
    gpx = import_module("gpjax")
    nnx = import_module("flax.nnx")
    x = np.linspace(0, 3, 40, dtype="float32")[:, None]
    data = gpx.Dataset(X=jax.numpy.asarray(x), y=jax.numpy.asarray(np.sin(x)))
    prior = gpx.gps.Prior(kernel=gpx.kernels.RBF(), mean_function=gpx.mean_functions.Constant())
    posterior = prior * gpx.likelihoods.Gaussian()
    definition, state = nnx.split(posterior)

    def loss(state: Any) -> Any:
        return -gpx.objectives.conjugate_mll(nnx.merge(definition, state), data)

    return Case("gpjax", loss, (state,), tolerance=2e-3)


def _mctx() -> Case:
    mctx = import_module("mctx")

    def recurrent(params: Any, key: Any, action: Any, embedding: Any) -> Any:
        embedding = jax.numpy.tanh(embedding @ params["w"] + params["actions"][action])
        output = mctx.RecurrentFnOutput(
            reward=embedding.mean(-1), discount=jax.numpy.full(embedding.shape[0], 0.9),
            prior_logits=embedding[:, :4], value=embedding.sum(-1),
        )  # fmt: skip
        return output, embedding

    def search(params: Any, key: Any, x: Any) -> Any:
        root = mctx.RootFnOutput(prior_logits=x[:, :4], value=x.sum(-1), embedding=x)
        policy = mctx.gumbel_muzero_policy(params, key, root, recurrent, num_simulations=8)
        return policy.action, policy.action_weights

    params = {"w": normal(6, 6) * 0.4, "actions": normal(4, 6, seed=1)}
    args = (params, jax.random.key(0), normal(3, 6, seed=2))
    return Case("mctx", search, args, smooth=False, tolerance=1e-3)


PACKAGES: Final[dict[str, Callable[[], Case]]] = {
    "flax step": _flax_step,
    "nnx transformer": _nnx_transformer,
    "equinox module": _equinox_module,
    "equinox batch norm": _equinox_batch_norm,
    "tinygp": _tinygp("dense"),
    "tinygp quasisep": _tinygp("quasisep"),
    "diffrax Tsit5": _diffrax("Tsit5"),
    "diffrax Kvaerno5": _diffrax("Kvaerno5"),
    "numpyro schools": _numpyro("schools"),
    "numpyro logistic": _numpyro("logistic"),
    "numpyro mixture": _numpyro("mixture"),
    "optimistix BFGS": _optimistix("bfgs"),
    "optimistix LM": _optimistix("lm"),
    "optimistix Newton": _optimistix("newton"),
    "lineax": _lineax,
    "jaxopt LBFGS": _jaxopt,
    "blackjax hmc": _blackjax("hmc"),
    "blackjax nuts": _blackjax("nuts"),
    "blackjax mala": _blackjax("mala"),
    "jax_md energy": _jax_md("energy"),
    "jax_md nvt": _jax_md("nvt"),
    "jax_md fire": _jax_md("fire"),
    "brax": _brax,
    "haiku": _haiku,
    "e3nn": _e3nn,
    "jraph": _jraph,
    "ott": _ott,
    "evosax": _evosax,
    "penzai": _penzai,
    "dynamiqs": _dynamiqs,
    "jaxlie": _jaxlie,
    "gpjax": _gpjax,
    "mctx": _mctx,
}

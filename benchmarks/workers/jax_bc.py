"""JAX: one jitted function for loss, gradient and Adam, fed from NumPy as a training loop feeds it.

The data are normalised once, before the first step; a batch is drawn from a permutation, gathered, handed
over.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from worker import serve, spec, versions

ASK = spec()
ACTIVATION = {"relu": jax.nn.relu, "tanh": jnp.tanh}[ASK["activation"]]
LOW, HIGH = ASK["log_std"]
B1, B2, EPS = 0.9, 0.999, 1e-8


def start(sizes: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    params = [(rng.normal(0, (2 / i) ** 0.5, (i, o)), np.zeros(o)) for i, o in pairwise(sizes)]
    params[-1][0][:] *= 0.01  # wild spreads at first would make the second moments enormous
    return [(w.astype(np.float32), b.astype(np.float32)) for w, b in params]


def loss(params, obs, action):
    x = obs
    for w, b in params[:-1]:
        x = ACTIVATION(x @ w + b)
    mean, raw = jnp.split(x @ params[-1][0] + params[-1][1], 2, axis=-1)
    log_std = LOW + 0.5 * (HIGH - LOW) * (jnp.tanh(raw) + 1)
    nll = 0.5 * jnp.square((action - mean) * jnp.exp(-log_std)) + log_std + 0.5 * jnp.log(2 * jnp.pi)
    return nll.sum(-1).mean()


@partial(jax.jit, donate_argnums=(0, 1, 2))
def update(params, first, second, count, obs, action):
    value, grad = jax.value_and_grad(loss)(params, obs, action)
    count = count + 1
    first = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, first, grad)
    second = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g * g, second, grad)
    c1, c2 = 1 - B1**count, 1 - B2**count

    def adam(p, m, v):
        return p - ASK["lr"] * (m / c1) / (jnp.sqrt(v / c2) + EPS)

    return jax.tree.map(adam, params, first, second), first, second, count, value


def main() -> None:
    with np.load(ASK["data"]) as file:
        obs, action = file["obs"][file["acted"]], file["action"]
    obs = (obs - obs.mean(0)) / obs.std(0)
    action = (action - action.mean(0)) / action.std(0)
    params = jax.tree.map(jnp.asarray, start([obs.shape[1], *ASK["hidden"], 2 * action.shape[1]]))
    state = [
        params,
        jax.tree.map(jnp.zeros_like, params),
        jax.tree.map(jnp.zeros_like, params),
        jnp.float32(0),
    ]
    rng, batch = np.random.default_rng(0), ASK["batch"]
    order, at = rng.permutation(len(action)), 0

    def run(steps: int) -> float:
        nonlocal order, at
        value = None
        for _ in range(steps):
            if at + batch > len(order):
                order, at = rng.permutation(len(order)), 0
            rows = order[at : at + batch]
            at += batch
            *state[:], value = update(*state, obs[rows], action[rows])
        return float(value)

    serve(
        {"step": run},
        versions("jax", "jaxlib", "numpy"),
        parameters=sum(x.size for x in jax.tree.leaves(params)),
    )


main()

"""A graph network: nodes of two communities, told apart from noisy features and their edges.

Run me: python examples/17_graph_network.py
"""

import numpy as np
import scipy.sparse as sp

import staticgrad as sg

NODES, FEATURES, STEPS = 2000, 16, 60


def communities(rng):
    """Edges, mostly inside of a community, features that are mostly noise, and labels."""
    labels = rng.integers(0, 2, NODES)
    ends = rng.integers(0, NODES, (2, 40 * NODES))
    likely = np.where(labels[ends[0]] == labels[ends[1]], 0.25, 0.05)
    rows, columns = ends[:, rng.random(ends.shape[1]) < likely]
    edges = sp.coo_array((np.ones(len(rows)), (rows, columns)), shape=(NODES, NODES))
    features = rng.normal(size=(NODES, FEATURES)) + 0.1 * labels[:, None]
    return (edges + edges.T).tocsr(), features.astype("float32"), labels


class Network(sg.nn.Module):
    """Two layers over the nodes."""

    def __init__(self):
        self.first = sg.nn.GraphConv(FEATURES, 32, seed=1)
        self.second = sg.nn.GraphConv(32, 2, seed=2)

    def forward(self, x, edges):
        return self.second(sg.nn.relu(self.first(x, edges)), edges)


edges, features, labels = communities(np.random.default_rng(0))
edges = sg.sparse.normalized_adjacency(edges).astype("float32")
model, optimizer = Network(), sg.optim.Adam(0.01)


@sg.function
def step(features, labels):
    scores = model(features, edges)
    loss = sg.nn.cross_entropy(scores[:200], labels[:200])
    optimizer.minimize(loss)
    right = (sg.argmax(scores, 1) == labels)[200:]
    return loss, right.mean()


for number in range(STEPS):
    loss, accuracy = step(features, labels)
    if number % 20 == 0 or number == STEPS - 1:
        print(f"step {number:2}: loss {loss:.3f}, accuracy of the other nodes {accuracy:.3f}")
assert accuracy > 0.75

import itertools

import networkx as nx
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from leanline.report.graph_layout import assign_lanes, break_columns, longest_path_layers


@st.composite
def directed_acyclic_graphs(draw):
    count = draw(st.integers(1, 12))
    pairs = list(itertools.combinations(range(count), 2))
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    names = draw(st.permutations(range(count)))  # an order that is not that of the numbers
    return [(names[a], names[b]) for a, b in chosen], np.array(names)


@given(directed_acyclic_graphs())
def test_layers_are_lengths_of_longest_paths(graph):
    edges, order = graph
    src, dst = (np.array([edge[side] for edge in edges], dtype=np.int64) for side in (0, 1))
    layers = longest_path_layers(order, src, dst)
    oracle = nx.DiGraph(edges)
    oracle.add_nodes_from(order.tolist())
    for node in oracle.nodes:
        before = nx.ancestors(oracle, node) | {node}
        longest = nx.dag_longest_path_length(oracle.subgraph(before))
        if longest or not oracle.out_degree(node):
            assert layers[node] == longest
        else:  # a source stands right before the first node that reads it
            assert layers[node] == min(layers[reader] for reader in oracle.successors(node)) - 1
    assert all(layers[a] < layers[b] for a, b in edges)


spans = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 8)).map(lambda pair: (pair[0], sum(pair)))
)


@given(spans)
def test_lines_side_by_side_have_different_lanes_and_nested_ones_are_inside(lines):
    lanes = assign_lanes(lines)
    for (one, lane), (other, beside) in itertools.combinations(zip(lines, lanes, strict=True), 2):
        if max(one[0], other[0]) < min(one[1], other[1]):
            assert lane != beside
            if one[0] <= other[0] and other[1] <= one[1] and one != other:
                assert lane > beside
    if lines:
        assert set(lanes) <= set(range(len(lines)))


def test_lines_that_touch_share_a_lane():
    assert assign_lanes([(0, 2), (2, 4), (4, 9)]) == [0, 0, 0]


def test_long_lists_are_broken_into_columns_and_short_ones_are_not():
    assert break_columns(10, 0.5, 3.0) == 1
    assert break_columns(100, 0.5, 3.0) > 2
    for rows in range(1, 400):
        columns = break_columns(rows, 0.5, 3.0)
        assert columns == 1 or rows / columns >= 12

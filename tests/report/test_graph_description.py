import json

import numpy as np
import pytest
import torch
from torch import nn

from leanline.errors import ConfigError
from leanline.masks import apply_masks
from leanline.models import MSD, UNet4
from leanline.pruning import Lean, select
from leanline.pruning.select import choose
from leanline.report.graph_description import describe_graph, keep_chains


def picture(size=16):
    return torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(0))


def largest_scaling(kernel, dilation, size):
    """The largest singular value of a convolution on a periodic picture, as a matrix."""
    matrix = torch.zeros(size, size, size, size, dtype=torch.float64)
    for i in range(size):
        for j in range(size):
            for a in range(3):
                for b in range(3):
                    row, column = (i + dilation * (a - 1)) % size, (j + dilation * (b - 1)) % size
                    matrix[i, j, row, column] += kernel[a, b].item()
    return torch.linalg.matrix_norm(matrix.reshape(size**2, size**2), 2).item()


def test_counts_and_norms_of_an_msd_network():
    network = MSD(3, 1, 2, dilations=[1, 2]).eval()
    graph, found = describe_graph(network, picture(8))
    assert (found.network, found.shape) == ("MSD", (1, 1, 8, 8))
    assert (found.nodes, found.edges) == (graph.num_nodes, graph.num_edges)
    assert (found.filters, found.kept) == (6, 6)
    assert found.unprunable == ("final.weight",)
    assert found.frozen == ()
    rows = {row.module: row for row in found.operations if row.weight}
    assert [rows[f"convs.{i}"].filters for i in range(3)] == [1, 2, 3]
    assert rows["convs.1"].detail == "convolution 3x3, dilation 2"
    assert not rows["final"].prunable
    assert (rows["final"].filters, rows["final"].channels) == (8, 2)
    for i, dilation in enumerate([1, 2, 1]):
        kernels = network.convs[i].weight.detach()[0]
        expected = [largest_scaling(kernel, dilation, 8) for kernel in kernels]
        norms = rows[f"convs.{i}"].norms
        assert norms.least == pytest.approx(min(expected), rel=1e-5)
        assert norms.median == pytest.approx(np.median(expected), rel=1e-5)
        assert norms.largest == pytest.approx(max(expected), rel=1e-5)


def test_operations_are_those_of_the_network_in_their_order():
    _, found = describe_graph(UNet4(1, 2, width=1).eval(), picture(32))
    details = [row.detail for row in found.operations]
    assert details.count("convolution 3x3") == 18
    assert details.count("transposed convolution 2x2, stride 2") == 4
    assert details.count("batch norm") == 18
    assert details.count("avg pool2d") == 4
    assert details.count("concat") == 4
    for row in found.operations:
        assert all(source < row.index for source in row.inputs)
    pooled = next(row for row in found.operations if row.detail == "avg pool2d")
    assert (pooled.size, pooled.norms.largest) == ((16, 16), pytest.approx(0.5))


def test_masks_ignored_layers_and_json():
    network, x = MSD(4, 1, 2).eval(), picture()
    masks = select(network, x, keep=0.4)
    apply_masks(network, masks)
    _, found = describe_graph(network, x, ignore=("convs.0",), name="mine")
    assert found.network == "mine"
    assert set(found.unprunable) == {"convs.0.weight", "final.weight"}
    left = {name: int(mask.sum()) for name, mask in masks.items() if name != "convs.0.weight"}
    assert found.kept == sum(left.values())
    assert {row.weight: row.kept for row in found.operations if row.prunable} == left
    back = json.loads(json.dumps(found.to_dict()))
    assert back["kept"] == found.kept
    assert len(back["operations"]) == len(found.operations)
    assert "of them kept" in found.counts


def test_frozen_operations_are_named():
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 1, 3)

        def forward(self, x):
            return self.last(torch.fft.rfft2(self.first(x)).real)

    graph, found = describe_graph(Sorted().eval(), picture())
    assert found.frozen == tuple(str(item) for item in graph.report.frozen)
    assert found.frozen
    assert any(row.frozen and row.detail.startswith("unknown") for row in found.operations)


def test_chains_that_would_be_kept_are_counted_by_layer():
    graph, found = describe_graph(MSD(6, 1, 2, width=2).eval(), picture())
    kept, after = keep_chains(graph, found, 0.3)
    chosen = graph.flags(choose(graph, 0.3, Lean()))
    own = graph.edge_filter >= 0
    assert np.array_equal(kept[own], chosen[graph.edge_filter[own]])
    assert kept[~own].all()
    assert after.kept == round(0.3 * found.filters)
    assert sum(row.kept for row in after.operations if row.prunable) == after.kept
    assert (found.kept, after.filters) == (found.filters, found.filters)
    with pytest.raises(ConfigError, match="keep is 0"):
        keep_chains(graph, found, 0.0)

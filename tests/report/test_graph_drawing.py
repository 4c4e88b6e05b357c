import itertools
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from leanline.errors import ConfigError, RunError
from leanline.models import MSD, FCNResNet50, UNet4
from leanline.report import graph_drawing
from leanline.report.channel_layout import can_draw_channels, channel_drawing_data
from leanline.report.graph_description import describe_graph, keep_chains
from leanline.report.operation_column import BOX_HEIGHT
from leanline.report.operation_layout import group_operations, operation_drawing_data


class Branches(nn.Module):
    """Three ways from one layer, of different lengths, one of them from the very beginning."""

    def __init__(self):
        super().__init__()
        self.stem, self.short = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.middle = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
        self.long = nn.Sequential(*[nn.Conv2d(4, 4, 3, padding=1) for _ in range(4)])
        self.last = nn.Conv2d(13, 2, 1)

    def forward(self, x):
        y = self.stem(x)
        return self.last(torch.cat((x, self.short(y), self.middle(y), self.long(y)), 1))


class Residual(nn.Module):
    """Two resolutions side by side, each with a residual connection, as in an HRNet."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 3, padding=1)
        self.fine = nn.ModuleList([nn.Conv2d(2, 2, 3, padding=1) for _ in range(3)])
        self.down = nn.Conv2d(2, 2, 3, stride=4, padding=1)
        self.coarse = nn.ModuleList([nn.Conv2d(2, 2, 3, padding=1) for _ in range(3)])
        self.last = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        x = self.stem(x)
        y = self.down(x)
        for fine, coarse in zip(self.fine, self.coarse, strict=True):
            x, y = x + fine(x).relu(), y + coarse(y).relu()
        y = nn.functional.interpolate(y, scale_factor=4, mode="nearest")
        return self.last(torch.cat((x, y.relu()), 1))


NETWORKS = {
    "msd": lambda: MSD(20, 1, 2),
    "unet4": lambda: UNet4(1, 2, width=2),
    "fcn-resnet50": lambda: FCNResNet50(1, 2, width=1),
    "branches": Branches,
    "residual": Residual,
}


@pytest.fixture(scope="module", params=NETWORKS)
def described(request):
    network = NETWORKS[request.param]().eval()
    return describe_graph(network, torch.zeros(1, 1, 32, 32))


def runs_through(box, begin, end):
    """Whether a line along an axis has points inside a box, not only on its edge."""
    left, right = sorted((begin[0], end[0]))
    low, high = sorted((begin[1], end[1]))
    half = BOX_HEIGHT / 2 - 1e-9
    return (
        left < box.left + box.width - 1e-9
        and right > box.left + 1e-9
        and low < box.middle + half
        and high > box.middle - half
    )


def test_channels_of_an_msd_network_stand_by_layer_with_all_their_edges():
    graph, found = describe_graph(MSD(4, 1, 2, width=2).eval(), torch.zeros(1, 1, 16, 16))
    data = channel_drawing_data(graph, found)
    layer = np.searchsorted(np.unique(data.x), data.x)
    assert np.bincount(layer).tolist() == [1, 2, 2, 2, 2, 2]
    assert np.array_equal(np.flatnonzero(data.inputs), np.flatnonzero(layer == 0))
    assert np.array_equal(np.flatnonzero(data.outputs), np.flatnonzero(layer == 5))
    edges = {(int(a), int(b)) for a, b in zip(data.src, data.dst, strict=True)}
    every = {(a, b) for a in range(layer.size) for b in range(layer.size) if layer[a] < layer[b]}
    assert edges == every  # each layer reads all before it
    assert np.array_equal(data.prunable, layer[data.dst] < 5)  # but the final one is not pruned
    assert [name for _, name in data.labels] == [
        "input", "convs.0", "convs.1", "convs.2", "convs.3", "output",
    ]  # fmt: skip
    near = layer[data.dst] - layer[data.src] == 1
    assert np.array_equal(data.bend == 0, near)
    filters = np.sort(data.norm[data.prunable])
    rows = [row.norms for row in found.operations if row.prunable]
    assert filters[0] == pytest.approx(min(norms.least for norms in rows), rel=1e-6)
    assert filters[-1] == pytest.approx(max(norms.largest for norms in rows), rel=1e-6)


def test_channels_stand_apart_and_curves_clear_the_layers_between(described):
    graph, found = described
    data = channel_drawing_data(graph, found)
    places = set(zip(data.x.round(6), data.y.round(6), strict=True))
    assert len(places) == graph.num_nodes
    assert data.x.min() >= 0.1 and data.x.max() <= data.width - 0.5
    assert data.y.min() >= data.floor - 1e-6 and data.y.max() <= data.height - 0.5
    peak = 0.5 * (data.y[data.src] + data.y[data.dst]) + data.bend
    for edge in np.flatnonzero(data.bend > 0):
        between = (data.x > data.x[data.src[edge]]) & (data.x < data.x[data.dst[edge]])
        assert peak[edge] > data.y[between].max()
    assert peak.max(initial=0) <= data.height - 0.5
    assert peak.min(initial=data.floor) >= data.floor - 1e-6


def test_pruned_edges_are_left_out_and_others_fade():
    network = MSD(5, 1, 2).eval()
    with torch.no_grad():
        network.convs[2].weight[0, 1] = 0
    graph, found = describe_graph(network, torch.zeros(1, 1, 16, 16))
    kept, after = keep_chains(graph, found, 0.4)
    data = channel_drawing_data(graph, after, kept)
    assert data.prunable.sum() == 14  # of 15
    assert (data.chosen & data.prunable).sum() == 6
    assert data.chosen[~data.prunable].all()


def test_every_operation_and_what_it_reads_is_drawn(described):
    _, found = described
    groups = group_operations(found.operations)
    members = [row.index for group in groups for row in group.rows]
    assert sorted(members) == [row.index for row in found.operations]
    data = operation_drawing_data(found)
    own = [box for box in data.boxes if box.look != "elsewhere"]
    assert len(own) == len(groups)
    assert len(data.arrows) == sum(len(group.reads) for group in groups)
    filters = sum(row.filters for row in found.operations)
    named = [int(box.operators.split()[0].replace(",", "")) for box in own if box.operators]
    assert sum(named) == filters


def test_boxes_do_not_overlap_and_no_line_runs_through_one(described):
    data = operation_drawing_data(described[1])
    for one, other in itertools.combinations(data.boxes, 2):
        beside = one.left >= other.left + other.width or other.left >= one.left + one.width
        assert beside or abs(one.middle - other.middle) >= BOX_HEIGHT + 0.1
    for box in data.boxes:
        assert box.left > 0 and box.left + box.width < data.width
        assert BOX_HEIGHT / 2 < box.middle < data.height - 0.7
    for line in data.arrows:
        for begin, end in itertools.pairwise(line):
            assert begin[0] == end[0] or begin[1] == end[1]  # along the axes
            assert not any(runs_through(box, begin, end) for box in data.boxes)
            assert 0 < begin[0] < data.width and 0 < end[0] < data.width


def test_the_words_fit_into_their_boxes(described):
    data = operation_drawing_data(described[1])
    figure = Figure(figsize=(data.width, data.height), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    graph_drawing.draw_operations(axes, data)
    renderer = FigureCanvasAgg(figure).get_renderer()
    words = [text.get_window_extent(renderer) for text in axes.texts if text.get_text()]
    for one, other in itertools.combinations(words, 2):
        assert not (
            min(one.x1, other.x1) - max(one.x0, other.x0) > 0.5
            and min(one.y1, other.y1) - max(one.y0, other.y0) > 2.5  # letters' own margins
        )


def test_a_network_that_is_too_large_is_not_drawn_by_channel(described):
    graph, _ = described
    small = graph.num_nodes <= 200 and graph.num_edges <= 1500
    assert can_draw_channels(graph) == small


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_files_are_whole_and_repeat(tmp_path, suffix):
    graph, found = describe_graph(MSD(3, 1, 2).eval(), torch.zeros(1, 1, 16, 16), name="a$b$<c>")
    for name, data in (
        ("channels", channel_drawing_data(graph, found)),
        ("operations", operation_drawing_data(found)),
    ):
        file, again = tmp_path / f"{name}{suffix}", tmp_path / f"{name}2{suffix}"
        graph_drawing.save_drawing(data, file)
        graph_drawing.save_drawing(data, again)
        assert file.read_bytes() == again.read_bytes()
        if suffix == ".png":
            with Image.open(file) as picture:
                assert picture.size == pytest.approx((150 * data.width, 150 * data.height), abs=2)
        elif suffix == ".svg":
            text = "".join(ElementTree.parse(file).getroot().itertext())
            assert "a$b$<c>" in text and "6 prunable filters" in text
        else:
            assert file.read_bytes().startswith(b"%PDF")


def test_files_that_cannot_be_written_are_explained(tmp_path):
    _, found = describe_graph(MSD(2, 1, 2).eval(), torch.zeros(1, 1, 16, 16))
    data = operation_drawing_data(found)
    with pytest.raises(ConfigError, match=r"\.svg, \.png, \.pdf"):
        graph_drawing.save_drawing(data, tmp_path / "graph.jpg")
    with pytest.raises(RunError, match="no folder"):
        graph_drawing.save_drawing(data, tmp_path / "no" / "graph.svg")

"""Tiles put together are the whole picture."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import leanline as ll
from leanline.errors import ConfigError, ModelError
from leanline.graph import trace_program
from leanline.inference import tiles
from leanline.inference.receptive_field import ReceptiveField, receptive_field


def field_of(network, channels=1):
    return receptive_field(trace_program(network.eval(), torch.zeros(1, channels, 64, 64)))


fields = st.builds(
    lambda before, after, steps: ReceptiveField(before, after, steps),
    *(st.tuples(st.integers(low, 20), st.integers(low, 20)) for low in (0, 0, 1)),
)


@given(fields, st.integers(1, 90), st.integers(1, 90), st.integers(1, 40))
def test_layout_covers_a_picture_once_with_enough_overlap(field, height, width, side):
    covered = np.zeros((height, width), int)
    for tile in tiles.layout((height, width), side, field):
        covered[tile.keep] += 1
        for axis, length in enumerate((height, width)):
            read, keep = tile.read[axis], tile.keep[axis]
            assert read.start % field.alignment[axis] == 0
            assert read.stop % field.alignment[axis] == 0 or read.stop == length
            assert read.start <= max(0, keep.start - field.before[axis])
            assert read.stop >= min(length, keep.stop + field.after[axis])
    assert (covered == 1).all()


def strided():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 5, padding=2, padding_mode="reflect"),
        nn.BatchNorm2d(4),
        nn.ConvTranspose2d(4, 3, 2, stride=2),
    )


NETWORKS = {
    "msd": lambda: ll.models.MSD(6, 1, 2),
    "msd reflect": lambda: ll.models.MSD(4, 1, 3, padding_mode="reflect"),
    "unet4": lambda: ll.models.UNet4(1, 2, width=2),
    "strided": strided,
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(128, 80)])
@pytest.mark.parametrize(("side", "batch"), [(32, 1), (64, 3)])
def test_stitched_equals_whole(name, size, side, batch):
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    picture = np.random.default_rng(0).normal(size=(*size, 1)).astype(np.float32)

    def run(parts):
        with torch.no_grad():
            return (
                network(torch.from_numpy(np.moveaxis(parts, -1, 1).copy()))
                .numpy()
                .transpose(0, 2, 3, 1)
            )

    field = field_of(network)
    whole = run(picture[None])[0]
    found = tiles.run_tiles(run, picture, tiles.layout(size, side, field), batch)
    assert np.abs(found - whole).max() <= 1e-5 * np.abs(whole).max()
    with torch.no_grad():
        tiles.check_field(network, 1, field)


@pytest.fixture(scope="module")
def small():
    """A network and its field."""
    network = ll.models.MSD(3, 1, 2).eval()
    return network, field_of(network)


@settings(max_examples=20)
@given(st.integers(8, 70), st.integers(8, 70), st.integers(5, 30))
def test_any_size_of_picture(small, height, width, side):
    network, field = small
    picture = np.random.default_rng(0).normal(size=(height, width, 1)).astype(np.float32)

    def run(parts):
        with torch.no_grad():
            return (
                network(torch.from_numpy(np.moveaxis(parts, -1, 1).copy()))
                .numpy()
                .transpose(0, 2, 3, 1)
            )

    layout = tiles.layout((height, width), side, field)
    whole = run(picture[None])[0]
    np.testing.assert_allclose(
        tiles.run_tiles(run, picture, layout, 2), whole, atol=1e-5 * np.abs(whole).max()
    )


@given(fields, st.integers(1, 10**6))
def test_largest_side_keeps_to_the_pixels(field, pixels):
    try:
        side = tiles.largest_side(pixels, field)
    except ModelError:
        return
    if field.alignment[0] == field.alignment[1]:
        layout = tiles.layout((3 * side + 100, 3 * side + 100), side, field)
        assert max(tile.size[0] * tile.size[1] for tile in layout) <= pixels


def test_a_field_that_is_too_small_is_found_out():
    network = ll.models.MSD(4, 1, 2).eval()
    with torch.no_grad(), pytest.raises(ModelError, match="cannot be cut"):
        tiles.check_field(network, 1, ReceptiveField((3, 3), (3, 3), (1, 1)))
    flipped = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), Flip())
    with torch.no_grad(), pytest.raises(ModelError, match="cannot be cut"):
        tiles.check_field(flipped, 1, ReceptiveField((1, 1), (1, 1), (1, 1)))


class Flip(nn.Module):
    def forward(self, x):
        return x.flip(3)


def test_errors():
    with pytest.raises(ConfigError, match="tile=0"):
        tiles.layout((8, 8), 0, ReceptiveField((1, 1), (1, 1), (1, 1)))
    with pytest.raises(ModelError, match=r"cannot be cut.*norm"):
        tiles.layout((8, 8), 4, ReceptiveField((1, 1), (1, 1), (1, 1), far="norm"))
    with pytest.raises(ModelError, match="an output pixel sees 200 x 200"):
        tiles.largest_side(10_000, ReceptiveField((100, 100), (100, 100), (1, 1)))

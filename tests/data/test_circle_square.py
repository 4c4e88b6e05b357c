import logging

import numpy as np
import pytest
import torch

from leanline.data import CircleSquare, ImagingDataset, make
from leanline.data.circle_square import BOX, OBJECTS, SIZE, _place, picture
from leanline.errors import ConfigError

FRACTIONS = [0.67700, 0.09375, 0.09375, 0.06775, 0.06775]


def shape_by_hand(kind):
    """Covered and lit pixels of a box, pixel by pixel."""
    covered, lit = np.zeros((BOX, BOX), bool), np.zeros((BOX, BOX), bool)
    for row in range(BOX):
        for column in range(BOX):
            y, x = -1 + 2 * row / (BOX - 1), -1 + 2 * column / (BOX - 1)
            in_disc = x * x + y * y < 1
            covered[row, column] = kind <= 2 or in_disc
            hole = (8 <= row < 24 and 8 <= column < 24) if kind == 2 else x * x + y * y < 0.25
            lit[row, column] = covered[row, column] and not (kind in (2, 4) and hole)
    return covered, lit


def test_class_fractions_are_those_of_the_recipe_in_every_picture():
    split = CircleSquare(train=30).split("train")
    for image, labels in (split[i] for i in range(30)):
        assert image.shape == (1, SIZE, SIZE) and image.dtype == torch.float32
        assert labels.shape == (SIZE, SIZE) and labels.dtype == torch.int64
        counts = torch.bincount(labels.flatten(), minlength=5) / SIZE**2
        np.testing.assert_allclose(counts, FRACTIONS, atol=5e-6)


def test_objects_cover_background_only_and_lie_inside():
    for seed in range(20):
        corners = _place(np.random.default_rng(seed))
        assert len(corners) == OBJECTS == 24
        taken = np.zeros((SIZE, SIZE), bool)
        for number, (row, column) in enumerate(corners):
            assert 0 <= row <= SIZE - BOX and 0 <= column <= SIZE - BOX
            box = taken[row : row + BOX, column : column + BOX]
            assert not box.any()  # the whole box, the disc's corners too
            box |= shape_by_hand(1 + number % 4)[0]


def test_corners_are_uniform_over_the_places_that_are_left():
    # The first corner is uniform over all places: four bins a side, chi squared with 15 degrees.
    corners = np.array([_place(np.random.default_rng(seed))[0] for seed in range(800)])
    bins = np.histogram2d(*corners.T, bins=4, range=[[0, 225], [0, 225]])[0]
    assert ((bins - 50) ** 2 / 50).sum() < 37.7  # p = 0.001
    # Later ones reach every place that rejection sampling reaches: compare the two distributions.
    generator = np.random.default_rng(0)

    def by_rejection():
        taken = np.zeros((SIZE, SIZE), bool)
        for number in range(OBJECTS):
            while True:
                row, column = generator.integers(SIZE - BOX + 1, size=2)
                if not taken[row : row + BOX, column : column + BOX].any():
                    break
            taken[row : row + BOX, column : column + BOX] |= shape_by_hand(1 + number % 4)[0]
        return row, column

    ours = np.array([_place(np.random.default_rng(seed))[-1] for seed in range(150)])
    theirs = np.array([by_rejection() for _ in range(150)])
    for axis in range(2):
        one, other = np.sort(ours[:, axis]), np.sort(theirs[:, axis])
        at = np.arange(225)
        gap = np.abs(np.searchsorted(one, at, "right") - np.searchsorted(other, at, "right")).max()
        assert gap / 150 < 1.95 * (2 / 150) ** 0.5  # Kolmogorov-Smirnov, p = 0.001


def test_noise_and_grey_values_are_those_of_the_recipe():
    images, labels = zip(*(picture(3, "test", i) for i in range(20)), strict=True)
    image, label = np.stack(images), np.stack(labels)
    background = image[label == 0]
    assert abs(background.mean()) < 0.005 and abs(background.std() - 1) < 0.005
    for kind, lit_fraction in ((1, 1.0), (2, 0.75), (3, 1.0), (4, 560 / 740)):
        lit = shape_by_hand(kind)[1].sum() / shape_by_hand(kind)[0].sum()
        assert lit == pytest.approx(lit_fraction, abs=0.03)
        # mean grey 0.6 over the lit part; 120 objects with a spread of 0.8 / sqrt(12)
        assert image[label == kind].mean() == pytest.approx(0.6 * lit, abs=0.09)


def test_grey_values_lie_between_0_2_and_1():
    means = []
    for index in range(10):
        image, labels = picture(0, "val", index)
        for row, column in _first_pixels(labels, 1):
            means.append(image[row : row + BOX, column : column + BOX].mean())
    assert len(means) > 20
    # a mean over 1024 pixels with noise of 1/32
    assert min(means) > 0.2 - 0.13 and max(means) < 1 + 0.13
    assert max(means) - min(means) > 0.5


def _first_pixels(labels, kind):
    """Corners of squares that stand clear of other squares."""
    for row in range(SIZE - BOX + 1):
        for column in range(SIZE - BOX + 1):
            above = row and labels[row - 1, column] == kind
            left = column and labels[row, column - 1] == kind
            if labels[row, column] == kind and not above and not left:
                yield row, column


def test_pictures_are_a_function_of_seed_split_and_index():
    one = CircleSquare(seed=7).split("train")
    again = CircleSquare(train=5, seed=7).split("train")
    for index in (4, 0, 4):
        assert torch.equal(one[index][0], again[index][0])
        assert torch.equal(one[index][1], again[index][1])
    assert torch.equal(one[-1][0], one[999][0])
    different = [
        one[0],
        one[1],
        CircleSquare(seed=7).split("val")[0],
        CircleSquare().split("train")[0],
    ]
    for i, (image, _) in enumerate(different):
        assert all(not torch.equal(image, other) for other, _ in different[:i])


def test_cached_pictures_are_the_same_and_damaged_ones_are_made_again(tmp_path, caplog):
    fresh = CircleSquare(train=3, seed=1).split("train")
    kept = CircleSquare(train=3, seed=1, cache=tmp_path, memory=0).split("train")
    for index in range(3):
        assert torch.equal(kept[index][0], fresh[index][0])
    files = sorted(tmp_path.rglob("*.npz"))
    assert len(files) == 3
    whole = files[0].read_bytes()
    broken = bytearray(whole)
    broken[5000] ^= 1
    for damage in (whole[:1000], b"", bytes(broken), b"not a zip file"):
        files[0].write_bytes(damage)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "leanline"):
            assert torch.equal(kept[0][0], fresh[0][0])
        assert "made again" in caplog.text
        assert torch.equal(kept[0][1], fresh[0][1])
    np.savez(files[0], image=np.zeros(3, np.float32), labels=np.zeros(3, np.uint8))
    assert torch.equal(kept[0][0], fresh[0][0])
    # another seed does not meet the files of the first
    other = CircleSquare(train=1, seed=2, cache=tmp_path).split("train")
    assert not torch.equal(other[0][0], fresh[0][0])


def test_pictures_stay_in_memory_up_to_the_limit():
    size = SIZE * SIZE * 5
    data = CircleSquare(train=4, memory=2 * size)
    fresh = CircleSquare(train=4, memory=0)
    for index in (0, 1, 1, 2, 3, 0):
        image, labels = data.split("train")[index]
        want = fresh.split("train")[index]
        assert torch.equal(image, want[0]) and torch.equal(labels, want[1])
        image.zero_()  # a caller's change stays with the caller
        assert torch.equal(data.split("train")[index][0], want[0])
    assert data._kept.used == 2 * size and fresh._kept.used == 0
    assert data != fresh and data == CircleSquare(train=4, memory=2 * size)


def test_lengths_and_bad_arguments():
    data = CircleSquare()
    assert isinstance(data, ImagingDataset)
    assert [len(data.split(s)) for s in ("train", "val", "test")] == [1000, 250, 100]
    assert (data.task, data.in_channels, data.out_channels) == ("segmentation", 1, 5)
    with pytest.raises(ConfigError, match="no split 'training'"):
        data.split("training")
    with pytest.raises(ConfigError, match="train=-1"):
        CircleSquare(train=-1)
    with pytest.raises(IndexError):
        data.split("test")[100]


def test_data_sets_by_name(tmp_path):
    assert make("circle-square", train="12", seed=3) == CircleSquare(train=12, seed=3)
    for name, settings, words in (
        ("circel-square", {}, "did you mean 'circle-square'"),
        ("cityscapes:x", {}, "there are circle-square, dynamic-ct"),
        ("circle-square", {"tain": 1}, "did you mean 'train'"),
        ("circle-square", {"train": "x"}, "must be a whole number"),
        ("folder", {}, "write folder:DIR"),
        ("folder:", {}, "write folder:DIR"),
        (f"folder:{tmp_path}", {"root": "x"}, "leave out root="),
    ):
        with pytest.raises(ConfigError, match=words):
            make(name, **settings)

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from leanline.data import Augmentation, CamVid, ImageFolder, make
from leanline.data.labels import median_frequency
from leanline.data.reduction import shrink, shrink_labels
from leanline.errors import ConfigError, DataError
from leanline.training.task import loss_for

SPLITS = ("train", "val", "test")


def numbered(height, width):
    """A picture and a target whose values say where a pixel was."""
    target = torch.arange(height * width).reshape(height, width)
    return torch.stack((target.float(), -target.float())), target


@given(
    height=st.integers(1, 9), width=st.integers(1, 9), flip=st.booleans(), data=st.data(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_a_part_of_the_picture_and_the_same_one_of_the_target(height, width, flip, data, seed):
    crop = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    image, target = numbered(height, width)
    small, labels = Augmentation(crop, flip).apply(image, target, np.random.default_rng(seed))
    assert labels.shape == crop and small.shape == (2, *crop)
    assert torch.equal(small[0], labels.float()) and torch.equal(small[1], -labels.float())
    if flip and crop[1] > 1 and labels[0, 0] > labels[0, 1]:
        labels = labels.flip(-1)
    top, left = divmod(int(labels[0, 0]), width)
    assert torch.equal(labels, target[top : top + crop[0], left : left + crop[1]])


def test_crops_reach_every_place_and_half_of_the_pictures_are_mirrored():
    image, target = numbered(4, 6)
    rng = np.random.default_rng(0)
    seen = np.zeros((3, 4, 2), int)
    for _ in range(2400):
        labels = Augmentation((2, 3), True).apply(image, target, rng)[1]
        mirrored = int(labels[0, 0] > labels[0, 1])
        top, left = divmod(int(labels[0].min()), 6)
        seen[top, left, mirrored] += 1
    # uniform over 24 outcomes: chi squared with 23 degrees of freedom, p = 0.001
    assert ((seen - 100) ** 2 / 100).sum() < 49.7


def test_flips_do_not_change_where_crops_are():
    image, target = numbered(5, 7)
    for seed in range(20):
        plain, mirrored = (
            Augmentation((3, 4), flip).apply(image, target, np.random.default_rng(seed))[1]
            for flip in (False, True)
        )
        assert torch.equal(plain, mirrored) or torch.equal(plain, mirrored.flip(-1))


def by_hand(pictures, classes, ignore):
    """Eigen & Fergus (2015), section 6.1, class by class."""
    frequency = {}
    for k in range(classes):
        there = [labels for labels in pictures if (labels == k).any()]
        if there:
            frequency[k] = sum(int((labels == k).sum()) for labels in there) / sum(
                labels.numel() for labels in there
            )
    middle = np.median(list(frequency.values()))
    return [middle / frequency[k] if k in frequency else 0.0 for k in range(classes)]


@given(st.integers(0, 200), st.sampled_from([None, 5, 255]))
def test_median_frequency_by_hand(seed, ignore):
    rng = np.random.default_rng(seed)
    values = [0, 1, 2, 3, *([] if ignore is None else [ignore])]
    pictures = [
        torch.from_numpy(rng.choice(values[rng.integers(2) :], (6, 5), p=None))
        for _ in range(rng.integers(1, 5))
    ]
    found = median_frequency(iter(pictures), 5, ignore)
    np.testing.assert_allclose(found, by_hand(pictures, 5, ignore), rtol=1e-12)


def test_weights_of_labels_without_a_class_are_refused():
    with pytest.raises(DataError, match="none of the 3 classes"):
        median_frequency([torch.full((2, 2), 9)], 3, 9)


@pytest.fixture
def folder(tmp_path):
    """Six pictures of 9 x 12 in colour, three classes of unequal frequency, 11 ignored."""
    rng = np.random.default_rng(0)
    for split in SPLITS:
        for part in ("images", "labels"):
            (tmp_path / split / part).mkdir(parents=True)
        for index in range(6):
            picture = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / split / "images" / f"{index}.png")
            labels = rng.choice([0, 1, 2, 11], (9, 12), p=[0.6, 0.25, 0.1, 0.05])
            labels = labels.astype(np.uint8)
            Image.fromarray(labels).save(tmp_path / split / "labels" / f"{index}.png")
    return tmp_path


def test_weights_reach_the_loss(folder):
    data = make(f"folder:{folder}", ignore="11", weights="median-frequency")
    labels = [data.split("train")[i][1] for i in range(6)]
    assert data.class_weights == pytest.approx(by_hand(labels, 3, 11))
    loss = loss_for(data)
    assert loss.weights == data.class_weights and loss.ignore == 11
    assert loss_for(ImageFolder(folder, ignore=11)).weights is None
    with pytest.raises(ConfigError, match="weights=x: must be none or 'median-frequency'"):
        make(f"folder:{folder}", weights="x")


def test_only_training_pictures_are_augmented(folder):
    data = ImageFolder(folder, ignore=11, crop=(4, 5), flip=True)
    assert data.split("train").augmentation == Augmentation((4, 5), True)
    assert data.split("val").augmentation is None is data.split("test").augmentation
    assert data.split("train")[0][1].shape == (9, 12)
    assert ImageFolder(folder, ignore=11).split("train").augmentation is None
    square = make(f"folder:{folder}", ignore="11", crop="4")
    assert square.split("train").augmentation == Augmentation((4, 4), False)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"crop": (0,)}, "crop=0"),
        ({"crop": (4, 4, 4)}, "crop=4,4,4: must be height,width"),
        ({"crop": ()}, "crop="),
        ({"crop": (10, 5)}, "larger than the pictures, which have 9 x 12"),
        ({"crop": (5, 5), "reduce": 2}, "larger than the pictures, which have 4 x 6"),
        ({"reduce": 0}, "reduce=0"),
        ({"reduce": 10}, "leaves nothing of"),
    ],
)
def test_bad_settings(folder, settings, words):
    with pytest.raises(ConfigError, match=words):
        ImageFolder(folder, **settings)
    with pytest.raises(ConfigError, match=words):
        CamVid(folder, **settings)


@given(st.integers(1, 5), st.integers(5, 11), st.integers(5, 11))
def test_reduction_by_hand(factor, height, width):
    rng = np.random.default_rng(height)
    picture = rng.standard_normal((2, height, width)).astype(np.float32)
    labels = rng.integers(0, 9, (height, width))
    h, w = height // factor, width // factor
    want = np.empty((2, h, w))
    nearest = np.empty((h, w))
    for row in range(h):
        for column in range(w):
            box = np.s_[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
            want[:, row, column] = picture[(slice(None), *box)].mean((1, 2))
            nearest[row, column] = labels[box][factor // 2, factor // 2]
    np.testing.assert_allclose(shrink(torch.from_numpy(picture), factor), want, atol=1e-6)
    np.testing.assert_array_equal(shrink_labels(torch.from_numpy(labels), factor), nearest)


def test_a_folder_can_be_used_smaller(folder):
    whole, half = ImageFolder(folder, ignore=11), ImageFolder(folder, ignore=11, reduce=2)
    image, labels = half.split("val")[1]
    assert image.shape == (3, 4, 6) and labels.shape == (4, 6)
    np.testing.assert_allclose(image, shrink(whole.split("val")[1][0], 2), atol=1e-5)
    assert torch.equal(labels, shrink_labels(whole.split("val")[1][1], 2))


def test_camvid_of_a_small_folder(folder):
    data = make(f"camvid:{folder}", reduce="2", crop="3,4")
    assert (data.task, data.in_channels, data.out_channels) == ("segmentation", 3, 11)
    assert data.split("train").augmentation == Augmentation((3, 4), True)
    assert data.split("val").augmentation is None
    assert data.split("test")[0][0].shape == (3, 4, 6)
    labels = [ImageFolder(folder, ignore=11).split("train")[i][1] for i in range(6)]
    assert data.class_weights == pytest.approx(by_hand(labels, 11, 11))
    assert loss_for(data).ignore == 11
    both = CamVid(folder, joined=True)
    assert [len(both.split(s)) for s in SPLITS] == [12, 6, 6]
    assert torch.equal(both.split("train")[7][0], CamVid(folder).split("val")[1][0])
    for path in folder.glob("*/images/*"):
        Image.open(path).convert("L").save(path)
    with pytest.raises(DataError, match="in colour"):
        CamVid(folder)


FINDINGS = [
    0.3319, 0.2110, 5.6480, 0.1626, 0.8996, 0.4066, 4.3865, 1.9109, 1.0000, 7.0323, 4.6095,
]  # fmt: skip
TRAIN = [0.2793, 0.2017, 4.7865, 0.149, 1.0, 0.4217, 3.8467, 1.9736, 0.7889, 6.3747, 8.8587]


def test_the_real_camvid(shared_data):
    root = shared_data / "camvid"
    if not root.is_dir():
        pytest.skip(f"needs the CamVid pictures, which are not part of the repository: no {root}")
    data, both = CamVid(root), CamVid(root, joined=True)
    assert [len(data.split(s)) for s in SPLITS] == [367, 101, 233]
    np.testing.assert_allclose(both.class_weights, FINDINGS, atol=6e-5)
    np.testing.assert_allclose(data.class_weights, TRAIN, atol=6e-5)

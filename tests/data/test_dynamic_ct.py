import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, label

from leanline.data import DynamicCT, ImagingDataset, make
from leanline.data.dynamic_ct import picture, scene_of
from leanline.data.dynamic_ct_scan import gas
from leanline.data.dynamic_ct_scene import BUOYANT, DEPTH, FASTEST, border_at, draw_scene
from leanline.errors import ConfigError


def scenes(count):
    return [draw_scene(np.random.default_rng(seed)) for seed in range(count)]


def test_scenes_hold_to_the_recipe():
    drawn = scenes(30)
    for scene in drawn:
        vial, tablet, bubbles = scene.vial, scene.tablet, scene.bubbles
        assert 0.80 * 256 <= vial.outer <= 0.92 * 256
        assert 0.035 * 256 <= vial.outer - vial.inner <= 0.055 * 256
        assert np.hypot(*vial.centre) <= 8
        assert 0.023 <= vial.gel <= 0.027 and 0.08 <= vial.glass <= 0.10
        assert 0.036 <= tablet.attenuation <= 0.050
        aside = np.subtract(tablet.centre, vial.centre)
        assert np.hypot(*aside) <= 0.3 * vial.inner
        assert np.hypot(*aside) + tablet.border(0).max() < vial.inner
        # half an ellipse of .16 to .30, axes 1 to .5, and 18 % of bumps
        assert tablet.border(0).min() / 256 > 0.16 * 0.5 * 0.8
        assert tablet.border(0).max() / 256 < 0.30 * 1.2
        count = len(bubbles.x)
        assert 800 * 0.98 <= count <= 2400  # a few may find no place
        assert (np.abs(bubbles.z) <= DEPTH).all()
        assert bubbles.radius.min() >= 1.5 and bubbles.radius.max() <= 18
        from_axis = np.hypot(bubbles.x - vial.centre[0], bubbles.y - vial.centre[1])
        assert (from_axis + bubbles.radius <= vial.inner + 1e-9).all()
        x, y = bubbles.x - tablet.centre[0], bubbles.y - tablet.centre[1]
        beyond = np.hypot(x, y) - border_at(tablet.border(0), np.arctan2(y, x))
        assert beyond.min() > -1e-9
        # half of them Exp(40) beyond the edge, cut off by the glass
        assert (beyond < 40).mean() > 0.3
    radii = np.concatenate([scene.bubbles.radius for scene in drawn])
    assert np.median(radii) == pytest.approx(3, rel=0.03)
    # of a lognormal of sigma .6, the middle 68 % lie within a factor of e^.6
    assert np.quantile(radii, 0.84) == pytest.approx(3 * np.exp(0.6), rel=0.05)


def test_bubbles_do_not_overlap_at_first():
    for scene in scenes(4):
        b = scene.bubbles
        places = np.stack((b.x, b.y, b.z), 1)
        apart = np.linalg.norm(places[:, None] - places[None], axis=2)
        touching = apart < b.radius[:, None] + b.radius[None] - 1e-9
        assert touching.sum() == len(b.x)  # each with itself


def test_bubbles_rise_grow_and_come_in_again():
    scene = scenes(1)[0]
    before = scene.bubbles
    for frame in range(1, 30):
        now = scene.bubbles_at(frame)
        rise = now.z - before.z
        returned = rise < -DEPTH
        want = np.where(
            before.radius < BUOYANT, 0, np.minimum(before.drive * (before.radius / 3) ** 2, FASTEST)
        )
        np.testing.assert_allclose(rise[~returned], want[~returned], atol=1e-9)
        np.testing.assert_allclose(rise[returned], want[returned] - 2 * DEPTH)
        grown = np.minimum(1.02 * before.radius, scene.bubbles.largest)
        np.testing.assert_allclose(now.radius[~returned], grown[~returned])
        np.testing.assert_array_equal(now.radius[returned], scene.bubbles.radius[returned])
        assert (np.abs(now.z) <= DEPTH).all()
        before = now
    assert returned.any()


def test_the_tablet_shrinks_and_roughens():
    for scene in scenes(5):
        first, later = scene.tablet.border(0), scene.tablet.border(5)
        assert 0.03 <= scene.tablet.rate <= 0.09
        assert later.mean() / first.mean() == pytest.approx(1 - 5 * scene.tablet.rate, abs=0.1)
        assert np.abs(np.diff(later / first)).mean() > 0
        assert (scene.tablet.border(1000) >= 0).all()


def test_gas_covers_as_much_as_the_findings_say():
    fractions, bubbles = [], []
    for sequence in range(24):
        scene = scene_of(0, 0, sequence)
        labels = gas(scene, sequence % 8, 512)
        fractions.append(labels.mean())
        bubbles.append(label(labels)[1])
    # about 1.4 % of the pixels (0.7 to 2.7), 23 to 66 bubbles a slice
    assert 0.011 < np.mean(fractions) < 0.019
    assert np.quantile(fractions, 0.1) > 0.004 and max(fractions) < 0.035
    assert np.quantile(bubbles, 0.1) > 18 and np.quantile(bubbles, 0.9) < 75


def test_pictures_and_labels():
    data = DynamicCT(train=2, val=1, test=1, frames=3, size=128)
    assert isinstance(data, ImagingDataset)
    assert (data.task, data.in_channels, data.out_channels) == ("segmentation", 1, 2)
    assert [len(data.split(s)) for s in ("train", "val", "test")] == [6, 3, 3]
    for index in range(6):
        image, labels = data.split("train")[index]
        assert image.shape == (1, 128, 128) and image.dtype == torch.float32
        assert labels.shape == (128, 128) and labels.dtype == torch.int64
        assert set(labels.unique().tolist()) <= {0, 1}
        assert image[0][labels == 1].mean() < 0.8  # gas, blurred by the scan
        vial = scene_of(0, 0, index // 3).vial
        place = (np.arange(128) + 0.5) * 4 - 256
        x, y = np.meshgrid(place, -place)
        gel = np.hypot(x - vial.centre[0], y - vial.centre[1]) < vial.inner - 12
        gel &= ~labels.bool().numpy()
        assert 0.8 < np.median(image[0].numpy()[gel]) < 1.4
        outside = np.hypot(x - vial.centre[0], y - vial.centre[1]) > vial.outer
        assert not labels.numpy()[outside].any()


def test_pictures_are_a_function_of_the_settings():
    settings = {"train": 3, "val": 2, "test": 2, "frames": 2, "size": 64}
    one = DynamicCT(**settings).split("train")
    again = DynamicCT(**settings | {"train": 9}, memory=0).split("train")
    for index in (5, 0, 3, 5):
        assert torch.equal(one[index][0], again[index][0])
        assert torch.equal(one[index][1], again[index][1])
    scene_of.cache_clear()
    assert torch.equal(one[4][0], again[4][0])
    assert torch.equal(one[-1][0], one[5][0])
    different = [
        one[0][0],
        one[1][0],
        one[2][0],
        DynamicCT(**settings).split("val")[0][0],
        DynamicCT(**settings, seed=1).split("train")[0][0],
        DynamicCT(**settings, views=32).split("train")[0][0],
        DynamicCT(**settings, photons=(1e3, 1e3)).split("train")[0][0],
    ]
    for i, image in enumerate(different):
        assert all(not torch.equal(image, other) for other in different[:i])
    # the scan changes neither what is scanned nor the frames before it
    hard = DynamicCT(**settings, views=16, photons=(1e2, 1e2)).split("train")
    longer = DynamicCT(**settings | {"frames": 4}).split("train")
    assert torch.equal(hard[3][1], one[3][1])
    assert torch.equal(longer[4][0], one[2][0])  # sequence 1, frame 0


def test_no_vial_is_in_two_splits():
    seen = {}
    for split in range(3):
        for sequence in range(60):
            vial = scene_of(0, split, sequence).vial
            assert vial not in seen
            seen[vial] = split
    # frames of a sequence show one vial: its glass is where it was
    data = DynamicCT(train=2, frames=2, size=256)
    glass = [data.split("train")[i][0] > 2 for i in range(4)]
    shared = [(glass[0] & other).sum() / (glass[0] | other).sum() for other in glass]
    assert shared[1] > 0.8 > shared[2]


def test_fewer_views_and_photons_are_harder():
    def best_threshold(**settings):
        data = DynamicCT(val=4, frames=1, size=256, **settings)
        made = [picture(data, "val", sequence, 3) for sequence in range(4)]
        labels = np.stack([labels for _, labels in made]).astype(bool)
        place = (np.arange(256) + 0.5) * 2 - 256
        x, y = np.meshgrid(place, -place)
        vials = [scene_of(0, 1, sequence).vial for sequence in range(4)]
        inside = np.stack([np.hypot(x - v.centre[0], y - v.centre[1]) < v.inner for v in vials])
        scores = []
        for sigma in (0.5, 1.0, 1.5):
            smooth = np.stack([gaussian_filter(image, sigma) for image, _ in made])
            for level in np.arange(0.2, 0.8, 0.1):
                found = (smooth < level) & inside
                scores.append(2 * (found & labels).sum() / (found.sum() + labels.sum()))
        return max(scores)

    easy = best_threshold(views=128)
    usual = best_threshold(views=64)
    few, dark = best_threshold(views=24), best_threshold(photons=(5e2, 5e2))
    assert easy > usual > few and usual > dark + 0.05
    assert 0.82 < usual < 0.95


def test_small_pictures_show_the_same_scene():
    large, small = (
        DynamicCT(train=1, frames=1, size=size, photons=(1e9, 1e9)).split("train")[0]
        for size in (512, 128)
    )
    shrunk = torch.nn.functional.avg_pool2d(large[0], 4)
    assert np.corrcoef(shrunk.flatten(), small[0].flatten())[0, 1] > 0.97
    covered = torch.nn.functional.avg_pool2d(large[1][None].float(), 4)[0]
    agree = (covered >= 0.5) == small[1].bool()
    assert agree.float().mean() > 0.998


def test_cache_and_memory(tmp_path):
    settings = {"train": 1, "val": 1, "test": 1, "frames": 2, "size": 64}
    fresh = DynamicCT(**settings, memory=0).split("val")
    kept = DynamicCT(**settings, memory=0, cache=tmp_path).split("val")
    for _ in range(2):
        for index in range(2):
            assert torch.equal(kept[index][0], fresh[index][0])
            assert torch.equal(kept[index][1], fresh[index][1])
    files = sorted(tmp_path.rglob("*.npz"))
    assert len(files) == 2
    files[0].write_bytes(files[0].read_bytes()[:500])
    assert torch.equal(kept[0][0], fresh[0][0])
    other = DynamicCT(**settings, views=32, memory=0, cache=tmp_path).split("val")
    assert not torch.equal(other[0][0], fresh[0][0])
    data = DynamicCT(**settings, memory=5 * 64 * 64)
    for index in (0, 1, 0):
        image, labels = data.split("val")[index]
        assert torch.equal(image, fresh[index][0]) and torch.equal(labels, fresh[index][1])
        image.zero_()
    assert data._kept.used == 5 * 64 * 64


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train": -1}, "train=-1"),
        ({"frames": 0}, "frames=0"),
        ({"size": 20}, "between 64 and 2048"),
        ({"views": 0}, "views=0"),
        ({"photons": (10.0, 1.0)}, "from and to"),
        ({"photons": (0.0, float("nan"))}, "from and to"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(ConfigError, match=words):
        DynamicCT(**settings)


def test_by_name_with_the_thesis_sizes_by_default():
    data = make("dynamic-ct", size="256", photons="1e3,2e3")
    assert data == DynamicCT(size=256, photons=(1e3, 2e3))
    assert [len(data.split(s)) for s in ("train", "val", "test")] == [9216, 2048, 1536]
    with pytest.raises(ConfigError, match="no split 'training'"):
        data.split("training")

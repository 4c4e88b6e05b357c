"""The physics of dynamic CT against formulas, scikit-image, and brute force."""

import numpy as np
import pytest
from skimage.transform import iradon, radon

from leanline.data.backprojection import hann_ramp, reconstruct
from leanline.data.dynamic_ct_rays import gas_fraction, line_integrals
from leanline.data.dynamic_ct_scan import Scanner, scan, sinogram
from leanline.data.dynamic_ct_scene import ANGLES, GROWTH, Bubbles, Scene, Tablet, Vial

NOTHING = np.zeros((0, 6))


def project(angles, positions, vial=(0, 0, 90, 80), mu=(1.0, 3.0, 2.0), centre=(0, 0), border=None,
            bubbles=NOTHING, times=None):  # fmt: skip
    out = np.full((len(angles), len(positions)), np.nan)
    border = np.full(ANGLES, 1e-3) if border is None else border
    times = np.zeros(len(angles)) if times is None else times
    line_integrals(
        np.asarray(angles, float),
        times,
        np.asarray(positions, float),
        np.asarray(vial, float),
        np.asarray(mu),
        np.asarray(centre, float),
        border,
        np.asarray(bubbles, float).reshape(-1, 6),
        out,
    )
    return out


def chord(radius, distance):
    return 2 * np.sqrt(np.maximum(radius**2 - distance**2, 0))


def test_chords_of_the_vial_a_round_tablet_and_a_moving_bubble():
    angles, s = np.linspace(0, np.pi, 7), np.linspace(-100, 100, 333)
    times = np.linspace(0, 0.25, 7)
    bubble = np.array([20.0, -50.0, -3.0, 8.0, 4.0, 8.1])
    found = project(
        angles, s, (5, -3, 90, 80), centre=(-20, 10), border=np.full(ANGLES, 25.0),
        bubbles=bubble, times=times,
    )  # fmt: skip

    def across(radius, x, y):
        middle = x * np.cos(angles) + y * np.sin(angles)
        return chord(radius, s - middle[:, None])

    radius = np.minimum(8.0 * (1 + GROWTH * times), 8.1)
    cut = np.sqrt(radius**2 - (-3 + 4 * times) ** 2)[:, None]
    outer, inner, tablet = across(90, 5, -3), across(80, 5, -3), across(25, -20, 10)
    want = 3 * (outer - inner) + (inner - tablet - across(cut, 20, -50)) + 2 * tablet
    # the tablet's edge is found to second order; at grazing rays a short chord is missed
    assert np.abs(found - want).max() < 2 * 1.5
    clear = np.abs(tablet - 0.5) > 5  # not grazing
    np.testing.assert_allclose(found[clear], want[clear], atol=0.05)
    np.testing.assert_allclose(found[tablet == 0], want[tablet == 0], atol=1e-9)


def phantom(fine, size, vial, centre, border, bubbles, mu):
    """The slice on a fine grid, each point by the definition, averaged to pixels."""
    place = (np.arange(size * fine) + 0.5) / fine - size / 2
    x, y = np.meshgrid(place, -place)
    gel, glass, tablet = mu
    picture = np.zeros_like(x)
    from_axis = np.hypot(x - vial[0], y - vial[1])
    picture[from_axis < vial[2]] = glass
    picture[from_axis < vial[3]] = gel
    dx, dy = x - centre[0], y - centre[1]
    angle = np.mod(np.arctan2(dy, dx), 2 * np.pi)
    table = np.append(border, border[0])
    edge = np.interp(angle, np.linspace(0, 2 * np.pi, ANGLES + 1), table)
    picture[np.hypot(dx, dy) < edge] = tablet
    for bx, by, bz, radius, _, _ in bubbles:
        picture[(x - bx) ** 2 + (y - by) ** 2 + bz**2 < radius**2] = 0
    return picture.reshape(size, fine, size, fine).mean((1, 3))


def test_a_whole_slice_against_the_radon_transform_of_scikit_image():
    size = 201  # odd: both take the middle pixel as the centre
    angle = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    border = 28 * (1 + 0.25 * np.cos(3 * angle + 1) + 0.06 * np.cos(11 * angle))
    vial, centre, mu = (4.0, -3.0, 92.0, 82.0), (-15.0, 12.0), (1.0, 3.5, 1.8)
    bubbles = np.array(
        [  # two that overlap, one on the tablet's edge, one wholly inside it, one off the slice
            [40, 30, 0, 9, 0, 20],
            [48, 33, 2, 8, 0, 20],
            [8, 20, -3, 10, 0, 20],
            [-20, 10, 0, 6, 0, 20],
            [0, -50, 30, 15, 0, 20],
        ]
    )
    picture = phantom(8, size, vial, centre, border, bubbles, mu)
    degrees = np.arange(0, 180, 7.5)
    want = radon(picture, degrees, circle=True).T
    positions = np.arange(size) - (size - 1) / 2
    fine = (positions[:, None] + (np.arange(8) - 3.5) / 8).ravel()
    found = project(np.deg2rad(degrees), fine, vial, mu, centre, border, bubbles)
    found = found.reshape(len(degrees), size, 8).mean(2)
    # scikit-image turns the picture by linear interpolation, which blurs it
    assert np.abs(found - want).max() < 0.05 * want.max()
    assert np.abs(found - want).mean() < 0.004 * want.mean()
    # each part of the scene shows above that error
    for change in ({"bubbles": bubbles[:0]}, {"border": np.full(ANGLES, 28.0)}):
        given = {"vial": vial, "mu": mu, "centre": centre, "border": border, "bubbles": bubbles}
        other = project(np.deg2rad(degrees), fine, **(given | change))
        apart = np.abs(other.reshape(len(degrees), size, 8).mean(2) - want).mean()
        assert apart > 0.01 * want.mean()


def test_gas_displaces_the_tablet_and_overlapping_gas_counts_once():
    border = np.full(ANGLES, 30.0)
    inside = [0, 0, 0, 10, 0, 99]
    found = project([0.3], [0.0], border=border, bubbles=inside)[0, 0]
    assert found == pytest.approx(3 * 20 + 160 - 60 + 2 * (60 - 20), abs=0.01)
    twice = project([0.3], [0.0], border=border, bubbles=[inside, inside])[0, 0]
    assert twice == found


def test_gas_of_pixels_against_areas_and_points():
    one = np.array([[0.3, -0.2, 0, 9.0, 0, 99]])
    fraction = gas_fraction(one, 0.0, 64)
    assert fraction.sum() == pytest.approx(np.pi * 81, rel=0.01)
    bubbles = np.array(
        [[5.2, 9.1, 1, 6.3, 8, 99], [-12, 3.3, -4, 5.0, 2, 99], [9, 12, 0, 4, 0, 99]]
    )
    place = (np.arange(64 * 5) + 0.5) / 5 - 32
    x, y = np.meshgrid(place, -place)
    gas = np.zeros_like(x, bool)
    for bx, by, bz, radius, rise, _ in bubbles:
        height, wide = bz + rise * 0.125, radius * (1 + GROWTH * 0.125)
        gas |= (x - bx) ** 2 + (y - by) ** 2 + height**2 <= wide**2
    want = gas.reshape(64, 5, 64, 5).mean((1, 3))
    np.testing.assert_allclose(gas_fraction(bubbles, 0.125, 64), want, atol=1e-12)
    # beyond the edge of the picture
    assert gas_fraction(np.array([[33.0, 0, 0, 5, 0, 99]]), 0.0, 64)[:, :60].sum() == 0


@pytest.mark.parametrize("size", [129, 201])
def test_back_projection_agrees_with_scikit_image(size):
    rng = np.random.default_rng(0)
    picture = np.zeros((size, size))
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    for _ in range(12):
        radius, (cx, cy) = rng.uniform(3, 15), rng.uniform(-size / 4, size / 4, 2)
        picture[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = rng.uniform(0.2, 1)
    degrees = np.arange(0, 180, 180 / 90)
    sinogram_ = radon(picture, degrees, circle=True)
    want = iradon(sinogram_, degrees, filter_name="hann", circle=True)
    found = reconstruct(sinogram_.T, np.deg2rad(degrees))
    inside = np.hypot(x, y) < (size - 1) / 2 - 1
    assert np.corrcoef(found[inside], want[inside])[0, 1] > 0.9999
    np.testing.assert_allclose(found[inside], want[inside], atol=0.02)
    assert not found[np.hypot(x, y) > (size - 1) / 2].any()
    assert np.corrcoef(found[inside], picture[inside])[0, 1] > 0.97


def test_the_filter_is_a_ramp_that_the_window_brings_down():
    ramp = hann_ramp(512)
    frequency = np.arange(257) / 512
    np.testing.assert_allclose(
        ramp, frequency * (0.5 + 0.5 * np.cos(2 * np.pi * frequency)), atol=1e-3
    )
    assert ramp[-1] == pytest.approx(0, abs=1e-12)


@pytest.fixture
def plain():
    """A vial with a round tablet and one large bubble that stands still."""
    vial = Vial((3.0, -5.0), 220.0, 205.0, 0.025, 0.09)
    tablet = Tablet((-60.0, 40.0), 0.045, np.full(ANGLES, 50.0), np.zeros(ANGLES), 0.0)
    one = np.array([60.0]), np.array([-70.0]), np.array([0.0]), np.array([40.0])
    bubbles = Bubbles(*one, first=one[3], largest=one[3], drive=0.0)
    return Scene(vial, tablet, bubbles)


@pytest.mark.parametrize("size", [128, 256])
def test_the_slice_shows_the_attenuations_where_they_are(plain, size):
    scanner = Scanner(size, 256, 1e9, np.ones(size))
    picture = scan(plain, 0, scanner, np.random.default_rng(0))
    place = (np.arange(size) + 0.5) * 512 / size - 256
    x, y = np.meshgrid(place, -place)
    for (cx, cy), radius, want in (
        ((-60, 40), 30, 0.045),
        ((60, -70), 25, 0.0),
        ((3, 120), 30, 0.025),
    ):
        found = picture[np.hypot(x - cx, y - cy) < radius]
        assert found.mean() == pytest.approx(want, abs=5e-4)
    assert (picture[np.hypot(x, y) > 256] == 0).all()


def test_noise_goes_with_the_photons_and_rings_with_the_gains(plain):
    size, views = 128, 32

    def spread(photons, gains=np.ones(size)):  # noqa: B008
        scanner = Scanner(size, views, photons, gains)
        two = [scan(plain, 0, scanner, np.random.default_rng(s)) for s in (0, 1)]
        return (two[0] - two[1])[40:88, 40:88].std()

    # Poisson: a hundred times the photons, a tenth of the noise
    assert spread(1e4) / spread(1e6) == pytest.approx(10, rel=0.1)
    gains = 1 + 0.003 * np.random.default_rng(5).standard_normal(size)
    clean = scan(plain, 0, Scanner(size, views, 1e9, np.ones(size)), np.random.default_rng(0))
    rings = scan(plain, 0, Scanner(size, views, 1e9, gains), np.random.default_rng(0)) - clean
    assert rings.std() > 10 * spread(1e9, gains)
    # a gain is an offset of the logarithm, the same in all views
    offset = np.repeat(-np.log(gains)[None], views, 0)
    want = reconstruct(offset, np.arange(views) * np.pi / views) / (0.1 * 512 / size)
    middle = np.s_[20:108, 20:108]
    assert np.corrcoef(rings[middle].ravel(), want[middle].ravel())[0, 1] > 0.98


def test_more_rays_a_pixel_change_little(plain):
    two, eight = (sinogram(plain, 0, 128, 8, rays).reshape(8, 128, rays).mean(2) for rays in (2, 8))
    assert np.abs(two - eight).mean() < 2e-3

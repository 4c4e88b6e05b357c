import base64
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from leanline.report import pictures
from leanline.report.gallery import background_share, make_gallery
from leanline.report.reading import read

from .folders import SIZE, add_evidence, add_tensors, labels, make_demo, make_prune

RNG = np.random.default_rng(0)


def decode(uri):
    head, data = uri.split(",", 1)
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


@pytest.mark.parametrize(
    "colours",
    [
        RNG.integers(0, 255, (9, 7, 3), np.uint8),
        RNG.integers(0, 255, (9, 7, 1), np.uint8).repeat(3, 2),
        pictures.colour_labels(RNG.integers(0, 5, (9, 7))),
        RNG.integers(0, 255, (40, 40, 3), np.uint8),
    ],
)
def test_png_loses_nothing(colours):
    np.testing.assert_array_equal(decode(pictures.png(colours)), colours)


def test_classes_have_colours_of_their_own():
    assert len(set(pictures.CLASSES)) == len(pictures.CLASSES)
    coloured = pictures.colour_labels(np.arange(12).reshape(3, 4), ignore=11)
    assert tuple(coloured[0, 1]) == pictures.colour_of(1)
    assert tuple(coloured[2, 3]) == pictures.NOT_COUNTED


def test_errors_and_accuracy_leave_out_what_does_not_count():
    truth = np.array([[0, 1], [1, 255]])
    labelled = np.array([[0, 0], [1, 1]])
    assert pictures.accuracy(labelled, truth, 255) == pytest.approx(2 / 3)
    assert math.isnan(pictures.accuracy(labelled, np.full((2, 2), 255), 255))
    errors = pictures.colour_errors(labelled, truth, 255).reshape(4, 3)
    colours = [pictures.RIGHT, pictures.WRONG, pictures.RIGHT, pictures.NOT_COUNTED]
    assert [tuple(pixel) for pixel in errors] == colours


def test_psnr_is_that_of_scikit_image():
    truth, noisy = RNG.random((2, 1, 20, 30))
    expected = peak_signal_noise_ratio(truth, noisy, data_range=2.0)
    assert pictures.psnr(noisy, truth, 2.0) == pytest.approx(expected)
    assert pictures.psnr(truth, truth, 2.0) == math.inf


def test_differences_are_blue_below_and_red_above():
    truth = np.zeros((1, 1, 3))
    colours = pictures.difference(np.array([[[-2.0, 0, 2]]]), truth, 1.0)[0]
    expected = [pictures.TOO_DARK, (255, 255, 255), pictures.TOO_BRIGHT]
    assert [tuple(pixel) for pixel in colours] == expected


def test_grey_values_are_cut_at_the_limits_and_nothing_is_undefined():
    picture = np.array([[[-1.0, 0.5, 3.0, np.nan, np.inf]]])
    assert pictures.grey(picture, 0, 1)[0, :, 0].tolist() == [0, 128, 255, 0, 255]
    assert pictures.window(np.full((2, 2), np.nan)) == (0, 1)
    low, high = pictures.window(np.full((2, 2), 3.0))
    assert low < 3 < high


@pytest.mark.parametrize(("size", "factor"), [((512, 100), 1), ((513, 100), 2), ((1024, 2049), 5)])
def test_large_pictures_are_shown_smaller(size, factor):
    assert pictures.reduction(*size) == factor
    ids, grey = np.zeros(size, np.int64), np.zeros((1, *size))
    assert pictures.thin(ids, factor).shape == pictures.shrink(grey, factor).shape[1:]


def test_the_gallery_has_what_each_network_says_and_where_it_is_wrong(tmp_path):
    folder = add_tensors(add_evidence(make_prune(tmp_path / "x")), wrong=64)
    gallery = make_gallery(read(folder))
    columns = ("Input", "Truth", "Unpruned", "LEAN", "Wrong: Unpruned", "Wrong: LEAN")
    assert gallery.columns == columns
    assert all(len(row.cells) == 6 for row in gallery.rows)
    notes = [[cell.note for cell in row.cells] for row in gallery.rows]
    right, wrong = "75.0\u00a0% right", "25.0\u00a0% wrong"
    assert notes[0] == ["", "", right, right, wrong, wrong]
    assert notes[1][2] == "100.0\u00a0% right"
    errors = decode(gallery.rows[0].cells[5].source)
    assert (errors == pictures.WRONG).all(2).sum() == 64
    assert len(gallery.legend) == 5


def test_errors_of_several_rules_stand_beneath(tmp_path):
    folder = make_demo(tmp_path / "x")
    for name in ("lean", "magnitude"):
        add_tensors(folder / name)
    gallery = make_gallery(read(folder))
    assert gallery.columns == ("Input", "Truth", "Unpruned", "LEAN", "Magnitude")
    assert [row.heading for row in gallery.rows] == ["Picture 1", "Wrong", "Picture 2", "Wrong"]
    assert gallery.rows[1].cells[:2] == (None, None)


def test_runs_on_other_pictures_are_named_not_mixed(tmp_path):
    folder = make_demo(tmp_path / "x")
    add_tensors(folder / "lean")
    add_tensors(folder / "magnitude", labels(3))
    gallery = make_gallery(read(folder))
    assert gallery.left_out == ("Magnitude",)
    assert "Magnitude" not in gallery.columns


def test_denoising_has_psnr_for_input_and_outputs(tmp_path):
    generator = torch.Generator().manual_seed(1)
    clean = torch.rand((2, 1, SIZE, SIZE), generator=generator)
    noisy = clean + 0.1
    folder = make_prune(tmp_path / "x", names=("psnr",))
    add_tensors(add_evidence(folder, data_range=1.0), clean, images=noisy, wrong=2)
    gallery = make_gallery(read(folder))
    cells = gallery.rows[0].cells
    assert cells[0].note == "20.00\u00a0dB"
    expected = 10 * math.log10(SIZE * SIZE / (2 * 0.5))
    assert cells[2].note == f"{expected:.2f}\u00a0dB"
    assert gallery.rows[1].cells[2].note == "∞\u00a0dB"
    assert gallery.peak_known and not gallery.legend and len(gallery.error_legend) == 3


def test_the_commonest_class_is_told(tmp_path):
    truth = torch.zeros((1, SIZE, SIZE), dtype=torch.int64)
    truth[0, :4] = 1
    folder = add_tensors(make_prune(tmp_path / "x"), truth)
    assert background_share(read(folder)) == ("class 0", 0.75)
    add_evidence(folder, classes=["background", "disc"])
    assert background_share(read(folder)) == ("background", 0.75)


def test_without_pictures_there_is_no_gallery(tmp_path):
    assert make_gallery(read(make_prune(tmp_path / "x"))) is None

import re

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from leanline.data import ImageFolder, ImagingDataset, check, make
from leanline.data.pictures import read_header, read_image, read_labels
from leanline.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture
def folder(tmp_path):
    """Four training pictures of 12 x 16, two of each other split; labels 0 to 2 and clean ones."""
    rng = np.random.default_rng(0)
    for split, count in zip(SPLITS, (4, 2, 2), strict=True):
        for index in range(count):
            name = f"{index:02d}.png"
            clean = rng.integers(0, 256, (12, 16)).astype(np.uint8)
            noise = rng.integers(-9, 10, clean.shape)
            noisy = np.clip(clean.astype(int) + noise, 0, 255)
            save(tmp_path / split / "clean" / name, clean)
            save(tmp_path / split / "images" / name, noisy.astype(np.uint8))
            labels = rng.integers(0, 3, (12, 16)).astype(np.uint8)
            labels.flat[:3] = 0, 1, 2
            save(tmp_path / split / "labels" / name, labels)
    return tmp_path


def test_segmentation_pairs_and_normalisation(folder):
    data = ImageFolder(folder)
    assert isinstance(data, ImagingDataset)
    assert (data.task, data.in_channels, data.out_channels) == ("segmentation", 1, 3)
    assert [len(data.split(split)) for split in SPLITS] == [4, 2, 2]
    raw = np.stack([np.asarray(Image.open(p)) for p in sorted(folder.glob("train/images/*"))])
    assert data.normalisation.mean == pytest.approx(raw.mean())
    assert data.normalisation.std == pytest.approx(raw.std())
    image, labels = data.split("train")[2]
    np.testing.assert_allclose(image[0], (raw[2] - raw.mean()) / raw.std(), rtol=1e-5, atol=1e-6)
    assert labels.dtype == torch.int64
    want = np.asarray(Image.open(folder / "train/labels/02.png"))
    np.testing.assert_array_equal(labels, want)
    # what a caller does to a picture does not change the data set
    image.zero_()
    assert data.split("train")[2][0].abs().max() > 0
    assert check(folder) == []


def test_clean_pictures_of_other_bits_are_refused(folder):
    for file in folder.glob("*/images/*"):
        save(file, np.asarray(Image.open(file)).astype(np.uint16) * 257)
    told = check(folder, target="clean")
    assert len(told) == 1
    assert re.search("images/00.png holds 16 bits and .*clean/00.png 8 bits", told[0])
    assert check(folder, target="labels") == []


def test_denoising_is_chosen_by_target_and_comes_back_in_units_of_the_files(folder):
    data = make(f"folder:{folder}", target="clean")
    assert (data.task, data.in_channels, data.out_channels) == ("denoising", 1, 1)
    image, clean = data.split("test")[1]
    for tensor, part in ((image, "images"), (clean, "clean")):
        want = np.asarray(Image.open(folder / "test" / part / "01.png"))
        np.testing.assert_allclose(data.normalisation.undo(tensor)[0], want, atol=1e-3)
    assert data.data_range == 255
    with pytest.raises(ConfigError, match="has no classes"):
        _ = data.classes


def test_clean_alone_is_denoising(folder):
    for split in SPLITS:
        (folder / split / "labels").rename(folder / split / "other")
    assert ImageFolder(folder).task == "denoising"


@pytest.mark.parametrize(
    ("name", "dtype", "channels"),
    [
        ("p.png", np.uint8, 1),
        ("p.png", np.uint8, 3),
        ("p.png", np.uint16, 1),
        *(("p.tif", d, c) for d in (np.uint8, np.uint16, np.int32, np.float32) for c in (1, 3)),
    ],
)
def test_all_kinds_of_pictures_are_read(tmp_path, name, dtype, channels):
    rng = np.random.default_rng(0)
    high = 255 if dtype == np.uint8 else 60_000
    pixels = (rng.random((5, 7, 3) if channels == 3 else (5, 7)) * high).astype(dtype)
    path = tmp_path / name
    if name == "p.tif":
        tifffile.imwrite(path, pixels, photometric="rgb" if channels == 3 else "minisblack")
    else:
        Image.fromarray(pixels).save(path)
    want = pixels[None] if channels == 1 else np.moveaxis(pixels, -1, 0)
    np.testing.assert_array_equal(read_image(path), want.astype(np.float32))


def test_planar_tiff_jpeg_and_palette_are_read(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 60_000, (3, 5, 7)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "p.tiff", pixels, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(tmp_path / "p.tiff"), pixels.astype(np.float32))
    save(tmp_path / "p.jpg", np.full((8, 8, 3), 90, np.uint8))
    assert (read_image(tmp_path / "p.jpg") - 90).abs().max() <= 1
    image = Image.new("P", (2, 2))
    image.putpalette([0, 0, 0, 250, 0, 0, 0, 0, 200])
    image.putdata([0, 1, 1, 2])
    image.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "p.png"), [[0, 1], [1, 2]])
    assert read_image(tmp_path / "p.png")[0].tolist() == [[0, 250], [250, 0]]


@pytest.mark.parametrize("channels", [2, 4, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["samples", "planes", "pages", "imagej", "ome"])
def test_pictures_of_several_channels(tmp_path, kind, dtype, channels):
    rng = np.random.default_rng(0)
    pixels = (rng.random((channels, 6, 7)) * 250).astype(dtype)
    path = tmp_path / ("p.ome.tif" if kind == "ome" else "p.tif")
    grey = {"photometric": "minisblack"}
    if kind == "samples":
        tifffile.imwrite(path, np.moveaxis(pixels, 0, -1), **grey, planarconfig="contig")
    elif kind == "planes":
        tifffile.imwrite(path, pixels, **grey, planarconfig="separate")
    elif kind == "imagej":
        if dtype == np.float64:
            pytest.skip("ImageJ has no double precision")
        tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "CYX"})
    else:
        tifffile.imwrite(path, pixels, **grey, metadata={"axes": "CYX"})
    np.testing.assert_array_equal(read_image(path), pixels.astype(np.float32))
    header = read_header(path)
    assert (header.height, header.width, header.channels) == (6, 7, channels)
    assert header.full_scale == {np.uint8: 255, np.uint16: 65535}.get(dtype)
    with pytest.raises(DataError, match=r"several channels|float"):
        read_labels(path)


def test_a_folder_of_several_channels(folder):
    rng = np.random.default_rng(1)
    for path in sorted(folder.glob("*/images/*")):
        pixels = rng.random((12, 16, 4)).astype(np.float32)
        tifffile.imwrite(path.with_suffix(".tif"), pixels, photometric="minisblack",
                         planarconfig="contig")  # fmt: skip
        path.unlink()
    assert check(folder) == []
    data = ImageFolder(folder)
    assert data.in_channels == 4 and data.split("val")[0][0].shape == (4, 12, 16)
    clean = ImageFolder(folder, target="clean")
    assert (clean.in_channels, clean.out_channels) == (4, 1)
    tifffile.imwrite(folder / "test/images/01.tif", np.zeros((12, 16, 4), np.uint16),
                     photometric="minisblack", planarconfig="contig")  # fmt: skip
    assert any("16 bits, which are different units" in problem for problem in check(folder))


@pytest.mark.parametrize(
    ("pixels", "want"),
    [
        (np.array([[True, False]]), [[1, 0]]),
        (np.array([[0, 3]], np.uint8), [[0, 3]]),
        (np.array([[0, 700]], np.uint16), [[0, 700]]),
    ],
)
def test_labels_of_1_8_and_16_bits(tmp_path, pixels, want):
    save(tmp_path / "l.png", pixels)
    assert read_labels(tmp_path / "l.png").tolist() == want


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "palette.png"])
def test_pictures_and_labels_are_turned_as_exif_says(tmp_path, kind, orientation):
    upright = np.zeros((16, 24), dtype=np.uint8)
    upright[:8] = 100
    upright[:8, :16] = 200
    back = {  # how to lay a picture down that the orientation turns upright: by the EXIF standard
        1: upright,
        2: np.fliplr(upright),
        3: np.rot90(upright, 2),
        4: np.flipud(upright),
        5: upright.T,
        6: np.rot90(upright, 1),  # is to be turned clockwise
        7: np.rot90(upright.T, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"picture.{kind}"
    picture = Image.fromarray(np.ascontiguousarray(back))
    if kind == "palette.png":
        picture.putpalette([value for grey in range(256) for value in (grey,) * 3])
    picture.save(path, exif=exif)
    header = read_header(path)
    assert (header.height, header.width) == upright.shape
    for channel in read_image(path):
        np.testing.assert_allclose(channel, upright, atol=2)
    if kind != "jpg":
        np.testing.assert_array_equal(read_labels(path), upright)


def test_a_turned_tiff_of_16_bit_colours_is_refused(tmp_path):
    path = tmp_path / "picture.tif"
    pixels = np.zeros((6, 8, 3), dtype=np.uint16)
    tifffile.imwrite(path, pixels, photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    with pytest.raises(DataError, match="orientation 6"):
        read_header(path)


def test_labels_that_are_no_class_ids_are_refused(tmp_path):
    save(tmp_path / "a.jpg", np.zeros((4, 4), np.uint8))
    save(tmp_path / "b.png", np.zeros((4, 4, 3), np.uint8))
    tifffile.imwrite(tmp_path / "c.tif", np.zeros((4, 4), np.float32))
    for name, words in (("a.jpg", "JPEG does not keep"), ("b.png", "colour"), ("c.tif", "float32")):
        with pytest.raises(DataError, match=words):
            read_labels(tmp_path / name)


def test_pictures_that_would_be_read_wrongly_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "nan.tif", np.full((4, 4), np.nan, np.float32))
    tifffile.imwrite(
        tmp_path / "stack.tif", np.zeros((3, 4, 4), np.uint8), photometric="minisblack"
    )
    save(tmp_path / "alpha.png", np.zeros((4, 4, 4), np.uint8))
    colours = np.zeros((4, 4, 4), np.uint8)
    tifffile.imwrite(tmp_path / "alpha.tif", colours, photometric="rgb")
    tifffile.imwrite(tmp_path / "inks.tif", colours, photometric="separated")
    tifffile.imwrite(tmp_path / "complex.tif", np.zeros((4, 4), np.complex64))
    metadata = {"axes": "TCYX"}
    tifffile.imwrite(tmp_path / "time.tif", np.zeros((2, 3, 4, 4), np.uint8), metadata=metadata,
                     photometric="minisblack")  # fmt: skip
    for name, words in (
        ("nan.tif", "NaN"),
        ("stack.tif", "3 pictures"),
        ("alpha.png", "RGBA"),
        ("alpha.tif", "transparen"),
        ("inks.tif", "inks"),
        ("complex.tif", "complex64"),
        ("time.tif", "6 pictures"),
    ):
        with pytest.raises(DataError, match=words):
            read_image(tmp_path / name)


def test_pillow_keeps_its_guard_against_bombs(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(DataError, match="decompression bomb"):
        ImageFolder(folder)


def remove_split(folder):
    (folder / "val").rename(folder / "validation")


def remove_labels(folder):
    for split in SPLITS:
        for part in ("labels", "clean"):
            (folder / split / part).rename(folder / split / f"old {part}")


def remove_partner(folder):
    (folder / "train/labels/01.png").unlink()


def mix_sizes(folder):
    for part in ("images", "labels"):
        save(folder / "train" / part / "03.png", np.zeros((12, 15), np.uint8))


def differ_from_target(folder):
    save(folder / "test/labels/01.png", np.zeros((11, 16), np.uint8))


def mix_channels(folder):
    save(folder / "train/images/01.png", np.zeros((12, 16, 3), np.uint8))


def empty_folder(folder):
    for path in (folder / "val/images").iterdir():
        path.unlink()


def two_of_a_name(folder):
    save(folder / "train/images/00.jpg", np.zeros((12, 16), np.uint8))


def write_rubbish(folder):
    (folder / "train/images/02.png").write_text("no picture")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (remove_split, r"has no folder 'val'; it must hold train, val and test"),
        (remove_labels, r"train has no folder 'labels'; for segmentation"),
        (remove_partner, r"images.01.png has no partner: there is no picture '01' in .*labels"),
        (mix_sizes, r"mixed sizes: .*00.png has 12 x 16 pixels and .*03.png has 12 x 15"),
        (differ_from_target, r"01.png has 12 x 16 pixels but .*01.png has 11 x 16"),
        (mix_channels, r"00.png has 1 channel\(s\) and .*01.png has 3"),
        (empty_folder, r"val.images holds no pictures"),
        (two_of_a_name, r"two pictures '00': 00.jpg and 00.png"),
        (write_rubbish, r"02.png cannot be read as a picture"),
    ],
)
def test_a_folder_that_cannot_be_used_is_explained(folder, spoil, words):
    spoil(folder)
    with pytest.raises(DataError, match=words):
        ImageFolder(folder)
    assert any(re.search(words, problem) for problem in check(folder))


def test_a_missing_folder_and_bad_settings(tmp_path):
    with pytest.raises(DataError, match="there is no data folder"):
        ImageFolder(tmp_path / "absent")
    for settings in ({"target": "mask"}, {"classes": 1}, {"ignore": -1}, {"memory": -1}):
        with pytest.raises(ConfigError):
            ImageFolder(tmp_path, **settings)


def test_truncated_pictures_are_found_when_read_and_by_check(folder):
    path = folder / "test/images/01.png"
    path.write_bytes(path.read_bytes()[:-60])
    data = ImageFolder(folder)
    with pytest.raises(DataError, match=r"test.images.01.png is damaged or cut off"):
        data.split("test")[1]
    assert [problem for problem in check(folder) if "01.png" in problem]


def test_labels_out_of_range_are_named(folder):
    save(folder / "test/labels/00.png", np.full((12, 16), 7, np.uint8))
    data = ImageFolder(folder)
    words = r"test.labels.00.png has the label 7 in 192 pixels; with 3 classes labels are 0 to 2"
    with pytest.raises(DataError, match=words):
        data.split("test")[0]
    assert len(check(folder)) == 1
    assert ImageFolder(folder, classes=8).out_channels == 8
    assert check(folder, classes=8) == []
    assert len(check(folder, classes=2)) == 8  # every label file has a 2, and the 7


def test_an_ignored_label_is_no_class(folder):
    path = folder / "train/labels/00.png"
    labels = np.asarray(Image.open(path)).copy()
    labels[0, 5] = 255
    save(path, labels)
    with pytest.raises(DataError, match=r"00.png has the label 255.*ignore=255"):
        _ = ImageFolder(folder).classes
    assert check(folder)
    data = ImageFolder(folder, ignore=255)
    assert data.classes == 3
    assert data.split("train")[0][1][0, 5] == 255
    assert check(folder, ignore=255) == []


def test_labels_that_are_all_background_are_refused(folder):
    for path in folder.glob("*/labels/*"):
        save(path, np.zeros((12, 16), np.uint8))
    with pytest.raises(DataError, match="at least two"):
        _ = ImageFolder(folder).out_channels


def test_constant_pictures_cannot_be_normalised(folder):
    for path in folder.glob("train/images/*"):
        save(path, np.full((12, 16), 80, np.uint8))
    with pytest.raises(DataError, match=r"all pixels of .* are 80"):
        _ = ImageFolder(folder).normalisation
    assert len(check(folder)) == 1


def test_memory_is_bounded(folder):
    size = 12 * 16 * (4 + 1)  # a float and a byte
    data = ImageFolder(folder, memory=2 * size)
    split = data.split("train")
    first = [split[i][0] for i in range(4)]
    assert data._memory.used == 2 * size
    assert all(torch.equal(split[i][0], first[i]) for i in range(4))
    none = ImageFolder(folder, memory=0)
    assert torch.equal(none.split("train")[1][0], first[1])
    assert none._memory.used == 0


@pytest.mark.parametrize("volume", ["cement", "bone", "fibers", "nerve"])
def test_the_real_micro_ct_slices_can_be_used_for_both_tasks(shared_data, volume):
    root = shared_data / "qim_ct" / volume
    assert check(root) == []
    labelled = ImageFolder(root)
    assert (labelled.task, labelled.in_channels, labelled.out_channels) == ("segmentation", 1, 2)
    image, labels = labelled.split("train")[0]
    assert image.shape[1:] == labels.shape
    assert 0 < labels.double().mean() < 1
    clean = ImageFolder(root, target="clean")
    image, target = clean.split("val")[0]
    assert image.shape == target.shape
    want = np.asarray(Image.open(sorted((root / "val/clean").iterdir())[0]))
    np.testing.assert_allclose(clean.normalisation.undo(target)[0], want, atol=1e-3)

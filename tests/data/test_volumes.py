"""Volumes: what is written can be read by the formats' own packages, and the other way round."""

import contextlib
import json
import os

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from leanline.data import volumes
from leanline.data.volumes.volume import Layout
from leanline.errors import ConfigError, DataError, RunError


@pytest.fixture
def opened():
    """Opens volumes that are closed at the end."""
    with contextlib.ExitStack() as stack:

        def open_one(path):
            return stack.enter_context(contextlib.closing(volumes.open_source(path)))

        yield open_one


SUFFIXES = {"tiff": ".tif", "zarr": ".zarr", "hdf5": ".h5", "pictures": "/"}
DTYPES = ["uint8", "uint16", "int16", "float32", "float64"]


def numbers(shape, dtype="uint16", seed=0):
    values = np.random.default_rng(seed).normal(100, 40, shape)
    return np.abs(values).astype(dtype) if dtype[0] == "u" else values.astype(dtype)


def write(kind, path, values):
    """With the format's own package."""
    if kind == "tiff":
        colour = values.ndim == 4
        tifffile.imwrite(path, values, photometric="rgb" if colour else "minisblack")
    elif kind == "zarr":
        made = zarr.create_array(path, shape=values.shape, dtype=values.dtype, chunks="auto")
        made[:] = values
    elif kind == "hdf5":
        with h5py.File(path, "w") as file:
            file["scan/raw"] = values
    else:
        path.mkdir()
        for index, picture in enumerate(values):
            tifffile.imwrite(path / f"{index:03d}.tif", picture)
    return path


def read(kind, path):
    """With the format's own package."""
    if kind == "tiff":
        return tifffile.imread(path)
    if kind == "zarr":
        return zarr.open_array(path, mode="r")[:]
    if kind == "hdf5":
        with h5py.File(path) as file:
            found = []
            file.visititems(lambda _, item: found.append(item) if hasattr(item, "shape") else None)
            return found[0][:]
    files = sorted(file for file in path.iterdir() if file.suffix in (".tif", ".png"))
    return np.stack(
        [tifffile.imread(f) if f.suffix == ".tif" else np.asarray(Image.open(f)) for f in files]
    )


def named(tmp_path, kind, stem):
    return tmp_path / (stem + SUFFIXES[kind].rstrip("/"))


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_source_reads_what_the_package_wrote(kind, dtype, tmp_path, opened):
    values = numbers((5, 6, 7), dtype)
    source = opened(write(kind, named(tmp_path, kind, "in"), values))
    assert (source.slices, source.channels, source.size(3)) == (5, 1, (6, 7))
    assert source.dtype == dtype
    np.testing.assert_array_equal(source.read(0, 5)[..., 0], values)
    np.testing.assert_array_equal(source.read(2, 4)[..., 0], values[2:4])
    json.dumps(dict(source.identity()))
    with pytest.raises(DataError, match="has 5"):
        source.read(4, 6)
    source.close()


@pytest.mark.parametrize("kind", SUFFIXES)
def test_colours(kind, tmp_path, opened):
    values = numbers((4, 6, 7, 3), "uint8")
    path = named(tmp_path, kind, "in")
    if kind == "pictures":
        path.mkdir()
        for index, picture in enumerate(values):
            Image.fromarray(picture).save(path / f"{index}.png")
    else:
        write(kind, path, values)
    source = opened(path)
    assert source.channels == 3
    np.testing.assert_array_equal(source.read(1, 3), values[1:3])
    out = volumes.place_output(str(tmp_path / f"out{SUFFIXES[kind]}"), path)
    sink = volumes.create_sink(out, Layout([(6, 7)] * 4, values.dtype, 3, {}, source.traits))
    sink.write(0, values)
    sink.sync()
    sink.finish()
    np.testing.assert_array_equal(read(kind, out.path), values)


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize(
    ("channels", "dtype"), [(None, "uint8"), (None, "float64"), (5, "float32")]
)
def test_sink_writes_in_any_order_and_goes_on(kind, channels, dtype, tmp_path, opened):
    shape = (5, 6, 7) if channels is None else (5, 6, 7, channels)
    values = numbers(shape, dtype)
    source = write(kind, named(tmp_path, kind, "in"), numbers((5, 6, 7)))
    traits = opened(source).traits
    out = volumes.place_output(str(tmp_path / f"out{SUFFIXES[kind]}"), source)
    layout = Layout([(6, 7)] * 5, np.dtype(dtype), channels, {"made": "so"}, traits)
    four = values[..., None] if channels is None else values
    for part in [slice(3, 5), slice(0, 1)], [slice(1, 3)]:  # the second as after a kill
        sink = volumes.create_sink(out, layout)
        for one in part:
            sink.write(one.start, four[one])
        sink.sync()
        assert not volumes.exists(out)
        if part[0].start == 3:
            sink.close()
    sink.finish()
    assert volumes.exists(out)
    assert volumes.read_record(out) == {"made": "so"}
    np.testing.assert_array_equal(read(kind, out.path), values)
    assert read(kind, out.path).dtype == dtype
    assert not [p for p in tmp_path.iterdir() if "partial" in p.name or p.name.startswith(".")]


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_format_is_kept_and_arrays_lie_in_stores(version, tmp_path, opened):
    store = zarr.open_group(tmp_path / "scan.zarr", mode="w", zarr_format=version)
    made = store.create_array("raw", shape=(9, 8, 8), dtype="uint8", chunks=(4, 8, 8))
    values = numbers((9, 8, 8), "uint8")
    made[:] = values
    source = opened(tmp_path / "scan.zarr")  # the only one
    assert source.depth == 4
    np.testing.assert_array_equal(source.read(2, 9)[..., 0], values[2:])
    for name in ("scan.zarr/labels", "new.zarr/deep/labels"):
        out = volumes.place_output(tmp_path / name, tmp_path / "scan.zarr" / "raw")
        layout = Layout([(8, 8)] * 9, np.dtype("uint8"), None, {}, source.traits)
        sink = volumes.create_sink(out, layout)
        sink.write(0, values[..., None])
        sink.finish()
        found = zarr.open_array(out.path, mode="r")
        assert found.metadata.zarr_format == version
        np.testing.assert_array_equal(found[:], values)
    assert "labels" in zarr.open_group(tmp_path / "scan.zarr", mode="r")
    with pytest.raises(DataError, match="holds 2 arrays"):
        opened(tmp_path / "scan.zarr")


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_stacks_of_all_kinds(big, compression, tmp_path, opened):
    values = numbers((4, 6, 5), "uint16")
    path = tmp_path / "in.tif"
    kind = dict(photometric="minisblack", compression=compression, byteorder=">")
    tifffile.imwrite(path, values, bigtiff=big, **kind)
    source = opened(path)
    assert source.dtype.isnative
    np.testing.assert_array_equal(source.read(1, 4)[..., 0], values[1:])


def test_large_tiff_is_a_bigtiff_and_takes_no_space_before_it_is_written(tmp_path):
    out = volumes.place_output(tmp_path / "out.tif", tmp_path / "in.tif")
    sink = volumes.create_sink(out, Layout([(2**13, 2**13)] * 70, np.dtype("uint8"), None))
    sink.write(69, np.full((1, 2**13, 2**13, 1), 7, "uint8"))
    sink.finish()
    with tifffile.TiffFile(out.path) as made:
        assert made.is_bigtiff
        assert made.pages[69].asarray().min() == 7
    assert out.path.stat().st_blocks * 512 < 2**28


def test_mixed_sizes_only_in_folders(tmp_path, opened):
    (tmp_path / "in").mkdir()
    for name, shape in {"b": (4, 5), "a": (6, 7)}.items():
        Image.fromarray(numbers(shape, "uint8")).save(tmp_path / "in" / f"{name}.png")
    source = opened(tmp_path / "in")
    assert [source.size(0), source.size(1)] == [(6, 7), (4, 5)]
    layout = Layout([(6, 7), (4, 5)], np.dtype("uint8"), None, {}, source.traits)
    out = volumes.place_output(tmp_path / "out", tmp_path / "in")
    sink = volumes.create_sink(out, layout)
    for index in range(2):
        sink.write(index, source.read(index, index + 1))
    sink.finish()
    with Image.open(tmp_path / "out" / "b.png") as written:
        assert written.size == (5, 4)
    with pytest.raises(DataError, match="2 sizes"):
        volumes.create_sink(volumes.place_output(tmp_path / "o.tif", tmp_path / "in"), layout)


def test_folder_keeps_formats_but_never_jpeg(tmp_path, opened):
    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "b.png", "c.tif"):
        Image.fromarray(numbers((8, 8), "uint8")).save(tmp_path / "in" / name)
    source = opened(tmp_path / "in")
    out = volumes.place_output(tmp_path / "out", tmp_path / "in")
    sink = volumes.create_sink(out, Layout([(8, 8)] * 3, source.dtype, None, {}, source.traits))
    sink.write(0, source.read(0, 3))
    sink.finish()
    assert {p.name for p in out.path.iterdir()} == {"a.png", "b.png", "c.tif", "leanline.json"}


def test_damaged_files_are_named(tmp_path, opened):
    path = write("tiff", tmp_path / "in.tif", numbers((4, 64, 64)))
    source = opened(path)
    os.truncate(path, path.stat().st_size - 5000)
    source.read(0, 2)
    with pytest.raises(DataError, match=r"in.tif is cut off in slice 3"):
        source.read(2, 4)
    kind = dict(photometric="minisblack", compression="zlib")
    tifffile.imwrite(tmp_path / "short.tif", numbers((9, 64, 64)), metadata=None, **kind)
    os.truncate(tmp_path / "short.tif", path.stat().st_size // 2)
    with pytest.raises(DataError, match="cut off"):
        opened(tmp_path / "short.tif").read(0, 3)
    folder = write("pictures", tmp_path / "in", numbers((3, 8, 8)))
    (folder / "001.tif").write_bytes((folder / "001.tif").read_bytes()[:-50])
    with pytest.raises(DataError, match=r"001\.tif"):
        opened(folder).read(0, 3)
    for name in ("x.tif", "x.h5", "x.zarr"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(DataError, match=name):
            opened(tmp_path / name)


@pytest.mark.parametrize(
    ("shape", "dtype", "said"),
    [
        ((0, 4, 4), "uint8", "shape"),
        ((2, 2, 2, 2, 2), "uint8", "shape"),
        ((2, 4, 4), "complex64", "real"),
    ],
)
def test_unusable_arrays(shape, dtype, said, tmp_path, opened):
    zarr.create_array(tmp_path / "in.zarr", shape=shape, dtype=dtype)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["x"] = np.zeros(shape, dtype)
    for name in ("in.zarr", "in.h5"):
        with pytest.raises(DataError, match=said):
            opened(tmp_path / name)


def test_several_datasets_are_listed(tmp_path, opened):
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["a"], file["b/c"] = np.zeros((2, 3, 3)), np.ones((2, 3, 3))
    with pytest.raises(DataError, match=r"/a, .*/b/c"):
        opened(tmp_path / "in.h5")
    assert opened(f"{tmp_path}/in.h5:/b/c").read(0, 1).max() == 1
    with pytest.raises(DataError, match=r"no dataset /z; it has /a, /b/c"):
        opened(f"{tmp_path}/in.h5:/z")


@pytest.mark.parametrize(
    ("given", "out", "said"),
    [
        ("in.tif", "in.tif", "is the input"),
        ("in.h5:/a", "in.h5:/b", "is the input"),
        ("in", "in/out", "inside of the input"),
        ("in.zarr", "in.zarr/out", "inside of the input"),
        ("a/in", "a", "inside of OUT"),
        ("in.tif", "out", "give .*out.tif"),
        ("in", "out.png", "into a folder"),
    ],
)
def test_outputs_that_cannot_be(given, out, said, tmp_path):
    (tmp_path / given.partition(":")[0]).mkdir(parents=True) if "." not in given else None
    with pytest.raises(ConfigError, match=said):
        volumes.place_output(f"{tmp_path}/{out}", f"{tmp_path}/{given}")


def test_no_space_is_said_before_anything_is_computed(tmp_path):
    out = volumes.place_output(tmp_path / "out.tif", tmp_path / "in.tif")
    with pytest.raises(RunError, match="free there"):
        volumes.create_sink(out, Layout([(2**20, 2**20)] * 100, np.dtype("uint8"), None))
    assert not list(tmp_path.iterdir())


def test_missing_things(tmp_path, opened):
    (tmp_path / "empty").mkdir()
    (tmp_path / "p.png").write_bytes(b"")
    for name, said in {
        "none.tif": "there is no",
        "empty": "no pictures",
        "p.png": "folder",
    }.items():
        with pytest.raises(DataError, match=said):
            opened(tmp_path / name)
    out = volumes.place_output(tmp_path / "no" / "out.tif", tmp_path / "in.tif")
    with pytest.raises(RunError, match="no folder"):
        volumes.create_sink(out, Layout([(2, 2)], np.dtype("uint8"), None))
    assert volumes.several(f"{tmp_path}/p.*") == [str(tmp_path / "p.png")]
    assert volumes.several("plain") is None
    with pytest.raises(DataError, match="nothing is called"):
        volumes.several(f"{tmp_path}/*.tif")

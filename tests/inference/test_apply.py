"""`apply` against the network called by hand on every slice."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import torch
import zarr
from PIL import Image
from torch import nn

import leanline as ll
from leanline.data import Normalisation
from leanline.errors import ConfigError, DataError, ModelError, RunError
from leanline.inference import ApplyConfig, apply
from leanline.inference import engine as engine_module
from leanline.inference import work as work_module

SCALE = Normalisation(100.0, 30.0)
QUICK = ApplyConfig(backend="reference", threads=1, commit=0, scale=SCALE)


def configured(**changes):
    return ApplyConfig(**{**vars(QUICK), **changes})


@pytest.fixture(scope="module")
def network():
    """Three classes."""
    return ll.models.MSD(3, 1, 3, seed=1).eval()


def numbers(shape, dtype="uint8", seed=0):
    values = np.random.default_rng(seed).normal(100, 30, shape)
    return values.clip(0).astype(dtype) if dtype[0] == "u" else values.astype(dtype)


def expected(network, values, scale=SCALE):
    """Logits [slices, outputs, height, width] by the plain network."""
    images = torch.from_numpy(values.astype(np.float32))
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    with torch.no_grad():
        return network(images if scale is None else scale.apply(images))


def stack(path, values):
    tifffile.imwrite(path, values, photometric="minisblack")
    return path


@pytest.mark.parametrize("backend", ["reference", "cpu", "auto"])
def test_labels_in_every_format(backend, network, tmp_path):
    values = numbers((5, 18, 21))
    want = expected(network, values).argmax(1).numpy()
    (tmp_path / "in").mkdir()
    for index, one in enumerate(values):
        Image.fromarray(one).save(tmp_path / "in" / f"{index}.png")
    stack(tmp_path / "in.tif", values)
    zarr.create_array(tmp_path / "in.zarr", data=values, chunks=(2, 18, 21))
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["raw"] = values
    found = {}
    kinds = ("", ".tif", ".zarr", ".h5") if backend == "reference" else (".tif",)
    for suffix in kinds:
        out = tmp_path / f"out{suffix}"
        applied = apply(network, tmp_path / f"in{suffix}", out, configured(backend=backend))
        assert (applied.slices, applied.found, applied.done.slices) == (5, 0, 5)
        found[suffix] = out
    for suffix, out in found.items():
        if suffix == "":
            have = np.stack([np.asarray(Image.open(out / f"{i}.png")) for i in range(5)])
        elif suffix == ".tif":
            have = tifffile.imread(out)
        elif suffix == ".zarr":
            have = zarr.open_array(out, mode="r")[:]
        else:
            with h5py.File(out) as file:
                have = file["raw"][:]
        assert have.dtype == np.uint8
        assert (have != want).mean() <= (0 if backend == "reference" else 1e-3)
    left = [p.name for p in tmp_path.iterdir() if "partial" in p.name]
    assert left == []


def test_probabilities_and_raw(network, tmp_path):
    values = numbers((3, 10, 12), "uint16")
    source = stack(tmp_path / "in.tif", values)
    logits = expected(network, values)
    apply(network, source, tmp_path / "p.tif", configured(output="probabilities"))
    apply(network, source, tmp_path / "r.tif", configured(output="raw"))
    have = tifffile.imread(tmp_path / "p.tif")
    np.testing.assert_allclose(have, logits.softmax(1).permute(0, 2, 3, 1), atol=1e-6)
    have = tifffile.imread(tmp_path / "r.tif")
    np.testing.assert_allclose(have, logits.permute(0, 2, 3, 1), atol=1e-5)
    with tifffile.TiffFile(tmp_path / "r.tif") as file:
        record = json.loads(file.shaped_metadata[0]["leanline"])
    assert record["wanted"]["scale"] == [100.0, 30.0]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_denoised_pictures_have_the_dtype_of_the_input(dtype, tmp_path):
    network = ll.models.MSD(2, 1, 1, seed=3).eval()
    values = numbers((4, 9, 11), dtype)
    source = stack(tmp_path / "in.tif", values)
    apply(network, source, tmp_path / "out.tif", QUICK)
    have = tifffile.imread(tmp_path / "out.tif")
    want = SCALE.undo(expected(network, values))[:, 0].numpy()
    assert have.dtype == dtype
    if dtype[0] in "ui":
        limits = np.iinfo(dtype)
        assert np.abs(have - np.clip(want, limits.min, limits.max)).max() <= 0.5 + 1e-3
    else:
        np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-3)
    apply(network, source, tmp_path / "values.tif", configured(output="values"))
    np.testing.assert_allclose(tifffile.imread(tmp_path / "values.tif"), want, rtol=1e-5, atol=1e-3)


def test_colours_and_mixed_sizes(tmp_path):
    network = ll.models.MSD(2, 3, 4).eval()
    (tmp_path / "in").mkdir()
    pictures = {}
    for index in range(7):
        pictures[f"{index}.png"] = numbers((12 + index // 3, 15, 3), seed=index)
        Image.fromarray(pictures[f"{index}.png"]).save(tmp_path / "in" / f"{index}.png")
    apply(network, tmp_path / "in", tmp_path / "out", configured(batch=2))
    for name, picture in pictures.items():
        want = expected(network, picture[None]).argmax(1)[0]
        with Image.open(tmp_path / "out" / name) as have:
            np.testing.assert_array_equal(np.asarray(have), want)


@pytest.mark.parametrize("batch", [1, 3])
def test_tiles_are_the_whole(batch, tmp_path):
    network = ll.models.MSD(4, 1, 2, seed=2).eval()
    values = numbers((2, 70, 90))
    source = stack(tmp_path / "in.tif", values)
    config = configured(output="raw", tile=24, batch=batch)
    applied = apply(network, source, tmp_path / "out.tif", config)
    assert applied.overlap == (10, 10, 10, 10)
    want = expected(network, values).permute(0, 2, 3, 1).numpy()
    have = tifffile.imread(tmp_path / "out.tif")
    assert np.abs(have - want).max() <= 1e-5 * np.abs(want).max()


def test_tiles_by_memory(network, tmp_path):
    values = numbers((1, 120, 120))
    source = stack(tmp_path / "in.tif", values)
    applied = apply(network, source, tmp_path / "out.tif", configured(memory=2e-4))
    assert applied.how.side < 120
    assert applied.overlap == (6, 6, 6, 6)
    want = expected(network, values).argmax(1).numpy()
    assert (tifffile.imread(tmp_path / "out.tif") == want).mean() > 0.999


def test_too_large_to_be_computed_and_not_to_be_cut(tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.InstanceNorm2d(4), nn.Conv2d(4, 2, 1))
    source = stack(tmp_path / "in.tif", numbers((2, 64, 64)))
    with pytest.raises(ConfigError, match=r"cannot be cut.*statistics of the whole picture"):
        apply(network, source, tmp_path / "out.tif", configured(memory=1e-5))
    assert [p.name for p in tmp_path.iterdir()] == ["in.tif"]
    apply(network, source, tmp_path / "out.tif", QUICK)


def test_sizes_that_are_not_multiples(tmp_path):
    network = ll.models.UNet4(1, 2, width=2).eval()
    values = numbers((2, 37, 50))
    apply(network, stack(tmp_path / "in.tif", values), tmp_path / "out.tif", QUICK)
    want = expected(network, values).argmax(1).numpy()
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), want)


def test_masked_network_is_compacted(tmp_path):
    network = ll.models.MSD(6, 1, 2).eval()
    x = torch.zeros(1, 1, 32, 32)
    ll.apply_masks(network, ll.select(network, x, keep=0.2))
    ll.clean(network, x)
    values = numbers((2, 40, 33))
    source = stack(tmp_path / "in.tif", values)
    apply(network, source, tmp_path / "out.tif", configured(output="raw"))
    want = expected(network, values).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(tifffile.imread(tmp_path / "out.tif"), want, atol=1e-4)


class StopError(Exception):
    pass


def interrupted_after(monkeypatch, jobs, error=StopError):
    """The network fails after some jobs."""
    real = work_module.Work._finish
    count = 0

    def failing(self, answers):
        nonlocal count
        count += 1
        if count > jobs:
            raise error
        return real(self, answers)

    monkeypatch.setattr(work_module.Work, "_finish", failing)
    return lambda: monkeypatch.setattr(work_module.Work, "_finish", real)


@pytest.mark.parametrize("suffix", [".tif", ".zarr", ".h5", ""])
def test_goes_on_where_it_stopped(suffix, network, tmp_path, monkeypatch):
    source = stack(tmp_path / "in.tif", numbers((9, 12, 13)))
    out, straight = f"{tmp_path}/out{suffix or '/'}", f"{tmp_path}/straight{suffix or '/'}"
    config = configured(batch=2)
    apply(network, source, straight, config)
    again = interrupted_after(monkeypatch, 3)
    with pytest.raises(StopError):
        apply(network, source, out, config)
    again()
    assert not (tmp_path / f"out{suffix}").exists()
    if suffix == ".tif":
        other = ll.models.MSD(3, 1, 3, seed=9).eval()
        with pytest.raises(RunError, match="network was"):
            apply(other, source, out, config)
        with pytest.raises(RunError, match="output was"):
            apply(network, source, out, configured(output="raw"))
        with pytest.raises(RunError, match="batch 2, now 1"):
            apply(network, source, out, configured(batch=1))
        with pytest.raises(RunError, match="half finished"):
            apply(network, source, out, configured(resume=False))
    applied = apply(network, source, out, config)
    assert (applied.found, applied.done.slices) == (6, 3)
    applied = apply(network, source, out, config)
    assert (applied.found, applied.how) == (9, None)
    for one in sorted((tmp_path / f"straight{suffix}").rglob("*")) or [
        tmp_path / f"straight{suffix}"
    ]:
        if one.is_file():
            other = Path(str(one).replace("straight", "out"))
            assert other.read_bytes() == one.read_bytes()


def test_finished_output_of_something_else(network, tmp_path):
    source = stack(tmp_path / "in.tif", numbers((2, 12, 13)))
    apply(network, source, tmp_path / "out.tif", QUICK)
    with pytest.raises(RunError, match=r"scale was \[100.0, 30.0\], now null"):
        apply(network, source, tmp_path / "out.tif", configured(scale=None))
    stack(tmp_path / "other.tif", numbers((2, 12, 13)))
    with pytest.raises(RunError, match="not made by leanline apply"):
        apply(network, source, tmp_path / "other.tif", QUICK)


@pytest.mark.parametrize("kind", ["pictures", "zarr"])
def test_finished_output_of_what_the_input_was_before(kind, network, tmp_path):
    values = numbers((2, 12, 13))
    source = tmp_path / "in" if kind == "pictures" else tmp_path / "s.zarr" / "raw"
    if kind == "pictures":
        source.mkdir()
        changed = source / "0.png"
        for index, one in enumerate(values):
            Image.fromarray(one).save(source / f"{index}.png")
    else:
        zarr.create_array(str(source), data=values, chunks=(1, 12, 13))
        changed = max((f for f in source.rglob("*") if f.is_file()), key=lambda f: len(f.parts))
    out = tmp_path / "out" if kind == "pictures" else tmp_path / "s.zarr" / "labels"
    apply(network, source, out, QUICK)
    assert apply(network, source, out, QUICK).how is None
    later = changed.stat().st_mtime_ns + 10**12
    os.utime(changed, ns=(later, later))
    with pytest.raises(RunError, match="was changed after it was made"):
        apply(network, source, out, QUICK)


def test_a_damaged_picture_stops_and_is_gone_on_from(network, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for index, one in enumerate(numbers((6, 30, 30))):
        Image.fromarray(one).save(folder / f"{index}.png")
    whole = (folder / "4.png").read_bytes()
    (folder / "4.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"4\.png"):
        apply(network, folder, tmp_path / "out", configured(batch=1))
    assert len(list((tmp_path / "out.partial").glob("*.png"))) == 4
    (folder / "4.png").write_bytes(whole)
    Image.fromarray(numbers((30, 30), seed=5)).save(folder / "2.png")
    applied = apply(network, folder, tmp_path / "out", configured(batch=1))
    assert (applied.found, applied.done.slices) == (3, 3)  # with the picture that was changed


def test_nan_is_passed_on_with_a_warning(network, tmp_path, caplog):
    values = numbers((3, 9, 9), "float32")
    values[1, 4, 4] = np.nan
    source = stack(tmp_path / "in.tif", values)
    applied = apply(network, source, tmp_path / "out.tif", configured(output="raw"))
    assert applied.done.not_finite == [1]
    assert "NaN or infinite values" in caplog.text
    have = tifffile.imread(tmp_path / "out.tif")
    assert np.isfinite(have[[0, 2]]).all()


def test_pictures_of_another_depth_are_mentioned(network, tmp_path, caplog):
    values = numbers((2, 9, 9))
    apply(network, stack(tmp_path / "8.tif", values), tmp_path / "out8.tif", QUICK)
    assert "was trained on" not in caplog.text
    high = values.astype("uint16") * 257
    apply(network, stack(tmp_path / "16.tif", high), tmp_path / "out16.tif", QUICK)
    assert "16.tif has values about 2.6" in caplog.text and "trained on 100" in caplog.text


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_network_for_any_size_is_compacted_once(backend, tmp_path, monkeypatch):
    calls = []
    whole = engine_module.compaction.compact
    monkeypatch.setattr(
        engine_module.compaction, "compact", lambda *given: calls.append(1) or whole(*given)
    )
    network = ll.models.UNet4(1, 2, width=2).eval()
    engine = engine_module.Engine(network, 1, (32, 32), backend, 1)
    for size in ((32, 32), (31, 40), (17, 22), (48, 33)):
        images = torch.randn(1, 1, *size)
        with torch.no_grad():
            torch.testing.assert_close(engine(images), network(images), rtol=1e-4, atol=1e-4)
    assert calls == [1]


def test_pictures_that_do_not_fit(network, tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", numbers((2, 9, 9, 3)), photometric="rgb")
    with pytest.raises(ModelError, match="fails on pictures of 3 x 9 x 9"):
        apply(network, tmp_path / "in.tif", tmp_path / "out.tif", QUICK)
    valid = nn.Conv2d(1, 2, 3)
    with pytest.raises(ModelError, match="same height and width"):
        apply(valid, stack(tmp_path / "g.tif", numbers((2, 9, 9))), tmp_path / "out.tif", QUICK)
    with pytest.raises(ConfigError, match="no classes"):
        one = ll.models.MSD(1, 1, 1)
        apply(one, tmp_path / "g.tif", tmp_path / "out.tif", configured(output="labels"))
    with pytest.raises(ConfigError, match="--output"):
        apply(ll.models.MSD(1, 3, 3), tmp_path / "in.tif", tmp_path / "out.tif", QUICK)
    assert {p.name for p in tmp_path.iterdir()} == {"in.tif", "g.tif"}


def test_only_one_process_at_a_time(network, tmp_path):
    from leanline.inference.journal import Journal

    source = stack(tmp_path / "in.tif", numbers((2, 9, 9)))
    journal = Journal(tmp_path / "out.tif")
    with pytest.raises(RunError, match="in use by process"):
        apply(network, source, tmp_path / "out.tif", QUICK)
    journal.release()


@pytest.mark.parametrize("setting", ["threads", "batch", "tile", "memory"])
def test_settings_below_their_least(setting):
    with pytest.raises(ConfigError, match=f"{setting}=0"):
        ApplyConfig(**{setting: 0})

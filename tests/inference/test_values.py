"""What is written of a network's answers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from leanline.data import Normalisation
from leanline.errors import ConfigError
from leanline.inference import values


@given(st.integers(1, 300), st.integers(0, 3), st.integers(0, 100))
def test_most_likely_is_argmax(outputs, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    answers = torch.randn((2, outputs, 3, 4), generator=generator)
    answers = (answers * spread).round()  # with ties
    assert torch.equal(
        values.most_likely(answers).long(), torch.from_numpy(answers.numpy().argmax(1))
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float64"])
def test_pictures_are_clipped_and_rounded(dtype):
    answers = torch.tensor([-1e9, -0.6, 0.4, 1.6, 200.2, 1e9, float("nan")]).reshape(1, 1, 1, 7)
    found = values.finish("picture", answers, np.dtype(dtype), Normalisation(10.0, 2.0)).ravel()
    assert found.dtype == dtype
    if dtype == "float64":
        assert np.isnan(found[-1])
    else:
        limits = np.iinfo(dtype)
        want = [(-1e9, 8.8, 10.8, 13.2, 410.4, 1e9)[i] * 1.0 for i in range(6)]
        want[0], want[5] = 10 - 2e9, 10 + 2e9
        np.testing.assert_allclose(
            found[:6], np.clip(np.rint(want), limits.min, limits.max), rtol=1e-6
        )
        assert found[-1] == np.clip(0, limits.min, limits.max)


def test_normalised_as_in_training():
    scale = Normalisation(3.3, 1.7)
    picture = np.arange(24, dtype=np.uint16).reshape(1, 4, 6, 1)
    want = scale.apply(torch.from_numpy(picture.astype(np.float32)).permute(0, 3, 1, 2))
    assert torch.equal(values.prepare(picture, scale), want)
    picture.flags.writeable = False
    assert torch.equal(values.prepare(picture, None)[0, 0], torch.arange(24.0).reshape(4, 6))


@pytest.mark.parametrize(
    ("channels", "outputs", "output"), [(1, 1, "picture"), (1, 5, "labels"), (3, 2, "labels")]
)
def test_default_output(channels, outputs, output):
    assert values.default_output(channels, outputs) == output


def test_ambiguous_output():
    for channels, outputs in ((3, 3), (3, 1)):
        with pytest.raises(ConfigError, match="--output"):
            values.default_output(channels, outputs)
    with pytest.raises(ConfigError, match="'x'"):
        values.form_of("x", 2, np.dtype("uint8"))

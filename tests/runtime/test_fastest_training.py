"""The choice between the kernels and PyTorch for training, with times that are given."""

import sys

import pytest
import torch

from leanline.models import MSD, UNet4
from leanline.runtime import fastest_training, trainable
from leanline.runtime.layers import step_seconds
from leanline.runtime.measured import Measured
from leanline.runtime.shared import SharedPlaneNetwork

PICTURE = torch.randn(1, 1, 16, 16)
MODULE = sys.modules["leanline.runtime.fastest_training"]


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Times go to a folder of the test."""
    monkeypatch.setattr(MODULE, "Measured", lambda: Measured(tmp_path))


@pytest.mark.parametrize(("dense", "sparse"), [(1.0, 2.0), (2.0, 1.0)])
def test_the_faster_one_is_taken_and_times_are_kept(monkeypatch, measured, dense, sparse):
    model, timed = MSD(3, 1, 2), []

    def given(network, picture):
        timed.append(network)
        return dense if network is model else sparse

    monkeypatch.setattr(MODULE, "step_seconds", given)
    for _ in range(2):  # the second time from the file
        chosen = fastest_training(model, PICTURE)
        assert isinstance(chosen, SharedPlaneNetwork) == (sparse < dense)
        assert chosen is model or sparse < dense
        torch.testing.assert_close(chosen(PICTURE), model(PICTURE), rtol=1e-4, atol=1e-5)
    assert len(timed) == 2


def test_networks_that_the_kernels_do_not_run_as_a_whole_are_chosen_by_layer(monkeypatch, measured):
    def never(network, picture):
        raise AssertionError("nothing to choose between")

    monkeypatch.setattr(MODULE, "step_seconds", never)
    model = UNet4(1, 2, width=2)
    assert type(fastest_training(model, PICTURE)) is type(trainable(model, PICTURE))


def test_timing_a_step_leaves_gradients_alone():
    model = MSD(3, 1, 2)
    assert step_seconds(model, PICTURE) > 0
    assert all(parameter.grad is None for parameter in model.parameters())

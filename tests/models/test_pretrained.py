import json

import pytest
import torch

from leanline.data import CircleSquare
from leanline.errors import CheckpointError, ConfigError
from leanline.models import MSD, load_msd, pretrained, save_msd
from leanline.records.tensors import save_tensors


def test_the_shipped_network_segments_fresh_pictures():
    model = pretrained("msd50-circle-square")
    assert (model.depth, model.in_channels, model.out_channels) == (50, 1, 5)
    assert not model.training
    right = 0.0
    pictures = 4
    fresh = CircleSquare(test=pictures, seed=987_654_321).split("test")
    with torch.no_grad():
        for image, labels in (fresh[i] for i in range(pictures)):
            right += (model(image[None]).argmax(1)[0] == labels).double().mean().item()
    assert right / pictures > 0.94


def test_a_saved_network_comes_back(tmp_path):
    model = MSD(4, 2, 3, width=2, dilations=[1, 3], padding_mode="reflect", seed=5)
    save_msd(model, tmp_path / "net.safetensors", {"made by": "a test"})
    twin = load_msd(tmp_path / "net.safetensors")
    x = torch.randn(1, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(twin(x), model(x))
    assert twin.dilations == model.dilations


def test_unknown_names_are_explained():
    with pytest.raises(ConfigError, match="did you mean 'msd50-circle-square'"):
        pretrained("msd5-circle-square")


def test_truncated_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    save_msd(MSD(4, 1, 2), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        load_msd(path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="damaged"):
        load_msd(path)
    with pytest.raises(CheckpointError, match="no file"):
        load_msd(tmp_path / "absent.safetensors")
    save_tensors(path, {"a": torch.zeros(3)})
    with pytest.raises(CheckpointError, match="does not hold an MS-D network"):
        load_msd(path)
    settings = {
        "depth": 10**12,
        "in_channels": 1,
        "out_channels": 2,
        "width": 1,
        "dilations": [1],
        "padding_mode": "zeros",
    }
    save_tensors(path, MSD(4, 1, 2).state_dict(), {"msd": json.dumps(settings)})
    with pytest.raises(CheckpointError, match="10 tensors for a depth of 1000000000000"):
        load_msd(path)

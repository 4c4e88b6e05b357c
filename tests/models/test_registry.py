import sys

import pytest
import torch

from leanline.errors import ConfigError
from leanline.models import MSD, FCNResNet50, UNet4, make


def test_msd_by_name_with_settings_as_text():
    model = make("msd", 2, 3, depth="7", width=2, dilations="1,2,4", padding_mode="reflect")
    assert isinstance(model, MSD)
    assert (model.depth, model.width, model.in_channels, model.out_channels) == (7, 2, 2, 3)
    assert model.dilations == (1, 2, 4, 1, 2, 4, 1)
    assert make("msd", 1, 2).depth == 50
    assert make("msd", 1, 2, dilations="none").dilations[-1] == 10


def test_unet4_and_fcn_resnet50_by_name():
    unet = make("unet4", 2, 3, width="4", upsampling="bilinear", seed="7")
    assert isinstance(unet, UNet4)
    assert (unet.in_channels, unet.out_channels, unet.width) == (2, 3, 4)
    assert unet.upsampling == "bilinear"
    resnet = make("fcn-resnet50", 2, 3, width=4, dropout="0.5")
    assert isinstance(resnet, FCNResNet50)
    assert (resnet.in_channels, resnet.out_channels, resnet.width) == (2, 3, 4)
    assert resnet.classifier[3].p == 0.5


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("mds", {}, "no model 'mds' .did you mean 'msd'"),
        ("resnet", {}, "there are msd, unet4, fcn-resnet50, and package.module:factory"),
        ("msd", {"dept": 3}, "did you mean 'depth'"),
        ("msd", {"depth": "many"}, "depth=many: must be a whole number"),
        ("msd", {"depth": 2.5}, "depth=2.5: must be a whole number"),
        ("msd", {"dilations": "1,x"}, "none or whole numbers separated by commas"),
        ("unet4", {"upsampling": "cubic"}, "'cubic'.: must be one of transposed, bilinear"),
        ("unet", {}, "did you mean 'unet4'"),
        ("fcn-resnet50", {"width": "0"}, "width must be at least 1"),
        ("msd", {"depth": "0"}, "depth must be at least 1"),
        ("no_such_module_at_all:net", {}, "cannot import 'no_such_module_at_all'"),
        (":net", {}, "package.module:factory"),
        ("torch.nn:Conv2x", {}, "no function 'Conv2x' .did you mean 'Conv2d'"),
        ("builtins:dict", {}, "returned a dict"),
    ],
)
def test_wrong_names_and_settings_are_explained(name, settings, words):
    with pytest.raises(ConfigError, match=words):
        make(name, 1, 2, **settings)


def test_a_factory_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(
        "from torch import nn\n"
        "def plain(features, in_channels, scale=1.0):\n"
        "    return nn.Conv2d(in_channels, features, 3)\n"
        "def fixed():\n"
        "    return nn.Conv2d(1, 1, 3)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    model = make("my_nets:plain", 3, 2, features="6")
    assert isinstance(model, torch.nn.Conv2d)
    assert (model.in_channels, model.out_channels) == (3, 6)
    assert make("my_nets:fixed", 3, 2).in_channels == 1
    with pytest.raises(ConfigError, match="needs features"):
        make("my_nets:plain", 3, 2)

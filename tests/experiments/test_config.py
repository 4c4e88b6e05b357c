"""Configurations of experiments: those that ship, and what is wrong with others."""

import pytest

from leanline.errors import ConfigError
from leanline.experiments.library import SCALES, load, names, scales, titles

TOML = """
title = "one"
criteria = ["lean"]
[networks.a]
model = "msd"
schedule = { keep = 0.5, steps = 2 }
retraining = { iterations = 3 }
[data.b]
name = "circle-square"
"""


@pytest.mark.parametrize(("name", "scale"), [(n, scale) for n in names() for scale in scales(n)])
def test_shipped(name, scale):
    config = load(name, scale)
    assert config.title == titles()[name][0]
    assert config.networks or config.data


def test_the_thesis_sizes():
    config = load("circle-square", "full")
    msd, unet = config.networks["msd100"], config.networks["unet4"]
    assert (msd.schedule.keep, msd.schedule.steps) == (0.01, 45)
    assert (unet.schedule.keep, unet.schedule.steps) == (0.001, 30)
    assert msd.retraining.training(0, pictures=1000).iterations == 1000  # 5 epochs of batches of 5
    assert len(config.seeds) == 5
    assert config.criteria_of("msd100") == ("lean", "magnitude", "operator-norm", "random")
    assert "geometric-median" in config.criteria_of("resnet50")


def test_small_differs_from_full_only_where_it_says():
    small, full = (load("circle-square", scale) for scale in SCALES)
    assert small.title == full.title
    assert small.data["circle-square"].settings["seed"] == 1000
    assert small.data["circle-square"].settings["train"] < 1000
    assert "train" not in full.data["circle-square"].settings


@pytest.fixture
def file(tmp_path):
    (tmp_path / "own.toml").write_text(TOML)
    return str(tmp_path / "own.toml")


def test_a_file_without_scales_has_one(file):
    assert load(file, "small") == load(file, "full")


def test_changes(file):
    changes = [
        "networks.a.settings.depth=7",
        "networks.a.retraining.epochs=2.5",
        "seeds=[3, 4]",
        "data.b.name=folder:x y",
        "criteria=lean,magnitude",
        "measuring.batches=4",
    ]
    with pytest.raises(ConfigError, match="batches"):
        load(file, "small", changes)
    config = load(file, "small", changes[:-1])
    assert config.networks["a"].settings == {"depth": 7}
    assert config.networks["a"].retraining.epochs == 2.5
    assert config.networks["a"].retraining.iterations is None
    assert config.seeds == (3, 4)
    assert config.data["b"].name == "folder:x y"
    assert config.criteria == ("lean", "magnitude")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seedz=[1]", r"seedz: there is no such key \(did you mean 'seeds'\?\)"),
        ("networks.a.schedule.kep=1", r"networks\.a\.schedule\.kep: .* 'keep'"),
        ("networks.a.schedule.keep=2", r"networks\.a\.schedule\.keep is 2"),
        ("networks.a.model=3", r"networks\.a\.model: must be text"),
        ("networks.a=3", r"networks\.a: must be a table"),
        ("networks=3", "networks: must be a table"),
        ("networks.c.schedule.keep=0.1", r"networks\.c needs networks\.c\.model"),
        ("seeds=[-1]", "must not be negative"),
        ("seeds=[1, 1]", "once"),
        ("judged_at=[2]", "fractions"),
        ("parts=curvs", "did you mean 'curves'"),
        ("networks.a.retraining.growth=2", "between 0 and 1"),
        ("networks.a.retraining.lr=0", "lr"),
        ("measuring.threads=0", "at least 1"),
        ("nonsense", "write --set"),
    ],
)
def test_wrong_settings_are_told(file, change, message):
    with pytest.raises(ConfigError, match=message):
        load(file, "small", [change])


def test_wrong_names_are_told(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'circle-square'"):
        load("circlesquare", "small")
    with pytest.raises(ConfigError, match="no such file"):
        load(str(tmp_path / "none.toml"), "small")
    with pytest.raises(ConfigError, match="scale 'huge'"):
        load("circle-square", "huge")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(ConfigError, match="no TOML"):
        load(str(tmp_path / "bad.toml"), "small")
    (tmp_path / "small.toml").write_text("[small]\ntitle = 'x'")
    with pytest.raises(ConfigError, match="no scale 'full', but small"):
        load(str(tmp_path / "small.toml"), "full")

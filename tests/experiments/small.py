"""A tiny experiment: four layers, pictures of 16 x 16 pixels, a few steps of training."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 16

CONFIG = """
title = "Tiny <b>experiment</b>"
thesis = "none & nothing"
parts = ["curves", "speed", "structure", "pictures", "networks"]
criteria = ["lean", "magnitude"]
seeds = [0, 1]
judged_at = [0.45]
schedule = {{ keep = 0.3, steps = 3 }}
training = {{ iterations = 16, every = 8, batch_size = 2 }}
retraining = {{ iterations = 4, growth = 0.5, batch_size = 2 }}
measuring = {{ seconds = 0.0, seeds = 2, batches = [1, 2], batch_seconds = 0.0 }}
sample = 1

[networks.msd4]
model = "msd"
settings = {{ depth = 4 }}

[data.stripes]
name = "folder:{folder}"
"""


def write_pictures(folder: Path) -> Path:
    """Noisy pictures whose right part is bright, and which pixels that is."""
    rng = np.random.default_rng(0)
    for split, count in {"train": 6, "val": 2, "test": 2}.items():
        for kind in ("images", "labels"):
            (folder / split / kind).mkdir(parents=True)
        for index in range(count):
            labels = np.zeros((SIZE, SIZE), np.uint8)
            labels[:, rng.integers(3, SIZE - 3) :] = 1
            image = np.clip(100 * labels + rng.normal(80, 30, labels.shape), 0, 255)
            Image.fromarray(image.astype(np.uint8)).save(folder / split / f"images/{index}.png")
            Image.fromarray(labels).save(folder / split / f"labels/{index}.png")
    return folder


def write_config(folder: Path) -> Path:
    """The configuration, and the pictures beside it."""
    file = folder / "tiny.toml"
    file.write_text(CONFIG.format(folder=write_pictures(folder / "pictures")))
    return file

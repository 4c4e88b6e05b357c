"""Small run folders, made by the calls that make real ones."""

import json
import math
import tempfile
from functools import cache
from pathlib import Path

import torch

from leanline import pruning
from leanline.models import MSD
from leanline.records.atomic import write_text
from leanline.records.run import RunFolder
from leanline.records.tensors import save_tensors

DEPTH, SIZE = 4, 16
FILTERS = 1 + 2 + 3 + 4
TIMES = {
    "PyTorch eager, dense": 40.0,
    "leanline kernel, dense": 10.0,
    "PyTorch eager, compacted": 20.0,
    "leanline kernel, pruned": 2.0,
}


class Retrain:
    """In place of retraining: an accuracy that falls with the filters."""

    @property
    def description(self):
        return {"training": {"iterations": 3, "lr": 1e-3}}

    def __init__(self, names=("accuracy", "loss")):
        self.names = names

    def __call__(self, model, stage):
        metrics = {name: 0.95 - 0.02 * stage.index for name in self.names}
        return {**metrics, "train_loss": 0.1 * stage.index}


def make_prune(folder, criterion=None, stop=None, about=(), names=("accuracy", "loss"), goal=None):
    """A real prune folder, of `stop` stages where it is not to be finished."""
    files = pruned_files(criterion or pruning.Lean(), stop, tuple(about), tuple(names), goal)
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


@cache
def pruned_files(criterion, stop, about, names, goal):
    """What `prune` leaves, made once for every choice of arguments."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        run = pruning.prune(
            MSD(DEPTH, 1, 2),
            torch.zeros(1, 1, SIZE, SIZE),
            Retrain(names),
            criterion,
            pruning.Schedule(0.3, 3),
            out=folder,
            about={"model": "msd", "data": "circle-square", **dict(about)},
            goal=goal,
        )
        for stage in run:
            if stage.index == stop:
                break
        run.close()
        return {
            str(file.relative_to(folder)): file.read_bytes()
            for file in folder.rglob("*")
            if file.is_file()
        }


def make_train(folder, planned=30, done=30, about=None):
    """A train folder with the rows that training writes."""
    config = {"command": "train", "model": "msd", "training": {"iterations": planned}}
    with RunFolder.open(folder, {**config, **(about or {})}) as run:
        for step in range(10, done + 1, 10):
            run.append_stage(
                {
                    "step": step,
                    "train_loss": 1 / step,
                    "val_loss": 1.1 / step,
                    "val_accuracy": 1 - 1 / step,
                    "best": step < 30,
                    "seconds": 1.5,
                }
            )
    return folder


def make_demo(folder, **settings):
    """A comparison folder with two rules, measured."""
    with RunFolder.open(folder, {"command": "demo", "keep": 0.3, "rules": ["lean", "magnitude"]}):
        pass
    for name, rule in (("magnitude", pruning.Magnitude()), ("lean", pruning.Lean())):
        add_evidence(make_prune(folder / name, rule, **settings))
    return folder


def add_evidence(folder, result="pruned", **changes):
    """Evidence as in experiments.evidence, with figures that are easy to check."""
    rows = [
        {
            "name": name,
            "median": median,
            "low": 0.9 * median,
            "high": 1.2 * median,
            "speedup": 40 / median,
            "speedup_low": 36 / median,
            "speedup_high": 44 / median,
        }
        for name, median in TIMES.items()
    ]
    document = {
        "schema": 1,
        "dense": {"accuracy": 0.954, "f1": 0.9, "loss": 0.1},
        result: {"accuracy": 0.921, "f1": 0.8, "loss": 0.2},
        "network": {
            "filters": [FILTERS, 3],
            "channels": [6, 5],
            "parameters": [102, 40],
            "macs": [24_576_000, 8_192_000],
        },
        "deviation": 1.7e-7,
        "timing": {
            "rows": rows,
            "rounds": 12,
            "threads": 1,
            "device": "AVX2",
            "shape": [1, 1, SIZE, SIZE],
            "missing": {},
        },
        "machine": "a processor",
        "command": "leanline prune msd",
        "seconds": 12.5,
        **changes,
    }
    kept = {name: value for name, value in document.items() if value is not None}
    write_text(folder / "evidence.json", json.dumps(kept))
    return folder


def labels(classes=5, count=2, size=SIZE):
    """Class ids with every class in them."""
    return torch.arange(count * size * size).reshape(count, size, size) % classes


def add_tensors(folder, truth=None, names=("dense", "pruned"), wrong=10, images=None):
    """Pictures of which each network has `wrong` pixels wrong, and adjacency matrices."""
    truth = labels() if truth is None else truth
    if images is None:
        generator = torch.Generator().manual_seed(0)
        images = torch.rand((len(truth), 1, *truth.shape[-2:]), generator=generator)
    output = truth.clone()
    flat = output[0].reshape(-1)
    if truth.ndim == 3:
        flat[:wrong] = (flat[:wrong] + 1) % (int(truth.max()) + 1)
    else:
        flat[:wrong] += math.sqrt(0.5)
    tensors = {"images": images, "truth": truth, **dict.fromkeys(names, output)}
    dense = torch.ones(DEPTH, DEPTH).tril().bool()
    tensors["adjacency.dense"] = dense
    tensors["adjacency.pruned"] = dense & torch.eye(DEPTH).bool()
    save_tensors(folder / "evidence.safetensors", tensors)
    return folder

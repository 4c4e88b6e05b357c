"""What a finished run leaves for the report: complete, measured on the networks themselves."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import leanline as ll
from leanline.data import ImageFolder
from leanline.experiments import evidence
from leanline.experiments.evidence import Measuring, collect_pruning, collect_training
from leanline.models import MSD
from leanline.records.tensors import load_tensors

SIZE = 20
MEASURING = Measuring(seconds=0.0)


def write_folder(root: Path, target: str) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for kind in ("images", target):
            (root / split / kind).mkdir(parents=True)
        for index in range(2):
            labels = (rng.random((SIZE, SIZE)) < 0.3).astype(np.uint8)
            noisy = np.clip(120 * labels + rng.normal(60, 20, labels.shape), 0, 255)
            wanted = labels if target == "labels" else 100 * labels
            Image.fromarray(noisy.astype(np.uint8)).save(root / split / "images" / f"{index}.png")
            Image.fromarray(wanted).save(root / split / target / f"{index}.png")
    return root


def networks(dataset: ImageFolder) -> tuple[MSD, MSD]:
    dense = MSD(6, 1, dataset.out_channels, seed=1)
    pruned = MSD(6, 1, dataset.out_channels, seed=1)
    image = dataset.split("test")[0][0][None]
    ll.apply_masks(pruned, ll.select(pruned, image, 0.4))
    ll.clean(pruned, image)
    return dense, pruned


@pytest.mark.parametrize("target", ["labels", "clean"])
def test_a_pruned_network_is_measured(tmp_path: Path, target: str) -> None:
    dataset = ImageFolder(write_folder(tmp_path / "data", target))
    dense, pruned = networks(dataset)
    collect_pruning(tmp_path, dense, pruned, dataset, MEASURING, {"command": "prune"})
    found = json.loads((tmp_path / "evidence.json").read_text())
    assert found["network"]["filters"] == [21, 8]
    assert found["deviation"] <= 1e-5
    assert [row["name"] for row in found["timing"]["rows"]] == [
        evidence.EAGER_DENSE,
        evidence.KERNEL_DENSE,
        evidence.EAGER_COMPACT,
        evidence.KERNEL_PRUNED,
    ]
    metric = "accuracy" if target == "labels" else "psnr"
    assert {metric, "loss"} <= set(found["dense"]) & set(found["pruned"]) & set(found["dense_val"])
    tensors, _ = load_tensors(tmp_path / "evidence.safetensors")
    assert tensors["adjacency.dense"].sum() == 21
    assert tensors["adjacency.pruned"].sum() == 8
    with torch.no_grad():
        output = pruned.eval()(tensors["images"])
    want = output.argmax(1) if target == "labels" else output
    assert torch.equal(tensors["pruned"], want)
    small = ll.load(lambda: MSD(6, 1, dataset.out_channels), tmp_path / "network.safetensors")
    assert torch.allclose(small(tensors["images"]), output, atol=1e-5)


@pytest.mark.parametrize("target", ["labels", "clean"])
def test_a_trained_network_is_judged(tmp_path: Path, target: str) -> None:
    dataset = ImageFolder(write_folder(tmp_path / "data", target))
    dense, _ = networks(dataset)
    collect_training(tmp_path, dense, dataset, MEASURING, {})
    found = json.loads((tmp_path / "evidence.json").read_text())
    assert set(found["trained"]) >= {"loss"}
    assert ("data_range" in found) == (target == "clean")


def test_the_matrix_has_targets_down_and_sources_across() -> None:
    model = MSD(3, 1, 2)
    mask = torch.tensor([[False, True]])
    ll.apply_masks(model, {"convs.1.weight": mask})
    matrix = evidence.adjacency(model, torch.zeros(1, 1, 16, 16))
    assert matrix is not None
    assert matrix.tolist() == [[True, False, False], [False, True, False], [True, True, True]]

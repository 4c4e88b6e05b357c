"""Pictures of an experiment: examples of its data sets, and what the networks make of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from leanline.experiments.cells import Cell, Pair, opened
from leanline.experiments.config import ExperimentConfig
from leanline.experiments.evidence import adjacency, answer_of, sample_pictures, task_facts
from leanline.experiments.results import DENSE
from leanline.experiments.sweep import Sweep
from leanline.records.configuration import canonical
from leanline.records.tensors import save_tensors

IMAGES, TRUTH, FACTS = "images", "truth", "facts"
_MATRIX_AT = 0.1  # Figure A2: "pruned to a ratio of 10%"


def data_file(root: Path, data: str) -> Path:
    """Example pictures of a data set."""
    return root / "pictures" / f"{data}.safetensors"


def answers_file(pair: Pair) -> Path:
    """What the dense and the pruned networks of a pair make of the example pictures."""
    return pair.folder / "answers.safetensors"


def structure_file(pair: Pair) -> Path:
    """Adjacency matrices of the dense and the pruned networks of a pair."""
    return pair.folder / "structure.safetensors"


def collect_pictures(config: ExperimentConfig, sweep: Sweep, root: Path) -> None:
    """Write down the first test pictures of each data set, and each network's answers to them.

    Answers are those of the first seed, at the last stage; what is there is not made again.
    """
    for name, wanted in config.data.items():
        file = data_file(root, name)
        if not file.exists():
            chosen = opened(wanted)
            images, truth = sample_pictures(chosen.dataset, config.sample)
            file.parent.mkdir(parents=True, exist_ok=True)
            facts = {**task_facts(chosen.dataset), "task": chosen.dataset.task}
            save_tensors(file, {IMAGES: images, TRUTH: truth}, {FACTS: canonical(facts)})
    for pair in sweep.pairs:
        if answers_file(pair).exists() or not pair.dense_file.exists():
            continue
        dataset = opened(pair.data_config).dataset
        images, _ = sample_pictures(dataset, config.sample)
        tensors = {DENSE: answer_of(pair.dense(), images, dataset)}
        kept = {}
        for cell in _first_seed(sweep, pair):
            last = pair.network_config.schedule.steps
            tensors[cell.criterion] = answer_of(
                cell.network_at(last, pair.dense()), images, dataset
            )
            kept[cell.criterion] = cell.sizes(last)["filters"]
        if _complete(sweep, pair):
            save_tensors(answers_file(pair), tensors, {FACTS: canonical({"filters": kept})})


def collect_structure(sweep: Sweep) -> None:
    """Write down which filters are active at the stage nearest to 10 % (Figure A2).

    Of the first seed; networks that are too large for a matrix are passed over.
    """
    for pair in sweep.pairs:
        if structure_file(pair).exists() or not pair.dense_file.exists():
            continue
        _, chosen = pair.open()
        example = chosen.example()
        dense = adjacency(pair.dense().eval(), example)
        if dense is None:
            continue
        stage = pair.stage_at(_MATRIX_AT)
        tensors = {DENSE: torch.from_numpy(dense)}
        kept = {}
        for cell in _first_seed(sweep, pair):
            matrix = adjacency(cell.network_at(stage, pair.dense()), example)
            if matrix is not None:
                tensors[cell.criterion] = torch.from_numpy(matrix)
                kept[cell.criterion] = cell.sizes(stage)["filters"]
        if _complete(sweep, pair):
            facts = {"stage": stage, "filters": kept}
            save_tensors(structure_file(pair), tensors, {FACTS: canonical(facts)})


def _first_seed(sweep: Sweep, pair: Pair) -> Iterator[Cell]:
    for cell in sweep.of_pair(pair):
        if cell.seed == pair.config.seeds[0] and cell.finished:
            yield cell


def _complete(sweep: Sweep, pair: Pair) -> bool:
    """Whether no network is missing, so that the file will not have to be made again."""
    return all(cell.finished for cell in sweep.of_pair(pair))

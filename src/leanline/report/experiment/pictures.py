"""Figures A1 and A2: example pictures, networks' answers to them, and active filters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from leanline.errors import RunError
from leanline.experiments.pictures import FACTS, IMAGES, TRUTH
from leanline.experiments.results import DENSE
from leanline.records.tensors import load_tensors
from leanline.report.evidence import Evidence, Pictures
from leanline.report.experiment.data import Experiment, rule_label
from leanline.report.gallery import Gallery, gallery_of
from leanline.report.metrics import percent
from leanline.report.series import MatrixData


def data_gallery(experiment: Experiment, data: str) -> Gallery | None:
    """Example pictures of a data set (Figure A1); None where there are none."""
    found = _examples(experiment, data)
    return gallery_of(found[0], {}, found[1]) if found else None


def answers_gallery(experiment: Experiment, pair: tuple[str, str]) -> Gallery | None:
    """What the dense and the pruned networks make of the pictures; None where there is nothing."""
    found = _examples(experiment, pair[1])
    loaded = _load(_folder(experiment, pair) / "answers.safetensors")
    if found is None or loaded is None:
        return None
    arrays, facts = loaded
    shown, about = found
    rules = [DENSE, *(rule for rule in experiment.rules(pair) if rule in arrays)]
    outputs = {}
    for rule in rules:
        label = rule_label(rule)
        if rule in facts["filters"]:
            before, after = facts["filters"][rule]
            label = f"{label}, {percent(after / before)}"
        outputs[label] = arrays[rule]
    if any(output.shape != shown.truth.shape for output in outputs.values()):
        raise RunError(f"{_folder(experiment, pair)} is damaged: its pictures do not fit together")
    return gallery_of(shown, outputs, about)


def structure_data(experiment: Experiment, pair: tuple[str, str]) -> dict[str, MatrixData]:
    """Adjacency matrices by label (Figure A2), the unpruned network's first; or empty."""
    loaded = _load(_folder(experiment, pair) / "structure.safetensors")
    if loaded is None:
        return {}
    arrays, facts = loaded
    dense = arrays[DENSE].astype(bool)
    found = {rule_label(DENSE): _matrix(dense, dense)}
    for rule in experiment.rules(pair):
        if rule in arrays:
            before, after = facts["filters"][rule]
            label = f"{rule_label(rule)}, {percent(after / before)}"
            found[label] = _matrix(arrays[rule].astype(bool), dense)
    return found


def _matrix(active: np.ndarray, possible: np.ndarray) -> MatrixData:
    if active.shape != possible.shape:
        possible = active
    return MatrixData(np.where(active, 2, possible.astype(np.int64)), int(active.sum()))


def _examples(experiment: Experiment, data: str) -> tuple[Pictures, Evidence] | None:
    loaded = _load(experiment.folder / "pictures" / f"{data}.safetensors")
    if loaded is None:
        return None
    arrays, facts = loaded
    about = Evidence(
        classes=tuple(facts.get("classes", ())),
        ignore=facts.get("ignore"),
        data_range=facts.get("data_range"),
    )
    return Pictures(arrays[IMAGES], arrays[TRUTH], {}), about


def _load(file: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    if not file.is_file():
        return None
    tensors, metadata = load_tensors(file)
    try:
        facts = dict(json.loads(metadata[FACTS]))
    except (KeyError, ValueError) as error:
        raise RunError(f"{file} is damaged: {error!r}") from error
    return {name: tensor.numpy() for name, tensor in tensors.items()}, facts


def _folder(experiment: Experiment, pair: tuple[str, str]) -> Path:
    return experiment.folder / "runs" / f"{pair[0]}@{pair[1]}"

"""The demonstration: the shipped network, pruned by LEAN and by magnitude, measured.

Everything it needs is in the package: the trained 50-layer MS-D and the Circle-Square pictures,
which are made on the spot.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from leanline import pruning, runtime
from leanline.data import CircleSquare
from leanline.errors import ConfigError
from leanline.experiments.evidence import Measuring, collect_pruning
from leanline.models import pretrained
from leanline.records.progress import bar
from leanline.records.run import RunFolder
from leanline.training import Retrain, TrainingConfig

log = logging.getLogger(__name__)

NETWORK = "msd50-circle-square"
RULES: dict[str, pruning.Criterion] = {
    "lean": pruning.Lean(),
    "magnitude": pruning.Magnitude(),
}
"""A folder a rule; both are refilled, so that they are compared at equal live filters."""


@dataclass(frozen=True)
class DemoConfig:
    """Settings of the demonstration.

    Attributes:
        keep: fraction of the filters that remains at the end.
        steps: stages of pruning.
        iterations: a stage that keeps a fraction k of the filters retrains for `iterations` / k
            steps, so that all stages do about the same arithmetic.
        batch_size: pictures a step.
        lr: step size of Adam.
        val_pictures: pictures that each stage is judged on.
        test_pictures: pictures that the final networks are judged on.
        seed: of the pictures and of the order in which they are trained on.
        threads: threads for retraining (timing is on one thread).
    """

    keep: float = 0.05
    steps: int = 20
    iterations: int = 25
    batch_size: int = 4
    lr: float = 1e-3
    val_pictures: int = 20
    test_pictures: int = 50
    seed: int = 0
    threads: int = 2

    def __post_init__(self) -> None:
        pruning.Schedule(self.keep, self.steps)
        least = {"iterations": 0, "val_pictures": 1, "test_pictures": 1, "threads": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least {bound}")


def run_demo(config: DemoConfig, out: Path, resume: bool = True, command: str = "") -> None:
    """Prune the shipped network by each rule into a folder of its own, and measure the results.

    A run that was interrupted goes on where it stopped.

    Args:
        config: the settings.
        out: folder for all that is made.
        resume: whether to go on with what the folder holds.
        command: the command line, for the record.

    Raises:
        RunError: the folder belongs to other settings, or cannot be written.
    """
    # The bundled network was trained on seed 0: other pictures are used from here on.
    data = CircleSquare(val=config.val_pictures, test=config.test_pictures, seed=1000 + config.seed)
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        settings = asdict(config)
        del settings["threads"]  # they change nothing but the time it takes
        about = {"command": "demo", "network": NETWORK, "rules": list(RULES), **settings}
        with RunFolder.open(out, about, resume=resume), bar("rules", len(RULES)) as progress:
            for name, rule in RULES.items():
                _prune_by(rule, config, data, out / name, resume, command)
                progress.advance(1)
    finally:
        torch.set_num_threads(before)


def _prune_by(
    rule: pruning.Criterion,
    config: DemoConfig,
    data: CircleSquare,
    out: Path,
    resume: bool,
    command: str,
) -> None:
    dense, model = pretrained(NETWORK), pretrained(NETWORK)
    example = data.split("val")[0][0][None]
    training = TrainingConfig(
        iterations=config.iterations,
        batch_size=config.batch_size,
        lr=config.lr,
        seed=config.seed,
    )
    retrain = Retrain(
        data,
        training,
        forward=lambda m: runtime.trainable(m, example, config.threads),
        growth=1.0,
    )
    stages = list(
        pruning.prune(
            model,
            example,
            retrain,
            rule,
            pruning.Schedule(config.keep, config.steps),
            seed=config.seed,
            out=out,
            resume=resume,
            about={
                "model": {"name": f"pretrained:{NETWORK}", "settings": {}},
                "data": {"name": "circle-square", "settings": {"seed": data.seed}},
                "input_shape": list(example.shape),
            },
        )
    )
    if not (out / "evidence.json").exists():
        about = {"command": command, "seconds": sum(stage.seconds for stage in stages)}
        collect_pruning(out, dense, model, data, Measuring(), about)

"""The speed that leanline promises, as floors of ratios of medians in one interleaved run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.workloads import MSD50, MSD100, UNET
from leanline.experiments.evidence import EAGER_COMPACT, EAGER_DENSE, KERNEL_DENSE, ONNX_COMPACT

INFERENCE, RETRAINING = "inference", "retraining step"


@dataclass(frozen=True)
class Target:
    """How much faster the pruned network has to be than a baseline.

    Attributes:
        what: `INFERENCE` or `RETRAINING`.
        network: name of a network of `workloads`.
        keep: fraction of its filters.
        against: name of the baseline.
        at_least: ratio of the baseline's median to the pruned network's.
    """

    what: str
    network: str
    keep: float
    against: str
    at_least: float


TARGETS = (
    Target(INFERENCE, MSD100.name, 0.025, EAGER_DENSE, 250),
    Target(INFERENCE, MSD100.name, 0.025, KERNEL_DENSE, 20),
    Target(INFERENCE, MSD100.name, 0.025, ONNX_COMPACT, 7),
    Target(INFERENCE, MSD100.name, 0.05, EAGER_DENSE, 150),
    Target(INFERENCE, MSD100.name, 0.05, KERNEL_DENSE, 12),
    Target(INFERENCE, MSD100.name, 0.158, EAGER_DENSE, 50),
    Target(INFERENCE, MSD100.name, 0.158, KERNEL_DENSE, 4),
    Target(INFERENCE, UNET.name, 0.01, EAGER_DENSE, 20),
    Target(INFERENCE, UNET.name, 0.01, ONNX_COMPACT, 2),
    Target(INFERENCE, UNET.name, 0.1, EAGER_DENSE, 2.8),
    Target(INFERENCE, UNET.name, 0.1, ONNX_COMPACT, 1),
    Target(RETRAINING, MSD50.name, 0.05, EAGER_COMPACT, 15),
    Target(RETRAINING, MSD100.name, 0.05, EAGER_COMPACT, 15),
)


def check(
    what: str, network: str, keep: float, ratios: Mapping[str, float]
) -> list[dict[str, Any]]:
    """The targets for one pruned network, each with the ratio that was found.

    Args:
        what: as in `Target`.
        network: as in `Target`.
        keep: as in `Target`.
        ratios: baseline's median / pruned network's, by the baseline's name.
    """
    return [
        {
            **asdict(target),
            "found": ratios[target.against],
            "met": ratios[target.against] >= target.at_least,
        }
        for target in TARGETS
        if (target.what, target.network, target.keep) == (what, network, keep)
    ]

"""Goals of pruning as the command line has them."""

from dataclasses import dataclass

from leanline import pruning
from leanline.errors import ConfigError

_MAIN_METRIC = {"segmentation": "accuracy", "denoising": "psnr"}
_LOWER_IS_BETTER = ("loss",)


@dataclass(frozen=True)
class AskedGoal:
    """The options that say when to stop; None for those that were not given."""

    speedup: float | None
    filters: int | None
    drop: float | None
    metric: str | None
    patience: int

    @property
    def given(self) -> bool:
        """Whether there is a goal."""
        return not (self.speedup is None and self.filters is None and self.drop is None)

    def schedule(self, keep: float | None, steps: int | None) -> pruning.Schedule:
        """The stages: to 10 % in 10 steps, or with a goal as far as 1 % in 20, if need be."""
        default = (0.01, 20) if self.given else (0.1, 10)
        return pruning.Schedule(
            default[0] if keep is None else keep, default[1] if steps is None else steps
        )

    def goal(self, task: str) -> pruning.Goal | None:
        """The goal, or None.

        Raises:
            ConfigError: a value out of range, or --metric without --max-drop.
        """
        if self.metric is not None and self.drop is None:
            raise ConfigError(f"--metric {self.metric} goes with --max-drop, which says how much")
        rules: list[pruning.StopRule] = []
        if self.speedup is not None:
            rules.append(pruning.AtSpeedup(self.speedup))
        if self.filters is not None:
            rules.append(pruning.AtFilters(self.filters))
        if self.drop is not None:
            metric = self.metric or _MAIN_METRIC[task]
            better: pruning.Better = "lower" if metric in _LOWER_IS_BETTER else "higher"
            rules.append(pruning.AtMetricDrop(metric, self.drop, better))
        return pruning.Goal(tuple(rules), self.patience) if rules else None

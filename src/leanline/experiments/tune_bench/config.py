"""What a tuning benchmark runs: spaces by their files, optimisers by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from leanline import tuning
from leanline.errors import ConfigError
from leanline.tuning.benchmark import Contestant
from leanline.tuning.embedded import embedded_spaces
from leanline.tuning.objectives import Times
from leanline.tuning.optimisers.base import Optimiser
from leanline.tuning.optimisers.named import optimiser_class
from leanline.tuning.optimisers.paper_settings import BUDGETS, SETTINGS
from leanline.tuning.problem import Protocol
from leanline.types import PathLike

SUFFIXES = (".parquet", ".json", ".json.gz")
"""Files that may be spaces."""

DEFAULT = tuple(each.__name__ for each in SETTINGS if each is not tuning.SMAC)
"""The optimisers of the paper, but for SMAC, whose runs take a minute each."""


@dataclass(frozen=True)
class TuneBenchConfig:
    """A tuning benchmark.

    Attributes:
        spaces: Files of measured spaces, and folders of such files; empty: those that come with
            leanline.
        optimisers: Names of classes in `leanline.tuning`, in any case, with dashes or without.
        budgets: Numbers of unique evaluations.
        runs: Runs of each optimiser, space and budget.
        seed: Equal seeds, equal results.
        protocol: What may be evaluated, and what it costs.
        times: What an evaluation returns: mean times, or one drawn of those measured.
        alpha: Level of significance of all tests.
        test_runs: Number of runs that the tests of the competition maps are told; None: the true
            one.
    """

    spaces: tuple[str, ...] = ()
    optimisers: tuple[str, ...] = DEFAULT
    budgets: tuple[int, ...] = BUDGETS
    runs: int = 50
    seed: int = 0
    protocol: Protocol = "valid"
    times: Times = "mean"
    alpha: float = 0.05
    test_runs: int | None = None

    def __post_init__(self) -> None:
        """Check what would fail late; raises ConfigError."""
        if not self.budgets or min(self.budgets) < 1 or len(set(self.budgets)) < len(self.budgets):
            raise ConfigError(
                f"budgets {', '.join(map(str, self.budgets)) or 'none'} were given; whole numbers "
                "from 1 on are wanted, none twice"
            )
        if self.runs < 1:
            raise ConfigError(f"{self.runs} runs were asked for; at least 1 is wanted")
        if not 0 < self.alpha < 1:
            raise ConfigError(f"alpha {self.alpha} was given; a level between 0 and 1 is wanted")
        if self.test_runs is not None and self.test_runs < 2:
            raise ConfigError(f"{self.test_runs} runs of a test were given; it needs at least 2")


def contestants(names: Sequence[str]) -> dict[str, Contestant]:
    """Optimisers by the names that users write; the paper's settings where it has some.

    Raises:
        ConfigError: There is none of a name, or one twice.
    """
    found: dict[str, Contestant] = {}
    for given in names:
        each = optimiser_class(given)
        if each.__name__ in found:
            raise ConfigError(f"optimiser {each.__name__} was given twice")
        found[each.__name__] = each if each in SETTINGS else each()
    if not found:
        raise ConfigError("no optimiser was given")
    return found


def space_files(given: Sequence[PathLike]) -> tuple[Path, ...]:
    """Files of spaces: those given, those in the folders given, or those of leanline.

    A folder of `leanline tune` stands for the one space that it measured.

    Raises:
        ConfigError: There is no such file or folder, or none was given and leanline has none.
    """
    if not given:
        embedded = embedded_spaces()
        if not embedded:
            raise ConfigError(
                "this copy of leanline comes without measured spaces; give files of your own "
                f"({', '.join(SUFFIXES)}) or folders of them"
            )
        return embedded
    files: list[Path] = []
    for path in map(Path, given):
        if (path / "measured.jsonl").is_file() and (path / "space.parquet").is_file():
            files.append(path / "space.parquet")  # of `leanline tune`, which writes it thrice
        elif path.is_dir():
            inside = sorted(each for each in path.iterdir() if each.name.endswith(SUFFIXES))
            if not inside:
                raise ConfigError(f"{path} holds no space: no file {', '.join(SUFFIXES)}")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise ConfigError(f"there is no file or folder {path}")
    return tuple(files)


def read_spaces(files: Sequence[Path], times: Times) -> dict[Path, tuning.Replay]:
    """Read spaces, each under a name of its own; a file that names no kernel is one by itself.

    Raises:
        ConfigError: Two files are of one kernel and device; or single times are wanted of a file
            that has none.
        DataError: A file cannot be used.
    """
    replays: dict[Path, tuning.Replay] = {}
    names: dict[str, Path] = {}
    for file in files:
        replay = read_space(file, times)
        if replay.name in names:
            raise ConfigError(
                f"{names[replay.name]} and {file} are both of {replay.name!r}; give one of them"
            )
        names[replay.name] = file
        replays[file] = replay
    return replays


def read_space(file: Path, times: Times) -> tuning.Replay:
    """Read one space; raises as `read_spaces`."""
    measurements = tuning.read_measurements(file)
    if not measurements.name:
        stem = file.name.split(".")[0]
        measurements = replace(measurements, kernel=stem)
    return tuning.Replay(measurements, times=times)


def settings_of(contestant: Contestant, budgets: Sequence[int]) -> Mapping[str, object]:
    """The settings of an optimiser, or those of each budget where they differ."""
    if isinstance(contestant, Optimiser):
        return _fields(contestant)
    each = {budget: _fields(tuning.paper_settings(contestant, budget)) for budget in budgets}
    first = next(iter(each.values()))
    same = all(settings == first for settings in each.values())
    return first if same else {str(budget): settings for budget, settings in each.items()}


def _fields(optimiser: Optimiser) -> dict[str, object]:
    return {each.name: getattr(optimiser, each.name) for each in fields(optimiser)}  # type: ignore[arg-type]

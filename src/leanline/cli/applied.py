"""The network that `leanline apply` runs, and what its pictures are normalised by."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from torch import nn

from leanline import compaction
from leanline.cli.evidence import EVIDENCE
from leanline.cli.folders import data_of, network_of, pruned_of, read_run, trained_of
from leanline.cli.weights import load_weights
from leanline.data import Normalisation
from leanline.errors import CheckpointError, ConfigError, DataError
from leanline.experiments.choices import PRETRAINED, NetworkChoice, choose_data, read_settings
from leanline.records.run import RunFolder

_FILES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


@dataclass(frozen=True)
class AskedApplied:
    """The arguments of the command line that say which network is applied.

    Attributes:
        net: a run folder, a shipped network, or a file of weights.
        model: for a file, how its network is made; for a run folder, the code that it may run.
        settings: of that network as NAME=VALUE.
        channels: of a picture.
        classes: or channels of the output.
    """

    net: str
    model: str | None = None
    settings: tuple[str, ...] = ()
    channels: int | None = None
    classes: int | None = None

    @property
    def file(self) -> Path | None:
        """The file of weights, if it is one."""
        path = Path(self.net)
        named = not self.net.startswith(PRETRAINED) and path.suffix in _FILES
        return path if named and not path.is_dir() else None

    def check(self) -> None:
        """Refuse, before anything else is looked at, what is not there or not said.

        Raises:
            ConfigError: a file without a word on how its network is made.
            CheckpointError: there is no such file.
            RunError: there is no such run folder.
        """
        if self.file is None:
            if not self.net.startswith(PRETRAINED):
                read_run(Path(self.net), "train", "prune")
            return
        if not self.file.is_file():
            raise CheckpointError(f"there is no file {self.file}")
        if self.model is None:
            raise ConfigError(
                f"{self.file} holds weights only: say by --model how the network is made, such as "
                "--model msd --set depth=30 --classes 5, or --model RUN-FOLDER"
            )

    def load(self) -> nn.Module:
        """Make or load the network, in evaluation mode.

        Raises:
            ConfigError: the arguments do not fit together.
            RunError: the folder is none of `leanline train` or `leanline prune`.
            CheckpointError: the weights cannot be read, or are of another network.
        """
        if self.net.startswith(PRETRAINED):
            self._refuse("model", "settings", "channels", "classes")
            return NetworkChoice(self.net, {}).make().eval()
        self.check()
        if self.file is not None and self.model is not None:
            return self._of_file(self.file, self.model).eval()
        self._refuse("settings", "channels", "classes")
        run = read_run(Path(self.net), "train", "prune")
        if run.config.get("command") == "train":
            return trained_of(run, self.model)[1].eval()
        return pruned_of(run, self.model)[1].eval()

    def _of_file(self, file: Path, model: str) -> nn.Module:
        recipe = _recipe(file)
        if self._is_run(model):
            self._refuse("settings", "channels", "classes")
            choice = self._named_by(read_run(Path(model), "train", "prune"))
        else:
            choice = NetworkChoice(model, self._given(recipe))
        if recipe is not None:
            return compaction.load(choice.make, file)
        network = choice.make()
        load_weights(network, file)
        return network

    def _given(self, recipe: Mapping[str, Any] | None) -> dict[str, Any]:
        if (self.model or "").startswith(PRETRAINED):
            self._refuse("settings", "channels", "classes")
            return {}
        known = int(recipe["inputs"][0][0][1]) if recipe else 1
        if self.classes is None and ":" not in (self.model or ""):
            raise ConfigError(f"--model {self.model} needs --classes, the channels of its output")
        counts: dict[str, Any] = {"in_channels": self.channels or known}
        if self.classes is not None:  # otherwise a factory of one's own has its own number
            counts["out_channels"] = self.classes
        return counts | read_settings(list(self.settings), "--set")

    @staticmethod
    def _named_by(run: RunFolder) -> NetworkChoice:
        """How a run folder's network is made; `--model` is taken, so that no code is allowed."""
        named: Any = run.config.get("model")
        confirmed = named.get("name") if isinstance(named, Mapping) else None
        choice = network_of(run, confirmed if isinstance(confirmed, str) else None)
        if not choice.runs_code:
            return choice
        counts = {"in_channels": "--channels {}", "out_channels": "--classes {}"}
        words = [choice.name]
        for key, value in choice.settings.items():
            words.append(counts.get(key, f"--set {key}={{}}").format(shlex.quote(str(value))))
        raise ConfigError(
            f"{run.path} is of a network that is made by the code {choice.name}. If you trust that "
            f"code, apply {run.path} itself with --model {choice.name}, or give instead of "
            f"--model {run.path}: --model {' '.join(words)}, and --scale or --data"
        )

    @staticmethod
    def _is_run(name: str) -> bool:
        return Path(name).is_dir()

    @property
    def run(self) -> RunFolder | None:
        """The run folder that the network is of, if any."""
        for name in (self.net, self.model or ""):
            if name and self._is_run(name):
                return read_run(Path(name), "train", "prune")
        return None

    def _refuse(self, *names: str) -> None:
        options = {"settings": "--set", "model": "--model"}
        for name in names:
            if getattr(self, name) not in (None, ()):
                raise ConfigError(
                    f"{options.get(name, '--' + name)} does not go with {self.model or self.net}: "
                    "it is for a network that is made by its name"
                )


def scale_of(asked: AskedApplied, scale: str | None, data: str | None) -> Normalisation | None:
    """The normalisation that the network was trained with.

    Args:
        asked: the network.
        scale: "none", or "MEAN,STD"; None takes that of the training data.
        data: the training data, where the network does not say.

    Raises:
        ConfigError: it is not known, or not of that form.
    """
    if scale is not None:
        if data is not None:
            raise ConfigError("--scale and --data say the same; give one of them")
        return _read_scale(scale)
    if data is not None:
        return _of_data(choose_data(data, {}).dataset)
    if any(name.startswith(PRETRAINED) for name in (asked.net, asked.model or "")):
        return None  # trained on values as they are
    run = asked.run
    if run is None:
        raise ConfigError(
            f"how were pictures scaled when {asked.net} was trained? --scale none (not at all), "
            "--scale MEAN,STD (0,255 divides by 255), or --data folder:DIR for its training data"
        )
    return _of_run(run)


def task_of(asked: AskedApplied) -> str | None:
    """Segmentation or denoising, where a run folder says it."""
    if any(name.startswith(PRETRAINED) for name in (asked.net, asked.model or "")):
        return "segmentation"
    run = asked.run
    data = run.config.get("data") if run else None
    return str(data["task"]) if isinstance(data, Mapping) and "task" in data else None


def _read_scale(text: str) -> Normalisation | None:
    if text == "none":
        return None
    try:
        mean, std = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--scale {text}: write none, or MEAN,STD such as 0,255") from None
    if not std > 0:
        raise ConfigError(f"--scale {text}: the standard deviation must be above 0")
    return Normalisation(mean, std)


def _of_run(run: RunFolder) -> Normalisation | None:
    try:
        evidence = json.loads((run.path / EVIDENCE).read_text(encoding="utf-8"))
        found = evidence["normalisation"]
        return Normalisation(float(found["mean"]), float(found["std"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not finished, or of an older leanline
    try:
        return _of_data(data_of(run).dataset)
    except (DataError, ConfigError) as error:
        raise ConfigError(
            f"the scale of the pictures is that of the training data of {run.path}, which cannot "
            f"be read ({error}); give --scale MEAN,STD, or --data folder:DIR where they are now"
        ) from error


def _of_data(dataset: object) -> Normalisation | None:
    found = getattr(dataset, "normalisation", None)
    return found if isinstance(found, Normalisation) else None


def _recipe(file: Path) -> Mapping[str, Any] | None:
    """The recipe of a compact network; None for other weights."""
    if file.suffix != ".safetensors":
        return None
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            text = (opened.metadata() or {}).get("recipe")
        return dict(json.loads(text)) if text else None
    except (safetensors.SafetensorError, OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{file} is truncated or no safetensors file: {error}") from error

"""What was measured of a network's configurations, on disk: a file each, written at once.

A file a configuration needs no lock and no merging: processes that tune the same network at the
same time share what they find, and a run that is killed has lost the configuration in flight only.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from leanline.errors import RunError
from leanline.records.atomic import write_text
from leanline.runtime.measured import circumstances, usual_folder

log = logging.getLogger(__name__)

_VERSION = 1


@dataclass(frozen=True)
class Trial:
    """One configuration, measured.

    Attributes:
        relative: its time over that of the plan without tuning, in one interleaved run; infinite
            where it failed.
        failed: why it failed; empty where it did not.
    """

    relative: float
    failed: str = ""


class Trials:
    """Configurations of one network that were measured, by their code.

    Args:
        network: what is tuned, and the space: all that times depend on but processor and versions,
            which are added here.
        folder: where the files are; by default in the user's folder for caches.
    """

    def __init__(self, network: str, folder: Path | None = None) -> None:
        around = _name(f"{circumstances()} {_VERSION}")
        self.folder = (folder or usual_folder("tuned")) / around / _name(network)
        self._held: dict[int, Trial] = {}

    def get(self, code: int) -> Trial | None:
        """What is known of a configuration, measured by whichever process; None: nothing."""
        if code not in self._held:
            try:
                held = json.loads(self._path(code).read_text(encoding="utf-8"))
                trial = Trial(float(held["relative"]), str(held["failed"]))
            except (OSError, ValueError, KeyError, TypeError):  # missing, cut or foreign
                return None
            if not trial.relative > 0:
                return None
            self._held[code] = trial
        return self._held[code]

    def put(self, code: int, trial: Trial) -> None:
        """Keep what was measured, for this process and, where possible, for the next."""
        self._held[code] = trial
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self._path(code), json.dumps(asdict(trial)))
        except (OSError, RunError) as problem:
            log.info("a measured configuration is not kept for the next process: %s", problem)

    def fastest(self, count: int) -> list[int]:
        """Codes of the fastest configurations that this process knows, the fastest first."""
        good = [code for code, trial in self._held.items() if math.isfinite(trial.relative)]
        return sorted(good, key=lambda code: (self._held[code].relative, code))[:count]

    def _path(self, code: int) -> Path:
        return self.folder / f"{code}.json"


def _name(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]

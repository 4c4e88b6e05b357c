"""All networks of a file, each in a process of its own, into one JSON file."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.zoo.networks import load_file
from benchmarks.zoo.torch_pruning import installed
from leanline import __version__
from leanline.experiments.evidence import machine
from leanline.records.atomic import write_text

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        file: offers `DEV` and `build(name)`.
        names: of the networks; none for all.
        keeps: ratios to prune to.
        seconds: for one interleaved timing.
        limit: seconds that one network may take.
        out: JSON file to write.
        resume: leave networks alone that are complete in `out`.
    """

    file: Path
    names: Sequence[str]
    keeps: Sequence[float]
    seconds: float
    limit: float
    out: Path
    resume: bool


def run(settings: Settings) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure one network after the other; the results are written after each.

    Yields:
        The name of a network and what was found.
    """
    known = load_file(settings.file).DEV
    if unknown := sorted(set(settings.names) - set(known)):
        raise SystemExit(f"{settings.file} has no network {unknown[0]!r}")
    document = _document(settings)
    networks = document["networks"]
    for name in settings.names or known:
        if networks.get(name, {}).get("complete"):
            continue
        networks[name] = _apart(settings, name)
        order = sorted(networks, key=lambda key: known.index(key) if key in known else len(known))
        document["networks"] = {key: networks[key] for key in order}
        write_text(settings.out, json.dumps(document, indent=1) + "\n")
        yield name, networks[name]


def _document(settings: Settings) -> dict[str, Any]:
    """The results that are there already, or none, under a heading that says what they are."""
    heading = {
        "machine": machine(),
        "torch": str(torch.__version__),
        "leanline": __version__,
        "torch_pruning": installed(),
        "keeps": list(settings.keeps),
        "seconds": settings.seconds,
    }
    if not settings.resume or not settings.out.exists():
        return {**heading, "networks": {}}
    document: dict[str, Any] = json.loads(settings.out.read_text())
    for key, value in heading.items():
        if document[key] != value:
            raise SystemExit(
                f"{settings.out} cannot be resumed: {key} was {document[key]!r} and is {value!r}"
            )
    return document


def _apart(settings: Settings, name: str) -> dict[str, Any]:
    """One network in its own process; what it had written when it died, if it does."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        given = {
            "file": str(settings.file.resolve()),
            "name": name,
            "keeps": list(settings.keeps),
            "seconds": settings.seconds,
            "out": str(out),
        }
        ended = ""
        try:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.zoo.measure", json.dumps(given)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                timeout=settings.limit,
            )
            if done.returncode:
                last = (done.stderr.strip().splitlines() or [""])[-1]
                ended = f"ended with code {done.returncode}: {last[:300]}"
        except subprocess.TimeoutExpired:
            ended = f"stopped after {settings.limit:g} s"
        found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"cases": []}
    if ended:
        found["ended"] = ended
    return found

"""``python -m benchmarks``: run all benchmarks on one thread, print them, and write a JSON file."""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import torch

from benchmarks import chains, inference, loading, norms, retraining, selection, tuned, tuning
from leanline.experiments.evidence import machine
from leanline.records.atomic import write_text

SHOWN = (
    "filters of one FFT call",
    "copies of the weights",
    "largest relative error",
)


PARTS = {
    "norms": norms,
    "chains": chains,
    "selection": selection,
    "inference": inference,
    "retraining": retraining,
    "loading": loading,
    "tuning": tuning,
    "tuned": tuned,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all, if none is named")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each table")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args()
    if unknown := sorted(set(given.parts) - PARTS.keys()):
        parser.error(f"there is no {unknown[0]!r}: there are {', '.join(PARTS)}")
    torch.set_num_threads(1)
    results = []
    print(machine(), flush=True)
    runs = (PARTS[name].run(given.seconds) for name in given.parts or PARTS)
    for result in itertools.chain.from_iterable(runs):
        results.append(result)
        print(f"\n{result['case']}: {result['what']}\n{result['text']}")
        for target in result.get("targets", ()):
            print(
                f"  target {target['variant']}: {target['at_least']:g}x {target['against']}: "
                f"{target['found']:.1f}x, {'met' if target['met'] else 'missed'}"
            )
        for key in SHOWN:
            if key in result:
                print(f"  {key}: {result[key]}")
        if given.out:  # after each, so that nothing is lost of a run that is stopped
            content = {"machine": machine(), "torch": str(torch.__version__), "results": results}
            write_text(given.out, json.dumps(content, indent=1))


if __name__ == "__main__":
    main()

"""``python -m benchmarks.zoo``: measure the networks of a file, or write the tables of a result."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.zoo.render import render
from benchmarks.zoo.run import Settings, run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    parser.add_argument("--networks", type=Path, help="Python file with DEV and build(name)")
    parser.add_argument("--names", default="", help="of networks, separated by commas; or all")
    parser.add_argument("--keep", type=float, nargs="+", default=[0.5, 0.1, 0.01])
    parser.add_argument("--seconds", type=float, default=2.0, help="for one interleaved timing")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds for one network")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--resume", action="store_true", help="leave complete networks alone")
    parser.add_argument("--render", type=Path, metavar="JSON", help="print the tables of a result")
    parser.add_argument("--note", default="", help="for --render: where the networks come from")
    given = parser.parse_args()
    if given.render:
        print(render(json.loads(given.render.read_text()), given.note), end="")
        return
    if not given.networks or not given.out:
        parser.error("give --networks FILE.py and --out FILE.json, or --render FILE.json")
    names = [name for name in given.names.split(",") if name]
    settings = Settings(
        given.networks, names, given.keep, given.seconds, given.limit, given.out, given.resume
    )
    for name, found in run(settings):
        print(f"{name}: {_line(found)}", flush=True)


def _line(found: dict[str, Any]) -> str:
    cases = found["cases"]
    failed = [case for case in cases if "error" in case]
    parts = [f"{found.get('seconds', 0):.0f} s", f"{len(cases)} cases", f"{len(failed)} failed"]
    problems = [found.get("error"), found.get("ended"), *(case["error"] for case in failed)]
    return ", ".join(parts) + "".join(f"\n  {problem}" for problem in problems if problem)


if __name__ == "__main__":
    main()

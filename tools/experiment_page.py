"""Copy the tables and curves of finished experiments into a page of the documentation.

``python tools/experiment_page.py docs/results.md runs/circle-square [...]`` replaces, for each
network and data set of the folders, what stands in the page between
``<!-- NETWORK@DATA: begin -->`` and ``<!-- NETWORK@DATA: end -->``, and copies figures beside it
that the page names as ``images/NETWORK-DATA-....svg``.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from leanline.records.atomic import write_text
from leanline.report.experiment import build_experiment
from leanline.report.experiment.comparison import filters_table, time_table, verdicts
from leanline.report.experiment.data import Experiment, read_experiment
from leanline.report.tables import Table


def main() -> None:
    """Read the command line, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("folders", type=Path, nargs="+", metavar="folder")
    given = parser.parse_args()
    text = given.page.read_text(encoding="utf-8")
    for folder in given.folders:
        build_experiment(folder)
        experiment = read_experiment(folder)
        for pair in experiment.pairs:
            text = _replaced(text, "@".join(pair), "\n\n".join(_parts(experiment, pair)))
        _copy_figures(text, folder / "figures", given.page.parent)
    write_text(given.page, text)


def _parts(experiment: Experiment, pair: tuple[str, str]) -> Iterator[str]:
    filters, times = filters_table(experiment, pair), time_table(experiment, pair)
    if filters:
        yield "At equal filters, on test pictures:\n\n" + _markdown(filters)
    said = verdicts(experiment, pair)
    if said:
        yield " ".join(said)
    if times:
        yield "At equal milliseconds, on validation pictures:\n\n" + _markdown(times)


def _markdown(table: Table) -> str:
    rows = [table.columns, ("---",) * len(table.columns)]
    for block in table.blocks:
        rows += [(f"*{block.heading}*", *[""] * (len(table.columns) - 1))] if block.heading else []
        rows += [(line.heading, *line.cells) for line in block.lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + f"\n\n{table.note}"


def _replaced(page: str, name: str, content: str) -> str:
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if begin not in page or end not in page:
        raise SystemExit(f"the page lacks {begin} and {end}")
    before, after = page.split(begin)[0], page.split(end)[1]
    return f"{before}{begin}\n\n{content.strip()}\n\n{end}{after}"


def _copy_figures(page: str, source: Path, target: Path) -> None:
    for name in re.findall(r"\]\((images/[^)]+\.(?:svg|png|jpg))\)", page):
        file = source / Path(name).name
        if file.is_file():
            (target / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, target / name)


if __name__ == "__main__":
    main()

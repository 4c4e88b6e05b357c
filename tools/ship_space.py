"""Puts a space that `leanline tune --algorithm brute-force` measured into the package.

python tools/ship_space.py runs/convolution convolution-pocl "PoCL, one thread, an idle machine"

The note says what a reader of the times has to know.
"""

import dataclasses
import sys
from pathlib import Path

from leanline.tuning import read_measurements, write_measurements

SPACES = Path(__file__).resolve().parent.parent / "src" / "leanline" / "tuning" / "spaces"


def main(folder: Path, name: str, note: str) -> None:
    """Add the note to the measurements, and write them to the package."""
    measured = read_measurements(folder / "space.parquet")
    missing = set(measured.space.valid_codes().tolist()) - set(measured.codes.tolist())
    if missing:
        sys.exit(f"{len(missing)} configurations of {folder} are not measured")
    shipped = dataclasses.replace(measured, about={**measured.about, "note": note})
    SPACES.mkdir(exist_ok=True)
    write_measurements(shipped, SPACES / f"{name}.parquet", "parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])

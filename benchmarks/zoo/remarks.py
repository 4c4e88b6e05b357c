"""What did not fit into the tables: exports, refusals and failures."""

from __future__ import annotations

import math
import statistics

from benchmarks.zoo.cells import (
    DASH,
    EXACT,
    EXPORT,
    OTHER,
    Row,
    code,
    failed,
    largest,
    number,
    table,
)


def exports_table(networks: dict[str, Row]) -> str:
    """One row a network that makes images: how many of its cases could be exported."""
    rows, problems = [], []
    for name, found in networks.items():
        tried = [
            (case, case["onnx"])
            for case in found["cases"]
            if "onnx" in case and "skipped" not in case["onnx"]
        ]
        if not tried:
            continue
        done = [export for _, export in tried if "error" not in export]
        rows.append(
            (
                name,
                f"{len(done)} of {len(tried)}",
                largest(done, "deviation"),
                largest(done, "deviation_larger"),
                f"{statistics.median(e['seconds'] for e in done):.2g}" if done else DASH,
            )
        )
        for case, export in tried:
            problems += [
                f"- {name}, {case['criterion']}, {case['keep']:g}: {code(text)}"
                for key, text in export.items()
                if key.endswith("error")
            ]
            worst = max(export.get("deviation", 0), export.get("deviation_larger", 0))
            if worst > EXPORT:
                problems.append(
                    f"- {name}, {case['criterion']}, {case['keep']:g}: deviates by {worst:.1e}"
                )
    if not rows:
        return ""
    head = ("network", "exported", "deviation", "... at twice the size and batch", "s")
    text = (
        "## Export to ONNX\n\nNetworks whose output is an image. The deviation is that of ONNX "
        "Runtime from the compact network in PyTorch, the largest of all cases.\n\n"
    )
    return text + table(head, rows) + ("\n\n" + "\n".join(problems) if problems else "")


def remarks(networks: dict[str, Row]) -> str:
    lines = []
    for name, found in networks.items():
        lines += [f"- {name}: {code(found[key])}" for key in ("error", "ended") if key in found]
        if "error" in found.get("torch_pruning", {}):
            lines.append(f"- {name}, {OTHER}: {code(found['torch_pruning']['error'])}")
        if found.get("adapted"):
            lines.append(
                f"- {name} takes a dictionary or list, and was called through an adapter; "
                f"`ll.compact` takes it without: {code(found.get('direct', DASH))}"
            )
        for case in found["cases"]:
            where = f"{name}, {case['criterion']}, keep {case['keep']:g}"
            for key in ("error", "timing_error", "refused"):
                if key in case:
                    lines.append(f"- {where}: {code(case[key])}")
            lines += [f"- {where}{what}" for what in _deviations(case)]
        errors = [case["torch_pruning"]["error"] for case in found["cases"] if failed(case)]
        for text in dict.fromkeys(errors):
            lines.append(f"- {name}, {OTHER} ({errors.count(text)} cases): {code(text)}")
    return "## Remarks and failures\n\n" + "\n".join(lines) if lines else ""


def _deviations(case: Row) -> list[str]:
    """The comparisons of a case that did not agree."""
    compared = {
        "": case,
        ", with batch-norm statistics of its own": case.get("recalibrated", {}),
        ", at twice the size and batch": case.get("larger", {}),
    }
    lines = []
    for what, found in compared.items():
        if "error" in found and found is not case:
            lines.append(f"{what}: {code(found['error'])}")
        elif math.isinf(found.get("deviation", 0)):
            lines.append(f"{what}: the outputs differ in shape, or one of them is not finite")
        elif found.get("deviation", 0) > EXACT:
            fine = number(found.get("deviation_float64"))
            lines.append(
                f"{what}: deviates by {found['deviation']:.1e} in float32, {fine} in float64"
            )
    return lines

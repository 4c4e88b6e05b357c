"""Programs: what is refused, copies, the registry, and that kernels stay inside their buffers."""

import copy
import dataclasses
import gc
import os
import pickle
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from leanline.errors import ModelError
from leanline.kernels.ops import planes_forward
from leanline.kernels.program import PlaneProgram
from leanline.kernels.registry import find, register
from leanline.kernels.windows import CONVOLVE, LARGEST, SPREAD, Window
from plane_programs import Draft, drafts

NONE = np.zeros(0, np.int64)


def small(**changed: Any) -> PlaneProgram:
    """Two inputs of one grid, a half of their sum, a plane of that and a constant, a head."""
    windows = [Window(CONVOLVE, 3, 3, 2, 2, top=1, left=1, bottom=1, right=1),
               Window(LARGEST, 1, 2), Window(SPREAD, 2, 2, 2, 2)]  # fmt: skip
    content: dict[str, Any] = {
        "inputs": [(0, 2)], "grid": [0, 0, 1, 2, 1], "windows": [window.row for window in windows],
        "steps": [(2, 0, 0, 2, 1, 0), (3, 1, 2, 3, 0, 0), (4, 0, 3, 3, 0, 0)],
        "source": [0, 1, 2], "outputs": ([2, 4], [3]), "head": [4, 2], "head_outputs": 3,
        "padding": "zeros", **changed,
    }  # fmt: skip
    for name in ("inputs", "grid", "windows", "steps", "source", "head"):
        content[name] = np.asarray(content[name], np.int64)
    content["outputs"] = tuple(np.asarray(ids, np.int64) for ids in content["outputs"])
    return PlaneProgram(**content)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"inputs": np.zeros((0, 2), np.int64)}, "number of inputs"),
        ({"inputs": [(0, 0)]}, "channel count"),
        ({"inputs": [(0, 3)]}, "number of planes"),
        ({"inputs": [(-1, 2)]}, "input grid"),
        ({"grid": [0, 0, 1, 5, 1]}, "grid"),
        ({"grid": [0, 0, 1, 3, 1]}, "unknown size"),
        ({"grid": [0, 1, 1, 2, 1]}, "different grids"),
        ({"steps": [(3, 0, 0, 2, 1, 0), (2, 1, 2, 3, 0, 0), (4, 0, 3, 3, 0, 0)]}, "computed plane"),
        ({"steps": [(2, 3, 0, 2, 1, 0), (3, 1, 2, 3, 0, 0), (4, 0, 3, 3, 0, 0)]}, "window"),
        ({"steps": [(2, 0, 0, 2, 1, 3), (3, 1, 2, 3, 0, 0), (4, 0, 3, 3, 0, 0)]}, "tile shape"),
        ({"steps": [(2, 0, 0, 2, 1, 0), (3, 1, 1, 3, 0, 0), (4, 0, 3, 3, 0, 0)]}, "no step"),
        ({"steps": [(2, 0, 0, 2, 1, 0), (3, 1, 2, 2, 0, 0), (4, 0, 3, 3, 0, 0)]}, "no step"),
        ({"steps": [(2, 0, 0, 2, 1, 0), (3, 0, 2, 3, 0, 0), (4, 1, 3, 3, 0, 0)]}, "no plane"),
        ({"steps": [(2, 1, 0, 2, 1, 0), (3, 1, 2, 3, 0, 0), (4, 0, 3, 3, 0, 0)]}, "of several"),
        ({"source": [0, 1, 3]}, "before it is computed"),
        ({"source": [0, 5, 2]}, "source plane"),
        ({"outputs": ([2, 5], [3])}, "plane of output 0"),
        ({"outputs": ([2, 4], [])}, "plane of output 1"),
        ({"outputs": ([2, 3],)}, "different grids"),
        ({"head": [4, 0]}, "different grids"),
        ({"head": [4, -1]}, "head plane"),
        ({"head_outputs": 0}, "number of head outputs"),
        ({"head": NONE}, "number of head outputs"),
        ({"padding": "circular"}, "padding mode"),
        ({"windows": [(3, *[1] * 10)] * 3}, "kind of window"),
        ({"windows": [(0, 0, *[1] * 9)] * 3}, "window size"),
        ({"windows": [(0, *[1] * 9)] * 3}, "window width"),
        ({"windows": [(0, *[1] * 9, 1 << 40)] * 3}, "padding"),
    ],
)
def test_what_does_not_fit_together_is_refused(changed: dict[str, Any], says: str) -> None:
    small().check()
    with pytest.raises(ModelError, match=says):
        register(small(**changed))


@settings(max_examples=100)
@given(draft=drafts())
def test_keys_name_the_content(draft: Draft) -> None:
    program = draft.make().program
    assert register(program) == program.key
    assert len(program.key) == 64
    for name in ("grid", "steps", "source", "head", "windows", "inputs"):
        table = getattr(program, name)
        if table.size:
            changed = table.copy()
            changed.reshape(-1)[draft.seed % table.size] += 1
            assert dataclasses.replace(program, **{name: changed}).key != program.key
    other = "reflect" if program.padding == "zeros" else "zeros"
    assert dataclasses.replace(program, padding=other).key != program.key
    assert dataclasses.replace(program, outputs=(*program.outputs, NONE)).key != program.key


@pytest.mark.parametrize("used", [False, True])
def test_copies_and_pickles(used: bool) -> None:
    program = small()
    if used:
        register(program)
        assert program.taps_at.size and program.sources.size
    for again in (copy.deepcopy(program), pickle.loads(pickle.dumps(program))):
        assert again is not program
        assert again.key == program.key
        again.check()
        for name in ("inputs", "grid", "windows", "steps", "source", "head", "taps_at", "sources"):
            np.testing.assert_array_equal(getattr(again, name), getattr(program, name))
        assert again.transitions == program.transitions


def test_a_program_is_known_as_long_as_one_of_its_kind_exists() -> None:
    program = small(head_outputs=7)
    key = register(program)
    assert find(key) is program
    again = copy.deepcopy(program)
    assert register(again) == key
    del program
    gc.collect()
    assert find(key) is again
    del again
    gc.collect()
    with pytest.raises(ModelError, match="make the network again"):
        find(key)
    register(renewed := small(head_outputs=7))
    assert find(key) is renewed


def test_what_is_planned_for_a_program_goes_with_it() -> None:
    program = small()
    key = register(program)
    numbers = [torch.ones(n) for n in (int(program.taps_at[-1]), 3, 6, 3)]
    images = [torch.ones(1, 2, 8, 8)]
    images[0].requires_grad_()
    torch.stack([t.sum() for t in planes_forward(images, *numbers, key, 1)[:-1]]).sum().backward()
    assert len(program.made) == 3  # a schedule, a plan each way
    assert not pickle.loads(pickle.dumps(program)).made
    gone = weakref.ref(program)
    del program, images
    gc.collect()
    assert gone() is None


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages of memory")
@pytest.mark.parametrize(("first", "last", "damaged"), [(0, 60, 0), (1000, 1200, 10)])
def test_no_program_reads_or_writes_outside_its_buffers(
    first: int, last: int, damaged: int
) -> None:
    here = Path(__file__).resolve().parent
    path = os.pathsep.join([str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, here / "guard_buffers.py", str(first), str(last), str(damaged)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "'ran'" in done.stdout
    assert ("'refused'" in done.stdout) == (damaged > 0)

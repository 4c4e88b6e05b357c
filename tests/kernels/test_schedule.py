"""Places of planes: what a step reads is still there, and no place is wasted."""

from collections import defaultdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from leanline.kernels.conv3 import START_FROM_PLANE
from leanline.kernels.gradients import data_gradients
from leanline.kernels.program import PlaneProgram
from leanline.kernels.schedule import assign, schedule
from plane_programs import Draft, drafts


class Memory:
    """Which plane lies at each place."""

    def __init__(self, program: PlaneProgram, slots: np.ndarray) -> None:
        self.at = list(zip(program.grid.tolist(), slots.tolist(), strict=True))
        self.held: dict[tuple[int, int], int] = {}

    def write(self, plane: int) -> None:
        self.held[self.at[plane]] = plane

    def has(self, planes: list[int]) -> bool:
        return all(self.held.get(self.at[plane]) == plane for plane in planes)


@settings(max_examples=200)
@given(
    seed=st.integers(0, 2**31),
    grids=st.integers(1, 3),
    before=st.integers(0, 4),
    steps=st.integers(0, 20),
    span=st.integers(1, 25),
)
def test_planes_share_a_place_only_when_they_are_not_needed_at_the_same_time(
    seed: int, grids: int, before: int, steps: int, span: int
) -> None:
    rng = np.random.default_rng(seed)
    grid = rng.integers(0, grids, before + 2 * steps)
    there, writes, reads = list(range(before)), [], []
    for _ in range(steps):
        new = [len(there) + i for i in range(rng.integers(0, 3))]
        recent = there[-span:]
        reads.append(rng.choice(recent, rng.integers(0, 4)).tolist() if recent else [])
        writes.append([plane for plane in new if plane < grid.size])
        there += writes[-1]
    slots = assign(grid, range(before), writes, reads)
    first = {**dict.fromkeys(range(before), -1)}
    last: dict[int, int] = {}
    for index, (new, old) in enumerate(zip(writes, reads, strict=True)):
        first.update(dict.fromkeys(new, index))
        last.update(dict.fromkeys([*new, *old], index))
    alive: dict[tuple[int, int], list[int]] = defaultdict(list)
    for plane, begin in first.items():
        for time in range(begin, last.get(plane, steps) + 1):  # never named: never free
            alive[int(grid[plane]), time].append(int(slots[plane]))
    for places in alive.values():
        assert len(set(places)) == len(places)
    for one in range(grids):
        used = {int(slots[plane]) for plane in first if grid[plane] == one}
        most = max([len(places) for (of, _), places in alive.items() if of == one], default=0)
        assert used == set(range(most))


@settings(max_examples=150)
@given(draft=drafts())
def test_every_step_finds_its_sources_and_the_head_adds_each_plane_once(draft: Draft) -> None:
    program = draft.make().program
    plan = schedule(program)
    memory = Memory(program, plan.slots)
    for plane in range(program.channels):
        memory.write(plane)
    assert sorted(plan.order.tolist()) == list(range(program.head.size))
    chunk, columns, done = 0, [], 0
    for group in range(len(plan.groups) + 1):
        if group < len(plan.groups):
            begin, end = plan.groups[group].tolist()
            assert begin == done < end
            done = end
            steps = program.steps[begin:end, :4].tolist()
            sources = [program.source[first:last].tolist() for _, _, first, last in steps]
            assert memory.has([plane for planes in sources for plane in planes])
            for plane, *_ in steps:
                memory.write(plane)
            # bands of one step may come before bands of another
            assert memory.has([plane for planes in sources for plane in planes])
            assert memory.has([plane for plane, *_ in steps])
        while chunk < len(plan.chunks) and plan.chunks[chunk, 0] <= group + 1:
            _, first, last = plan.chunks[chunk].tolist()
            assert 0 < last - first <= program.tiling.head_planes
            columns += range(first, last)
            assert memory.has(program.head[plan.order[first:last]].tolist())
            chunk += 1
    assert done == len(program.steps)
    assert columns == list(range(program.head.size))
    for planes in program.outputs:
        assert memory.has(planes.tolist())


@settings(max_examples=150)
@given(draft=drafts())
def test_every_step_of_the_gradient_finds_its_consumers(draft: Draft) -> None:
    program = draft.make().program
    mirror = data_gradients(program)
    memory = Memory(program, mirror.slots)
    seeded = {plane for planes in program.outputs for plane in planes.tolist()}
    for plane in seeded:
        memory.write(plane)
    seen: list[int] = []
    edges = 0
    for plane, window, first, last, start, *_ in mirror.steps.tolist():
        if plane not in seen:
            seen.append(plane)
            if plane in seeded:
                assert memory.has([plane])
            if plane in seeded or plane in program.head:
                assert start == START_FROM_PLANE
            memory.write(plane)
        else:
            assert seen[-1] == plane and start == START_FROM_PLANE
        consumers = mirror.source[first:last].tolist()
        assert memory.has([plane, *consumers])
        assert memory.at[plane] not in [memory.at[consumer] for consumer in consumers]
        assert first == edges and all(
            program.steps[consumer - program.channels, 1] == window for consumer in consumers
        )
        edges = last
    computed = program.steps[::-1, 0].tolist()
    assert seen == [*computed, *range(program.channels)]
    assert edges == program.source.size
    assert memory.has(list(range(program.channels)))
    assert sorted(mirror.taps.tolist()) == list(range(int(program.taps_at[-1])))

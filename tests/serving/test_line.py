from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.line import Line


def test_one_lane_takes_what_waits_up_to_the_most():
    line = Line(1, 4)
    line.put(range(6))
    assert len(line) == 6
    assert line.take(0) == ([0, 1, 2, 3], False)
    assert line.take(0) == ([4, 5], False)


def test_with_fewer_items_than_lanes_the_first_takes_them_alone():
    line = Line(4, 8)
    line.put([0, 1])
    assert line.take(0) == ([0, 1], False)


def test_with_an_item_for_each_lane_every_lane_takes_its_share():
    line = Line(2, 8)
    line.put(range(7))
    assert line.take(1) == ([0, 1, 2], True)
    assert line.take(0) == ([3, 4], True)
    # Those that are worked on count, and a share is one at least.
    assert line.take(1) == ([5], True)
    assert line.take(0) == ([6], True)


def test_it_is_not_crowded_any_more_when_work_is_done():
    line = Line(2, 8)
    line.put([0, 1])
    assert line.take(0) == ([0], True)
    assert line.take(1) == ([1], True)
    line.done(1)
    line.done(1)
    line.put([2])
    assert line.take(0) == ([2], False)


def test_what_nobody_wants_any_more_is_passed_over():
    line = Line(1, 2, gone=lambda item: item % 2 == 1)
    line.put([1, 3, 0, 5, 2, 4, 7])
    assert line.take(0) == ([0, 2], False)
    assert line.take(0) == ([4], False)
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(line.take, 0)  # 7 alone is nothing to return with
        line.put([9, 6])
        assert taken.result(timeout=5) == ([6], False)


def test_closing_wakes_every_lane_and_drops_what_waits():
    line = Line(3, 8)
    with ThreadPoolExecutor(3) as pool:
        taken = [pool.submit(line.take, lane) for lane in range(3)]
        line.close()
        assert [one.result(timeout=5) for one in taken] == [None] * 3
    line = Line(1, 8)
    line.put([0])
    line.close()
    assert (line.take(0), len(line)) == (None, 0)


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_every_item_is_taken_once_and_none_is_left_behind(lanes):
    line: Line[int] = Line(lanes, 3)
    seen: list[int] = []
    all_seen = threading.Event()

    def work(lane: int) -> None:
        while (taken := line.take(lane)) is not None:
            seen.extend(taken[0])
            line.done(len(taken[0]))
            if len(seen) == 2000:
                all_seen.set()

    threads = [threading.Thread(target=work, args=(lane,)) for lane in range(lanes)]
    for thread in threads:
        thread.start()
    for start in range(0, 2000, 8):
        line.put(range(start, start + 8))
    assert all_seen.wait(20)
    line.close()
    for thread in threads:
        thread.join(5)
    assert sorted(seen) == list(range(2000))

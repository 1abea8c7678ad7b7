from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from serving.batcher import Batcher
from serving.engine import Engine
from serving.errors import ServingError
from serving.lane import EngineError, Outputs

SHAPE = (8, 8, 3)


class Device:
    """Answers with each image's first pixel; holds every call until it is let go."""

    def __init__(self, held=False, fail_at=None):
        self.batches = []
        self.go = threading.Event()
        self.fail_at = fail_at
        if not held:
            self.go.set()

    def __call__(self, images):
        images = np.stack(images)
        self.batches.append(images[:, 0, 0, 0].tolist())
        assert self.go.wait(10)
        if self.fail_at == len(self.batches):
            raise EngineError("the device is lost")
        values = images[:, 0, 0, :1].astype(np.float32)
        return Outputs(values, values)


def image(value):
    return np.full(SHAPE, value, np.uint8)


def value_of(result):
    return int(result.embedding[0])


def test_every_caller_gets_its_own_answers_in_order():
    async def scenario():
        async with Batcher(Device(), SHAPE) as batcher:
            calls = [batcher.embed([image(2 * i), image(2 * i + 1)]) for i in range(50)]
            return [[value_of(one) for one in result] for result in await asyncio.gather(*calls)]

    assert asyncio.run(scenario()) == [[2 * i, 2 * i + 1] for i in range(50)]


def test_what_waits_while_the_device_is_busy_is_one_batch():
    device = Device(held=True)

    async def scenario():
        async with Batcher(device, SHAPE, max_batch=4) as batcher:
            calls = [asyncio.ensure_future(batcher.embed([image(0)]))]
            await asyncio.sleep(0.02)  # the lone one has started without waiting for company
            assert device.batches == [[0]]
            calls += [asyncio.ensure_future(batcher.embed([image(i)])) for i in range(1, 7)]
            await asyncio.sleep(0.02)
            device.go.set()
            await asyncio.gather(*calls)

    asyncio.run(scenario())
    assert device.batches == [[0], [1, 2, 3, 4], [5, 6]]


def test_a_batch_equals_single_images_of_the_real_model(bundle):
    engine = Engine(bundle)
    images = np.random.default_rng(3).integers(0, 256, (24, *SHAPE), dtype=np.uint8)

    async def scenario():
        async with Batcher(engine.run, SHAPE) as batcher:
            together = await asyncio.gather(*(batcher.embed([one]) for one in images))
            alone = [await batcher.embed([one]) for one in images]
        return together, alone

    together, alone = asyncio.run(scenario())
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one[0].embedding, other[0].embedding, atol=1e-6)
        np.testing.assert_allclose(one[0].cosines, other[0].cosines, atol=1e-6)


def test_a_full_queue_refuses_with_retry_after_and_takes_none_of_the_images():
    device = Device(held=True)

    async def scenario():
        async with Batcher(device, SHAPE, max_queue=3) as batcher:
            first = asyncio.ensure_future(batcher.embed([image(0)]))
            await asyncio.sleep(0.02)
            waiting = asyncio.ensure_future(batcher.embed([image(1), image(2)]))
            await asyncio.sleep(0.02)
            with pytest.raises(ServingError) as caught:
                await batcher.embed([image(3), image(4)])
            device.go.set()
            await asyncio.gather(first, waiting)
            return caught.value

    error = asyncio.run(scenario())
    assert (error.status, error.headers["Retry-After"]) == (503, "1")
    assert device.batches == [[0], [1, 2]]


def test_a_client_that_has_gone_is_skipped_and_its_neighbours_are_answered():
    device = Device(held=True)

    async def scenario():
        async with Batcher(device, SHAPE) as batcher:
            calls = [asyncio.ensure_future(batcher.embed([image(0)]))]
            await asyncio.sleep(0.02)
            calls += [asyncio.ensure_future(batcher.embed([image(i)])) for i in (1, 2, 3)]
            await asyncio.sleep(0.02)
            calls[2].cancel()
            await asyncio.sleep(0)
            device.go.set()
            return await asyncio.gather(*calls, return_exceptions=True)

    results = asyncio.run(scenario())
    assert device.batches == [[0], [1, 3]]
    assert isinstance(results[2], asyncio.CancelledError)
    assert [value_of(results[i][0]) for i in (0, 1, 3)] == [0, 1, 3]


def test_nothing_is_kept_of_a_request_that_was_answered_or_given_up():
    async def scenario():
        async with Batcher(Device(), SHAPE) as batcher:
            await batcher.embed([image(0), image(1)])
            gone = asyncio.ensure_future(batcher.embed([image(2)]))
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.sleep(0.05)
            return batcher._unanswered, len(batcher._line)

    assert asyncio.run(scenario()) == (set(), 0)


def test_the_device_goes_on_while_the_event_loop_is_busy():
    device = Device(held=True)

    async def scenario():
        async with Batcher(device, SHAPE, max_batch=1) as batcher:
            calls = [asyncio.ensure_future(batcher.embed([image(i)])) for i in range(3)]
            await asyncio.sleep(0.02)
            device.go.set()
            for _ in range(500):  # without giving way to the loop
                if len(device.batches) == 3:
                    break
                time.sleep(0.01)
            batches = len(device.batches)
            await asyncio.gather(*calls)
            return batches

    assert asyncio.run(scenario()) == 3


def test_a_lone_image_has_the_whole_device_and_several_a_lane_each():
    whole, lanes = Device(held=True), [Device(held=True), Device(held=True)]

    async def scenario():
        async with Batcher(whole, SHAPE, lanes=lanes, max_batch=4) as batcher:
            calls = [asyncio.ensure_future(batcher.embed([image(0)]))]
            await asyncio.sleep(0.02)
            assert (whole.batches, [lane.batches for lane in lanes]) == ([[0]], [[], []])
            calls += [asyncio.ensure_future(batcher.embed([image(1)]))]
            await asyncio.sleep(0.02)  # while the whole device is at the first, the second lane is at the next
            assert [lane.batches for lane in lanes] == [[], [[1]]]
            calls += [asyncio.ensure_future(batcher.embed([image(i)])) for i in (2, 3, 4, 5)]
            await asyncio.sleep(0.02)
            whole.go.set()
            await asyncio.sleep(0.02)  # of four that wait, a lane takes its half
            assert [lane.batches for lane in lanes] == [[[2, 3]], [[1]]]
            for lane in lanes:
                lane.go.set()
            results = await asyncio.gather(*calls)
            assert value_of((await batcher.embed([image(6)]))[0]) == 6
        return [value_of(one) for (one,) in results]

    assert asyncio.run(scenario()) == [0, 1, 2, 3, 4, 5]
    # The last of those that wait may be a lone one too, if everybody else is done.
    assert (whole.batches[0], whole.batches[-1]) == ([0], [6])
    assert sorted(value for device in (whole, *lanes) for batch in device.batches for value in batch) == list(range(7))


def test_a_lost_lane_ends_readiness_though_others_work():
    whole, lanes = Device(), [Device(held=True), Device(fail_at=1)]

    async def scenario():
        async with Batcher(whole, SHAPE, lanes=lanes, max_batch=1) as batcher:
            calls = [batcher.embed([image(i)]) for i in range(8)]
            threading.Timer(0.1, lanes[0].go.set).start()
            results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
            return batcher.ready, [getattr(result, "code", None) for result in results]

    ready, codes = asyncio.run(scenario())
    assert not ready
    assert "not_ready" in codes


def test_an_image_of_another_shape_fails_alone():
    async def scenario():
        async with Batcher(Device(), SHAPE) as batcher:
            good, bad = batcher.embed([image(5)]), batcher.embed([np.zeros((9, 8, 3), np.uint8)])
            return await asyncio.gather(good, bad, return_exceptions=True)

    good, bad = asyncio.run(scenario())
    assert value_of(good[0]) == 5
    assert isinstance(bad, ValueError)


def test_a_lost_device_answers_everyone_who_waits_and_ends_readiness():
    device = Device(held=True, fail_at=1)

    async def scenario():
        async with Batcher(device, SHAPE) as batcher:
            assert batcher.ready
            calls = [asyncio.ensure_future(batcher.embed([image(0)]))]
            await asyncio.sleep(0.02)
            calls += [asyncio.ensure_future(batcher.embed([image(i), image(i)])) for i in (1, 2)]
            await asyncio.sleep(0.02)
            device.go.set()
            results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
            assert not batcher.ready
            with pytest.raises(ServingError, match="not running"):
                await batcher.embed([image(3)])
            return results

    assert [error.code for error in asyncio.run(scenario())] == ["not_ready"] * 3


def test_a_device_that_answers_for_fewer_images_than_it_got_is_lost():
    def run(images):
        return Outputs(np.zeros((len(images) - 1, 1), np.float32), np.zeros((len(images) - 1, 1), np.float32))

    async def scenario():
        async with Batcher(run, SHAPE) as batcher:
            with pytest.raises(ServingError, match="not running"):
                await asyncio.wait_for(batcher.embed([image(0), image(1)]), 5)
            return batcher.ready

    assert asyncio.run(scenario()) is False


def test_closing_answers_those_who_still_wait():
    device = Device(held=True)

    async def scenario():
        async with Batcher(device, SHAPE) as batcher:
            calls = [asyncio.ensure_future(batcher.embed([image(i)])) for i in (0, 1)]
            await asyncio.sleep(0.02)
            threading.Timer(0.1, device.go.set).start()
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)

    assert [error.code for error in asyncio.run(scenario())] == ["not_ready"] * 2

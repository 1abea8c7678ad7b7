from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest

from serving.bound import BoundBatch
from serving.engine import GPU_SIZES, Engine, _cpu_sizes
from serving.lane import EngineError
from tests.tiny_bundle import make_tiny_bundle
from zoo.bundle import BundleError, ProtozooError


@pytest.fixture(scope="module")
def engine(bundle):
    return Engine(bundle)


def noise(count, size=8, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 3, 32, 33, 70])
def test_a_batch_equals_single_images(engine, count):
    images = noise(count)
    together = engine.run(images)
    alone = [engine.run([image]) for image in images]
    np.testing.assert_allclose(together.embeddings, np.concatenate([one.embeddings for one in alone]), atol=1e-6)
    np.testing.assert_allclose(together.cosines, np.concatenate([one.cosines for one in alone]), atol=1e-6)


def test_outputs_are_unit_embeddings_and_their_cosines(engine, bundle):
    outputs = engine.run(noise(5))
    np.testing.assert_allclose(np.linalg.norm(outputs.embeddings, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(outputs.cosines, outputs.embeddings @ bundle.prototypes.T, atol=1e-5)


@pytest.fixture
def device(engine, monkeypatch):
    """What the engine gives its device: the sizes that it sees, and how many images are in each."""
    seen = []

    class Recorded(BoundBatch):
        def __init__(self, session, size, shape, **on):
            super().__init__(session, size, shape, device="cpu", gpu=0)  # whatever is asked for
            self.size = size

        def run(self, images):
            seen.append((self.size, len(images), self._input.shape()))
            return super().run(images)

    monkeypatch.setattr("serving.lane.BoundBatch", Recorded)
    monkeypatch.setattr(engine._whole, "_batches", {})
    return seen


def test_the_cpu_sees_batches_of_their_own_size_up_to_the_largest(engine, device):
    for count in range(1, 20):
        assert len(engine.run(noise(count)).embeddings) == count
    assert {tuple(shape) for _, _, shape in device} == {(size, 8, 8, 3) for size in range(1, engine.max_batch + 1)}
    assert all(size == count for size, count, _ in device)


@pytest.mark.parametrize(("side", "largest"), [(8, 8), (96, 8), (128, 6), (224, 2), (384, 1), (1024, 1)])
def test_the_larger_the_images_the_fewer_the_cpu_takes_at_a_time(side, largest):
    assert _cpu_sizes(side) == tuple(range(1, largest + 1))


def test_a_gpu_sees_few_sizes_and_others_are_padded(engine, device, monkeypatch):
    monkeypatch.setattr(engine._whole, "_sizes", GPU_SIZES)
    alone = engine.run(noise(1))
    for count in range(1, 40):
        outputs = engine.run(noise(count))
        assert (len(outputs.embeddings), len(outputs.cosines)) == (count, count)
        np.testing.assert_allclose(outputs.embeddings[0], alone.embeddings[0], atol=1e-6)
    assert {tuple(shape) for _, _, shape in device} == {(size, 8, 8, 3) for size in GPU_SIZES}
    assert all(size == next(one for one in GPU_SIZES if one >= count) for size, count, _ in device)


def test_warm_up_runs_the_largest_size_and_on_a_gpu_all(engine, device, monkeypatch):
    engine.warm_up()
    assert [size for size, _, _ in device] == [1, engine.max_batch]
    device.clear()
    engine.warm_up()  # a size that was run, by the golden images too, is warm
    assert not device
    monkeypatch.setattr(engine._whole, "_batches", {})
    monkeypatch.setattr(engine._whole, "_device", "cuda")
    monkeypatch.setattr(engine._whole, "_sizes", GPU_SIZES)
    engine.warm_up()
    assert [(size, count) for size, count, _ in device] == [(size, size) for size in GPU_SIZES]


@pytest.fixture
def cores(monkeypatch):
    """cores(n): so many are there."""
    return lambda count: monkeypatch.setattr("serving.engine.available_cores", lambda: count)


def test_every_core_has_a_lane_and_all_may_work_at_once(bundle, cores):
    cores(3)
    engine = Engine(bundle, lanes=True)
    engine.warm_up()
    images = [noise(count, seed=count) for count in range(1, 13)]
    expected = [engine.run(some) for some in images]
    assert len(engine.lanes) == 3

    def work(run):
        return [run(some) for some in images * 20]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, [engine.run, *engine.lanes]))
    for outputs in found:
        for one, other in zip(outputs, expected * 20, strict=True):
            np.testing.assert_allclose(one.embeddings, other.embeddings, atol=1e-6)
            np.testing.assert_allclose(one.cosines, other.cosines, atol=1e-6)


def test_a_lane_has_one_thread_and_the_whole_device_the_cores_that_there_are(bundle, cores, monkeypatch):
    seen, real = [], onnxruntime.InferenceSession

    def session(path, options, providers):
        seen.append(options.intra_op_num_threads)
        return real(path, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    cores(3)
    Engine(bundle, lanes=True)
    assert seen == [3, 1]
    seen.clear()
    cores(os.cpu_count())
    Engine(bundle)
    assert seen == [0]


def test_there_are_no_lanes_where_nothing_would_be_gained(bundle, cores, monkeypatch):
    cores(4)
    assert len(Engine(bundle, lanes=True).lanes) == 4
    assert Engine(bundle).lanes == ()
    monkeypatch.setattr("serving.engine._MOST_WEIGHTS", bundle.onnx_path.stat().st_size - 1)
    assert Engine(bundle, lanes=True).lanes == ()
    monkeypatch.undo()
    for count in (1, 17):
        cores(count)
        assert Engine(bundle, lanes=True).lanes == ()


def test_what_an_earlier_batch_left_in_the_buffers_changes_no_answer(engine):
    first = engine.run(noise(3, seed=2))
    engine.run(np.full((4, 8, 8, 3), 255, np.uint8))
    again = engine.run(noise(3, seed=2))
    assert first.embeddings.tobytes() == again.embeddings.tobytes()


def test_outputs_of_a_batch_are_not_overwritten_by_the_next(engine):
    first = engine.run(noise(2, seed=2))
    kept = first.embeddings.copy(), first.cosines.copy()
    engine.run(noise(2, seed=3))
    assert (first.embeddings.tobytes(), first.cosines.tobytes()) == tuple(part.tobytes() for part in kept)


def test_a_model_that_contradicts_its_golden_outputs_is_refused(tmp_path):
    bundle = make_tiny_bundle(tmp_path / "b", golden_shift=0.01)
    with pytest.raises(BundleError, match=r"differ by up to 0\.01 "):
        Engine(bundle)


def test_other_prototypes_in_the_graph_than_in_the_weights_are_refused(tmp_path):
    other = np.eye(5, 8, dtype=np.float32)
    with pytest.raises(BundleError, match="prototypes"):
        Engine(make_tiny_bundle(tmp_path / "b", onnx_prototypes=other))


def test_a_model_of_another_input_size_is_refused(tmp_path):
    bundle = make_tiny_bundle(tmp_path / "b", pretrained_cfg={"input_size": [3, 16, 16]})
    with pytest.raises(BundleError, match="export the model again"):
        Engine(bundle)


def test_nan_output_is_an_error_at_load(tmp_path):
    with pytest.raises(BundleError, match="NaN"):
        Engine(make_tiny_bundle(tmp_path / "b", bias=float("nan")))


def test_nan_output_is_an_error_at_run(engine, monkeypatch):
    nan = np.full((1, 8), np.nan, np.float32), np.zeros((1, 5), np.float32)
    monkeypatch.setattr(BoundBatch, "run", lambda self, images: nan)
    with pytest.raises(EngineError, match="NaN"):
        engine.run(noise(1))


def test_a_failure_of_the_device_is_an_error_at_run(engine, monkeypatch):
    def lost(self, images):
        raise RuntimeError("CUDA failure 719")

    monkeypatch.setattr(BoundBatch, "run", lost)
    with pytest.raises(EngineError, match="719"):
        engine.run(noise(1))


def test_a_gpu_is_asked_for_by_its_number(bundle, monkeypatch):
    asked = []

    def session(path, options, providers):
        asked.extend(providers)
        raise RuntimeError("no such device")

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(BundleError, match="no such device"):
        Engine(bundle, "cuda", 3)
    ((provider, options),) = asked
    assert (provider, options["device_id"]) == ("CUDAExecutionProvider", "3")


def test_cuda_without_cuda_is_an_error_that_says_what_to_install(bundle, monkeypatch):
    # Also on a machine with a GPU: ONNX Runtime's silent fallback is played by asking it for the CPU.
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, providers: real(path, providers=["CPUExecutionProvider"])
    )
    with pytest.raises(ProtozooError, match=r"onnxruntime-gpu\[cuda,cudnn\]"):
        Engine(bundle, "cuda")

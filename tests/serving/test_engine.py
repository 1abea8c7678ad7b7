from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from serving.engine import BUCKETS, Engine, EngineError
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
    alone = [engine.run(image[None]) for image in images]
    np.testing.assert_allclose(together.embeddings, np.concatenate([one.embeddings for one in alone]), atol=1e-6)
    np.testing.assert_allclose(together.cosines, np.concatenate([one.cosines for one in alone]), atol=1e-6)


def test_outputs_are_unit_embeddings_and_their_cosines(engine, bundle):
    outputs = engine.run(noise(5))
    np.testing.assert_allclose(np.linalg.norm(outputs.embeddings, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(outputs.cosines, outputs.embeddings @ bundle.prototypes.T, atol=1e-5)


def test_the_device_sees_bucket_sizes_only(engine, monkeypatch):
    seen = []

    class Session:
        def run(self, names, feed):
            seen.append(len(feed["images"]))
            return real.run(names, feed)

    real = engine._session
    monkeypatch.setattr(engine, "_session", Session())
    for count in range(1, 40):
        assert len(engine.run(noise(count)).embeddings) == count
    assert set(seen) <= set(BUCKETS)


def test_warm_up_runs_every_bucket(engine, monkeypatch):
    seen = []
    monkeypatch.setattr(engine, "run", lambda images: seen.append(images.shape))
    engine.warm_up()
    assert seen == [(size, 8, 8, 3) for size in BUCKETS]


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
    class Session:
        def run(self, names, feed):
            return np.full((1, 8), np.nan, np.float32), np.zeros((1, 5), np.float32)

        def get_providers(self):
            return ["X"]

    monkeypatch.setattr(engine, "_session", Session())
    with pytest.raises(EngineError, match="NaN"):
        engine.run(noise(1))


def test_cuda_without_cuda_is_an_error_that_says_what_to_install(bundle, monkeypatch):
    # Also on a machine with a GPU: ONNX Runtime's silent fallback is played by asking it for the CPU.
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, providers: real(path, providers=["CPUExecutionProvider"])
    )
    with pytest.raises(ProtozooError, match=r"onnxruntime-gpu\[cuda,cudnn\]"):
        Engine(bundle, "cuda")

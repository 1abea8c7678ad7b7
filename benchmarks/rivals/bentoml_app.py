"""BentoML's adaptive batching, as its documentation shows it."""

import os
import sys
from pathlib import Path

import bentoml
from PIL import Image

from benchmarks.rivals import nearest
from serving.engine import Engine
from zoo.bundle import Bundle

HOME = Path(__file__).resolve().parent.parent.parent


@bentoml.service(traffic={"timeout": 60}, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Adaptive:
    """One batchable method."""

    def __init__(self) -> None:
        self.bundle = Bundle.open(os.environ["RIVAL_BUNDLE"])
        self.engine = Engine(self.bundle)
        self.engine.warm_up()

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=60_000)
    def classify(self, images: list[Image.Image]) -> list[dict]:
        pixels = [self.bundle.preprocessing.pixels(image) for image in images]
        return [{"predictions": nearest(self.bundle.labels, row)} for row in self.engine.run(pixels).cosines]


if __name__ == "__main__":
    os.environ |= {"RIVAL_BUNDLE": sys.argv[1], "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(HOME)}
    target = ["benchmarks.rivals.bentoml_app:Adaptive", "--working-dir", str(HOME)]
    command = [sys.executable, "-m", "bentoml", "serve", *target, "--host", "127.0.0.1", "--port", sys.argv[2]]
    os.execv(sys.executable, command)

"""LitServe's batching: up to 32 images, for which it waits 5 ms."""

import sys

import litserve
import numpy as np
from fastapi import UploadFile

from benchmarks.rivals import decoder_of, nearest
from serving.engine import Engine
from zoo.bundle import Bundle


class Api(litserve.LitAPI):
    """Decodes and computes in its worker process."""

    def __init__(self, folder: str) -> None:
        super().__init__(max_batch_size=32, batch_timeout=0.005, api_path="/classify")
        self.folder = folder

    def setup(self, device: str) -> None:
        bundle = Bundle.open(self.folder)
        self.labels, self.engine, self.decoder = bundle.labels, Engine(bundle), decoder_of(bundle)
        self.engine.warm_up()

    def decode_request(self, request: UploadFile) -> np.ndarray:
        return self.decoder.decode(request.file.read())

    def batch(self, inputs: list) -> list:
        return inputs

    def predict(self, batch: list) -> list:
        return list(self.engine.run(batch).cosines)

    def unbatch(self, output: list) -> list:
        return output

    def encode_response(self, output: np.ndarray) -> dict:
        return {"predictions": nearest(self.labels, output)}


if __name__ == "__main__":
    server = litserve.LitServer(Api(sys.argv[1]), accelerator="cpu", timeout=60)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="error", generate_client_file=False)

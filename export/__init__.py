"""From a finished run to a bundle: weights, ONNX graph, golden outputs, model card; and its verification."""

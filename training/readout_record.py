"""The readout by Bayes' rule of a trained model, measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from training.evaluation import run_model
from training.pretrained import open_pretrained
from training.readout import Prior, bayes_scores
from training.record import long_tail_record
from zoo.errors import ProtozooError


def record_readout(name_or_path: str, data: str, *, prior: Prior, device: str) -> dict[str, Any]:
    """What NTCE's or NONL's logits say of the test images by Bayes' rule, with class frequencies of choice.

    Args:
        name_or_path: bundle (folder, zoo name or hf-hub:owner/name) or folder of a finished run.
        data: what it was trained on, as for :func:`training.data.load_data`; long-tailed where that was.
        prior: see :func:`training.readout.bayes_scores`.
        device: of torch.

    Returns:
        Names, "weights_sha256", "prior", "test_accuracy" in [0, 1], and "long_tail", see
        :func:`training.tails.tail_record`.

    Raises:
        ProtozooError: model, data or device cannot be used, or the model has another objective.
    """
    pretrained = open_pretrained(name_or_path)
    objective = pretrained.recipe["objective"]
    if objective not in ("ntce", "nonl"):
        raise ProtozooError(f"{pretrained.name} was trained by {objective}: the readout is of ntce and nonl")
    model, images = pretrained.to(device), pretrained.load(data).for_model(pretrained.labels, pretrained.name)
    train, test = (run_model(model, split, pretrained.preprocessing) for split in (images.train, images.test))
    answers = replace(test, logits=bayes_scores(test.logits, train.logits, train.labels, objective, prior=prior))
    return {
        "model": pretrained.name,
        "weights_sha256": pretrained.weights_sha256,
        "data": images.name,
        "prior": prior,
        "test_accuracy": answers.accuracy(),
        "long_tail": long_tail_record(images, {"bayes": answers}),
    }

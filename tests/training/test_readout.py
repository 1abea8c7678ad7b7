from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from training import losses
from training.readout import bayes_offsets, bayes_scores

CLASSES = 4


def make_outputs(samples: int = 30) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = (torch.rand(samples, CLASSES, generator=generator, dtype=torch.float64) * 2 - 1) / 0.2
    return logits, torch.randint(0, CLASSES, (samples,), generator=generator)


@pytest.mark.parametrize(("objective", "prior"), [("ntce", "training"), ("ntce", "uniform"), ("nonl", "training")])
def test_offsets_are_log_priors_less_log_denominators(objective: str, prior: str) -> None:
    logits, labels = make_outputs()
    labels[3] = -1
    expected = []
    for c in range(CLASSES):
        inside = [j for j in range(30) if labels[j] >= 0 and (objective == "ntce" or labels[j] != c)]
        share = sum(int(label) == c for label in labels) / 29 if prior == "training" else 1 / CLASSES
        expected.append(math.log(share) - math.log(sum(math.exp(logits[j, c]) for j in inside)))
    centred = torch.tensor([value - sum(expected) / CLASSES for value in expected])
    torch.testing.assert_close(bayes_offsets(logits, labels, objective, prior=prior), centred)


@pytest.mark.parametrize("loss", [losses.ntce, losses.nonl], ids=["ntce", "nonl"])
def test_shifting_a_class_leaves_objective_and_answer_as_they_were_but_moves_the_nearest(loss) -> None:
    """Why there is a readout: nothing in training holds the columns of different classes at one level."""
    logits, labels = make_outputs()
    shifted = logits + torch.tensor([3.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    torch.testing.assert_close(loss(shifted, labels), loss(logits, labels))
    answers = [(s + bayes_offsets(s, labels, loss.__name__)).argmax(1) for s in (logits, shifted)]
    assert torch.equal(*answers)
    assert not torch.equal(shifted.argmax(1), logits.argmax(1))


@pytest.mark.parametrize("prior", ["training", "uniform"])
@pytest.mark.parametrize("loss", [losses.ntce, losses.nonl], ids=["ntce", "nonl"])
def test_a_model_at_the_objectives_minimum_is_read_out_as_the_true_posterior(loss, prior) -> None:
    """Three kinds of image, each of three classes with unequal shares: free logits find the likelihoods."""
    counts = torch.tensor([[60, 31, 9], [2, 20, 8], [1, 4, 10]])  # class by kind: classes of 100, 30 and 15 images
    kinds = torch.cat([torch.arange(3).repeat_interleave(row) for row in counts])
    labels = torch.arange(3).repeat_interleave(counts.sum(1))
    table = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([table], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(table[kinds], labels)
        value.backward()
        return value

    optimizer.step(closure)
    logits = table.detach()
    scores = bayes_scores(logits, logits[kinds], labels, loss.__name__, prior=prior)
    joint = counts.double() if prior == "training" else counts / counts.sum(1, keepdim=True).double()
    posterior = joint / joint.sum(0)
    torch.testing.assert_close(F.softmax(scores, dim=1), posterior.T, rtol=0, atol=1e-4)
    if (loss, prior) != (losses.nonl, "uniform"):
        offsets = bayes_offsets(logits[kinds], labels, loss.__name__, prior=prior)
        assert (logits + offsets).argmax(1).tolist() == posterior.argmax(0).tolist()


def test_no_offsets_read_nonl_out_for_equally_frequent_classes() -> None:
    logits, labels = make_outputs()
    with pytest.raises(ValueError, match="its logits are odds: take bayes_scores, or train with NTCE"):
        bayes_offsets(logits, labels, "nonl", prior="uniform")


def test_a_collapsed_balanced_set_needs_no_offsets() -> None:
    labels = torch.arange(CLASSES).repeat(5)
    logits = (F.one_hot(labels, CLASSES) * (1 + 1 / (CLASSES - 1)) - 1 / (CLASSES - 1)).double() / 0.1
    torch.testing.assert_close(bayes_offsets(logits, labels, "nonl"), torch.zeros(CLASSES))


def test_misuse_says_what_is_wrong() -> None:
    logits, labels = make_outputs()
    with pytest.raises(ValueError, match='"ntce" or "nonl", not \'normface\''):
        bayes_offsets(logits, labels, "normface")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='"training" or "uniform", not \'flat\''):
        bayes_offsets(logits, labels, "ntce", prior="flat")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"classes \[0\] have no sample"):
        bayes_offsets(logits, labels.clamp_min(1), "ntce")

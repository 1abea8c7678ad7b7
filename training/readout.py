"""From the logits of NTCE and NONL to an answer: Bayes' rule over classes."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from training.losses.columns import Objective, check_objective, class_counts, columns
from training.losses.inputs import checked

Prior = Literal["training", "uniform"]


def bayes_offsets(logits: Tensor, labels: Tensor, objective: Objective, *, prior: Prior = "training") -> Tensor:
    r"""What to add to each class's logit so that the largest is the most probable class.

    NTCE and NONL scale :math:`e^{s_{jc}}` over the images of a class's column and not over the classes: a trained model
    has :math:`e^{s_c(x) - D_c} \propto p(x \mid c)` (NTCE), or the ratio of :math:`p(x \mid c)` to
    :math:`p(x \mid \text{not } c)` (NONL), and :math:`s_c` itself may be shifted by another number for every class.
    By Bayes' rule the answer is :math:`\arg\max_c s_c + o_c` with

    .. math:: o_c = \log p_c - D_c, \qquad D_c = \log \sum_j e^{s_{jc}}

    over the training images j (NONL: those of other classes). At exact collapse with classes of one size all offsets
    are equal, and the nearest prototype wins.

    Args:
        logits: (N, K), cosine / temperature of the training set, evaluation transform.
        labels: (N,) int64; negative ones are left out.
        objective: "ntce" or "nonl".
        prior: :math:`p_c`: "training", the shares in the training set, or "uniform", for use where classes are equally
            frequent although the training set's were not.

    Returns:
        (K,) float32 of mean 0, on the logits' device.

    Raises:
        ValueError: shapes that do not fit, another objective or prior, or a class without a sample.

    Source: what eqs. 4 and 5 of "Neural Collapse by Design" (arXiv 2605.20302) are the likelihood of.
    """
    check_objective(objective)
    if prior not in get_args(Prior):
        raise ValueError(f'prior must be "training" or "uniform", not {prior!r}')
    logits, labels = checked(logits, labels)
    logits = logits.detach().double()
    counts = class_counts(labels, logits)
    if bool((counts == 0).any()):
        absent = (counts == 0).nonzero()[:, 0].tolist()
        raise ValueError(f"classes {absent} have no sample in the training set: their offsets are not known")
    offsets = -columns(objective, logits, labels)[0]
    if prior == "training":
        offsets = offsets + counts.log()
    return (offsets - offsets.mean()).float()

"""From the logits of NTCE and NONL to an answer: Bayes' rule over classes."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor
from torch.nn import functional as F

from training.losses.columns import Objective, check_objective, class_counts, columns
from training.losses.inputs import checked

Prior = Literal["training", "uniform"]


def bayes_scores(
    logits: Tensor, train_logits: Tensor, train_labels: Tensor, objective: Objective, *, prior: Prior = "training"
) -> Tensor:
    r"""How probable each class is of an image, by what NTCE or NONL has taught a model.

    NTCE and NONL scale :math:`e^{s_{jc}}` over the images of a class's column and not over the classes, so that
    :math:`s_c` itself may be shifted by another number for every class. With

    .. math:: z_c(x) = s_c(x) - D_c, \qquad D_c = \log \sum_j e^{s_{jc}}

    over the training images j (NONL: those of other classes) a trained model has :math:`e^{z_c} \propto p(x \mid c)`
    (NTCE), or with :math:`n_c` images of the class :math:`n_c e^{z_c} = p(c \mid x) / p(\text{not } c \mid x)` (NONL,
    :math:`p` of the training set). By Bayes' rule, with classes of frequencies :math:`\pi_c`,

    .. math::
        \log p_\pi(c \mid x) &= z_c + \log \pi_c + a_x & \text{(NTCE)} \\
        \log p_\pi(c \mid x) &= \log \sigma(z_c + \log n_c) - \log n_c + \log \pi_c + a_x & \text{(NONL)}

    where :math:`a_x` is a number of the image's.

    Args:
        logits: (M, K), cosine / temperature of the images.
        train_logits: (N, K), the same of the training set, evaluation transform.
        train_labels: (N,) int64; negative ones are left out.
        objective: "ntce" or "nonl".
        prior: :math:`\pi_c`: "training", the shares in the training set, or "uniform", for use where classes are
            equally frequent although the training set's were not.

    Returns:
        (M, K) float64, log-probabilities but for a number that all classes of an image share.

    Raises:
        ValueError: shapes that do not fit, another objective or prior, or a class without a sample.

    Source: what eqs. 4 and 5 of "Neural Collapse by Design" (arXiv 2605.20302) are the likelihood of.
    """
    levels, counts = _levels(train_logits, train_labels, objective, prior)
    scores = logits.detach().double() - levels
    if objective == "nonl":
        scores = F.logsigmoid(scores + counts.log()) - counts.log()
    return scores + counts.log() if prior == "training" else scores


def bayes_offsets(logits: Tensor, labels: Tensor, objective: Objective, *, prior: Prior = "training") -> Tensor:
    """What to add to each class's logit so that the largest is the most probable class: see :func:`bayes_scores`.

    At exact collapse with classes of one size all offsets are equal, and the nearest prototype wins.

    Args:
        logits: (N, K), cosine / temperature of the training set, evaluation transform.
        labels: (N,) int64; negative ones are left out.
        objective: "ntce" or "nonl".
        prior: as of :func:`bayes_scores`; of NONL "training" alone.

    Returns:
        (K,) float32 of mean 0, on the logits' device.

    Raises:
        ValueError: shapes that do not fit, another objective or prior, a class without a sample, or NONL with
            "uniform", where no offsets give the most probable class.
    """
    levels, counts = _levels(logits, labels, objective, prior)
    if (objective, prior) == ("nonl", "uniform"):
        raise ValueError(
            "of NONL no offsets give the most probable of equally frequent classes, for its logits are odds: "
            "take bayes_scores, or train with NTCE"
        )
    offsets = counts.log() - levels if prior == "training" else -levels
    return (offsets - offsets.mean()).float()


def _levels(logits: Tensor, labels: Tensor, objective: Objective, prior: Prior) -> tuple[Tensor, Tensor]:
    """(K,) log-denominators D, and (K,) numbers of images, in float64."""
    check_objective(objective)
    if prior not in get_args(Prior):
        raise ValueError(f'prior must be "training" or "uniform", not {prior!r}')
    logits, labels = checked(logits, labels)
    logits = logits.detach().double()
    counts = class_counts(labels, logits)
    if bool((counts == 0).any()):
        absent = (counts == 0).nonzero()[:, 0].tolist()
        raise ValueError(f"classes {absent} have no sample in the training set: their levels are not known")
    return columns(objective, logits, labels)[0], counts

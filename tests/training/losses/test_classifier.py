from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from training import losses

Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: dict[str, Loss] = {
    "cross_entropy": losses.cross_entropy,
    "normface": losses.normface,
    "decoupled_normface": losses.decoupled_normface,
    "ntce": losses.ntce,
    "nonl": losses.nonl,
}
MODULES = {
    "cross_entropy": losses.CrossEntropy,
    "normface": losses.NormFace,
    "decoupled_normface": losses.DecoupledNormFace,
    "ntce": losses.NTCE,
    "nonl": losses.NONL,
}
LABELLINGS = ("random", "once", "everything", "absent", "ignored", "all_ignored")

by_name = pytest.mark.parametrize("name", LOSSES)
ignore_single_class = pytest.mark.filterwarnings("ignore:a batch of one class")


def make_logits(samples: int, classes: int, temperature: float, seed: int = 0) -> Tensor:
    """Cosines of random unit vectors over the temperature, the extremes -1 and 1 among them."""
    generator = torch.Generator().manual_seed(seed)
    cosines = torch.rand(samples, classes, generator=generator, dtype=torch.float64) * 2 - 1
    cosines[0, 0], cosines[-1, -1] = 1, -1
    return cosines / temperature


def make_labels(kind: str, samples: int, classes: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(1000 + seed)
    labels = torch.randint(0, classes, (samples,), generator=generator)
    if kind == "once":
        labels[:] = 1
        labels[-1] = 0
    elif kind == "everything":
        labels[:] = classes - 1
    elif kind == "absent":
        labels %= 2
    elif kind == "ignored":
        labels[::3] = -1
        labels[1::5] = -100
    elif kind == "all_ignored":
        labels[:] = -1
        labels[::2] = -100
    return labels


def naive(name: str, logits: Tensor, labels: Tensor) -> Tensor:
    """The formulas of the papers, sample by sample and pair by pair, without any column-wise shortcut."""
    valid = [i for i in range(len(labels)) if labels[i] >= 0]
    terms = []
    for i in valid:
        own = int(labels[i])
        if name in ("normface", "cross_entropy"):
            denominator = [logits[i, c] for c in range(logits.shape[1])]
        elif name == "decoupled_normface":
            denominator = [logits[i, c] for c in range(logits.shape[1]) if c != own]
        elif name == "ntce":
            denominator = [logits[j, own] for j in valid]
        else:
            denominator = [logits[j, own] for j in valid if labels[j] != own]
        if not denominator:
            return logits.sum() * 0
        scores = torch.stack(denominator)
        largest = scores.detach().max()
        terms.append((scores - largest).exp().sum().log() + largest - logits[i, own])
    return torch.stack(terms).sum() / len(terms) if terms else logits.sum() * 0


def value_and_gradient(loss: Loss, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, labels)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


@ignore_single_class
@by_name
@pytest.mark.parametrize(("samples", "classes"), [*itertools.product([1, 2, 7, 32], [2, 5, 40]), (9, 1000)])
def test_value_and_gradient_are_those_of_the_formula(name: str, samples: int, classes: int) -> None:
    for kind, temperature in itertools.product(LABELLINGS, (0.2, 0.05, 0.01)):
        logits, labels = make_logits(samples, classes, temperature), make_labels(kind, samples, classes)
        value, gradient = value_and_gradient(LOSSES[name], logits, labels)
        expected, expected_gradient = value_and_gradient(lambda s, y: naive(name, s, y), logits, labels)
        where = f"{kind}, temperature {temperature}"
        assert value.dtype == torch.float64
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-10, msg=lambda m, w=where: f"{w}: {m}")
        torch.testing.assert_close(
            gradient, expected_gradient, rtol=0, atol=1e-9, msg=lambda m, w=where: f"{w}, gradient: {m}"
        )


@by_name
@pytest.mark.parametrize("samples", [3, 12])
def test_only_negative_labels_give_a_zero_that_is_connected_to_the_graph(name: str, samples: int) -> None:
    logits = make_logits(samples, 5, 0.05)
    value, gradient = value_and_gradient(LOSSES[name], logits, make_labels("all_ignored", samples, 5))
    assert value == 0
    assert torch.equal(gradient, torch.zeros_like(logits))


@by_name
def test_samples_with_a_negative_label_are_as_if_they_were_not_there(name: str) -> None:
    logits, labels = make_logits(20, 6, 0.1), make_labels("ignored", 20, 6)
    kept = labels >= 0
    value, gradient = value_and_gradient(LOSSES[name], logits, labels)
    assert 0 < kept.sum() < 20
    assert value == LOSSES[name](logits[kept], labels[kept])
    assert not gradient[~kept].any()


@pytest.mark.parametrize("samples", [1, 4, 30])
def test_nonl_of_a_single_class_is_a_warned_zero_with_zero_gradients(samples: int) -> None:
    logits, labels = make_logits(samples, 6, 0.01), torch.full((samples,), 3)
    with pytest.warns(UserWarning, match="no negatives"):
        value, gradient = value_and_gradient(losses.nonl, logits, labels)
    assert value == 0
    assert torch.equal(gradient, torch.zeros_like(logits))


def test_nonl_of_two_classes_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses.nonl(make_logits(4, 6, 0.1), torch.tensor([0, 1, 1, -1]))


def test_ntce_of_one_sample_is_zero() -> None:
    value, gradient = value_and_gradient(losses.ntce, make_logits(1, 5, 0.05), torch.tensor([2]))
    assert value == 0
    assert not gradient.any()


@by_name
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("classes", [5, 40])
def test_half_precision_logits_are_reduced_in_float32(name: str, dtype: torch.dtype, classes: int) -> None:
    logits, labels = make_logits(32, classes, 0.05).to(dtype), make_labels("ignored", 32, classes)
    value, gradient = value_and_gradient(LOSSES[name], logits, labels)
    expected, expected_gradient = value_and_gradient(LOSSES[name], logits.double(), labels)
    assert value.dtype == torch.float32
    assert gradient.dtype == dtype
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-2, atol=1e-4)


@by_name
@pytest.mark.parametrize("classes", [5, 40])
def test_autocast_does_not_lower_the_precision(name: str, classes: int) -> None:
    logits, labels = make_logits(32, classes, 0.05).bfloat16(), make_labels("random", 32, classes)
    with torch.autocast("cpu", torch.bfloat16):
        value, gradient = value_and_gradient(LOSSES[name], logits, labels)
    assert value.dtype == torch.float32
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(value.double(), LOSSES[name](logits.double(), labels), rtol=1e-5, atol=1e-5)


@by_name
def test_temperature_of_a_hundredth_stays_finite_in_float32(name: str) -> None:
    logits, labels = make_logits(32, 5, 0.01).float(), make_labels("random", 32, 5)
    value, gradient = value_and_gradient(LOSSES[name], logits, labels)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("classes", [3, 40])
def test_ntce_minus_nonl_is_the_softplus_of_the_own_class_mass(classes: int) -> None:
    logits, labels = make_logits(24, classes, 0.1), make_labels("random", 24, classes)
    own = labels[:, None] == labels
    columns = logits[:, labels].T
    own_mass = columns.masked_fill(~own, -torch.inf).logsumexp(1)
    other_mass = columns.masked_fill(own, -torch.inf).logsumexp(1)
    difference = losses.ntce(logits, labels) - losses.nonl(logits, labels)
    torch.testing.assert_close(difference, F.softplus(own_mass - other_mass).mean(), rtol=0, atol=1e-12)


@by_name
@pytest.mark.parametrize("classes", [5, 40])
def test_order_of_samples_and_of_classes_does_not_matter(name: str, classes: int) -> None:
    logits, labels = make_logits(16, classes, 0.1), make_labels("random", 16, classes)
    generator = torch.Generator().manual_seed(7)
    samples, columns = torch.randperm(16, generator=generator), torch.randperm(classes, generator=generator)
    permuted = LOSSES[name](logits[samples][:, columns], columns.argsort()[labels[samples]])
    torch.testing.assert_close(permuted, LOSSES[name](logits, labels), rtol=0, atol=1e-12)


def test_ntce_of_one_sample_a_class_is_normface_of_the_transpose() -> None:
    logits, labels = make_logits(12, 12, 0.1), torch.randperm(12, generator=torch.Generator().manual_seed(3))
    transposed = losses.normface(logits.T, labels.argsort())
    torch.testing.assert_close(losses.ntce(logits, labels), transposed, rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.normface])
def test_normface_is_torchs_cross_entropy(loss: Loss) -> None:
    logits, labels = make_logits(16, 5, 0.1), make_labels("random", 16, 5)
    assert loss(logits, labels) == F.cross_entropy(logits, labels)


@by_name
def test_every_loss_drops_in_for_torchs_cross_entropy(name: str) -> None:
    weight = torch.nn.Parameter(make_logits(5, 8, 1.0).float())
    inputs, labels = make_logits(16, 8, 1.0, seed=1).float(), make_labels("random", 16, 5)
    loss = LOSSES[name](inputs @ weight.T, labels)
    loss.backward()
    assert loss.shape == F.cross_entropy(inputs @ weight.T, labels).shape == ()
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0


@by_name
def test_modules_equal_the_functions_and_hold_no_state(name: str) -> None:
    module = MODULES[name]()
    logits, labels = make_logits(16, 5, 0.1), make_labels("random", 16, 5)
    assert torch.equal(module(logits, labels), LOSSES[name](logits, labels))
    assert not list(module.parameters())
    assert not module.state_dict()


@by_name
@pytest.mark.parametrize(
    ("logits", "labels"),
    [((4, 5), (3,)), ((4, 5), (4, 1)), ((4,), (4,)), ((4, 5), (4, 5)), ((2, 4, 5), (2,))],
)
def test_shapes_that_do_not_fit_are_refused_and_shown(
    name: str, logits: tuple[int, ...], labels: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"\(M, K\)") as caught:
        LOSSES[name](torch.zeros(logits), torch.zeros(labels, dtype=torch.int64))
    assert str(logits) in str(caught.value)
    assert str(labels) in str(caught.value)


@by_name
def test_labels_of_floats_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"integer type, not torch\.float32"):
        LOSSES[name](torch.zeros(4, 5), torch.zeros(4))


@by_name
@pytest.mark.parametrize("samples", [3, 16])
def test_labels_of_any_integer_type_are_taken(name: str, samples: int) -> None:
    logits, labels = make_logits(samples, 5, 0.1), make_labels("once", samples, 5)
    assert LOSSES[name](logits, labels.int()) == LOSSES[name](logits, labels)


@pytest.mark.parametrize("samples", [4, 16])
@pytest.mark.parametrize("name", LOSSES)
def test_an_absent_class_is_pushed_by_normface_alone(name: str, samples: int) -> None:
    labels = make_labels("absent", samples, 6)
    labels[:2] = torch.tensor([0, 1])
    _, gradient = value_and_gradient(LOSSES[name], make_logits(samples, 6, 0.1), labels)
    assert gradient[:, :2].any(0).all()
    if name in ("ntce", "nonl"):
        assert torch.equal(gradient[:, 2:], torch.zeros(samples, 4, dtype=torch.float64))
    else:
        assert gradient[:, 2:].any(0).all()


@pytest.mark.parametrize("loss", [losses.ntce, losses.nonl], ids=["ntce", "nonl"])
@pytest.mark.parametrize("kind", ["random", "once", "everything", "ignored", "all_ignored"])
@ignore_single_class
def test_columns_of_the_present_classes_are_enough(loss: Loss, kind: str) -> None:
    """With 1000 classes and 12 images, the head need compute 12 columns of 1000."""
    generator = torch.Generator().manual_seed(0)
    embeddings, prototypes = (
        F.normalize(torch.randn(rows, 6, generator=generator, dtype=torch.float64), dim=1) for rows in (12, 1000)
    )
    labels = make_labels(kind, 12, 1000)
    classes, positions = losses.present_classes(labels)
    assert len(classes) <= 12
    assert torch.equal(classes[positions[labels >= 0]], labels[labels >= 0])
    assert (positions[labels < 0] == -1).all()
    for differentiate in ("embeddings", "prototypes"):
        a, w = embeddings.clone().requires_grad_(), prototypes.clone().requires_grad_()
        leaf = a if differentiate == "embeddings" else w
        whole, few = loss(a @ w.T / 0.1, labels), loss(a @ w[classes].T / 0.1, positions)
        (expected,), (gradient,) = torch.autograd.grad(whole, leaf), torch.autograd.grad(few, leaf)
        torch.testing.assert_close(few, whole, rtol=0, atol=1e-12)
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


@by_name
def test_scaling_an_image_or_a_prototype_changes_nothing_and_gradients_are_tangential(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    features, weights = (torch.randn(rows, 6, generator=generator, dtype=torch.float64) for rows in (10, 4))
    labels = make_labels("random", 10, 4)

    def loss(z: Tensor, w: Tensor) -> Tensor:
        return LOSSES[name](F.normalize(z, dim=1) @ F.normalize(w, dim=1).T / 0.1, labels)

    features.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(features, weights), features)
    torch.testing.assert_close(loss(3 * features, weights / 7), loss(features, weights), rtol=0, atol=1e-12)
    torch.testing.assert_close((gradient * features).sum(1), torch.zeros(10, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.05, 0.2])
def test_nonl_is_bounded_below(temperature: float) -> None:
    """-2 / temperature + log(M - n): own cosines of 1 and other cosines of -1, which two classes attain."""
    labels = torch.tensor([0] * 6 + [1] * 6)
    cosines = torch.where(F.one_hot(labels, 2).bool(), 1.0, -1.0).double()
    bound = torch.tensor(-2 / temperature + torch.tensor(6.0, dtype=torch.float64).log().item(), dtype=torch.float64)
    torch.testing.assert_close(losses.nonl(cosines / temperature, labels), bound)
    for seed in range(10):
        assert losses.nonl(make_logits(12, 2, temperature, seed), labels) > bound

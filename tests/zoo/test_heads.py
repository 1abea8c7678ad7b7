import math

import pytest
import torch

from zoo.models.heads import PrototypeClassifier, PrototypeHead, unit


def features(count=6, channels=8):
    """What a ResNet gives: non-negative feature maps."""
    return torch.rand(count, channels, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["linear", "batchnorm", "mlp", "relu"])
def test_logits_are_cosines_over_temperature(kind):
    head = PrototypeHead(8, 5, kind=kind, temperature=0.1).eval()
    embeddings = head(features(), pre_logits=True)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(head(features()), embeddings @ head.fc.prototypes.T / 0.1)


@pytest.mark.parametrize(("kind", "signed"), [("linear", True), ("batchnorm", True), ("mlp", True), ("relu", False)])
def test_every_head_but_relu_lets_embeddings_be_negative(kind, signed):
    embeddings = PrototypeHead(8, 5, kind=kind).train()(features(), pre_logits=True)
    assert bool((embeddings < 0).any()) == signed


def test_plain_cross_entropys_classifier_sees_unnormalised_features_and_has_a_bias():
    head = PrototypeHead(8, 5, classifier="linear")
    projected = head.projection(features().mean((2, 3)))
    torch.testing.assert_close(head(features()), projected @ head.fc.weight.T + head.fc.bias)
    torch.testing.assert_close(head(features(), pre_logits=True), unit(projected))


def test_learned_prototypes_are_a_parameter_whose_scale_means_nothing():
    classifier = PrototypeClassifier(4, 3, temperature=0.5)
    embeddings = unit(torch.randn(2, 4))
    before = classifier(embeddings)
    with torch.no_grad():
        classifier.weight.mul_(torch.tensor([[2.0], [0.5], [7.0]]))
    torch.testing.assert_close(classifier(embeddings), before)
    assert isinstance(classifier.weight, torch.nn.Parameter)


@pytest.mark.parametrize("kind", ["learned", "fixed"])
def test_some_classes_logits_are_columns_of_all_with_the_same_gradients(kind):
    classifier, classes = PrototypeClassifier(8, 6, temperature=0.1, prototypes=kind), torch.tensor([4, 0, 5])
    embeddings = unit(torch.randn(3, 8)).requires_grad_()
    everything = classifier(embeddings)[:, classes]
    some = classifier(embeddings, classes)
    torch.testing.assert_close(some, everything)
    wanted = [embeddings, classifier.weight] if kind == "learned" else [embeddings]
    factors = torch.randn(3, 3)
    for gradient, expected in zip(
        torch.autograd.grad((some * factors).sum(), wanted),
        torch.autograd.grad((everything * factors).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(gradient, expected)


def test_fixed_prototypes_are_a_simplex_in_a_buffer():
    classifier = PrototypeClassifier(4, 3, temperature=0.5, prototypes="fixed")
    assert [name for name, _ in classifier.named_parameters()] == []
    assert set(classifier.state_dict()) == {"weight", "temperature"}
    cosines = classifier.weight @ classifier.weight.T
    torch.testing.assert_close(cosines, torch.full((3, 3), -0.5).fill_diagonal_(1), atol=1e-6, rtol=0)


def test_the_temperature_travels_with_the_weights():
    trained, fresh = PrototypeClassifier(4, 3, temperature=0.07), PrototypeClassifier(4, 3, temperature=0.2)
    fresh.load_state_dict(trained.state_dict())
    assert float(fresh.temperature) == pytest.approx(0.07)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_temperature_and_unit_norm(dtype):
    head = PrototypeHead(8, 5, temperature=0.07).to(dtype)
    assert head.fc.temperature.dtype == torch.float32
    assert float(head.fc.temperature) == pytest.approx(0.07)
    for rows in (head.fc.prototypes, head(features().to(dtype), pre_logits=True)):
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)), atol=1e-6, rtol=0)


def test_autocast_does_not_round_the_cosines():
    head = PrototypeHead(8, 5, temperature=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = head(features(), pre_logits=True)
        logits = head(features())
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, embeddings @ head.fc.prototypes.T / 0.05)


def test_a_new_classifier_keeps_type_temperature_mode_and_projection():
    head = PrototypeHead(8, 5, temperature=0.07, embed_dim=6).eval()
    projection = head.projection
    head.fc.load_state_dict({"weight": torch.randn(5, 6), "temperature": torch.tensor(0.3)})
    head.reset(9)
    assert isinstance(head.fc, PrototypeClassifier)
    assert head.fc.weight.shape == (9, 6)
    assert float(head.fc.temperature) == pytest.approx(0.3)
    assert head.projection is projection
    assert not head.fc.training


def test_another_pooling_keeps_a_projection_that_fits():
    head = PrototypeHead(8, 5, embed_dim=6)
    projection = head.projection
    head.reset(5, "max")
    assert head.projection is projection
    torch.testing.assert_close(head(features(), pre_logits=True), unit(projection(features().amax((2, 3)))))
    head.reset(5, "catavgmax")
    assert head.projection.in_features == 16
    assert head(features()).shape == (6, 5)
    head.reset(0, "")
    assert head(features()).shape == (6, 8, 4, 4)
    head.reset(5, "avg", in_features=4)
    assert head(features(channels=4)).shape == (6, 5)


def test_without_classifier_the_head_returns_unit_embeddings():
    head = PrototypeHead(8, 0, embed_dim=6)
    torch.testing.assert_close(head(features()), head(features(), pre_logits=True))
    assert head(features()).shape == (6, 6)


def test_without_pooling_there_is_nothing_to_classify():
    head = PrototypeHead(8, 0, pool_type="")
    assert head(features()).shape == (6, 8, 4, 4)
    head.reset(3)
    with pytest.raises(RuntimeError, match=r"reset_classifier\(n, 'avg'\)"):
        head(features())


def test_concatenated_pooling_widens_the_projections_input():
    head = PrototypeHead(8, 5, embed_dim=6, pool_type="catavgmax")
    assert head.projection.in_features == 16
    assert head(features()).shape == (6, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "cosine"}, "head must be"),
        ({"kind": "relu", "embed_dim": 3}, "embed_dim must be 8"),
        ({"classifier": "bilinear"}, "classifier must be"),
        ({"prototypes": "means"}, "prototypes must be"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"temperature": math.nan}, "temperature must be positive"),
    ],
)
def test_a_head_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PrototypeHead(8, 5, **arguments)


def test_a_zero_feature_gives_no_nan():
    embedding = unit(torch.zeros(1, 4, requires_grad=True))
    embedding.sum().backward()
    assert torch.isfinite(embedding).all()


def bayes_classifier():
    classifier = PrototypeClassifier(8, 4, temperature=0.5, readout="bayes")
    with torch.no_grad():
        classifier.offsets.copy_(torch.tensor([0.5, -1.0, 2.0, 0.0]))
    return classifier


def test_offsets_are_added_to_the_logits_and_belong_to_the_state_only_where_they_are_read():
    classifier, embeddings = bayes_classifier(), unit(torch.randn(3, 8))
    cosines = embeddings @ classifier.prototypes.T
    torch.testing.assert_close(classifier(embeddings), cosines / 0.5 + classifier.offsets)
    some = torch.tensor([2, 0])
    torch.testing.assert_close(classifier(embeddings, some), classifier(embeddings)[:, some])
    assert set(classifier.state_dict()) == {"weight", "temperature", "offsets"}
    assert "offsets" not in PrototypeClassifier(8, 4, temperature=0.5).state_dict()


def test_set_offsets_turns_the_nearest_prototype_into_the_most_probable_class():
    classifier, embeddings = PrototypeClassifier(8, 4, temperature=0.5), unit(torch.randn(3, 8))
    before = classifier(embeddings)
    classifier.set_offsets(torch.arange(4.0))
    torch.testing.assert_close(classifier(embeddings), before + torch.arange(4.0))
    other = PrototypeClassifier(8, 4, temperature=0.5, readout="bayes")
    other.load_state_dict(classifier.state_dict())
    torch.testing.assert_close(other(embeddings), classifier(embeddings))
    assert classifier.half().offsets.dtype == torch.float32


def test_new_prototypes_forget_the_offsets():
    classifier = bayes_classifier()
    classifier.reset_parameters()
    assert not classifier.offsets.any()


@pytest.mark.parametrize("offsets", [torch.zeros(3), torch.tensor([0, 0, 0, torch.inf])])
def test_offsets_that_are_no_numbers_of_the_classes_are_refused(offsets):
    with pytest.raises(ValueError, match="offsets must be 4 finite numbers"):
        PrototypeClassifier(8, 4, temperature=0.5).set_offsets(offsets)


def test_an_unknown_readout_is_refused():
    with pytest.raises(ValueError, match='"cosine" or "bayes", not \'softmax\''):
        PrototypeClassifier(8, 4, temperature=0.5, readout="softmax")


@pytest.mark.parametrize(("classes", "largest"), [(4, -1 / 3), (6, 0.0)])
def test_fixed_prototypes_stand_as_far_apart_as_they_can_where_a_closed_form_is_known(classes, largest):
    cosines = PrototypeClassifier(3, classes, temperature=0.2, prototypes="fixed").prototypes
    cosines = (cosines @ cosines.T).fill_diagonal_(-1)
    assert float(cosines.max()) == pytest.approx(largest, abs=1e-6)


def test_more_fixed_prototypes_than_that_wait_for_their_places_as_unit_rows():
    classifier = PrototypeClassifier(3, 50, temperature=0.2, prototypes="fixed")
    torch.testing.assert_close(classifier.prototypes.norm(dim=1), torch.ones(50))
    assert not list(classifier.parameters())


@pytest.mark.parametrize("kind", ["learned", "fixed"])
def test_prototypes_can_be_put_in_place_bit_for_bit(kind):
    classifier = PrototypeClassifier(4, 3, temperature=0.5, prototypes=kind)
    classifier.set_prototypes(torch.eye(4)[:3])
    assert torch.equal(classifier.weight, torch.eye(4)[:3])


@pytest.mark.parametrize("rows", [torch.eye(4), torch.eye(4)[:3] * 2, torch.eye(4)[:3] * torch.nan])
def test_prototypes_of_another_shape_or_norm_are_refused(rows):
    classifier = PrototypeClassifier(4, 3, temperature=0.5, prototypes="fixed")
    with pytest.raises(ValueError, match=r"unit rows of shape \(3, 4\)"):
        classifier.set_prototypes(rows)

"""The zoo through timm's verbs: weights with their preprocessing, features, and ten steps of fine-tuning.

    python examples/timm_loading.py

prints on one CPU core:

    proto_resnet20_cifar.nonl_digits: input [3, 16, 16], temperature 0.2
    feature maps (360, 64, 4, 4), unit embeddings (360, 64), accuracy 99.44%
    two new prototypes: even or odd 41.94%
    after ten steps 99.72%, cosine of the two prototypes -0.76 (-1 at collapse)
"""

import timm
import torch

import zoo  # noqa: F401 - registers proto_* with timm
from training.data import digits_split
from training.losses import nonl

NAME = "proto_resnet20_cifar.nonl_digits"

torch.manual_seed(0)
model = timm.create_model(NAME, pretrained=True).eval()
config = timm.data.resolve_model_data_config(model)
transform = timm.data.create_transform(**config)
(images, digits), (test, truth) = (
    (torch.stack([transform(picture.convert("RGB")) for picture, _ in part]), torch.tensor([y for _, y in part]))
    for part in digits_split()
)
print(f"{NAME}: input {config['input_size']}, temperature {model.temperature}")


@torch.inference_mode()
def accuracy(labels):
    return (model.eval()(test).argmax(1) == labels).float().mean().item()


with torch.inference_mode():
    features = model.forward_features(test)
    embeddings = model.forward_head(features, pre_logits=True)
shapes = f"feature maps {tuple(features.shape)}, unit embeddings {tuple(embeddings.shape)}"
print(f"{shapes}, accuracy {accuracy(truth):.2%}")

# Even or odd: two new prototypes, and an objective in the place of F.cross_entropy(model(images), labels).
model.reset_classifier(2)
print(f"two new prototypes: even or odd {accuracy(truth % 2):.2%}")
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
for _ in range(10):
    rows = torch.randint(len(digits), (256,))
    loss = nonl(model.train()(images[rows]), digits[rows] % 2)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
cosine = model.prototypes[0] @ model.prototypes[1]
print(f"after ten steps {accuracy(truth % 2):.2%}, cosine of the two prototypes {cosine.item():.2f} (-1 at collapse)")

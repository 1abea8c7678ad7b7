"""The fields of a recipe, and which of them fit together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator

from zoo.bundle.images import SMALLEST_CROP
from zoo.errors import ProtozooError


class RecipeError(ProtozooError):
    """A recipe that does not exist, or a field of one that does not fit."""


Objective = Literal["ce", "normface", "ntce", "nonl", "etf_dr", "scl", "scl_prototypes", "dynamic"]
Prototypes = Literal["learned", "fixed", "class_means"]
_Share = Annotated[float, Field(gt=0, le=1)]

# What an objective can be trained with; the first is what it means where a recipe is silent.
_PROTOTYPES: dict[str, tuple[Prototypes, ...]] = {
    "ce": ("learned",),
    "normface": ("learned", "fixed"),
    "ntce": ("learned", "fixed"),
    "nonl": ("learned", "fixed"),
    "etf_dr": ("fixed",),
    "scl": ("class_means",),
    "scl_prototypes": ("fixed",),
    "dynamic": ("fixed",),
}


class Recipe(BaseModel):
    """What to train and how. The fields are the options of ``protozoo train``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    objective: Objective = Field(description="training objective")
    copies: float = Field(
        default=1.0, ge=0, description="of each prototype in a batch of scl_prototypes (n_w of its paper)"
    )
    denominators: Literal["batch", "running"] = Field(
        default="batch",
        description="ntce and nonl: of the batch, or running means for balanced batches smaller than the classes",
    )
    negatives: Literal["global", "local"] = Field(
        default="global", description="ntce, nonl and scl on several ranks: the samples of all of them, or of each"
    )
    assign_every: float = Field(
        default=1.0, gt=0, description="epochs between assignments of labels to prototypes, or parts of one, dynamic"
    )
    representative_momentum: float = Field(
        default=0.9,
        ge=0,
        lt=1,
        description="of the class representatives that are assigned, from step to step, dynamic",
    )

    architecture: str = Field(description="architecture of the zoo")
    head: Literal["linear", "batchnorm", "mlp", "relu"] = Field(
        default="linear", description="what stands between pooling and the sphere"
    )
    embed_dim: int | None = Field(default=None, ge=1, description="width of the embedding; none: the architecture's")
    temperature: float = Field(default=0.2, gt=0, description="logits are cosines divided by it")
    prototypes: Prototypes | None = Field(
        default=None,
        description="learned, a fixed geometry, or class means after the training; none: what the objective needs",
    )
    frequent_cosine: float | None = Field(
        default=None,
        ge=-1,
        lt=1,
        description="fixed prototypes: cosine among the more frequent half of the classes, so that the others stand "
        "farther apart; none: all alike",
    )
    readout: Literal["cosine", "bayes"] = Field(
        default="cosine", description="nearest prototype, or NTCE's and NONL's most probable class"
    )
    readout_prior: Literal["training", "uniform"] = Field(
        default="training", description="class frequencies to expect, for readout = bayes"
    )

    pretrained: str | None = Field(
        default=None, description="bundle or run whose weights to begin with; none: random ones"
    )
    trained: Literal["whole", "head"] = Field(
        default="whole", description="all weights, or what stands behind the pooling: the backbone stays as it is"
    )
    initial_prototypes: Literal["random", "class_means"] = Field(
        default="random",
        description="where learned prototypes begin: class means take a pass over the images",
    )
    layer_decay: float = Field(
        default=1.0, gt=0, le=1, description="learning rate of a layer as a share of the next one's towards the head"
    )

    imbalance: float = Field(
        default=1.0, gt=0, le=1, description="smallest over largest class of a long-tailed training set; 1: all images"
    )
    shots: int | None = Field(default=None, ge=1, description="training images of each class; none: all")
    input_size: int = Field(default=32, ge=8, description="side of the square input in pixels")
    crop_pct: float = Field(
        default=1.0,
        ge=SMALLEST_CROP,
        le=1,
        description="side of the central crop as a share of the resized shorter side",
    )
    interpolation: Literal["bicubic", "bilinear", "lanczos", "nearest"] = Field(
        default="bicubic", description="how images are resized"
    )
    mean: tuple[float, float, float] = Field(default=(0.5, 0.5, 0.5), description="per-channel mean, pixels in [0, 1]")
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        default=(0.25, 0.25, 0.25), description="per-channel standard deviation"
    )
    augmentation: Literal["none", "crop", "crop_flip", "resized_crop", "contrastive"] = Field(
        default="crop_flip",
        description="random crop after padding, with flip; random resized crop with flip; or with SimCLR's colours too",
    )
    crop_padding: int = Field(default=4, ge=0, description="pixels of zero padding before the random crop")
    crop_scale: tuple[_Share, _Share] = Field(
        default=(0.2, 1.0), description="smallest and largest share of the area that a random resized crop keeps"
    )
    blur: float = Field(default=0.0, ge=0, le=1, description="probability of a Gaussian blur, contrastive")
    erase: float = Field(default=0.0, ge=0, le=1, description="probability that a random rectangle is erased")

    epochs: int = Field(ge=1, description="passes over the training set")
    batch_size: int = Field(default=256, ge=2, description="images a step, over all ranks")
    micro_batch_size: int | None = Field(
        default=None, ge=1, description="images at a time, of a batch larger than the memory; none: all of a step"
    )
    batches: Literal["shuffled", "balanced"] = Field(
        default="shuffled", description="random order, or every class equally often in a batch"
    )
    optimizer: str = Field(default="sgd", description="name of a timm optimiser")
    lr: float = Field(gt=0, description="peak learning rate")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of the optimiser")
    weight_decay: float = Field(default=5e-4, ge=0, description="of weights; not of biases, norms and prototypes")
    schedule: Literal["cosine", "step"] = Field(
        default="cosine", description="cosine to min_lr, or multiplied by step_decay at the milestones"
    )
    milestones: tuple[PositiveFloat, ...] = Field(default=(), description="epochs of the step schedule")
    step_decay: float = Field(default=0.1, gt=0, le=1, description="factor at each milestone")
    warmup_epochs: float = Field(default=0, ge=0, description="linear warm-up before the schedule")
    warmup_lr: float = Field(default=0.0, ge=0, le=1, description="learning rate it begins at, as a share of the peak")
    min_lr: float = Field(default=1e-3, ge=0, le=1, description="final learning rate as a share of the peak, cosine")
    precision: Literal["auto", "bf16", "fp32", "fp64"] = Field(
        default="auto",
        description="bf16: autocast of the forward pass; fp32, fp64: the type of everything; auto: bf16 where the "
        "device has instructions for it, else fp32",
    )
    sync_batchnorm: bool = Field(default=True, description="BatchNorm's statistics are those of all ranks")
    compile: bool = Field(default=False, description="torch.compile; on a CPU it needs a C++ compiler")
    evaluate_every: int = Field(default=1, ge=1, description="epochs between accuracies on the test set")
    collapse_every: int | None = Field(
        default=None, ge=1, description="epochs between collapse metrics; none: as evaluate_every"
    )
    collapse_images: Literal["test", "both"] = Field(
        default="test", description="images of the collapse metrics: of the test set, or of both sets"
    )
    seed: int = Field(default=0, ge=0, le=2**63 - 1, description="of initialisation, order and augmentation")

    data_name: str | None = Field(default=None, description="name of the data for the model card")
    data_license: str | None = Field(default=None, description="licence of the data for the model card")

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        columns = self.objective in ("ntce", "nonl")
        if self.readout == "bayes" and not columns:
            raise ValueError(f"{self.objective} compares classes as it is; readout = bayes is for ntce and nonl")
        if (self.readout, self.readout_prior, self.objective) == ("bayes", "uniform", "nonl"):
            raise ValueError(
                "no offsets read nonl out for equally frequent classes, for its logits are odds: train with ntce, or "
                "leave readout_prior = uniform out"
            )
        if self.denominators == "running" and not columns:
            raise ValueError(
                f"{self.objective} has no column denominators; denominators = running is for ntce and nonl"
            )
        if self.denominators == "running" and self.micro_batch_size is not None:
            raise ValueError("denominators = running takes its batches whole: leave micro_batch_size out")
        if self.micro_batch_size is not None and self.objective in ("scl", "scl_prototypes"):
            raise ValueError(f"{self.objective} contrasts all images of a batch: leave micro_batch_size out")
        if self.prototypes is not None and self.prototypes not in _PROTOTYPES[self.objective]:
            raise ValueError(
                f"prototypes = {self.prototypes} do not go with {self.objective}, "
                f"which takes {' or '.join(_PROTOTYPES[self.objective])}"
            )
        if self.frequent_cosine is not None and (self.prototype_kind != "fixed" or self.objective == "dynamic"):
            raise ValueError(
                "frequent_cosine bends the fixed prototypes of normface, ntce, nonl, etf_dr and scl_prototypes: "
                "add prototypes = fixed, or leave it out"
            )
        if self.trained == "head" and self.pretrained is None:
            raise ValueError("trained = head needs pretrained: a backbone of random weights is worth nothing")
        if self.schedule == "step" and not self.milestones:
            raise ValueError("schedule = step needs milestones, the epochs at which the learning rate falls")
        if self.crop_scale[0] > self.crop_scale[1]:
            raise ValueError(f"crop_scale = {list(self.crop_scale)}: the smallest share must come first")
        if self.views == 2 and self.augmentation == "none":
            raise ValueError(f"{self.objective} compares two views of an image: augmentation cannot be none")
        return self

    @property
    def prototype_kind(self) -> Prototypes:
        """Where the prototypes come from: the recipe's word, or what its objective needs."""
        return self.prototypes or _PROTOTYPES[self.objective][0]

    @property
    def resizes_crops(self) -> bool:
        """Whether random crops are of any size, and resized: from the disk they are cut out of the image as it is."""
        return self.augmentation in ("resized_crop", "contrastive")

    @property
    def views(self) -> int:
        """Augmented copies of an image in a batch."""
        return 2 if self.objective in ("scl", "scl_prototypes") else 1

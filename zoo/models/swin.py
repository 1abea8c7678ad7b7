"""timm's Swin Transformer with a prototype head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from timm.models.swin_transformer import SwinTransformer

from zoo.models.base import PrototypeModel, split_head_args
from zoo.models.heads import PrototypeHead


class ProtoSwin(PrototypeModel, SwinTransformer):
    """timm's Swin Transformer with a :class:`~zoo.models.heads.PrototypeHead`.

    Its features come out of a LayerNorm, so that they are signed under every head, "relu" (no projection) included.

    Args:
        img_size: height and width of the images; attention masks are built for it.
        width: channels of the first stage: timm's ``embed_dim``, which means the embedding here.
        kwargs: see :class:`~zoo.models.base.PrototypeModel`.
    """

    if TYPE_CHECKING:  # torch.jit reads annotations of a class
        head: PrototypeHead  # type: ignore[assignment]

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 4,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        *,
        width: int = 96,
        drop_rate: float = 0.0,
        device: Any = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        dd: dict[str, Any] = {"device": device, "dtype": dtype}
        head_args, backbone_args = split_head_args(kwargs)
        super().__init__(
            img_size,
            patch_size,
            in_chans,
            num_classes=0,
            global_pool=global_pool,
            embed_dim=width,
            **backbone_args,
            **dd,
        )
        self._build_head(num_classes, global_pool, drop_rate=drop_rate, input_fmt=self.output_fmt, **head_args, **dd)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give the model new prototypes for ``num_classes`` classes (0: none); None keeps the pooling."""
        super().reset_classifier(num_classes, global_pool)
        if global_pool is not None:
            self.global_pool = global_pool

"""Give any backbone the two heads of a DeiT student (Touvron et al., 2021, https://arxiv.org/abs/2012.12877)."""

from __future__ import annotations

import difflib
from typing import Any

from torch import Tensor, nn

from lightning_distill.dry_run import dry_run
from lightning_distill.types import call_model, describe

# Fields of an output that hold features, best first: transformers, also where the classifier is taken out.
FEATURE_FIELDS = ("pooler_output", "last_hidden_state", "logits")


class TwoHeadStudent(nn.Module):
    """A backbone and two linear heads on its features: ``(class_logits, distillation_logits)``, in every mode.

    A classifier's own last linear layer is taken out (replaced by ``nn.Identity``), so that what entered it becomes the
    features. A backbone without one, as ``timm.create_model(..., num_classes=0)``, is used as it is. Maps
    ``[B, D, H, W]`` are averaged over positions; of tokens ``[B, N, D]`` the first one counts.

    Args:
        backbone: Any network; changed where its classifier is taken out.
        num_classes: Number of logits of each head.
        example_input: A small batch of inputs; one pass in eval mode, without any lasting effect, sizes the heads.
        head: Path of the linear layer to take out, such as ``"fc"``; found if not given: the last linear layer, if the
            backbone's output is what it computes.

    Raises:
        ValueError: If ``head`` is no linear layer of the backbone, or the output holds no features.

    Example:
        >>> import torch
        >>> backbone = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 10))
        >>> student = TwoHeadStudent(backbone, num_classes=3, example_input=torch.zeros(2, 4, 4))
        >>> student.class_head, [list(logits.shape) for logits in student(torch.zeros(2, 4, 4))]
        (Linear(in_features=8, out_features=3, bias=True), [[2, 3], [2, 3]])
    """

    def __init__(self, backbone: nn.Module, num_classes: int, example_input: Any, head: str | None = None) -> None:
        super().__init__()
        path = _closing_linear(backbone, example_input) if head is None else _checked(backbone, head)
        if path is not None:
            parent, _, name = path.rpartition(".")
            setattr(backbone.get_submodule(parent), name, nn.Identity())
        self.backbone = backbone
        width = dry_run(self, example_input, lambda _, inputs: self.features(inputs)).shape[1]
        self.class_head = nn.Linear(width, num_classes)
        self.distillation_head = nn.Linear(width, num_classes)

    def features(self, inputs: Any) -> Tensor:
        """What the heads see: ``[B, D]``."""
        output = call_model(self.backbone, inputs)
        for name in FEATURE_FIELDS:
            if not isinstance(output, Tensor) and getattr(output, name, None) is not None:
                output = getattr(output, name)
        if isinstance(output, Tensor) and output.ndim == 4:
            return output.mean(dim=(2, 3))
        if isinstance(output, Tensor) and output.ndim == 3:
            return output[:, 0]
        if isinstance(output, Tensor) and output.ndim == 2:
            return output
        raise ValueError(
            "Expected `backbone` to give features [B, D], [B, N, D] or [B, D, H, W], but got "
            f"{describe(output)}. Wrap it in a module that returns its features."
        )

    def forward(self, inputs: Any) -> tuple[Tensor, Tensor]:
        features = self.features(inputs)
        return self.class_head(features), self.distillation_head(features)


def _checked(backbone: nn.Module, head: str) -> str:
    linear = [name for name, module in backbone.named_modules() if isinstance(module, nn.Linear)]
    if head not in linear:
        near = difflib.get_close_matches(head, linear, n=3, cutoff=0.3) or linear[-3:]
        raise ValueError(
            f"Expected `head` to be the path of a linear layer of the backbone, but got {head!r}. "
            f"Near it: {', '.join(near) or 'there is none'}."
        )
    return head


def _closing_linear(backbone: nn.Module, example_input: Any) -> str | None:
    """Path of the linear layer whose output is the backbone's, or ``None``."""
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        output = dry_run(backbone, example_input)
    finally:
        for hook in hooks:
            hook.remove()
    output = getattr(output, "logits", output)
    same = [name for name, value in seen.items() if isinstance(output, Tensor) and value is output]
    return same[-1] if same else None

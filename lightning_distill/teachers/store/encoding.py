"""How logits are kept: all of them, or the largest and one number for the rest."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_distill.checks import check_choice

DTYPES = {"float16": torch.float16, "float32": torch.float32}
SMALL_INDEX = 2**15  # classes whose indices fit into int16


class Encoding(ABC):
    """Turns logits ``[B, C, ...]`` into what is kept of them, and back."""

    kind: ClassVar[str]
    dtype: str

    @abstractmethod
    def encode(self, logits: Tensor) -> dict[str, Tensor]:
        """What is kept, by field: tensors with a row for each sample."""

    @abstractmethod
    def decode(self, fields: Mapping[str, Tensor], classes: int) -> Tensor:
        """Logits ``[B, C, ...]`` in float32."""

    def plain(self) -> dict[str, Any]:
        """Kind and settings, for a header."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload] # they are dataclasses


@dataclass(frozen=True)
class Dense(Encoding):
    """All logits.

    Args:
        dtype: ``"float16"`` rounds to 11 bits (a logit of 10 by up to 0.004); ``"float32"`` keeps every bit.

    Example:
        >>> Dense().decode(Dense().encode(torch.tensor([[10.003, -1.0]])), classes=2)
        tensor([[10., -1.]])
    """

    dtype: str = "float16"
    kind: ClassVar[str] = "dense"

    def __post_init__(self) -> None:
        check_choice("dtype", self.dtype, DTYPES)

    def encode(self, logits: Tensor) -> dict[str, Tensor]:
        return {"logits": logits.to(DTYPES[self.dtype])}

    def decode(self, fields: Mapping[str, Tensor], classes: int) -> Tensor:
        return fields["logits"].float()


@dataclass(frozen=True)
class TopK(Encoding):
    """The ``k`` largest logits with their classes, and the log-sum-exp of all others.

    Decoded, every other class gets an even share of what the others had together, so that the result is a proper
    distribution. At temperature 1 the kept classes have their exact probabilities. Above it, the others together get
    more than they had, by Jensen's inequality, and exactly what they had if they were equal.

    Args:
        k: Classes to keep, from 1.
        dtype: Of the kept logits; see :class:`Dense`. The rest's is always float32.

    Example:
        >>> probabilities = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
        >>> TopK(k=2, dtype="float32").decode(TopK(2, "float32").encode(probabilities.log()), classes=4).softmax(1)
        tensor([[0.5000, 0.3000, 0.1000, 0.1000]])
    """

    k: int
    dtype: str = "float16"
    kind: ClassVar[str] = "top_k"

    def __post_init__(self) -> None:
        if isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1:
            raise ValueError(f"Expected `k` to be a whole number of at least 1, but got {self.k!r}.")
        check_choice("dtype", self.dtype, DTYPES)

    def encode(self, logits: Tensor) -> dict[str, Tensor]:
        classes = logits.shape[1]
        if self.k >= classes:
            raise ValueError(
                f"Expected `k` to be below the teacher's {classes} classes, but got {self.k}. Keep all logits instead."
            )
        values, indices = logits.float().topk(self.k, dim=1)
        others = logits.float().scatter(1, indices, -math.inf)
        return {
            "values": values.to(DTYPES[self.dtype]),
            "classes": indices.to(torch.int16 if classes <= SMALL_INDEX else torch.int32),
            "rest": others.logsumexp(dim=1),
        }

    def decode(self, fields: Mapping[str, Tensor], classes: int) -> Tensor:
        values = fields["values"].float()
        share = fields["rest"].unsqueeze(1) - math.log(classes - self.k)
        logits = share.expand(-1, classes, *share.shape[2:]).clone()
        return logits.scatter_(1, fields["classes"].long(), values)


def encoding_of(plain: Any) -> Encoding:
    """The encoding that a header's plain values stand for.

    Raises:
        ValueError: If they stand for none.
    """
    settings = dict(plain) if isinstance(plain, Mapping) else {}
    kinds: dict[Any, type[Any]] = {Dense.kind: Dense, TopK.kind: TopK}
    kind = settings.pop("kind", None)
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"Expected an encoding of the kinds {', '.join(kinds)}, but got {plain!r:.80}.")
    try:
        made: Encoding = kinds[kind](**settings)
    except TypeError as error:
        raise ValueError(f"Expected the settings of the encoding {kind!r}, but got {settings!r:.80}.") from error
    return made

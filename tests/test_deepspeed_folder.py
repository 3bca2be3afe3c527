"""Folders as DeepSpeed writes them: weights as data, and nothing else is run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from lightning_distill.deepspeed_folder import WEIGHTS, check_deepspeed, is_deepspeed
from lightning_distill.pipeline.stage import read_state
from lightning_distill.sharded import check_shards


class Harm:
    """What a hostile pickle holds."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def written(folder: Path, content: object, latest: str = "checkpoint") -> Path:
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "latest").write_text(latest)
    torch.save(content, folder / WEIGHTS)
    return folder


def test_weights__are_read_from_the_folder(tmp_path: Path) -> None:
    weight = torch.arange(3.0, dtype=torch.bfloat16)
    folder = written(tmp_path / "last.ckpt", {"module": {"student.weight": weight}, "param_shapes": [weight.shape]})
    assert is_deepspeed(folder)
    check_shards(folder)
    assert list(read_state(folder)) == ["student.weight"]
    assert read_state(folder)["student.weight"].equal(weight)


def test_weights__that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model_states\.pt to hold a network's weights as DeepSpeed writes them"):
        read_state(written(tmp_path / "last.ckpt", {"module": {"student.weight": [1.0]}}))


def test_check__code_is_not_run(tmp_path: Path) -> None:
    folder = written(tmp_path / "last.ckpt", {"module": {}})
    torch.save({"optimizer_state_dict": Harm(tmp_path / "harm")}, folder / "checkpoint/zero_pp_rank_0_optim_states.pt")
    with pytest.raises(ValueError, match=r"zero_pp_rank_0_optim_states\.pt names posix\.mkdir, which is no data"):
        check_deepspeed(folder)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("latest", ["../elsewhere", ""])
def test_check__the_folder_that_deepspeed_would_read(latest: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`latest` names something else"):
        check_deepspeed(written(tmp_path / "last.ckpt", {"module": {}}, latest))


def test_check__damaged(tmp_path: Path) -> None:
    folder = written(tmp_path / "last.ckpt", {"module": {"weight": torch.zeros(9)}})
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:300])
    with pytest.raises(ValueError, match="to be a checkpoint as DeepSpeed writes it, but it cannot be read"):
        check_deepspeed(folder)

"""Values that nothing else refuses, or only when the teacher has been trained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationKeyError

from lightning_distill import Distiller
from lightning_distill.callbacks import BestAndLast
from lightning_distill.cli.answers import answered
from lightning_distill.cli.train import answer
from lightning_distill.config_keys import locate
from lightning_distill.config_values import LENGTHS, check_values
from lightning_distill.pipeline.preflight import check_optimizer, check_writable
from tests.configs import composed


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("baseline", "perhaps", "to be true or false, but got 'perhaps'"),
        ("report", 3, "to be true or false, but got 3"),
        ("trust_config", "yes", "to be true or false"),
        ("teacher.drop_head", 0, "to be true or false"),
        ("distiller.teacher_agreement", 5, "to be true or false"),
        ("seed", 2**32, "to be a whole number from 0 to 4294967295, but got 4294967296"),
        ("teacher.seed", -1, "to be a whole number from 0"),
        (
            "trainer.max_epochs",
            0,
            "to be a whole number of at least 1, or -1 for no end, but got 0. To use a network as",
        ),
        ("trainer.max_epochs", "abc", "to be a whole number of at least 1, or -1 for no end, but got 'abc'"),
        ("trainer.max_epochs", 1.5, "but got 1.5"),
        ("trainer.max_epochs", True, "but got True"),
        ("teacher.train.trainer.max_epochs", 0, "but got 0"),
        ("trainer.max_steps", 0, "to be a whole number of at least 1, or -1 for no end, but got 0"),
        ("trainer.accumulate_grad_batches", 0, "to be a whole number of at least 1, but got 0"),
        ("trainer.check_val_every_n_epoch", 0, "or null, but got 0"),
        ("trainer.val_check_interval", 0, "above 0, but got 0. null validates every epoch."),
        ("trainer.limit_train_batches", 0, "above 0, but got 0. null takes all."),
        ("trainer.limit_test_batches", 0.0, "above 0, but got 0.0"),
        ("trainer.gradient_clip_val", -1, "to be a number of at least 0, but got -1. null clips nothing."),
        ("trainer.gradient_clip_val", float("nan"), "but got nan"),
        ("trainer.fast_dev_run", True, "to be left out, since it keeps no checkpoint, but got True. Use debug=fast."),
        ("scheduler.milestones", "abc", "to be a list of epochs, [30,60], but got 'abc'"),
        ("scheduler.milestones", [0.5, 3], "to be a list of epochs, [30,60], but got [0.5, 3]"),
        ("export", "student.xyz", "to be one of '.safetensors', '.pt2', '.onnx', but got '.xyz'"),
    ],
)
def test_values__that_fail_late(key: str, value: Any, said: str) -> None:
    config = OmegaConf.create({"teacher": {"train": {"trainer": {}}}, "trainer": {}, "distiller": {}})
    OmegaConf.update(config, key, value, force_add=True)
    with pytest.raises(ValueError, match=f"Expected `{re.escape(key)}` to be |Expected `export`") as raised:
        check_values(config)
    assert said in str(raised.value)


def test_values__of_the_defaults_and_of_a_trainer_fit() -> None:
    check_values(composed())
    for name, value in (("max_epochs", -1), ("max_steps", 5), ("gradient_clip_val", 1), ("val_check_interval", 0.5)):
        assert LENGTHS[name][0](value)


@pytest.mark.parametrize("target", [5, "", "Net", None])
def test_target__that_is_no_dotted_name(target: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected `student\._target_` to name something to import, but got .*dotted"):
        locate(target, "student")


@pytest.mark.parametrize(
    ("optimizer", "scheduler", "said"),
    [
        (
            {"lr": float("inf")},
            None,
            r"Expected `lr` to be a finite number, but got inf\. The optimizer's are lr=inf",
        ),
        ({"lr": "abc"}, None, r"The optimizer's are lr='abc'\."),
        ({"lr": 0.1}, {"T_max": 0}, "integer modulo by zero"),
        ({"lr": 0.1}, {"T_max": "abc"}, "'int' and 'str'"),
    ],
)
def test_optimizers__are_tried_before_training(optimizer: Any, scheduler: Any, said: str) -> None:
    from functools import partial

    import torch
    from torch import nn

    cosine = None if scheduler is None else partial(torch.optim.lr_scheduler.CosineAnnealingLR, **scheduler)
    distiller = Distiller(nn.Linear(3, 2), optimizer=partial(torch.optim.AdamW, **optimizer), scheduler=cosine)
    before = distiller.student.weight.clone()
    with pytest.raises(ValueError, match="Could not build the optimizer or the scheduler of the student: .*" + said):
        check_optimizer("the student", distiller)
    assert torch.equal(distiller.student.weight, before)


def test_checkpoints__at_a_fraction_of_a_step(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`every_n_steps` to be a whole number, but got 1\.5"):
        BestAndLast(tmp_path, every_n_steps=1.5)  # type: ignore[arg-type]


def test_folders__that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PermissionError, match=r"Expected `teacher\.cache_dir` to be a folder that can be written to"):
        check_writable(tmp_path / "file" / "teacher.safetensors")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")

    from lightning_distill.files import replacing

    def write() -> None:
        with replacing(tmp_path / "file" / "config.yaml"):
            pass

    assert answered(write, answer) == 1
    assert "error: Expected a file or a folder that can be made and read, but got" in capsys.readouterr().err


def test_keys__that_another_key_needs() -> None:
    config = OmegaConf.create({"distiller": {"optimizer": "${optimizer}"}})
    with pytest.raises(InterpolationKeyError) as raised:
        OmegaConf.to_container(config, resolve=True)
    assert answer(raised.value) == (
        "Expected `distiller.optimizer` to have a value, but it is that of another key: Interpolation key 'optimizer' "
        "not found. Give either a value."
    )

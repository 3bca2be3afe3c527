"""NaN and infinity stop a run, or cost it one step."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_distill import Distiller
from lightning_distill.callbacks import BestAndLast, NonFinite
from lightning_distill.data import TensorDataModule
from lightning_distill.losses import HardDistillationLoss

IMAGES = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
LABELS = IMAGES[:, :3].argmax(1)
FAULT = 9  # the sample that does it


class Faulty(nn.Module):
    """A loss that is NaN, or infinite, or has such a gradient, for batches with one certain sample."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, sample_ids: Tensor) -> Tensor:
        loss = (student_logits - teacher_logits).square().mean()
        if not bool((sample_ids == FAULT).any()):
            return loss
        if self.kind == "gradient":
            return loss + (student_logits.sum() * 0).sqrt()  # 0, with an infinite gradient
        return loss * float(self.kind)


def data(**options: Any) -> TensorDataModule:
    return TensorDataModule((IMAGES, LABELS), (IMAGES, LABELS), num_classes=3, batch_size=4, seed=1, **options)


def fit(kind: str, *callbacks: pl.Callback, **options: Any) -> Distiller:
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    module = Distiller(
        student, nn.Linear(4, 3), distillation_loss=Faulty(kind), optimizer=partial(torch.optim.AdamW, lr=0.1)
    )
    trainer = pl.Trainer(
        **{"accelerator": "cpu", "max_epochs": 2, "logger": False} | options,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        enable_checkpointing=any(isinstance(callback, BestAndLast) for callback in callbacks),
    )
    trainer.fit(module, datamodule=data())
    return module


@pytest.mark.parametrize(
    ("kind", "named"),
    [("nan", "`loss`, `distillation_loss`, `gradient`"), ("inf", "`loss`, `distillation_loss`"), ("gradient", "`grad")],
)
def test_raise__names_the_losses_the_batch_and_the_checkpoint(tmp_path: Path, kind: str, named: str) -> None:
    keeper = BestAndLast(tmp_path, every_n_steps=1)
    with pytest.raises(ValueError, match="Expected finite losses and gradients") as raised:
        fit(kind, keeper, NonFinite())
    said = str(raised.value)
    batch = next(i for i, ids in enumerate(data().train_dataloader()) if FAULT in ids.sample_ids.tolist())
    assert f"got NaN or infinity in {named}" in said
    assert f"for batch {batch} of epoch 0 (sample ids " in said
    assert f" {FAULT}" in said
    assert f"The last checkpoint before it is {keeper.last}." in said
    weights = torch.load(keeper.last, weights_only=True)["state_dict"]
    assert all(bool(value.isfinite().all()) for value in weights.values())


@pytest.mark.parametrize("kind", ["nan", "inf", "gradient"])
def test_skip__leaves_everything_as_it_was(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, statistics of BatchNorm, moments of the optimizer and mean losses equal a run without the batch."""
    counter = NonFinite("skip")
    found = fit(kind, counter)
    assert counter.skipped == 2  # once in every epoch
    original = data().train_dataloader().sampler

    def without(self: Any) -> Any:
        epoch_batches = [list(original_iter(self))[i : i + 4] for i in range(0, 16, 4)]
        return iter([i for batch in epoch_batches if FAULT not in [position(x) for x in batch] for i in batch])

    original_iter = type(original).__iter__
    monkeypatch.setattr(type(original), "__iter__", lambda self: without(self) if self.shuffle else original_iter(self))
    expected = fit(kind, limit_train_batches=3)
    for name, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
    assert found.trainer.callback_metrics["train/loss"] == expected.trainer.callback_metrics["train/loss"]
    assert float(found.trainer.callback_metrics["train/skipped_steps"]) == 2


def position(entry: Any) -> int:
    return int(entry[0]) if isinstance(entry, tuple) else int(entry)


def test_skip__has_a_limit() -> None:
    with pytest.raises(ValueError, match=r"at most `max_skipped` = 1 steps to be left out.*of epoch 1"):
        fit("nan", NonFinite("skip", max_skipped=1))


def test_skip__is_counted_over_a_resume() -> None:
    counter = NonFinite("skip")
    counter.load_state_dict({"skipped": 7})
    assert counter.state_dict() == {"skipped": 7}


def test_weights_that_are_nan_already__are_named() -> None:
    class Spoil(pl.Callback):
        def on_train_start(self, trainer: Any, module: Any) -> None:
            module.student[0].bias.data[0] = float("nan")

    with pytest.raises(ValueError, match=r"The network holds NaN or infinity by now: student\.0\.bias\."):
        fit("1", Spoil(), NonFinite())


def test_a_module_of_ones_own__is_watched_by_its_total() -> None:
    class Plain(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.layer(batch.inputs).mean() / (0.0 if batch_idx == 2 else 1.0)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Plain()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        callbacks=[NonFinite()],
    )
    with pytest.raises(ValueError, match=r"in `loss`, `gradient` for batch 2 of epoch 0 \(sample ids"):
        trainer.fit(module, data().train_dataloader())
    assert bool(module.layer.weight.isfinite().all())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"on_nonfinite": "skipp"}, "one of 'raise', 'skip', but got 'skipp'. Did you mean 'skip'"),
        ({"max_skipped": -1}, "Expected `max_skipped` to be a whole number of at least 0, but got -1"),
    ],
)
def test_bad_arguments(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        NonFinite(**options)


# Steps that add up several batches.


def ids_by_batch(epoch: int = 0) -> list[list[int]]:
    loaded = data()
    loader = loaded.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [batch.sample_ids.tolist() for batch in loader]


def faulty_batch() -> int:
    return next(index for index, ids in enumerate(ids_by_batch()) if FAULT in ids)


def test_accumulation__the_poisoned_batch_is_named_not_the_last_one() -> None:
    with pytest.raises(ValueError, match="Expected finite losses") as raised:
        fit("nan", NonFinite(), accumulate_grad_batches=4)
    at = faulty_batch()
    assert at < 3  # or the test shows nothing
    ids = ", ".join(map(str, ids_by_batch()[at]))
    assert f"in `loss`, `distillation_loss`, `gradient` for batch {at} of epoch 0 (sample ids {ids})" in str(
        raised.value
    )


def test_accumulation__of_a_gradient_alone_all_batches_are_named() -> None:
    with pytest.raises(ValueError, match=r"in `gradient` for batches 0, 1, 2, 3 of epoch 0 \(sample ids .*, \.\.\.\)"):
        fit("gradient", NonFinite(), accumulate_grad_batches=4)


@pytest.mark.parametrize("kind", ["nan", "gradient"])
def test_accumulation__skip_leaves_the_whole_step_out(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two steps an epoch, the one with the faulty batch: statistics of BatchNorm and mean losses as well."""
    counter = NonFinite("skip")
    at = faulty_batch() // 2
    found = fit(kind, counter, accumulate_grad_batches=2, max_epochs=1)
    assert counter.skipped == 1
    assert all(bool(value.isfinite().all()) for value in found.state_dict().values())
    batches = [batch for index, batch in enumerate(data().train_dataloader()) if index // 2 != at]
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    expected = Distiller(
        student, nn.Linear(4, 3), distillation_loss=Faulty("1"), optimizer=partial(torch.optim.AdamW, lr=0.1)
    )
    pl.Trainer(max_epochs=1, accumulate_grad_batches=2, **QUIET).fit(expected, DataLoader(batches, batch_size=None))
    for name, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
    assert found.trainer.callback_metrics["train/loss"] == expected.trainer.callback_metrics["train/loss"]
    said = capsys.readouterr().out
    assert "warning: step left out, 1 of at most 10. Expected finite losses and gradients" in said
    assert str(FAULT) in said


# What spoils weights though losses and gradients are finite.

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}


def test_learning_rate__that_is_nan_is_noticed_before_the_step(tmp_path: Path) -> None:
    class Spoil(pl.Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 2:
                trainer.optimizers[0].param_groups[0]["lr"] = float("nan")

    keeper = BestAndLast(tmp_path)
    with pytest.raises(ValueError, match=r"finite learning rate, but got nan at step 2 \(epoch 0\)\. The last check"):
        fit("1", keeper, Spoil(), NonFinite("skip"))


def test_checkpoints__are_not_written_with_nan(tmp_path: Path) -> None:
    class Spoil(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            if trainer.global_step == 3:
                module.student[0].bias.data[0] = float("nan")

    keeper = BestAndLast(tmp_path, every_n_steps=1)
    with pytest.raises(ValueError, match=r"finite weights to save, but got NaN .* in student\.0\.bias at step 3"):
        fit("1", keeper, Spoil(), NonFinite())
    kept = torch.load(keeper.last, weights_only=True)
    assert kept["global_step"] == 2
    assert all(bool(value.isfinite().all()) for value in kept["state_dict"].values())


# The teacher.


class FaultyTeacher(nn.Linear):
    """NaN for one sample; the class that it chooses for it hides that."""

    def forward(self, inputs: Tensor) -> Tensor:
        found = (inputs == IMAGES[FAULT]).all(1, keepdim=True)
        return super().forward(inputs) + torch.where(found, torch.nan, 0.0)


def fit_hard(*callbacks: pl.Callback) -> Distiller:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "distillation_loss": HardDistillationLoss(),
        "optimizer": partial(torch.optim.SGD, lr=0.1),
    }
    module = Distiller(nn.Linear(4, 3), FaultyTeacher(4, 3), **options)
    keeps = any(isinstance(callback, BestAndLast) for callback in callbacks)
    pl.Trainer(max_epochs=2, callbacks=list(callbacks), **{**QUIET, "enable_checkpointing": keeps}).fit(module, data())
    return module


def test_teacher__its_samples_and_the_last_checkpoint_are_named(tmp_path: Path) -> None:
    keeper = BestAndLast(tmp_path)
    with pytest.raises(ValueError, match="Expected the teacher to return finite logits") as raised:
        fit_hard(keeper, NonFinite())
    assert f"for batch {faulty_batch()} of epoch 0 (sample ids {FAULT})." in str(raised.value)
    assert str(raised.value).endswith(f"The last checkpoint before it is {keeper.last}.")


def test_teacher__skip_leaves_its_steps_out_though_the_loss_is_finite(capsys: pytest.CaptureFixture[str]) -> None:
    counter = NonFinite("skip")
    module = fit_hard(counter)
    assert counter.skipped == 2
    assert "NaN or infinity in `teacher` for batch" in capsys.readouterr().out
    with pytest.raises(ValueError, match="Expected the teacher to return finite logits"):
        module.compute_losses((IMAGES, LABELS))  # nobody skips now


# Together with what else changes weights or gradients.


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("nan", {"precision": "bf16-mixed", "gradient_clip_val": 1.0}),
        ("inf", {"precision": "bf16-true"}),
        ("gradient", {"precision": "64-true", "accumulate_grad_batches": 3}),
    ],
)
@pytest.mark.parametrize("averaged", [False, True])
def test_skip__keeps_weights_and_averages_finite(
    kind: str, options: dict[str, Any], averaged: bool, tmp_path: Path
) -> None:
    counter, keeper = NonFinite("skip"), BestAndLast(tmp_path)
    callbacks = [pl.callbacks.EMAWeightAveraging()] if averaged else []
    module = fit(kind, *callbacks, counter, keeper, **options)
    assert counter.skipped == 2
    weights = torch.load(keeper.last, weights_only=True)["state_dict"]
    assert all(bool(value.isfinite().all()) for value in (*weights.values(), *module.state_dict().values()))

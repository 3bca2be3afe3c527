"""Files of the first version are read, with their values, by this one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lightning_distill import Distiller
from lightning_distill.distillers.shipping import FORMAT_VERSION as CHECKPOINT_VERSION
from lightning_distill.report import RunFolder
from lightning_distill.report.folder import FORMAT_VERSION as METRICS_VERSION
from lightning_distill.teachers.store import TeacherStore
from lightning_distill.teachers.store.header import FORMAT_VERSION as STORE_VERSION
from lightning_distill.weights import load_weights, read_content
from tests.formats.make import HERE, inputs, loader, options, student, trainer
from tests.teachers.store.cases import CLASSES, EPOCHS, IDENTITY, IDS, SAMPLES, logits

FOLDERS = sorted(HERE.glob("version_*"))
LOGITS = {"rtol": 0.0, "atol": 1e-6}


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def expected(folder: Path) -> torch.Tensor:
    value: torch.Tensor = torch.load(folder / "logits.pt", weights_only=True)
    return value


def test_every_version_has_its_files() -> None:
    newest = max(CHECKPOINT_VERSION, METRICS_VERSION, STORE_VERSION)
    assert [folder.name for folder in FOLDERS] == [f"version_{n}" for n in range(1, newest + 1)]


def test_checkpoint__says_its_version_and_loads(folder: Path) -> None:
    assert read_content(folder / "last.ckpt")["format_version"] == int(folder.name.removeprefix("version_"))
    loaded = Distiller.load_from_checkpoint(folder / "last.ckpt", weights_only=True, **options())
    torch.testing.assert_close(loaded(inputs()), expected(folder), **LOGITS)
    assert loaded.hparams["alpha"] == 0.3


def test_checkpoint__training_goes_on(folder: Path, tmp_path: Path) -> None:
    further = Distiller(**options())
    run = trainer(tmp_path, epochs=3)
    with pytest.warns(UserWarning, match="best checkpoint so far"):  # it was not kept
        run.fit(further, loader(), loader(), ckpt_path=str(folder / "last.ckpt"), weights_only=True)
    assert (run.current_epoch, run.global_step) == (3, 6)
    assert not torch.equal(further(inputs()), expected(folder))


def test_checkpoint__of_a_newer_version_is_refused(folder: Path, tmp_path: Path) -> None:
    content = read_content(folder / "last.ckpt")
    torch.save(content | {"format_version": CHECKPOINT_VERSION + 1}, tmp_path / "newer.ckpt")
    with pytest.raises(ValueError, match=r"format_version 1 or below, but got 2.*Update the package"):
        Distiller.load_from_checkpoint(tmp_path / "newer.ckpt", weights_only=True, **options())


def test_weights__load_into_the_plain_network(folder: Path) -> None:
    for name in ("student.safetensors", "last.ckpt"):
        network = student()
        load_weights(network, folder / name)
        torch.testing.assert_close(network(inputs()), expected(folder), **LOGITS)


def test_metrics__are_read(folder: Path) -> None:
    metrics = RunFolder(folder / "run").read()
    assert metrics["student"] == {"test/accuracy": 0.8, "parameters": 23}
    assert metrics["run"]["finished"] is True


def test_store__is_read(folder: Path) -> None:
    store = TeacherStore(folder / "store", IDENTITY)
    for epoch in range(EPOCHS):
        fields = store.fields(IDS, epoch, store.logit_fields)
        said = logits()[epoch * SAMPLES : (epoch + 1) * SAMPLES]
        assert torch.equal(store.header.encoding.decode(fields, CLASSES), said)

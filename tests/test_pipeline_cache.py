"""Runs whose student learns from stored answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.configs import ROOT, composed, files, options, planned, tiny_run

QUICK = ("baseline=false", "export=null")
CACHED = ("teacher=cached", "teacher.cache.dtype=float32", *QUICK)
AUGMENTED = ("augment=standard", "data.augment.padding=1")


def metrics(folder: Path) -> dict[str, dict[str, Any]]:
    return json.loads((folder / "metrics.json").read_text())  # type: ignore[no-any-return]


def same_students(first: Path, second: Path) -> bool:
    a, b = (load_file(folder / "student.safetensors") for folder in (first, second))
    return all(a[name].equal(b[name]) for name in a)


def store_of(folder: Path) -> Path:
    (store,) = folder.glob("answers-*")
    return store


def test_run__the_same_student_bit_for_bit(tmp_path: Path) -> None:
    kept = f"teacher.cache.folder={tmp_path / 'kept'}"
    tiny_run(tmp_path / "live", *QUICK)
    tiny_run(tmp_path / "cached", *CACHED, kept)
    assert same_students(tmp_path / "live", tmp_path / "cached")
    numbers = metrics(tmp_path / "cached")["run"]
    assert numbers["cache_bytes"] == sum(path.stat().st_size for path in store_of(tmp_path / "kept").iterdir())
    assert numbers["cache_seconds"] > 0
    header = json.loads((store_of(tmp_path / "kept") / "header.json").read_text())
    assert (header["identity"]["view"], header["samples"], header["epochs"]) == ("clean", 100, 1)
    live, cached = (metrics(tmp_path / name)["student"] for name in ("live", "cached"))
    assert cached["test/teacher_agreement"] == live["test/teacher_agreement"]  # test samples are not looked up
    assert files(tmp_path / "cached") == files(tmp_path / "live")


def test_run__the_very_views_under_augmentation(tmp_path: Path) -> None:
    tiny_run(tmp_path / "live", *QUICK, *AUGMENTED)
    tiny_run(tmp_path / "cached", *CACHED, *AUGMENTED)
    assert same_students(tmp_path / "live", tmp_path / "cached")
    header = json.loads((store_of(tmp_path / "cached") / "header.json").read_text())
    assert (header["identity"]["view"], header["epochs"]) == ("augmented", 3)  # 6 steps of 2 batches


@pytest.mark.slow
def test_run__a_store_is_used_again_completed_and_not_taken_for_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = f"teacher.cache.folder={tmp_path / 'kept'}"
    tiny_run(tmp_path / "first", *CACHED, kept)
    assert "storing its answers, one entry of each training sample" in capsys.readouterr().out
    tiny_run(tmp_path / "second", *CACHED, kept)
    assert "its answers were stored before" in capsys.readouterr().out
    data = store_of(tmp_path / "kept") / "00000.1.bin"
    content = data.read_bytes()
    data.write_bytes(content[:100])
    tiny_run(tmp_path / "third", *CACHED, kept)
    assert "storing its answers" in capsys.readouterr().out
    assert data.read_bytes() == content
    tiny_run(tmp_path / "fourth", *CACHED, kept, "teacher.seed=1")
    assert len(list((tmp_path / "kept").glob("answers-*"))) == 2
    assert same_students(tmp_path / "first", tmp_path / "third")


def test_run__what_the_terms_read_is_stored_too(tmp_path: Path) -> None:
    terms = (
        "+terms@distiller.terms.hint=hint",
        "distiller.terms.hint.student=pool",
        "distiller.terms.hint.teacher=pool",
    )
    tiny_run(tmp_path / "live", *QUICK, *terms)
    tiny_run(tmp_path / "cached", *CACHED, *terms)
    assert same_students(tmp_path / "live", tmp_path / "cached")


@pytest.mark.slow
def test_run__simkd(tmp_path: Path) -> None:
    tiny_run(tmp_path / "live", *QUICK, "distiller=simkd")
    tiny_run(tmp_path / "cached", *CACHED, "distiller=simkd")
    assert same_students(tmp_path / "live", tmp_path / "cached")


def test_run__top_k(tmp_path: Path) -> None:
    tiny_run(tmp_path, *CACHED, "teacher/cache=top_k", "teacher.cache.top_k=3", "temperature=1")
    assert sorted(path.name for path in store_of(tmp_path).glob("*.bin")) == [f"00000.{i}.bin" for i in range(4)]
    assert metrics(tmp_path)["run"]["finished"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("teacher.cache.view=cleen",), "Could not build `teacher.cache`: .* Did you mean 'clean'"),
        (("teacher.cache.epochs=0",), "Could not build `teacher.cache`: Expected `epochs` to be a whole number of at"),
        (("teacher.cache.dtype=half",), "Could not build `teacher.cache`: Expected `dtype` to be one of 'float16'"),
        (("teacher.cache.top_k=0",), "Could not build `teacher.cache`: Expected `k` to be a whole number of at least"),
        (("teacher.cache.top_k=10",), "Could not build `teacher.cache`: Expected `k` to be below the teacher's 10"),
        (("+teacher.cache.viev=clean",), "Unknown config key `teacher.cache.viev`. Did you mean `teacher.cache.view`"),
        (("mixing=mixup",), "Expected no `distiller.mixing` with `teacher.cache`"),
        ((*AUGMENTED, "data.repeats=2"), "Expected `repeats` of the data to be 1 where a teacher is remembered"),
        ((*AUGMENTED, "teacher.cache.epochs=2"), "Expected `teacher.cache.epochs` to be at least 3, .* but got 2"),
        (
            (*AUGMENTED, "trainer.max_epochs=-1", "trainer.max_steps=-1"),
            "Expected `teacher.cache.epochs`, since the le",
        ),
    ],
)
def test_mistakes__before_anything_is_trained(tmp_path: Path, overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        tiny_run(tmp_path, *CACHED, *overrides)
    assert not any("checkpoints" in name or "answers" in name for name in files(tmp_path))


def test_clean__fewer_entries_than_epochs(tmp_path: Path) -> None:
    tiny_run(tmp_path, *CACHED, *AUGMENTED, "teacher.cache.view=clean")
    header = json.loads((store_of(tmp_path) / "header.json").read_text())
    assert (header["identity"]["view"], header["epochs"]) == ("clean", 1)


def test_configs__any_teacher_can_be_stored(tmp_path: Path) -> None:
    assert set(options("teacher/cache")) == {"dense", "top_k"}
    config = composed("teacher=timm", "+teacher/cache=top_k", "teacher.cache.top_k=20")
    assert (config.teacher.model.model_name, config.teacher.cache.top_k) == ("resnet50", 20)
    plan = planned(tmp_path, "teacher=conv_net", "+teacher/cache=dense", "teacher_cache=elsewhere")
    assert plan.teacher is not None
    assert plan.teacher.cache is not None
    assert plan.teacher.cache.folder == Path("elsewhere")


@pytest.mark.slow
def test_script__two_processes_write_a_shard_each(tmp_path: Path) -> None:
    quick = ["debug=fast", "baseline=false", "export=null", "hydra.run.dir=run", "teacher=cached"]
    processes = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("HYDRA_FULL_ERROR", None)
    command = [sys.executable, str(ROOT / "train.py"), *quick, *processes, *AUGMENTED]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
    store = store_of(tmp_path / "run")
    assert {"00000.1.bin", "00001.1.bin"} <= {path.name for path in store.iterdir()}
    assert json.loads((store / "header.json").read_text())["shards"] == 2
    assert metrics(tmp_path / "run")["run"]["finished"]

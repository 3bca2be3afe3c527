"""Data sets of the library ``datasets``, from files in their true format."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
import torch
from PIL import Image

from lightning_distill.data import HuggingFaceImageDataModule, HuggingFaceTextDataModule
from lightning_distill.data.tokens import word_tokenizer
from tests.configs import files, planned, tiny_run
from tests.data.disk import images

SENTENCES = [f"{word} film number {i}" for i in range(12) for word in ("good", "bad")]
LABELS = [1, 0] * 12


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def write_csv(folder: Path, labels: list[Any], split: str = "train") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{split}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sentence", "label"])
        writer.writerows(zip(SENTENCES, labels, strict=True))
    return folder / f"{split}.csv"


def text(path: Path, **options: Any) -> HuggingFaceTextDataModule:
    cache = path.parent / "cache"
    return HuggingFaceTextDataModule(path, cache_dir=cache, **{"max_length": 8, "batch_size": 6, **options})


def saved_images(folder: Path, count: int = 24) -> Path:
    pictures = [Image.fromarray(pixels) for pixels in images(count, 10, 12, 3)]
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"img": pictures, "label": [i % 2 for i in range(count)]}
    dataset = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": dataset, "test": dataset.select(range(8))}).save_to_disk(str(folder))
    return folder


def test_csv__becomes_batches_of_tokens(tmp_path: Path) -> None:
    data = text(write_csv(tmp_path, LABELS), val_samples=4, test_samples=4)
    assert [len(part) for part in (data._train, data._val, data._test)] == [16, 4, 4]
    for batch in data.train_dataloader():
        assert set(batch.inputs) == {"input_ids", "attention_mask"}
        assert list(batch.inputs["input_ids"].shape) == [len(batch.target), 8]
        for tokens, mask, row, label in zip(
            batch.inputs["input_ids"],
            batch.inputs["attention_mask"],
            batch.sample_ids.tolist(),
            batch.target,
            strict=True,
        ):
            words = data.tokenizer.decode(tokens[mask.bool()], skip_special_tokens=True)
            assert words == SENTENCES[row]
            assert int(label) == LABELS[row]
    assert (data.num_classes, data.max_length, data.pad_token_id) == (2, 8, 0)
    assert data.vocab_size == len({word for s in SENTENCES for word in s.split()}) + 5


def test_jsonl_folder_with_splits__names_become_numbers(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        lines = [
            json.dumps({"text": s, "class": "pos" if y else "neg"}) for s, y in zip(SENTENCES, LABELS, strict=True)
        ]
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{split}.jsonl").write_text("\n".join(lines))
    data = text(tmp_path / "data")
    assert data.class_names == ("neg", "pos")
    assert data._val.target.tolist() == LABELS
    assert [len(part) for part in (data._train, data._val, data._test)] == [24, 24, 24]
    assert data._test.sample_ids[0] == 48


def test_parquet_pairs__have_token_types(tmp_path: Path) -> None:
    rows = {"premise": SENTENCES, "hypothesis": SENTENCES[::-1], "label": LABELS}
    datasets.Dataset.from_dict(rows).to_parquet(str(tmp_path / "pairs.parquet"))
    data = text(tmp_path / "pairs.parquet", max_length=16)
    first = data.example_input
    assert set(first) == {"input_ids", "attention_mask", "token_type_ids"}
    assert set(first["token_type_ids"].flatten().tolist()) == {0, 1}


def test_secret_labels__are_no_labels(tmp_path: Path) -> None:
    write_csv(tmp_path / "data", LABELS)
    write_csv(tmp_path / "data", [-1] * 24, "test")
    data = text(tmp_path / "data", test_samples=4)
    assert len(data._test) == 4
    assert set(data._test.sample_ids.tolist()) < set(range(24))
    partly = text(write_csv(tmp_path / "other", [-1] * 4 + LABELS[4:]))
    assert partly.has_unlabelled


def test_tokenizer__from_a_folder_and_a_file(tmp_path: Path) -> None:
    path = write_csv(tmp_path, LABELS)
    own = word_tokenizer(SENTENCES)
    own.save_pretrained(tmp_path / "tokenizer")
    expected = text(path).example_input["input_ids"]
    for source in (tmp_path / "tokenizer", tmp_path / "tokenizer" / "tokenizer.json", own):
        ids = text(path, tokenizer=source).example_input["input_ids"]
        assert ids.shape == expected.shape
        assert own.decode(ids[0], skip_special_tokens=True) in SENTENCES
    with pytest.raises(FileNotFoundError, match=r"`tokenizer` .* 'nowhere/tokenizer' was not found: looked for .*null"):
        text(path, tokenizer="nowhere/tokenizer")


def test_word_tokenizer__is_the_same_every_time() -> None:
    vocabularies = [word_tokenizer(SENTENCES, vocab_size=12).get_vocab() for _ in range(3)]
    assert vocabularies[0] == vocabularies[1] == vocabularies[2]
    assert len(vocabularies[0]) == 12
    assert vocabularies[0]["film"] == 5


def test_saved_images__are_decoded_with_ids_of_their_rows(tmp_path: Path) -> None:
    data = HuggingFaceImageDataModule(
        saved_images(tmp_path / "saved"), image_size=10, channels=3, workers=0, batch_size=8, val_samples=4
    )
    expected = torch.from_numpy(images(24, 10, 12, 3)).permute(0, 3, 1, 2)[:, :, :, 1:11].float() / 255
    for batch in [*data.train_dataloader(), *data.val_dataloader()]:
        assert torch.equal(batch.inputs, expected[batch.sample_ids])
        assert torch.equal(batch.target, batch.sample_ids % 2)
    assert (data.class_names, len(data._test)) == (("cat", "dog"), 8)
    assert data.fingerprint() == data.full().fingerprint()


def test_image_folder__is_read_by_the_library(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for index, pixels in enumerate(images(8, 8, 8, 3)):
                Image.fromarray(pixels).save(tmp_path / "data" / split / name / f"{index}.png")
    data = HuggingFaceImageDataModule(tmp_path / "data", image_size=8, workers=0, cache_dir=tmp_path / "cache")
    assert data.class_names == ("cat", "dog")
    assert sum(len(part) for part in (data._train, data._val, data._test)) == 32


def test_not_found__says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        HuggingFaceTextDataModule("nobody/nothing", cache_dir=tmp_path)
    for part in ("'nobody/nothing' was not found", str(Path("nobody/nothing").absolute()), str(tmp_path), "on the hub"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"label_column": "lable"},
            "column of labels, but got 'lable'. Columns: sentence, label. Name it:",
        ),
        ({"text_columns": "words"}, "column of text, but got 'words'. Columns: sentence, label"),
        ({"text_columns": "label"}, "column 'label' to hold text, but row 0 has int"),
        ({"label_column": "sentence"}, "training samples to take the `test` split from"),
    ],
    ids=["label", "text", "no text", "no classes"],
)
def test_bad_column__is_named(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        text(write_csv(tmp_path, LABELS), **options)


def test_text_where_images_are_expected__says_so(tmp_path: Path) -> None:
    path = write_csv(tmp_path, LABELS)
    with pytest.raises(ValueError, match=r"column of images, but none of the usual names is there. Columns: sentence"):
        HuggingFaceImageDataModule(path, cache_dir=tmp_path / "cache")


def test_run__images(tmp_path: Path) -> None:
    path = saved_images(tmp_path / "saved")
    given = ["data=huggingface", f"data.path={path}", "data.image_size=8", "data.resize=8", "data.workers=0"]
    tiny_run(tmp_path / "run", *given, "teacher.model.width=4", "export=null", "trainer.max_steps=1")
    assert {"student.safetensors", "metrics.json"} <= set(files(tmp_path / "run"))


def test_run__text_facts_fill_in_a_network(tmp_path: Path) -> None:
    path = write_csv(tmp_path, LABELS)
    given = ["data=huggingface_text", f"data.path={path}", "data.max_length=8", f"data.cache_dir={tmp_path}/cache"]
    network = ["~student", "+student._target_=tests.data.bag.BagOfWords"]
    plan = planned(tmp_path / "run", *given, *network, "teacher=null")
    assert plan.student().embedding.num_embeddings == plan.stage.data.vocab_size
    tiny_run(tmp_path / "run", *given, *network, "teacher=null", "export=null", "trainer.max_steps=1")
    assert {"student.safetensors", "metrics.json"} <= set(files(tmp_path / "run"))

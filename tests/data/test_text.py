"""Sentences of Python's documentation as batches for a BERT."""

from __future__ import annotations

import pytest
import torch

from lightning_distill.data import PythonDocsDataModule
from lightning_distill.data.text import PACKAGES, sentences_by_package, word_tokenizer
from lightning_distill.pipeline import data_facts


@pytest.fixture(scope="module")
def data() -> PythonDocsDataModule:
    return PythonDocsDataModule(train_samples=60, batch_size=8, max_length=16, vocab_size=500)


def test_sentences__every_package_and_no_name_of_one() -> None:
    sentences, labels = sentences_by_package()
    assert labels.bincount().min() > 200
    assert len(set(sentences)) == len(sentences)
    assert not any(name in sentence for sentence in sentences for name in PACKAGES)


def test_batch__is_what_transformers_take(data: PythonDocsDataModule) -> None:
    batch = next(iter(data.train_dataloader()))
    tokens, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
    assert tokens.shape == mask.shape == (8, 16)
    assert (tokens[:, 0] == data.tokenizer.token_to_id("[CLS]")).all()
    assert ((tokens == data.tokenizer.token_to_id("[PAD]")) == (mask == 0)).all()
    assert batch.target.shape == (8,)


def test_splits__share_no_sentence(data: PythonDocsDataModule) -> None:
    ids = [set(part.sample_ids.tolist()) for part in (data.full().train_dataset, data._val, data._test)]  # type: ignore[union-attr]
    assert sum(map(len, ids)) == len(set.union(*ids)) == len(sentences_by_package()[0])
    assert len(data.train_dataset) == 60


def test_facts__say_what_a_network_of_text_needs(data: PythonDocsDataModule) -> None:
    facts = data_facts(data)
    assert facts["vocab_size"] == 500
    assert facts["max_position_embeddings"] == 16
    assert facts["num_labels"] == 6
    assert "image_size" not in facts


def test_vocabulary__is_of_the_training_split_only(data: PythonDocsDataModule) -> None:
    tokenizer = word_tokenizer(["one two two"], vocab_size=10, max_length=4)
    assert tokenizer.get_vocab() == {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "two": 3, "one": 4}
    assert tokenizer.encode("three two one zero").tokens == ["[CLS]", "[UNK]", "two", "one"]


def test_fingerprint__is_the_same_in_a_second_module(data: PythonDocsDataModule) -> None:
    again = PythonDocsDataModule(train_samples=60, batch_size=8, max_length=16, vocab_size=500)
    assert again.fingerprint() == data.fingerprint()
    assert torch.equal(again.example_input["input_ids"], data.example_input["input_ids"])


def test_bad_numbers() -> None:
    with pytest.raises(ValueError, match="`max_length` to be a whole number of at least 2, but got 1"):
        PythonDocsDataModule(max_length=1)
    with pytest.raises(ValueError, match="`val_samples` to be a whole number of at least 6, but got 5"):
        PythonDocsDataModule(val_samples=5)

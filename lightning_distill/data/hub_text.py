"""Text from the library ``datasets``, as token numbers in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_distill.data.hub import evaluable, find_column, load_splits, read_labels
from lightning_distill.data.module import check_count
from lightning_distill.data.parts import take_parts
from lightning_distill.data.tensors import TensorDataModule
from lightning_distill.data.tokens import as_tokenizer, tokenized

TEXT_COLUMNS = ("text", "sentence", "content", "review", "question")
PAIRS = (("premise", "hypothesis"), ("sentence1", "sentence2"), ("question1", "question2"), ("question", "sentence"))


class HuggingFaceTextDataModule(TensorDataModule):
    """Sentences, or pairs of them, as ``{"input_ids", "attention_mask"}`` ``[B, max_length]``.

    A validation or test split that is not there, or whose labels are kept secret, is taken from the training samples.
    Samples without a label (missing or -1) are learned from the teacher alone.

    Args:
        path: A folder that ``save_to_disk`` wrote, a folder of data files (csv, json, parquet), one such file, or a
            name on the hub.
        name: Of the configuration, where a data set has several.
        text_columns: One column, or two for pairs; ``text``, ``sentence`` or another usual name, if not given.
        label_column: ``label`` or another usual name, if not given.
        tokenizer: A folder or a name that ``AutoTokenizer`` knows, a ``tokenizer.json``, or a tokenizer; ``None``
            builds one whose tokens are the words of the training samples, which needs no download.
        max_length: Tokens of a sample: longer ones are cut, shorter ones filled.
        vocab_size: Most words that a tokenizer that is built here knows.
        revision: Of a data set on the hub.
        cache_dir: Where prepared data are kept; the library's own folder if not given.
        val_samples: How many training samples become validation samples where there are none: a tenth if not given.
        test_samples: The same for the test.
        split_seed: Decides which.
        options: Of :class:`~lightning_distill.data.module.BaseDataModule`.

    Raises:
        FileNotFoundError: If there is no such data set or tokenizer, with where it was looked for.
        ValueError: If a column is not there.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        text_columns: str | Sequence[str] | None = None,
        label_column: str | None = None,
        tokenizer: Any = None,
        max_length: int = 128,
        vocab_size: int = 8192,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        val_samples: int | None = None,
        test_samples: int | None = None,
        split_seed: int = 0,
        **options: Any,
    ) -> None:
        check_count("max_length", max_length, 4)
        check_count("split_seed", split_seed, 0)
        splits = load_splits(path, name, revision, cache_dir)
        columns = _text_columns(splits["train"].features, text_columns)
        labels, classes, _ = read_labels(splits, label_column)
        splits = {split: splits[split] for split in evaluable(splits, labels)}
        texts = {split: [_texts(data, column) for column in columns] for split, data in splits.items()}
        self.tokenizer = as_tokenizer(tokenizer, [text for part in texts["train"] for text in part], vocab_size)
        named = {split: (tokenized(self.tokenizer, parts, max_length), labels[split]) for split, parts in texts.items()}
        parts = take_parts(named, {"test": test_samples, "val": val_samples}, split_seed)
        super().__init__(
            parts["train"], parts["val"], parts["test"], num_classes=len(classes), class_names=classes, **options
        )
        self.path, self.max_length, self.split_seed = str(path), max_length, split_seed
        self.vocab_size = len(self.tokenizer)
        self.pad_token_id = self.tokenizer.pad_token_id


def _text_columns(features: Any, wanted: str | Sequence[str] | None) -> list[str]:
    if wanted is not None:
        names = [wanted] if isinstance(wanted, str) else list(wanted)
        if not 1 <= len(names) <= 2:
            raise ValueError(f"Expected `text_columns` to name one or two columns, but got {names}.")
        return [find_column(features, name, (), "text", "text_columns") for name in names]
    pair = next((pair for pair in PAIRS if all(name in features for name in pair)), None)
    if pair is not None:
        return list(pair)
    return [find_column(features, None, TEXT_COLUMNS, "text", "text_columns")]


def _texts(dataset: Any, column: str) -> list[str]:
    texts = list(dataset[column])
    wrong = next((row for row, text in enumerate(texts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise ValueError(
            f"Expected the column {column!r} to hold text, but row {wrong} has {type(texts[wrong]).__name__}. Choose "
            "another: text_columns=..."
        )
    return texts

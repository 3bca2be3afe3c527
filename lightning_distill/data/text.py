"""Sentences out of Python's own documentation strings, by the package they describe: text that needs no download."""

from __future__ import annotations

import ast
import re
import sysconfig
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from lightning_distill.data.module import check_count
from lightning_distill.data.split import stratified_choice
from lightning_distill.data.tensors import TensorDataModule
from lightning_distill.types import Batch

PACKAGES = ("asyncio", "email", "importlib", "logging", "unittest", "xml")
WORDS = 6  # in a sentence, at least
PAD, UNKNOWN, START = "[PAD]", "[UNK]", "[CLS]"


class PythonDocsDataModule(TensorDataModule):
    """Which package of the standard library a sentence of its documentation strings is about: ``num_classes`` of 6.

    Inputs are the mapping that transformers take: ``input_ids`` and ``attention_mask``, ``[max_length]`` each. Names of
    the packages themselves are taken out of the sentences. The vocabulary holds the most frequent words of the training
    split. The text is that of the Python that runs this, so numbers differ a little between its versions.

    Args:
        max_length: Tokens of a sentence, the first of which is ``[CLS]``; longer ones are cut.
        vocab_size: At most so many words, the rest are unknown.
        batch_size: Samples per batch and process.
        train_samples: Train on so many only, each class in its share; ``None`` for all.
        val_samples: Sentences for validation; as many are for the test.
        seed: Decides the order, and which training samples are chosen.
        split_seed: Decides the three splits.

    Raises:
        FileNotFoundError: If this Python has no source files of its standard library.
        ModuleNotFoundError: Without ``tokenizers``, which comes with the extra ``hf``.
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        max_length: int = 24,
        vocab_size: int = 2000,
        batch_size: int = 32,
        train_samples: int | None = None,
        val_samples: int = 400,
        seed: int = 0,
        split_seed: int = 0,
    ) -> None:
        check_count("max_length", max_length, 2)
        check_count("vocab_size", vocab_size, 10)
        check_count("val_samples", val_samples, len(PACKAGES))
        check_count("split_seed", split_seed, 0)
        splits = _splits(val_samples, split_seed)
        sentences, labels = sentences_by_package()
        tokenizer = word_tokenizer([sentences[i] for i in splits[0]], vocab_size, max_length)
        encoded = tokenizer.encode_batch(sentences)
        tokens = torch.tensor([one.ids for one in encoded])
        mask = torch.tensor([one.attention_mask for one in encoded])
        parts = [
            Batch({"input_ids": tokens[rows], "attention_mask": mask[rows]}, labels[rows], torch.tensor(rows))
            for rows in splits
        ]
        super().__init__(
            *parts,
            num_classes=len(PACKAGES),
            batch_size=batch_size,
            train_samples=train_samples,
            seed=seed,
            class_names=PACKAGES,
        )
        self.tokenizer = tokenizer
        self.vocab_size = tokenizer.get_vocab_size()
        self.max_length = max_length


@lru_cache(maxsize=2)
def _splits(val_samples: int, split_seed: int) -> tuple[list[int], list[int], list[int]]:
    """Rows for training, validation and test, each class in its share."""
    _, labels = sentences_by_package()
    rest = torch.arange(len(labels))
    parts = []
    for part in range(2):
        chosen = stratified_choice(labels[rest], val_samples, (split_seed, part))
        parts.append(rest[chosen].tolist())
        kept = torch.ones(len(rest), dtype=torch.bool)
        kept[chosen] = False
        rest = rest[kept]
    return rest.tolist(), parts[0], parts[1]


@lru_cache(maxsize=1)
def sentences_by_package() -> tuple[list[str], torch.Tensor]:
    """Every sentence once, in order of package and file, and the number of its package ``[N]``.

    Raises:
        FileNotFoundError: If this Python has no source files of its standard library.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    sentences: dict[str, int] = {}
    for label, package in enumerate(PACKAGES):
        files = [file for file in sorted((library / package).rglob("*.py")) if "test" not in file.parts]
        if not files:
            raise FileNotFoundError(
                f"Expected the source files of Python's package `{package}` in {library / package}, but there are "
                "none. Use a Python that comes with its standard library as files."
            )
        for file in files:
            for sentence in _sentences(file):
                sentences.setdefault(sentence, label)
    return list(sentences), torch.tensor(list(sentences.values()))


def _sentences(file: Path) -> list[str]:
    """The sentences of a source file's documentation strings, in lower case, without the packages' names."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(file.read_text(encoding="utf-8"))
    texts = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented)]
    parts = [part for text in texts if text for part in re.split(r"(?<=[.!?])\s+|\n\s*\n", text)]
    named = re.compile("|".join(PACKAGES), flags=re.IGNORECASE)
    cleaned = [" ".join(named.sub(" ", part).lower().split()) for part in parts]
    return [part for part in cleaned if len(part.split()) >= WORDS]


def word_tokenizer(sentences: Sequence[str], vocab_size: int, max_length: int) -> Any:
    """A ``tokenizers.Tokenizer`` of whole words that pads and cuts to ``max_length`` tokens.

    Example:
        >>> tokenizer = word_tokenizer(["a loop runs", "a loop ends"], vocab_size=20, max_length=5)
        >>> tokenizer.encode("the loop ends").tokens
        ['[CLS]', '[UNK]', 'loop', 'ends', '[PAD]']
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = [PAD, UNKNOWN, START]
    trainer = trainers.WordLevelTrainer(vocab_size=vocab_size, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(sentences, trainer)
    start = (START, tokenizer.token_to_id(START))
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A", special_tokens=[start])
    tokenizer.enable_truncation(max_length)
    tokenizer.enable_padding(length=max_length, pad_id=tokenizer.token_to_id(PAD), pad_token=PAD)
    return tokenizer

"""From text to token numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def as_tokenizer(tokenizer: Any, texts: Sequence[str], vocab_size: int = 8192) -> Any:
    """A tokenizer of the library ``transformers``.

    Args:
        tokenizer: One, or a folder or name for ``AutoTokenizer``, or a ``tokenizer.json``; ``None`` builds one.
        texts: What one is built from.
        vocab_size: Most words that it knows then.

    Raises:
        FileNotFoundError: If there is no such tokenizer, with where it was looked for.
        ValueError: If it has no token to fill with.
    """
    if tokenizer is None:
        return word_tokenizer(texts, vocab_size)
    found = _load(str(tokenizer)) if isinstance(tokenizer, (str, Path)) else tokenizer
    if found.pad_token_id is None:
        if found.eos_token is None:
            raise ValueError("Expected `tokenizer` to have a token to fill with (`pad_token`), but got none. Set one.")
        found.pad_token = found.eos_token
    return found


def _load(path: str) -> Any:
    from transformers import AutoTokenizer

    local = Path(path).expanduser()
    try:
        if local.is_file():
            return _wrapped(tokenizer_file=str(local))
        return AutoTokenizer.from_pretrained(str(local) if local.is_dir() else path)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            "Expected `tokenizer` to be a folder that `save_pretrained` wrote, a tokenizer.json or a name on the hub, "
            f"but {path!r} was not found: looked for {local.absolute()}, and on the hub: {reason} Without a network, "
            "set it to null: a tokenizer is built from the training samples."
        ) from error


def word_tokenizer(texts: Sequence[str], vocab_size: int = 8192) -> Any:
    """A tokenizer whose tokens are the most frequent words of ``texts``, in lower case; it is the same every time.

    Args:
        texts: To count words in.
        vocab_size: Most tokens, the five special ones included.

    Example:
        >>> tokenizer = word_tokenizer(["a good film", "a bad film"])
        >>> tokenizer.convert_ids_to_tokens(tokenizer("A good book")["input_ids"])
        ['[CLS]', 'a', 'good', '[UNK]', '[SEP]']
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordLevelTrainer(vocab_size=vocab_size, special_tokens=list(SPECIAL), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(mark, tokenizer.token_to_id(mark)) for mark in ("[CLS]", "[SEP]")],
    )
    return _wrapped(tokenizer_object=tokenizer)


def _wrapped(**source: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    make: Any = PreTrainedTokenizerFast
    return make(**source, **dict(zip(names, SPECIAL, strict=True)))


def tokenized(tokenizer: Any, columns: Sequence[Sequence[str]], max_length: int) -> dict[str, Tensor]:
    """What a network is called with: ``input_ids``, ``attention_mask`` and, for pairs, ``token_type_ids`` ``[N, L]``.

    Args:
        tokenizer: Of the library ``transformers``.
        columns: The texts; two of them for pairs.
        max_length: L: longer texts are cut, shorter ones filled.
    """
    pair = len(columns) > 1
    encoded = tokenizer(
        *map(list, columns),
        padding="max_length",
        truncation=True,
        max_length=max_length,
        return_tensors="pt",
        return_token_type_ids=pair,
    )
    return dict(encoded)

"""The tokenizer: CLIP's, with a vocabulary of its own made of the words of the prompts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

LONGEST = 16
START, END = "<|startoftext|>", "<|endoftext|>"
VOCABULARY = 1900


def make(texts: Sequence[str], folder: Path) -> None:
    """Learn it and write it as transformers reads a CLIPTokenizer."""
    from tokenizers import Tokenizer, models, trainers
    from transformers import CLIPTokenizer

    plain = CLIPTokenizer(vocab={START: 0, END: 1}, merges=[])  # for its normalizer and pre-tokenizer
    learned = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
    learned.normalizer = plain.backend_tokenizer.normalizer
    learned.pre_tokenizer = plain.backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, min_frequency=1, special_tokens=[START, END], end_of_word_suffix="</w>",
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz0123456789,.!?'-"), show_progress=False,
    )  # fmt: skip
    learned.train_from_iterator(texts, trainer)
    model = json.loads(learned.to_str())["model"]
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in model["merges"]]
    made = CLIPTokenizer(
        vocab=model["vocab"], merges=merges, model_max_length=LONGEST, bos_token=START, eos_token=END,
        unk_token=END, pad_token=END,
    )  # fmt: skip
    made.save_pretrained(folder)

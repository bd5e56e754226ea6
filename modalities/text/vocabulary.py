"""Vocabularies of word pieces: learned offline from a corpus, or taken from a transformers tokenizer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from modalities.errors import InputError
from modalities.shapes import Int, Tensor

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "vocabulary.json"
SPECIAL = ["[PAD]", "[UNK]", "[MASK]"]


class Vocabulary:
    """A vocabulary of word pieces, which encodes and decodes captions; the same on disk, in workers and in the model.

    A learned vocabulary is lower-case byte-pair encoding (arXiv:1508.07909) that starts from bytes: frequent words are
    one piece, and no text in any script is unknown.

    pad, mask: ids of the pieces that fill up and that stand for a hidden piece (`mask` is None where there is none).
    """

    def __init__(self, tokenizer: Tokenizer, *, pad: int, mask: int | None):
        tokenizer.no_padding()  # files of sentence encoders ask for a fixed length; the reader decides here
        tokenizer.no_truncation()
        self.tokenizer, self.pad, self.mask = tokenizer, pad, mask

    @classmethod
    def learn(cls, captions: Iterable[str], words: int = 4096) -> Vocabulary:
        """At most `words` pieces learned from captions; the same captions always give the same pieces.

        The 256 single bytes are always among them, so that nothing is unknown, and 3 special pieces.
        """
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads do not survive the loader's fork
        tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL[1]))
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer = trainers.BpeTrainer(
            vocab_size=words, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(captions, trainer)
        return cls(tokenizer, pad=0, mask=SPECIAL.index("[MASK]"))

    @classmethod
    def load(cls, name: str | Path) -> Vocabulary:
        """A vocabulary saved by `save` (its file or folder), or a transformers tokenizer (its folder or name).

        Raises:
            InputError: there is no such file or tokenizer.
        """
        path = Path(name)
        file = path / FILE if path.is_dir() else path
        if file.is_file():
            return cls.from_json(file)
        if not path.is_dir() and (path.is_absolute() or path.suffix == ".json" or str(name).startswith(".")):
            raise InputError(f"text vocabulary {name}: no such file or folder\n  correct `modalities.text.vocabulary`")
        return cls.from_transformers(str(name))

    @classmethod
    def from_json(cls, file: Path) -> Vocabulary:
        """What `save` wrote."""
        from tokenizers import Tokenizer

        try:
            state = json.loads(file.read_text(encoding="utf-8"))
            return cls(Tokenizer.from_str(json.dumps(state["tokenizer"])), pad=state["pad"], mask=state["mask"])
        except Exception as error:  # tokenizers raises plain Exception
            remedy = "name a file that Vocabulary.save wrote, or the folder of a transformers tokenizer"
            raise InputError(f"text vocabulary {file}: not readable ({error})\n  {remedy}") from error

    @classmethod
    def from_transformers(cls, name: str) -> Vocabulary:
        """The tokenizer of a transformers model, with the special pieces that it puts around a text."""
        from transformers import AutoTokenizer

        try:
            wrapped = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            tokenizer = wrapped.backend_tokenizer
        except Exception as error:  # OSError, ValueError, ImportError, AttributeError... by its kind of tokenizer
            remedy = "name a folder or model with a fast tokenizer; null learns a vocabulary from the captions"
            raise InputError(f"text vocabulary {name}: {str(error).splitlines()[0]}\n  {remedy}") from error
        pad = wrapped.pad_token_id if wrapped.pad_token_id is not None else wrapped.eos_token_id or 0
        return cls(type(tokenizer).from_str(tokenizer.to_str()), pad=pad, mask=wrapped.mask_token_id)

    def save(self, path: str | Path) -> Path:
        """Write everything that `load` needs into a folder (as vocabulary.json) or a .json file; return the file."""
        path = Path(path)
        file = path if path.suffix == ".json" else path / FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        state = {"pad": self.pad, "mask": self.mask, "tokenizer": json.loads(self.tokenizer.to_str())}
        draft = file.with_name(f".{file.name}.{os.getpid()}.draft")  # other processes may read and write it now
        draft.write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")
        draft.replace(file)
        return file

    def encode(self, text: str, length: int | None = None) -> list[int]:
        """The ids of a text, with the special pieces of its kind; at most `length`, dropping the end of the text."""
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        if length is not None:
            encoding.truncate(max(length - self.tokenizer.num_special_tokens_to_add(False), 0))
        return self.tokenizer.post_process(encoding).ids[:length]

    def decode(self, ids: Iterable[int] | Int[Tensor, " l"]) -> str:
        """The text of ids, without special pieces."""
        return self.tokenizer.decode([int(i) for i in ids], skip_special_tokens=True).strip()

    def pieces(self, ids: Iterable[int] | Int[Tensor, " l"]) -> list[str]:
        """Each id on its own, readable; special pieces by their names."""
        return [self.tokenizer.decode([int(i)], skip_special_tokens=False) for i in ids]

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size(with_added_tokens=True)

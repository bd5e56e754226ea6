"""The reader of captions: no text is unknown, the window chooses what is said, and what is no caption is refused."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modalities.errors import InputError, SampleError
from modalities.text import TextReader, Vocabulary

CAPTIONS = [f"A {colour} {thing} hits the wall" for colour in ("red", "blue") for thing in ("ball", "box", "star")]


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory):
    return Vocabulary.learn(CAPTIONS).save(tmp_path_factory.mktemp("vocabulary"))


@settings(max_examples=25)
@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40))
def test_no_text_is_unknown(vocabulary, text):
    known = Vocabulary.load(vocabulary)
    ids = known.encode(text)
    assert not {0, 1, 2} & set(ids) or "[" in text
    assert max(ids, default=0) < len(known)
    if text.isascii() and "[" not in text:
        assert known.decode(ids) == text.lower().strip()


def test_a_vocabulary_comes_back_from_its_file_and_from_a_worker(vocabulary, tmp_path):
    learned = Vocabulary.learn(CAPTIONS)
    ids = learned.encode(CAPTIONS[0])
    assert learned.pieces(ids) == [" a", " red", " ball", " hits", " the", " wall"]
    assert learned.pieces([0, 2]) == ["[PAD]", "[MASK]"] and (learned.pad, learned.mask) == (0, 2)
    for same in (Vocabulary.load(vocabulary), Vocabulary.load(vocabulary.parent), pickle.loads(pickle.dumps(learned))):
        assert same.encode(CAPTIONS[0]) == ids and len(same) == len(learned)
    assert learned.save(tmp_path / "new.json").read_bytes() == vocabulary.read_bytes()
    assert 259 <= len(Vocabulary.learn(CAPTIONS, words=64)) <= len(Vocabulary.learn(CAPTIONS, words=270)) <= 270


def test_learning_is_the_same_in_every_process(vocabulary):
    code = (
        f"from modalities.text.vocabulary import Vocabulary; print(Vocabulary.learn({CAPTIONS!r}).tokenizer.to_str())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == Vocabulary.load(vocabulary).tokenizer.to_str()


def test_a_transformers_tokenizer_keeps_its_special_pieces(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "a", "red", "ball"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer.enable_padding(length=128)  # as sentence encoders are saved
    tokenizer.enable_truncation(4)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", mask_token="[MASK]")
    wrapped.save_pretrained(tmp_path / "theirs")
    Vocabulary.load(tmp_path / "theirs").save(tmp_path / "ours")
    for folder in ("theirs", "ours"):
        vocabulary = Vocabulary.load(tmp_path / folder)
        assert vocabulary.encode("a red ball") == [1, 5, 6, 7, 2]
        assert vocabulary.encode("a red ball", 4) == [1, 5, 6, 2]
        assert (vocabulary.pad, vocabulary.mask, len(vocabulary)) == (0, 3, 8)
    reading = TextReader(length=8, vocabulary=str(tmp_path / "ours")).read("a ball", 0.0, 1.0)
    assert reading.values.tolist() == [1, 5, 7, 2, 0, 0, 0, 0] and reading.length == 4


def test_an_unknown_vocabulary_is_named(tmp_path):
    (tmp_path / "bad.json").write_text("{}")
    for name in ("./missing.json", str(tmp_path / "bad.json"), str(tmp_path)):
        with pytest.raises(InputError, match="text vocabulary") as error:
            TextReader(vocabulary=name)
        assert name in str(error.value)
    with pytest.raises(ValueError, match="open"):
        TextReader().read("a ball", 0.0, 1.0)


def test_the_window_chooses_its_captions(vocabulary):
    reader = TextReader(vocabulary=str(vocabulary), length=16)

    def read(source, start=0.0, duration=1.0):
        reading = reader.read(source, start, duration)
        return reading and reader.vocabulary.decode(reading.values[: reading.length])

    assert read(" A red ball ") == "a red ball"
    assert read(["", "only one", None]) == "only one"
    several = [read(["one", "two", "three"], start / 10) for start in range(60)]
    assert set(several) == {"one", "two", "three"}
    assert several == [read(["one", "two", "three"], start / 10) for start in range(60)]
    timed = [{"text": text, "start": i, "end": i + 1.0} for i, text in enumerate(["zero", "one", "", "three"])]
    assert read(timed, 0.5, 1.0) == "zero one" and read(timed, 1.0, 1.0) == "one"
    assert read([{"text": "now", "start": 1, "end": 1}], 1.0, 1.0) == "now"
    for absent, start in [("", 0.0), (" \n", 0.0), ([], 0.0), (None, 0.0), (timed, 2.0), (timed, 9.0)]:
        assert read(absent, start) is None
    long = reader.read("ball " * 40, 0.0, 1.0)
    assert long.length == 16 and long.values.dtype == torch.int64 and (long.values > 2).all()
    assert reader.blank(1.0).values.tolist() == [0] * 16 and reader.seconds("a") is None


@pytest.mark.parametrize(
    "bad", [3, b"ball", {"text": "a"}, ["a", 3], "a\0b", "\ud800", [{"text": "a"}], [{"start": 0, "end": 1}], [{}]]
)
def test_what_is_no_caption_is_refused(vocabulary, bad):
    with pytest.raises(SampleError, match="text"):
        TextReader(vocabulary=str(vocabulary)).read(bad, 0.0, 1.0)


def test_a_survey_learns_the_words_of_all_captions(tmp_path):
    sources = ["a red ball", ["a blue box", "", None], [{"text": "a star", "start": 0, "end": 1}], 3]
    found = TextReader.survey({"vocabulary": None}, sources, tmp_path)
    vocabulary = Vocabulary.load(found["vocabulary"])
    assert found["words"] == len(vocabulary) and vocabulary.pieces(vocabulary.encode("blue star")) == [" blue", " star"]
    assert TextReader.survey(found, sources, tmp_path) == {"words": found["words"]}
    with pytest.raises(InputError, match="caption"):
        TextReader.survey({}, ["", None], tmp_path)

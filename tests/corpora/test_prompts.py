"""The corpus prompts: what is said is what was recorded, in the languages that are there."""

from __future__ import annotations

import pytest
from packages import ENGLISH, needs_shipped, rows, spoken

from mmmae import corpora
from mmmae.corpora import prompts
from modalities.audio import AudioReader
from modalities.errors import InputError

FRENCH = "digits/1: un\ndigits/1: deux\n; sons\nvide:\nvm-intro: Laissez un message :  après le signal.\n"


def test_prompts_are_what_is_said_and_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(prompts, "SHARE", tmp_path / "share")
    spoken(tmp_path / "share", "en", ENGLISH, ("beep", "digits/1", "silence/1", "letters/dot", "vm-intro", "unwritten"))
    folder = corpora.prepare("prompts", tmp_path / "one").parent
    assert [(row["id"], row["text"]) for row in rows(folder)] == [
        ("en/digits/1", "one"),
        ("en/letters/dot", "dot"),
        ("en/vm-intro", "Leave a message."),
    ]
    assert all(AudioReader(rate=8000).read(str(folder / row["audio"]), 0.0, 0.5).length == 4000 for row in rows(folder))

    spoken(tmp_path / "share", "fr", FRENCH, ("digits/1", "vide", "vm-intro"))
    folder = corpora.prepare("prompts", tmp_path / "two").parent
    found = [(row["label"], row["group"], row["text"]) for row in rows(folder)]
    assert found[3:] == [("fr", "digits/1", "un"), ("fr", "vm-intro", "Laissez un message : après le signal.")]
    assert "June Wallack" in (folder / "CREDITS.md").read_text() and "Carlo" not in (folder / "CREDITS.md").read_text()
    assert {row["label"] for row in rows(corpora.prepare("prompts", tmp_path / "fr", languages="fr").parent)} == {"fr"}


def test_prompts_of_a_language_need_its_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(prompts, "SHARE", tmp_path / "share")
    spoken(tmp_path / "share", "en", ENGLISH, ("digits/1",))
    with pytest.raises(InputError, match="apt-get install asterisk-core-sounds-it asterisk-core-sounds-it-wav"):
        corpora.prepare("prompts", tmp_path / "out", languages=["en", "it"])
    for languages in (["en", "tlh"], []):
        with pytest.raises(InputError, match="take some of en, es, fr, it, ru"):
            corpora.prepare("prompts", tmp_path / "out", languages=languages)


@needs_shipped(prompts.recordings("en"), "apt-get install asterisk-core-sounds-en-wav")
@needs_shipped(prompts.script("en"), "apt-get install asterisk-core-sounds-en")
def test_prompts_for_real(tmp_path):
    folder = corpora.prepare("prompts", tmp_path / "out", languages="en").parent
    table = {row["group"]: row for row in rows(folder)}
    assert len(table) == 551 and table["spy-iax2"]["text"] == "IAX"
    assert not [row for row in table.values() if set(row["text"]) & set("[](<")]
    reading = AudioReader(rate=8000).read(str(folder / table["vm-intro"]["audio"]), 0.0, 5.0)
    assert reading.length == 40000 and reading.values.abs().max() > 0.1

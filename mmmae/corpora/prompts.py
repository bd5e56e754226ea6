"""Telephone prompts (sentences, words, numbers) with their text (24 minutes per language, 8 kHz).

Debian packages: `asterisk-core-sounds-en` has the transcripts, `asterisk-core-sounds-en-wav` the recordings; the same
prompts are there in Spanish, French, Italian and Russian, each by one speaker. `label` is the language, `group` the
prompt, so that a sentence and its translations stay on one side of a split.

What stands in brackets in a transcript is not said; prompts in which nothing is said (tones, silence) are left out.
"""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmmae.corpora import shipped
from mmmae.corpora.writing import write_credits, write_manifest
from modalities.errors import InputError

SHARE = Path("/usr/share")
INCLUDE = (
    "\n  (where images leave documentation out: --reinstall -o Dpkg::Options::=--path-include='/usr/share/doc/aster*')"
)
UNSAID = re.compile(r"\s*(\[.*?\]|\(.*?\)|<.*?>)")


@dataclass(frozen=True)
class Voice:
    """The folder of a language's recordings, and whom to credit."""

    folder: str
    credit: str


VOICES = {
    "en": Voice("en_US_f_Allison", "Allison Smith and Digium, Inc.; CC-BY-SA-3.0"),
    "es": Voice("es_MX_f_Allison", "Allison Smith and Digium, Inc.; CC-BY-SA-3.0"),
    "fr": Voice("fr_CA_f_June", "June Wallack, Clod Patry, Kristopher Lalletti and Digium, Inc.; CC-BY-SA-3.0"),
    "it": Voice("it_IT_m_Carlo", "Carlo Flora, Silvia Petrin, www.segreterietelefoniche.it; CC-BY-3.0"),
    "ru": Voice("ru_RU_f_IvrvoiceRU", "Maxim Topal, www.ivrvoice.ru; CC-BY-3.0"),
}


def write(out: Path, *, languages: str | Sequence[str] | None = None) -> Path:
    """Copy the prompts of some languages and list them with their transcripts.

    Args:
        languages: any of en, es, fr, it, ru; None takes English and those of the others that are installed.

    Raises:
        InputError: there is no such language, or its packages are not installed.
    """
    if languages is None:
        languages = [name for name in VOICES if name == "en" or (recordings(name).is_dir() and script(name).is_file())]
    chosen = [languages] if isinstance(languages, str) else list(languages)
    if not chosen or not set(chosen) <= set(VOICES):
        raise InputError(f"prompts: languages={languages}\n  take some of {', '.join(VOICES)}")
    rows = []
    for language in (name for name in VOICES if name in chosen):
        install = f"apt-get install asterisk-core-sounds-{language} asterisk-core-sounds-{language}-wav"
        folder = shipped(recordings(language), install)
        for name, text in read_script(shipped(script(language), install + INCLUDE)).items():
            if (folder / f"{name}.wav").is_file():
                copy = out / language / f"{name}.wav"
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / f"{name}.wav", copy)
                rows.append({"id": f"{language}/{name}", "audio": copy, "text": text, "label": language, "group": name})
    sources = "\n".join(f"- {name}: {VOICES[name].credit}" for name in VOICES if name in chosen)
    write_credits(out, f"# Prompts\n\nFrom the Debian packages asterisk-core-sounds, copied unchanged.\n\n{sources}")
    return write_manifest(out, rows)


def recordings(language: str) -> Path:
    return SHARE / "asterisk/sounds" / VOICES[language].folder


def script(language: str) -> Path:
    return SHARE / f"doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz"


def read_script(path: Path) -> dict[str, str]:
    """What each prompt says, by its name in order; a line is `name: words`, one that begins with ; is a comment.

    Raises:
        InputError: the file is no such text.
    """
    try:
        text = gzip.decompress(path.read_bytes()).decode("utf-8-sig")
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})\n  install its package again") from error
    lines = (line.partition(":") for line in text.splitlines() if not line.startswith(";"))
    said: dict[str, str] = {}
    for name, _, words in lines:
        said.setdefault(name.strip(), " ".join(UNSAID.sub("", words).split()))  # the Spanish ten is called 0 again
    return {name: said[name] for name in sorted(said) if said[name]}

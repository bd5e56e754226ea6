"""Settings of a stream itself: where and when it is read, the tokenizer that it shares, and its augmentation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

import pydantic

from mmmae.recipes.lookup import RecipeError, describe, nearest
from mmmae.recipes.sections import Section
from mmmae.recipes.timing import Lag, Span

OWN = ("share", "lag", "span")  # what a stream does not have from the one it shares with


class Stream(Section):
    """One entry of `modalities` without the settings of its reader and its tokenizer.

    Several streams may read one recording: other frames of a video (SiamMAE, arXiv:2305.14344), captions spoken later.
    """

    use: str = pydantic.Field(description="the modality, whose folder has reader and tokenizer; by default its name")
    source: str = pydantic.Field(description="column of the manifest to read from; by default its name")
    share: str | None = pydantic.Field(default=None, description="earlier stream whose tokenizer and settings it uses")
    lag: Annotated[Lag, pydantic.BeforeValidator(Lag.of)] = pydantic.Field(
        default=Lag(), description="offset in seconds from the start of the sample's window; drawn from a range"
    )
    span: Annotated[Span, pydantic.BeforeValidator(Span.of)] | None = pydantic.Field(
        default=None, description="length in seconds; by default that of the window; drawn from a range"
    )

    @classmethod
    def of(cls, entries: Mapping[str, Any], name: str, where: str) -> Stream:
        """The stream `name` of a recipe's `modalities`.

        Raises:
            RecipeError: a value of the wrong type, or it shares with no stream above it.
        """
        share = (entries[name] or {}).get("share")
        above = list(entries)[: list(entries).index(name)]
        owners = [other for other in above if not (entries[other] or {}).get("share")]
        if share is not None and share not in owners:
            hint = nearest(str(share), owners) if owners else "there is none"
            raise RecipeError(f"{where}.share: {share!r} is no stream above it with a tokenizer of its own; {hint}")
        given = {key: value for key, value in inherited(entries, name).items() if key in cls.model_fields}
        try:
            return cls(**{"use": share or name, "source": share or name, **given})
        except pydantic.ValidationError as error:
            raise RecipeError(describe(error, where)) from error

    def longest(self, window: float) -> float:
        """Seconds that the stream lasts at most in a window of `window` seconds."""
        return self.span.longest if self.span else window


class Change(Section):
    """One entry of `augment` without the settings of the augmentation.

    Streams that are augmented alike stay views of one place; CropMAE (arXiv:2403.17823) crops one view from the other.
    """

    after: str | None = pydantic.Field(default=None, description="stream whose augmented signal is the input")
    draw: str | None = pydantic.Field(
        default=None, description="streams with the same value get the same augmentation, as do those without"
    )
    always: bool = pydantic.Field(default=False, description="augment in evaluation, too")


def inherited(entries: Mapping[str, Any], name: str) -> dict[str, Any]:
    """All settings of a stream, its own and those of the stream that it shares with."""
    own = dict(entries[name] or {})
    lent = entries.get(own.get("share") or name) or {}
    return {key: value for key, value in lent.items() if key not in OWN} | own


def kept(entries: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The entries of some streams; where the owner of a tokenizer goes, the first that shared it becomes the owner."""
    heirs: dict[str, str] = {}
    chosen = {}
    for name in (name for name in entries if name in names):
        owner = (entries[name] or {}).get("share")
        if owner is None or owner in names:
            chosen[name] = entries[name]
            continue
        alone = {"use": owner, "source": owner} | inherited(entries, name)
        del alone["share"]
        chosen[name] = alone if owner not in heirs else alone | {"share": heirs[owner]}
        heirs.setdefault(owner, name)
    return chosen

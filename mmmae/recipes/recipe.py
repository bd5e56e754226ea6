"""A recipe as data: streams, masking, trunk, objectives and training, parsed and checked.

It is read, merged and checked once, into parts (a class with its settings); mmmae/build.py makes modules of them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter
from pathlib import Path
from typing import Any, TypeVar

import torch

from fusion.projector import Projector
from fusion.schedule import Schedule, follow
from mmmae.recipes.files import read
from mmmae.recipes.lookup import RecipeError, check, find, in_context, make, nearest, signature
from mmmae.recipes.merge import changed, narrowed, overlay, overridden
from mmmae.recipes.renamed import renamed
from mmmae.recipes.sections import SECTIONS, SIZED, Sections, checked, refuse_misshapen
from mmmae.recipes.streams import Change, Stream, inherited

Spec = TypeVar("Spec", bound="RecipeSpec")


@dataclass(frozen=True)
class Part:
    """A class that a recipe names, with its checked settings; `where` is the recipe's key, for messages.

    schedules: by setting, how it moves in training; `settings` holds what it begins with.
    """

    cls: type
    settings: Mapping[str, Any]
    where: str
    schedules: Mapping[str, Schedule] = field(default_factory=dict)

    @property
    def in_context(self) -> bool:
        """Whether the constructor takes, before its settings, what the part is made for."""
        return in_context(self.cls)

    def make(self, *context: Any) -> Any:
        """An instance; what its constructor refuses becomes an error that names the recipe's key."""
        made = make(self.cls, context, self.settings, self.where)
        if self.schedules:
            stops = {name: schedule.stop for name, schedule in self.schedules.items()}
            with torch.random.fork_rng(devices=[]):  # where schedules lead is checked by the constructor, too
                make(self.cls, context, {**self.settings, **stops}, self.where)
            make(follow, (made, self.schedules), {}, self.where)
        return made


@dataclass(frozen=True)
class StreamParts:
    """One entry of `modalities`: where and when the stream is read, and its reader and tokenizer."""

    stream: Stream
    reader: Part
    tokenizer: Part


@dataclass(frozen=True)
class Augmentation:
    """One entry of `augment`: the augmentation, and the rest of what is set for it."""

    part: Part
    change: Change


class RecipeSpec:
    """A validated recipe. `tree` holds it as plain numbers, strings, lists and dictionaries.

    sections: window, size, data, optimizer and training settings. streams: the parts of each modality.
    masking: one part, joint, or a part for each stream. trunk, objectives, augmentations: their parts.
    narrowed: whether streams were left out on purpose, so that objectives which need them are left out too.
    """

    kept = ("vocabulary",)  # settings that may name a file: a checkpoint takes it along

    def __init__(self, tree: Mapping[str, Any], name: str = "recipe", narrowed: bool = False):
        self.name, self.narrowed = name, narrowed
        self.tree = renamed(copy.deepcopy(dict(tree)))
        for key in self.tree:
            if key not in SECTIONS:
                raise RecipeError(f"{name}: {key}: unknown section; {nearest(key, SECTIONS)}")
        self.sections = Sections.check(self.tree, name)
        refuse_misshapen(self.tree, name)
        if not self.tree["modalities"]:
            raise RecipeError(f"{name}: modalities: a recipe needs at least one")
        if not self.tree.get("objectives"):
            raise RecipeError(f"{name}: objectives: a recipe needs at least one")
        self.parts = {stream: self.parse_stream(stream) for stream in self.tree["modalities"]}
        self.masking = self.parse_masking(self.tree.get("masking", {}))
        self.augmentations = {
            stream: self.parse_augment(stream, given) for stream, given in self.tree.get("augment", {}).items()
        }
        self.trunk = self.part("trunk", self.tree["trunk"], "trunk")
        self.objectives = {
            key: self.part("objective", {"use": key, **settings}, f"objectives.{key}")
            for key, settings in self.tree["objectives"].items()
        }

    @classmethod
    def load(
        cls: type[Spec], name: str | Path | Mapping[str, Any], overrides: Sequence[str] | Mapping[str, Any] = (),
        modalities: Sequence[str] | None = None,
    ) -> Spec:  # fmt: skip
        """Read a recipe by name or file, then apply overrides: `key=value`, or a mapping from (dotted) keys to values.

        Args:
            name: of a recipe in configs/, the path of a YAML file, or the contents of one.
            overrides: such as `masking.video.ratio=0.75`. `size=tiny` also replaces the widths, depths and heads that
                the file gives: they belong to the file's own size.
            modalities: keep only these streams and the objectives that apply to them.

        Raises:
            RecipeError: an unknown recipe, section, key or name, or a value of the wrong type.
        """
        path, tree = read(name)
        label = path.name
        if "base" in tree:
            parent = tree.pop("base")
            if not isinstance(parent, str):
                raise RecipeError(f"{label}: base: names a recipe, got {parent!r}")
            _, base = read(parent, path.parent)
            if "base" in base:
                raise RecipeError(f"{label}: base: a base may not have a base of its own; inherit from that one")
            tree = overlay(base, tree)
        refuse_misshapen(tree, label)
        tree = changed(tree, overridden(overrides), label)
        refuse_misshapen(tree, label)
        if not modalities:
            return cls(tree, label)
        return cls(narrowed(tree, modalities, label), label, narrowed=set(modalities) != set(tree["modalities"]))

    @property
    def streams(self) -> list[str]:
        """The modalities, in the recipe's order."""
        return list(self.parts)

    @property
    def columns(self) -> dict[str, str]:
        """The columns of a manifest that the streams are read from, and as which modality each is read first."""
        found: dict[str, str] = {}
        for parts in self.parts.values():
            found.setdefault(parts.stream.source, parts.stream.use)
        return found

    def stream(self, name: str) -> Stream:
        """Where and when a stream is read."""
        return self.parts[name].stream

    def narrow(self: Spec, modalities: Sequence[str]) -> Spec:
        """The same recipe for some of its modalities, in the order given."""
        fewer = self.narrowed or set(modalities) != set(self.streams)
        return type(self)(narrowed(self.tree, modalities, self.name), self.name, fewer)

    def changed(self: Spec, changes: Mapping[str, Any]) -> Spec:
        """The same recipe with some leaves replaced, `{"training": {"steps": 10}}`."""
        return type(self)(overlay(self.tree, changes), self.name, self.narrowed)

    def part(self, kind: str, settings: Any, key: str) -> Part:
        """Class and checked settings of one section; nested ones (`decoder`, `teacher`, ...) become constructors."""
        where = f"{self.name}: {key}"
        if not isinstance(settings, Mapping) or "use" not in settings:
            raise RecipeError(f"{where}: name one with `use:`, got {settings!r}")
        cls = find(kind, settings["use"], where)
        given = {name: value for name, value in settings.items() if name != "use"}
        known = signature(cls)
        for name, value in zip(SIZED, self.sections.sizes(kind), strict=True):
            if name in known and kind in ("trunk", "decoder"):
                given.setdefault(name, value)
        if "decoder" in known:
            given["decoder"] = self.part("decoder", given.get("decoder", {"use": "joint"}), f"{key}.decoder").make
        if "teacher" in known and (given.get("teacher") or known["teacher"].default is Parameter.empty):
            teacher = {"use": "ema", **(given.get("teacher") or {})}
            given["teacher"] = self.part("teacher", teacher, f"{key}.teacher").make
        if "head" in known and given.get("head") is not None:
            head = f"{where}.head"
            given["head"] = Part(Projector, check(Projector, given["head"], head), head).make
        if "codes" in known and given.get("codes") is not None:
            given["codes"] = self.part("codes", given["codes"], f"{key}.codes").make
        schedules: dict[str, Schedule] = {}
        for name in getattr(cls, "schedulable", ()):
            if (schedule := make(Schedule.of, (given.get(name),), {}, f"{where}.{name}")) is not None:
                schedules[name], given[name] = schedule, schedule.start
        return Part(cls, check(cls, given, where), where, schedules)

    def parse_stream(self, name: str) -> StreamParts:
        """One entry of `modalities`: each setting belongs to the stream, its reader or its tokenizer (or both)."""
        entries, where = self.tree["modalities"], f"{self.name}: modalities.{name}"
        stream = Stream.of(entries, name, where)
        settings = {k: v for k, v in inherited(entries, name).items() if k not in Stream.model_fields}
        reader, tokenizer = find("reader", stream.use, where), find("tokenizer", stream.use, where)
        for_reader, for_tokenizer = signature(reader), signature(tokenizer)
        for key in settings:
            if key not in for_reader and key not in for_tokenizer:
                known = [*for_reader, *for_tokenizer, *Stream.model_fields]
                raise RecipeError(f"{where}.{key}: unknown setting; {nearest(key, known)}")
        if stream.share is not None:
            lent = {"use": stream.share, **(entries[stream.share] or {})}
            for key, value in (entries[name] or {}).items():
                if (key in for_tokenizer or key == "use") and lent.get(key) != value:
                    raise RecipeError(f"{where}.{key}: belongs to the tokenizer; set it for {stream.share} instead")

        def part(cls: type, known: Mapping[str, Any]) -> Part:
            return Part(cls, check(cls, {k: v for k, v in settings.items() if k in known}, where), where)

        return StreamParts(stream, part(reader, for_reader), part(tokenizer, for_tokenizer))

    def parse_masking(self, section: Mapping[str, Any]) -> Part | dict[str, Part]:
        """The joint masking, or the masking of each stream."""
        if "use" in section:
            return self.part("joint masking", section, "masking")
        maskings = {}
        for name, settings in section.items():
            self.require_stream(name, "masking")
            maskings[name] = self.part("masking", settings, f"masking.{name}")
            follows: Any = maskings[name].cls
            if follows.follows and not self.parts[name].reader.settings.get("hint"):
                raise RecipeError(
                    f"{self.name}: masking.{name}: set modalities.{name}.hint={follows.follows} to follow"
                )
        for name in self.parts:
            if name not in maskings:
                hint = "set how it is masked, e.g. {use: random, ratio: 0.75}"
                raise RecipeError(f"{self.name}: masking.{name}: {hint}")
        return maskings

    def parse_augment(self, name: str, given: Mapping[str, Any]) -> Augmentation:
        """One entry of `augment`."""
        self.require_stream(name, "augment")
        own = {key: value for key, value in given.items() if key not in Change.model_fields}
        rest = {key: value for key, value in given.items() if key in Change.model_fields}
        part = self.part("augmentation", {"use": self.stream(name).use, **own}, f"augment.{name}")
        change: Change = checked(Change, {f"augment.{name}": rest}, f"augment.{name}", self.name)
        entries = list(self.tree["augment"])
        if change.after is not None and change.after not in self.streams and not self.narrowed:
            raise RecipeError(f"{self.name}: augment.{name}.after: {nearest(change.after, self.streams)}")
        if change.after in entries[entries.index(name) :]:
            raise RecipeError(f"{self.name}: augment.{name}.after: {change.after} must come before {name}")
        return Augmentation(part, change)

    def require_stream(self, name: str, section: str) -> None:
        if name not in self.parts:
            raise RecipeError(f"{self.name}: {section}.{name}: no such modality; {nearest(name, self.streams)}")

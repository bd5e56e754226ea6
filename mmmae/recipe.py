"""A recipe: one YAML file that says what is read, hidden, joined and asked, and how it is trained."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmmae.sections import SECTIONS, SIZED, Sections, checked, refuse_misshapen
from mmmae.settings import RecipeError, check, find, in_context, make, nearest, signature
from mmmae.streams import Change, Stream, inherited

if TYPE_CHECKING:
    from fusion.masking import JointMasking
    from fusion.trunks import Trunk
    from mmmae.data.augment import Augment
    from mmmae.data.dataset import Clips
    from mmmae.data.manifest import Manifest
    from mmmae.model import MaskedAutoencoder
    from modalities.reader import Reader
    from modalities.records import Batch
    from modalities.tokenizer import Tokenizer


def names() -> list[str]:
    """The recipes that come with mmmae."""
    files = (path.name for path in resources.files("configs").iterdir())
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


def header(name: str) -> str:
    """The first line of a recipe's own description."""
    lines = (resources.files("configs") / f"{name}.yaml").read_text().splitlines()
    return lines[0].removeprefix("#").strip() if lines and lines[0].startswith("#") else ""


class Recipe:
    """A validated recipe. `tree` holds it as plain numbers, strings, lists and dictionaries.

    narrowed: whether streams were left out on purpose, so that objectives which need them are left out too.
    """

    kept = ("vocabulary",)  # settings that may name a file: a checkpoint takes it along

    def __init__(self, tree: Mapping[str, Any], name: str = "recipe", narrowed: bool = False):
        self.name, self.narrowed = name, narrowed
        self.tree = copy.deepcopy(dict(tree))
        for key in self.tree:
            if key not in SECTIONS:
                raise RecipeError(f"{name}: {key}: unknown section; {nearest(key, SECTIONS)}")
        self.sections = Sections.check(self.tree, name)
        refuse_misshapen(self.tree, name)
        if not self.streams:
            raise RecipeError(f"{name}: modalities: a recipe needs at least one")
        self.inspect()

    @classmethod
    def load(cls, name: str | Path, overrides: Sequence[str] = (), modalities: Sequence[str] | None = None) -> Recipe:
        """Read a recipe by name or file, then apply `key=value` overrides.

        Args:
            name: of a recipe in configs/, or the path of a YAML file (or of a recipe.json of a run).
            overrides: such as `masking.video.ratio=0.75`. `size=tiny` also replaces the widths, depths and heads that
                the file gives: they belong to the file's own size.
            modalities: keep only these streams and the objectives that they can answer.

        Raises:
            RecipeError: an unknown recipe, section, key or name, or a value of the wrong type.
        """
        from mmmae.overlay import forget_sizes, narrowed, overlay, overridden, read

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
        changes = overridden(overrides)
        if "size" in changes:
            forget_sizes(tree)
        tree = overlay(tree, changes, strict=label)
        refuse_misshapen(tree, label)
        if not modalities:
            return cls(tree, label)
        return cls(narrowed(tree, modalities, label), label, narrowed=set(modalities) != set(tree["modalities"]))

    @property
    def streams(self) -> list[str]:
        """The modalities, in the recipe's order."""
        return list(self.tree["modalities"])

    @property
    def columns(self) -> list[str]:
        """The columns of a manifest that the streams are read from, each once."""
        return list(dict.fromkeys(self.stream(name).source for name in self.streams))

    def narrow(self, modalities: Sequence[str]) -> Recipe:
        """The same recipe for some of its modalities, in the order given."""
        from mmmae.overlay import narrowed

        fewer = self.narrowed or set(modalities) != set(self.streams)
        return Recipe(narrowed(self.tree, modalities, self.name), self.name, fewer)

    def changed(self, changes: Mapping[str, Any]) -> Recipe:
        """The same recipe with some leaves replaced, `{"training": {"steps": 10}}`."""
        from mmmae.overlay import overlay

        return Recipe(overlay(self.tree, changes), self.name, self.narrowed)

    def inspect(self) -> None:
        """Check every name and setting without building anything."""
        for name in self.streams:
            self.split(name)
        masking = self.tree.get("masking", {})
        if "use" in masking:
            self.part("joint masking", masking, "masking")
        else:
            for name, settings in masking.items():
                self.known_stream(name, "masking")
                cls, _ = self.part("masking", settings, f"masking.{name}")
                if cls.follows and not self.split(name)[1].get("hint"):
                    raise RecipeError(
                        f"{self.name}: masking.{name}: set modalities.{name}.hint={cls.follows} to follow"
                    )
            for name in self.streams:
                if name not in masking:
                    hint = "say how it is hidden, e.g. {use: random, ratio: 0.75}"
                    raise RecipeError(f"{self.name}: masking.{name}: {hint}")
        for name, settings in self.tree.get("augment", {}).items():
            self.known_stream(name, "augment")
            self.augmentation(name, settings)
            self.change(name, settings)
        self.part("trunk", self.tree["trunk"], "trunk")
        if not self.tree.get("objectives"):
            raise RecipeError(f"{self.name}: objectives: a recipe asks for at least one")
        for name, settings in self.tree["objectives"].items():
            self.part("objective", {"use": name, **settings}, f"objectives.{name}")

    def known_stream(self, name: str, section: str) -> None:
        if name not in self.streams:
            raise RecipeError(f"{self.name}: {section}.{name}: no such modality; {nearest(name, self.streams)}")

    def part(self, kind: str, settings: Any, key: str) -> tuple[type, dict[str, Any]]:
        """Class and checked settings of one section; a nested `decoder` becomes a constructor waiting for streams."""
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
            decoder, nested = self.part("decoder", given.pop("decoder", {"use": "joint"}), f"{key}.decoder")
            return cls, check_with(cls, given, where, decoder=partial(make_late, decoder, nested, f"{where}.decoder"))
        return cls, check(cls, given, where)

    def stream(self, name: str) -> Stream:
        """Where and when a stream is read."""
        return Stream.of(self.tree["modalities"], name, f"{self.name}: modalities.{name}")

    def split(self, name: str) -> tuple[type, dict[str, Any], type, dict[str, Any]]:
        """Reader and tokenizer of a stream with the settings that each one's constructor knows."""
        entries, where, stream = self.tree["modalities"], f"{self.name}: modalities.{name}", self.stream(name)
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
                    raise RecipeError(f"{where}.{key}: belongs to the tokenizer; say it of {stream.share} instead")
        return (
            reader, check(reader, {k: v for k, v in settings.items() if k in for_reader}, where),
            tokenizer, check(tokenizer, {k: v for k, v in settings.items() if k in for_tokenizer}, where),
        )  # fmt: skip

    def readers(self) -> dict[str, Reader]:
        """A reader for every stream."""
        readers: dict[str, Reader] = {}
        parts = {name: self.split(name)[:2] for name in self.streams}
        for name, (cls, settings) in parts.items():
            twin = next((other for other in readers if parts[other] == parts[name]), None)  # one decode serves both
            readers[name] = readers[twin] if twin else make(cls, (), settings, f"{self.name}: modalities.{name}")
        return readers

    def clips(self, manifest: Manifest, **settings: Any) -> Clips:
        """The recordings of a manifest as this recipe reads them; `settings` are those of Clips."""
        from mmmae.data.dataset import Clips
        from mmmae.data.targets import asked

        streams, rows = {name: self.stream(name) for name in self.streams}, manifest.aimed(asked(self))
        return Clips(rows, self.readers(), window=self.sections.window, streams=streams, **settings)

    def build(self, seed: int = 0) -> MaskedAutoencoder:
        """The model, its weights drawn from `seed` whatever else has been drawn before."""
        import torch

        from mmmae.data.augment import require_mixable
        from mmmae.model import MaskedAutoencoder

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            trunk = self.trunk()
            tokenizers: dict[str, Tokenizer] = {}
            for name in self.streams:
                _, _, cls, settings = self.split(name)
                share = self.stream(name).share
                context, where = (trunk.width,), f"{self.name}: modalities.{name}"
                tokenizers[name] = tokenizers[share] if share else make(cls, context, settings, where)
            objectives = {}
            for name, given in self.tree["objectives"].items():
                cls, settings = self.part("objective", {"use": name, **given}, f"objectives.{name}")
                if cls.answerable(tokenizers):
                    context = (tokenizers, trunk.width)
                    objectives[name] = make(cls, context, settings, f"{self.name}: objectives.{name}")
                elif not self.narrowed:
                    raise RecipeError(f"{self.name}: objectives.{name}: cannot be asked of {', '.join(self.streams)}")
            if not objectives:
                raise RecipeError(f"{self.name}: objectives: none of them can be asked of {', '.join(self.streams)}")
            if self.sections.data.mixup:
                require_mixable(tokenizers, objectives, f"{self.name}: data.mixup")
            context = (tokenizers, self.masking(tokenizers), trunk, objectives, self)
            return make(MaskedAutoencoder, context, {}, f"{self.name}: objectives")

    def trunk(self) -> Trunk:
        """What joins the streams."""
        cls, settings = self.part("trunk", self.tree["trunk"], "trunk")
        return make(cls, (self.streams,), settings, f"{self.name}: trunk")

    def masking(self, tokenizers: Mapping[str, Tokenizer]) -> JointMasking:
        """The joint masking, or one for each stream; one that learns what to hide is given who cuts its patches."""
        section = self.tree["masking"]
        if "use" in section:
            cls, settings = self.part("joint masking", section, "masking")
            return make(cls, (tokenizers,) if in_context(cls) else (), settings, f"{self.name}: masking")
        from fusion.masking.independent import Independent

        maskings = {}
        for name in self.streams:
            cls, settings = self.part("masking", section[name], f"masking.{name}")
            context = (tokenizers[name],) if in_context(cls) else ()
            maskings[name] = make(cls, context, settings, f"{self.name}: masking.{name}")
        return Independent(maskings=maskings)

    def augmentation(self, name: str, settings: Mapping[str, Any]) -> tuple[type, dict[str, Any]]:
        """Class and checked settings of a stream's augmentation."""
        settings = {key: value for key, value in settings.items() if key not in Change.model_fields}
        return self.part("augmentation", {"use": self.stream(name).use, **settings}, f"augment.{name}")

    def change(self, name: str, settings: Mapping[str, Any]) -> Change:
        """What else is said of a stream's augmentation."""
        given = {key: value for key, value in settings.items() if key in Change.model_fields}
        change = checked(Change, {f"augment.{name}": given}, f"augment.{name}", self.name)
        entries = list(self.tree["augment"])
        if change.after is not None and change.after not in self.streams and not self.narrowed:
            raise RecipeError(f"{self.name}: augment.{name}.after: {nearest(change.after, self.streams)}")
        if change.after in entries[entries.index(name) :]:
            raise RecipeError(f"{self.name}: augment.{name}.after: {change.after} must stand before {name}")
        return change

    def augment(self) -> Augment:
        """What changes a batch on the device before the model sees it."""
        from mmmae.data.augment import Augment

        augmentations, changes = {}, {}
        for name, given in self.tree.get("augment", {}).items():
            cls, settings = self.augmentation(name, given)
            augmentations[name] = make(cls, (), settings, f"{self.name}: augment.{name}")
            changes[name] = self.change(name, given)
        return Augment(augmentations, changes)

    def example(self, batch_size: int = 4, seed: int = 0, ragged: bool = False) -> Batch:
        """A synthetic batch of the right shapes; `ragged` shortens streams and leaves some out."""
        from mmmae.data.example import example

        return example(self, batch_size, seed, ragged)


def make_late(cls: type, settings: Mapping[str, Any], where: str, *context: Any) -> Any:
    """`make` with the context last, for a part that its owner constructs."""
    return make(cls, context, settings, where)


def check_with(cls: type, given: Mapping[str, Any], where: str, **ready: Any) -> dict[str, Any]:
    """`check`, with some settings that are ready already."""
    return check(cls, {**given, **ready}, where)

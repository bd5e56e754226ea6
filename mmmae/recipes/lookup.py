"""From a name in a recipe to a class, and from its constructor's signature to a check of the settings."""

from __future__ import annotations

import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from modalities.errors import InputError, did_you_mean
from modalities.import_class import resolve

# kind: (package, module in each entry's folder or "" where an entry is a file, what it must subclass)
KINDS = {
    "reader": ("modalities", ".reader", ["modalities.reader:Reader"]),
    "tokenizer": ("modalities", ".tokenizer", ["modalities.tokenizer:Tokenizer"]),
    "columns": ("modalities", ".manifest", ["modalities.manifest.columns:Columns"]),
    "augmentation": ("modalities", ".augmentation", ["modalities.augmentation:Augmentation"]),
    "masking": ("fusion.masking", "", ["fusion.masking:Masking"]),
    "joint masking": ("fusion.masking", "", ["fusion.masking:JointMasking"]),
    "trunk": ("fusion.trunks", "", ["fusion.trunks:Trunk"]),
    "codes": ("fusion.codes", "", ["fusion.codes:Codes"]),
    "decoder": ("fusion.decoders", "", ["fusion.decoders:Decoder"]),
    "teacher": ("mmmae.teachers", "", ["mmmae.teachers:Teacher"]),
    "objective": ("mmmae.objectives", "", ["mmmae.objectives:Objective"]),
}


class RecipeError(InputError):
    """A recipe that cannot be used; the message names the key and what to write instead."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at what was meant: the nearest known name, or all of them."""
    known = list(known)
    if hint := did_you_mean(name, known):
        return hint
    return f"known: {', '.join(known)}" if known else "nothing can be set here"


def names(kind: str) -> list[str]:
    """Every name that a recipe may give after `use:` for a kind: the files (or folders) of one package."""
    package, inner, _ = KINDS[kind]
    found = pkgutil.iter_modules(import_module(package).__path__)
    if inner:
        homes = (module.name for module in found if module.ispkg)
        return sorted(name for name in homes if find_spec(f"{package}.{name}{inner}"))
    return sorted(module.name for module in found if defined(kind, f"{package}.{module.name}"))


def bases(kind: str) -> tuple[type, ...]:
    """The abstract classes of a kind."""
    homes = (home.split(":") for home in KINDS[kind][2])
    return tuple(getattr(import_module(module), name) for module, name in homes)


def defined(kind: str, module: str) -> list[type]:
    """Public concrete classes of a kind that a module defines itself."""
    members = vars(import_module(module)).values()
    return [
        cls for cls in members
        if inspect.isclass(cls) and cls.__module__ == module and issubclass(cls, bases(kind))
        and not inspect.isabstract(cls) and not cls.__name__.startswith("_")
    ]  # fmt: skip


def find(kind: str, use: Any, where: str) -> type:
    """The class that `use` names: a file (or folder) of mmmae, or a dotted name of another package.

    Raises:
        RecipeError: there is none, or it is of another kind.
    """
    if not isinstance(use, str):
        raise RecipeError(f"{where}: `use` names a {kind}, got {use!r}")
    if "." in use:
        return outside(kind, use, where)
    if use not in names(kind):
        raise RecipeError(f"{where}: there is no {kind} {use!r}; {nearest(use, names(kind))}")
    package, inner, _ = KINDS[kind]
    return only(kind, f"{package}.{use}{inner}", where)


def outside(kind: str, use: str, where: str) -> type:
    """The class that a dotted name means: itself, or the one of its kind that a file (or folder) outside defines.

    A modality is several classes, so its name is that of their folder, laid out as the folders in modalities/ are.
    """
    inner, kinds = KINDS[kind][1], " or ".join(base.__name__ for base in bases(kind))
    remedy = f"name a package with a module {inner[1:]}.py" if inner else "is it installed and on the path?"
    try:
        found = resolve(use)
        if inspect.ismodule(found):
            return only(kind, f"{found.__name__}{inner}", where)
    except (ImportError, AttributeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise RecipeError(f"{where}: cannot import the {kind} of {use!r} ({error})\n  {remedy}") from error
    if not (inspect.isclass(found) and issubclass(found, bases(kind))):
        raise RecipeError(f"{where}: {use} is not a subclass of {kinds}\n  {remedy}")
    return found


def only(kind: str, module: str, where: str) -> type:
    """The one class of a kind that a module defines."""
    classes = defined(kind, module)
    if len(classes) != 1:
        raise RecipeError(f"{where}: {module} must define one {kind}, it has {len(classes)}")
    return classes[0]


def constructors(cls: type) -> list[Callable[..., Any]]:
    """The constructor of a class, before it that of the class it extends where it passes `**settings` on to it."""
    found: list[Callable[..., Any]] = []
    for home in cls.__mro__:
        if "__init__" in vars(home):
            found.insert(0, vars(home)["__init__"])
            if not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(found[0]).parameters.values()):
                break
    return found


def signature(cls: type) -> dict[str, inspect.Parameter]:
    """The settings of a class: the keyword-only parameters of its constructor, and those that it passes on."""
    parameters = [p for made in constructors(cls) for p in inspect.signature(made).parameters.values()]
    return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}


def hints(cls: type) -> dict[str, Any]:
    """The types of the settings of a class."""
    return {name: hint for made in constructors(cls) for name, hint in typing.get_type_hints(made).items()}


def in_context(cls: type) -> bool:
    """Whether a constructor takes, before its settings, what its part of the model is made for."""
    kinds = [p.kind for p in inspect.signature(cls).parameters.values()]
    return inspect.Parameter.POSITIONAL_OR_KEYWORD in kinds


def check(cls: type, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Settings converted to the types of the constructor's signature.

    Raises:
        RecipeError: a key that the constructor does not know, or a value of the wrong type.
    """
    import pydantic

    known = signature(cls)
    for key in given:
        if key not in known:
            raise RecipeError(f"{where}.{key}: unknown setting of {cls.__name__}; {nearest(key, known)}")
    types = hints(cls)
    fields: dict[str, Any] = {
        name: (types.get(name, Any), ... if p.default is p.empty else p.default)
        for name, p in known.items()
        if name in given or p.default is p.empty
    }
    model = pydantic.create_model(cls.__name__, __config__={"arbitrary_types_allowed": True}, **fields)
    try:
        checked = model(**given)
    except pydantic.ValidationError as error:
        raise RecipeError(describe(error, where)) from error
    return {name: getattr(checked, name) for name in given}


def describe(error: Any, where: str) -> str:
    """A pydantic error in a line for each problem."""
    lines = []
    for problem in error.errors():
        key = ".".join([where, *(str(part) for part in problem["loc"][:1])]).strip(".")
        got = "" if problem["type"] == "missing" else f", got {problem['input']!r}"
        lines.append(f"{key}: {problem['msg'].lower()}{got}")
    return "\n".join(dict.fromkeys(lines))


def make(cls: Callable[..., Any], context: Iterable[Any], settings: Mapping[str, Any], where: str) -> Any:
    """An instance; what its constructor refuses becomes an error that names the place in the recipe."""
    try:
        return cls(*context, **settings)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise RecipeError(f"{where}: {error}") from error

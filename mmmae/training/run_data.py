"""What a run learns from: its recordings, who trains and who is held out, and the recipe that they complete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmmae.build import build_target
from mmmae.data.bad_samples import FILE, BadSamples
from mmmae.data.notes import FILE as NOTES
from mmmae.data.notes import RunNotes
from mmmae.data.open_settings import fit
from mmmae.data.source import open_for
from mmmae.training.warm_start import same_files

if TYPE_CHECKING:
    from accelerate import Accelerator

    from mmmae.api import Recipe
    from mmmae.data.manifest import Manifest


@dataclass(frozen=True)
class RunData:
    """The recordings of a run.

    recipe: its open settings filled in from the training rows. train, test: the rows, and the held-out ones.
    bad: what could not be read. remarks: what readers noted. notes: on the manifest and its labels.
    """

    recipe: Recipe
    train: Manifest
    test: Manifest
    bad: BadSamples
    remarks: RunNotes
    notes: list[str]

    @classmethod
    def open(
        cls,
        data: Any,
        recipe: Recipe,
        output: Path,
        accelerator: Accelerator,
        say: Callable[[str], None],
        *,
        fresh: bool,
    ) -> RunData:
        """Open what `--data` names; the main process does so first, for the others to read what it writes.

        say: for lines to the user. fresh: whether the run begins here, rather than goes on.

        Raises:
            InputError: there is no such data, or it does not fit the recipe.
        """
        with accelerator.main_process_first():
            rules, main = recipe.sections.data, accelerator.is_main_process
            manifest = open_for(recipe, data, list(recipe.columns), bad=rules.bad, outside=rules.outside)
            train, test = manifest.split(rules.holdout)
            output.mkdir(parents=True, exist_ok=True)
            bad = BadSamples(
                output / FILE, recordings=len(manifest), share=rules.bad, fresh=main and fresh,
                say=say if main else None,
            )  # fmt: skip
            remarks = RunNotes(output / NOTES, say=bad.say, fresh=main and fresh)
            recipe = fit(same_files(recipe), train, output)
        target = build_target(recipe)
        notes = [*manifest.notes, *([] if target is None else target.notes(train))]
        return cls(recipe, train, test, bad, remarks, notes)

"""Warnings about suspicious data, one sentence each, the largest share first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mmmae.data.columns import Columns
from mmmae.data.facts import Count, Facts, Numbers, Values
from mmmae.data.inspection import SHORT
from modalities.reader import Doubt

MINORITY = 0.5  # share up to which recordings that differ from the usual are worth a word
REPEATED = 0.2  # share of captions from which repeated ones are
SHARED = 0.1  # share of test captions from which those that training has, too, are
ALIKE = ("rate", "units", "channels", "features")  # facts in which the recordings of a dataset should agree
UNITS = {"rate": " Hz"}


@dataclass(frozen=True)
class Finding:
    """What looks wrong with a share of the rows, and what can be done."""

    share: float
    sentence: str
    remedy: str


def about_streams(
    facts: Mapping[str, Facts], doubts: Mapping[str, Mapping[str, Doubt]], spans: Mapping[str, float]
) -> Iterator[Finding]:
    """What looks wrong in headers and contents.

    doubts: by stream, of its reader's `Contents`. spans: seconds that a stream is read over.
    """
    for name, found in facts.items():
        if not found.known:
            continue
        for key, doubt in doubts[name].items():
            if count := found.holds.get(key):
                which = "" if key not in found.values else f" ({listed(found.values[key])})"
                yield finding(name, count, found.known, doubt.phrase + which, doubt.remedy)
        if count := found.holds.get(SHORT):
            shortest, id = found.numbers["seconds"].low
            span = spans[name]
            phrase = f"are {SHORT} of {span:g} s, down to {shortest:.3g} s ({shortest / span:.0%} of it, {id!r})"
            remedy = f"the rest is padding: choose a shorter window (window={shortest:.3g} pads nothing)"
            yield finding(name, count, found.known, phrase, remedy)
        for key in ALIKE:
            yield from minority(name, key, found)


def minority(name: str, key: str, found: Facts) -> Iterator[Finding]:
    """Recordings that differ from the others in a fact."""
    if key in found.numbers:
        numbers: Numbers = found.numbers[key]
        usual, others = numbers.unusual()
        others = {f"{value:g}{UNITS.get(key, '')}": count for value, count in others.items()}
        usually, known = f"{usual:g}{UNITS.get(key, '')}", numbers.count
    elif key in found.values:
        values: Values = found.values[key]
        (usually, _), *rest = values.common()
        others, known = dict(rest), found.known
    else:
        return
    differing = sum(count.number for count in others.values())
    if not differing or differing > MINORITY * known:
        return
    example = next(iter(others.values())).example
    kinds = f"{', '.join(list(others)[:3])}{', ...' if len(others) > 3 else ''}"
    verb = "has" if differing == 1 else "have"
    sentence = (
        f"{name}: {differing} of {known} recordings {verb} {key} {kinds}, the others {usually}: first {example!r}"
    )
    remedy = {
        "rate": "all are read at one rate: see that what is between the readings of the slower ones matters not",
    }.get(key, "see that they mean the same: mend them, or drop the rows")
    yield Finding(differing / known, sentence, remedy)


def finding(name: str, count: Count, known: int, phrase: str, remedy: str) -> Finding:
    verb, rest = phrase.split(" ", 1)
    if count.number == 1:
        verb = {"are": "is", "have": "has"}.get(verb, f"{verb}s")
    sentence = f"{name}: {count.number} of {known} recordings {verb} {rest}: first {count.example!r}"
    return Finding(count.number / known, sentence, remedy)


def listed(values: Values, most: int = 3) -> str:
    """The commonest of some names, with how many recordings they hold for."""
    common = values.common()
    return ", ".join(f"{name} in {count.number}" for name, count in common[:most]) + ", ..." * (len(common) > most)


def about_columns(columns: Columns) -> Iterator[Finding]:
    """What looks wrong in the columns of the manifest and in how it is divided."""
    train, test, rows = columns.train, columns.test, columns.train.rows + columns.test.rows
    captions = columns.repeats("captions")
    if captions.repeated > REPEATED * captions.count:
        often, most = captions.most
        share = captions.repeated / captions.count
        sentence = (
            f"captions: {share:.0%} of {captions.count} are repeated, most often "
            f"{quoted(columns.first('captions', {most}))} ({often} times)"
        )
        remedy = "contrast and matching take an equal caption for a wrong answer; retrieval counts it as a right one"
        yield Finding(share, sentence, remedy)
    ids = columns.repeats("ids")
    if ids.repeated:
        example = columns.first("ids", {ids.most[1]})
        sentence = f"ids: {ids.repeated} of {rows} rows share their id with another: first {example!r}"
        yield Finding(
            ids.repeated / rows, sentence, "give each row an id of its own: by it rows are held out and named"
        )
    if test.rows and train.rows:
        for kind, least, remedy in (
            ("files", 0.0, "give the rows of a file one `group`, or mark all of them alike in `split`"),
            ("captions", SHARED, "what is learned by heart counts as known: hold out by a `group` of equal captions"),
        ):
            _, often, example = columns.shared(kind)
            total = len(getattr(test, kind))
            if often > least * total:
                sentence = (
                    f"split: {often} of {total} {kind} held out are in the training rows, too: first {quoted(example)}"
                )
                yield Finding(often / total, sentence, remedy)
    yield from about_labels(columns, rows)
    groups = columns.groups
    if len(groups) == 1 and rows > 1:
        sentence = f"groups: all rows with a group are of one, {next(iter(groups))!r}"
        yield Finding(1.0, sentence, "leave the column `group` empty, or name what must not be divided")


def about_labels(columns: Columns, rows: int) -> Iterator[Finding]:
    labels, total = columns.labels, columns.labels.total()
    single = sorted(name for name, count in labels.items() if count == 1)
    if total and len(single) > 0.5 * total and len(labels) > 10:
        sentence = f"labels: {len(single)} of {total} occur once: first {single[0]!r}"
        yield Finding(len(single) / total, sentence, "is it an identifier or a measurement? Name the column otherwise")
    elif single and len(labels) > 1:
        sentence = f"labels: of {len(labels)} classes {len(single)} with a single row: first {single[0]!r}"
        yield Finding(
            len(single) / total, sentence, "a class needs rows to learn from and to test: add some, or merge it"
        )
    unknown = sorted(set(columns.test.labels) - set(columns.train.labels))
    if unknown and columns.train.labels:
        share = sum(columns.test.labels[name] for name in unknown) / max(columns.test.labels.total(), 1)
        sentence = f"labels: of {len(labels)} classes {len(unknown)} only among the rows held out: first {unknown[0]!r}"
        yield Finding(share, sentence, "nothing teaches them: divide the rows otherwise (column `split`, or `group`)")


def quoted(text: str, most: int = 60) -> str:
    return repr(text if len(text) <= most else text[: most - 3] + "...")


def by_share(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (-finding.share, finding.sentence))

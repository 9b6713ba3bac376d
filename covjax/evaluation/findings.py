"""What spoils a data set of this field, each looked for and told in a sentence.

Patients and articles in two splits, the same picture twice, classes that differ in
more than the disease. The controls (`covjax.evaluation.controls`) find the rest.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from covjax.data.duplicates import Duplicates
from covjax.data.imageset import ImageSet
from covjax.data.splits import NAMES
from covjax.evaluation.counts import one_vs_rest

# An alarm is a reason not to believe a score; a notice is a reason to look closer.
LEVELS = ("alarm", "notice", "fine", "untried")
RARE = 0.1  # a class with a smaller share of the pictures is noticed
SHIFT, CHANCE = 0.05, 0.001  # prevalence: difference of shares, and its p value


class Finding(NamedTuple):
    """One thing that was looked for."""

    topic: str
    level: str  # one of `LEVELS`
    sentence: str


def patients(verdict: dict[str, Any]) -> Finding:
    """Whether a patient is in two splits, from the split's verdict."""
    level = {"violated": "alarm", "unverifiable": "notice", "verified": "fine"}
    sentence = f"{verdict['sentence'][0].upper()}{verdict['sentence'][1:]}."
    return Finding("patients", level[verdict["verdict"]], sentence)


def unknown_ids(images: ImageSet) -> Iterator[Finding]:
    """Pictures without a patient id, by class where the classes differ."""
    unknown = images.patients == ""
    if not unknown.any() or unknown.all():
        return
    truth = one_vs_rest(images.labels, images.num_classes)
    shares = [
        f"{int(unknown[rows].sum())} of {int(rows.sum())} {name}"
        for name, rows in zip(images.class_names, truth.T, strict=True)
        if rows.any()
    ]
    sentence = f"Pictures without a patient id: {', '.join(shares)}."
    yield Finding("unknown ids", "notice", sentence)


def series_of(file: str) -> str:
    """What names of one article or scan have in common; ``""`` where nothing has.

    >>> series_of("CT_COVID/2020.01.24.919183-p27-132.png")
    '2020.01.24.919183'
    >>> series_of("00000032_037.jpg"), series_of("102.png")
    ('00000032', '')
    """
    stem = re.sub(r"\.[a-z0-9]{2,4}$", "", file.rsplit("/", 1)[-1], flags=re.I)
    cut = re.sub(r"[-_ .%]+[a-z]{0,5}\d+[a-z]?$", "", stem, flags=re.I)
    if cut == stem:
        return ""
    cut = re.sub(r"([-_ %]\d{1,3})+$", "", cut)  # the picture in a figure
    return re.sub(r"[-_ ]p\d+$", "", cut)  # the page in an article


def series(files: np.ndarray, parts: np.ndarray) -> Finding:
    """Whether names that look like one article or scan are in two splits."""
    names = np.array([series_of(str(file)) for file in files], str)
    rows = np.flatnonzero(names != "")
    found, member = np.unique(names[rows], return_inverse=True)
    inside = np.zeros((len(found), len(NAMES)), bool)
    inside[member, [NAMES.index(p) for p in parts[rows]]] = True
    shared = inside.sum(axis=1) > 1
    if not shared.any():
        return Finding("series", "fine", "No series of file names is in two splits.")
    pictures = int(shared[member].sum())
    return Finding(
        "series",
        "notice",
        f"{int(shared.sum())} series of file names, alike but for their last number, "
        f"so perhaps one article or scan each, are in more than one split, with "
        f"{pictures} pictures (such as {found[shared][0]}); "
        "config.data.group_key keeps them together.",
    )


def repeated(images: ImageSet, parts: np.ndarray, found: Duplicates) -> Finding:
    """Pictures that are there twice: in two splits, of two patients or classes."""
    trust = (
        f"{found.compared:,} pairs were compared, {found.expected_false:.2g} of them "
        f"would be named by chance (false-positive rate "
        f"{found.false_positive_rate:.1g})"
    )
    if not found.pairs:
        return Finding("duplicates", "fine", f"No picture is there twice; {trust}.")
    first, second = np.array([(p.first, p.second) for p in found.pairs]).T
    patients, labels = images.patients, images.labels
    known = (patients[first] != "") & (patients[second] != "")
    differ = labels[first] != labels[second]
    counts = {
        "of two patients": int((known & (patients[first] != patients[second])).sum()),
        "of two classes": int(differ.reshape(len(first), -1).any(axis=1).sum()),
        "across splits": int((parts[first] != parts[second]).sum()),
    }
    identical = sum(pair.kind == "identical" for pair in found.pairs)
    leaked = leaking(parts, found)
    sentence = (
        f"{len(found.pairs)} pairs show one picture ({identical} pixel for pixel): "
        + ", ".join(f"{count} {what}" for what, count in counts.items())
        + f"; {leaked['test']} test and {leaked['validation']} validation pictures are "
        f"also in training; {trust}."
    )
    return Finding(
        "duplicates", "alarm" if any(counts.values()) else "notice", sentence
    )


def leaking(parts: np.ndarray, found: Duplicates) -> dict[str, int]:
    """Pictures of validation and test that training has too, also by a third."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(parts)
    edges = np.array([(p.first, p.second) for p in found.pairs], int).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(n, n))
    group = connected_components(graph, directed=False)[1]
    trained = np.isin(group, group[parts == "train"])
    return {p: int((trained & (parts == p)).sum()) for p in ("validation", "test")}


def balance(images: ImageSet) -> Finding:
    """Pictures of each class."""
    counts = images.counts()
    sentence = "Pictures a class: " + ", ".join(f"{k} {c}" for c, k in counts.items())
    rare = min(counts.values()) < RARE * len(images)
    return Finding("class balance", "notice" if rare else "fine", f"{sentence}.")


def prevalence(images: ImageSet, parts: np.ndarray) -> Finding:
    """Whether the splits have the same shares of the classes."""
    from scipy.stats import chi2_contingency

    truth = one_vs_rest(images.labels, images.num_classes)
    worst, p_value, words = 0.0, 1.0, []
    for name, has in zip(images.class_names, truth.T, strict=True):
        shares = [float(has[parts == part].mean()) for part in NAMES]
        words.append(f"{name} " + " / ".join(f"{share:.1%}" for share in shares))
        if max(shares) - min(shares) > worst:
            worst = max(shares) - min(shares)
            table = [[(has & (parts == p)).sum() for p in NAMES],
                     [(~has & (parts == p)).sum() for p in NAMES]]  # fmt: skip
            p_value = float(chi2_contingency(table).pvalue)
    shifted = worst > SHIFT and p_value < CHANCE
    return Finding(
        "prevalence",
        "notice" if shifted else "fine",
        f"Shares in {' / '.join(NAMES)}: {'; '.join(words)}"
        + (f"; more than chance (p = {p_value:.1g})." if shifted else "."),
    )


def sources(images: ImageSet) -> Iterator[Finding]:
    """Sources that have pictures of one class only."""
    if images.multi_label:
        return
    names = np.unique(images.sources[images.sources != ""])
    single = [
        f"{name} ({images.class_names[classes[0]]})"
        for name in names
        if len(classes := np.unique(images.labels[images.sources == name])) == 1
    ]
    if single and images.num_classes > 1:
        more = f" and {len(single) - 6} more" if len(single) > 6 else ""
        sentence = f"Sources with one class only: {', '.join(single[:6])}{more}."
        yield Finding("sources", "notice", sentence)

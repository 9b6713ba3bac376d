import dataclasses
import doctest
import html.parser
import json
import re

import numpy as np
import pytest

from covjax import config
from covjax.data import load
from covjax.data.duplicates import Duplicates, Pair
from covjax.data.imageset import ImageSet
from covjax.evaluation import audit_page, findings
from covjax.evaluation.examination import examine


def phantom_splits(shortcut: str, **data):
    options = {"shortcut": shortcut, "patients": 150}
    return load(config.Data(name="phantom", size=48, kwargs=options, **data))


def small_set(labels, **columns) -> ImageSet:
    n = len(labels)
    empty = np.full(n, "")
    whole = {
        "images": np.zeros((n, 8, 8, 1), np.uint8),
        "labels": np.array(labels, np.int32),
        "class_names": ("normal", "covid19"),
        "patients": empty,
        "sources": empty,
        "splits": empty,
        "files": np.char.add(np.arange(n).astype(str), ".png"),
    }
    return ImageSet(**{**whole, **columns})


@pytest.fixture(scope="module")
def honest():
    return examine(phantom_splits(""))


@pytest.fixture(scope="module")
def copied():
    return examine(phantom_splits("copies"))


def of(audit, topic):
    (found,) = [f for f in audit.findings if f.topic == topic]
    return found


def test_an_honest_set_raises_no_alarm(honest):
    assert honest.alarms == []
    assert of(honest, "patients").level == "fine"
    assert of(honest, "duplicates").level == "fine"
    assert of(honest, "prevalence").level == "fine"


@pytest.mark.parametrize(
    ("shortcut", "topic"),
    [
        ("patients", "duplicates"),
        ("format", "control: header"),  # the other controls: test_controls.py
    ],
)
def test_each_planted_defect_is_an_alarm(shortcut, topic):
    assert of(examine(phantom_splits(shortcut)), topic).level == "alarm"


def test_copied_files_are_an_alarm_with_their_numbers(copied):
    found = of(copied, "duplicates")
    assert found.level == "alarm"
    pairs = copied.duplicates.pairs
    assert {pair.kind for pair in pairs} == {"identical"}
    assert len(pairs) >= 15  # each tenth of 150 patients has at least one picture
    across = sum(copied.parts[p.first] != copied.parts[p.second] for p in pairs)
    assert f"{len(pairs)} of two patients" in found.sentence
    assert f"{across} across splits" in found.sentence


def test_an_overlap_of_patients_is_an_alarm():
    splits = phantom_splits("", split="image")
    assert splits.verdict["verdict"] == "violated"
    assert of(examine(splits), "patients").level == "alarm"


def test_unknown_ids_are_counted_by_class():
    images = small_set([0, 0, 1, 1], patients=np.array(["a", "b", "", "c"]))
    (found,) = findings.unknown_ids(images)
    assert found.level == "notice"
    assert "0 of 2 normal, 1 of 2 covid19" in found.sentence
    assert not list(findings.unknown_ids(small_set([0, 1])))  # none known: no table


def test_series_of_file_names():
    assert doctest.testmod(findings).failed == 0
    assert findings.series_of("kjr-21-e24-p5-29.png") == "kjr-21-e24"
    assert findings.series_of("a/2020.03.12.20034686-p17-91-6.png") == (
        "2020.03.12.20034686"
    )
    files = np.array(["x/pneumonia-p3-1.png", "pneumonia-p3-2.png", "7.png", "8.png"])
    apart = np.array(["train", "test", "train", "test"])
    found = findings.series(files, apart)
    assert found.level == "notice"
    assert found.sentence.startswith("1 series")
    assert "2 pictures" in found.sentence
    together = np.array(["train", "train", "train", "test"])
    assert findings.series(files, together).level == "fine"


def test_a_third_picture_can_carry_a_leak():
    """A test picture like a validation picture that is like a training picture."""
    parts = np.array(["train", "train", "validation", "test", "validation", "test"])
    pairs = [Pair(a, b, "near", "", 0.97) for a, b in ((0, 2), (2, 3), (4, 5))]
    found = Duplicates(pairs, 10, 0.95, 0.0, 0.0)
    assert findings.leaking(parts, found) == {"validation": 1, "test": 1}


@pytest.mark.parametrize(
    ("owners", "labels", "parts", "level"),
    [
        (["a", "a"], [0, 0], ["train", "train"], "notice"),
        (["", ""], [0, 0], ["train", "train"], "notice"),
        (["a", ""], [0, 0], ["train", "train"], "notice"),
        (["a", "b"], [0, 0], ["train", "train"], "alarm"),
        (["a", "a"], [0, 1], ["train", "train"], "alarm"),
        (["a", "a"], [0, 0], ["train", "test"], "alarm"),
    ],
)
def test_which_duplicates_are_alarms(owners, labels, parts, level):
    images = small_set(labels, patients=np.array(owners))
    found = Duplicates([Pair(0, 1, "near", "", 0.97)], 1, 0.95, 0.0, 0.0)
    assert findings.repeated(images, np.array(parts), found).level == level


def test_rare_classes_and_shifted_prevalence_are_noticed():
    even = np.arange(400) % 2
    parts = np.repeat(["train", "validation", "test"], [300, 50, 50])
    assert findings.balance(small_set(even)).level == "fine"
    assert findings.balance(small_set(np.arange(400) < 30)).level == "notice"
    assert findings.prevalence(small_set(even), parts).level == "fine"
    shifted = np.where(parts == "test", 1, even)
    found = findings.prevalence(small_set(shifted), parts)
    assert found.level == "notice"
    assert "covid19 50.0% / 50.0% / 100.0%" in found.sentence


def test_sources_with_one_class_are_named():
    sources = np.array(["a", "a", "b", "b", ""])
    (found,) = findings.sources(small_set([0, 0, 0, 1, 1], sources=sources))
    assert found.sentence == "Sources with one class only: a (normal)."


def test_statistics_are_those_of_each_class_and_source(honest):
    images = honest.images
    rows = {(row["of"], row["name"]): row for row in honest.statistics}
    assert len(rows) == 3 + 3
    chosen = images.labels == 2
    row = rows["class", "covid19"]
    assert row["pictures"] == chosen.sum()
    assert row["brightness"] == pytest.approx(images.images[chosen].mean(), abs=0.06)
    assert row["file_width"] == np.median(images.metadata["file_width"][chosen])


def test_the_record_is_json_without_patients(copied):
    text = json.dumps(copied.to_dict(), allow_nan=False)
    record = json.loads(text)
    assert record["alarms"] == len(copied.alarms)
    assert len(record["controls"]) == 8
    pair = record["duplicates"]["pairs"][0]
    first = copied.duplicates.pairs[0]
    assert pair["files"][0] == copied.images.files[first.first]
    assert "patients" not in record["duplicates"]["pairs"][0]


class Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.pictures = []

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.pictures.append(dict(attrs)["src"])


def test_the_page_holds_its_pictures_and_asks_for_nothing(copied):
    page = audit_page.page(copied)
    reader = Reader()
    reader.feed(page)
    pairs = min(len(copied.duplicates.pairs), audit_page.SHOWN)
    # two a pair, a mean of 3 classes and 3 hospitals, samples of each class
    assert len(reader.pictures) == 2 * pairs + 6 + 3 * audit_page.SAMPLES
    assert all(p.startswith("data:image/png;base64,") for p in reader.pictures)
    assert not re.search(r"(https?:)?//", re.sub(r'src="data[^"]*"', "", page))
    for finding in copied.findings:
        assert finding.topic in page


def test_names_are_escaped_on_the_page(honest):
    images = dataclasses.replace(honest.images, name="<script>alert(1)</script>")
    page = audit_page.page(dataclasses.replace(honest, images=images))
    assert "<script>" not in page

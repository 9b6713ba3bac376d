import io

import numpy as np
import pytest
from PIL import Image

from covjax.data import duplicates
from covjax.data.phantom import phantom


@pytest.fixture(scope="module")
def chest():
    return phantom(64, patients=60, pictures_per_patient=(1, 2))


def jpeg(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=50)
    return np.asarray(Image.open(file))


def resized(picture):
    small = Image.fromarray(picture).resize((40, 40), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((64, 64), Image.Resampling.BICUBIC))


CHANGES = {
    "re-encoded": (jpeg, "near", ""),
    "resized": (resized, "near", ""),
    "window": (lambda p: np.clip(0.75 * p + 30, 0, 255).astype(np.uint8), "near", ""),
    "gamma": (lambda p: (255 * (p / 255) ** 0.8).astype(np.uint8), "near", ""),
    "mirrored": (lambda p: p[:, ::-1], "near", "mirrored"),
    "upside down": (lambda p: p[::-1], "near", "upside down"),
    "turned": (lambda p: jpeg(p[::-1, ::-1]), "near", "turned"),
    "copied": (lambda p: p, "identical", ""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_found_and_nothing_else(chest, change):
    make, kind, turn = CHANGES[change]
    rows = np.arange(0, len(chest), 6)
    copies = np.stack([make(chest.images[row, ..., 0]) for row in rows])[..., None]
    images = np.concatenate([chest.images, copies])
    patients = np.concatenate([chest.patients, np.full(len(rows), "")])
    found = duplicates.find(images, patients)
    assert [(p.first, p.second) for p in found.pairs] == [
        (row, len(chest) + k) for k, row in enumerate(rows)
    ]
    assert {(p.kind, p.turn) for p in found.pairs} == {(kind, turn)}


@pytest.mark.parametrize("change", CHANGES)
def test_copies_in_another_set_are_found_there_alone(chest, change):
    make, _, turn = CHANGES[change]
    rows = np.arange(0, len(chest), 6)
    other = phantom(64, patients=20, pictures_per_patient=(1, 1), seed=9)
    copies = np.stack([make(chest.images[row, ..., 0]) for row in rows])[..., None]
    first = np.concatenate([chest.images, chest.images[:1]])  # twice in one set
    second = np.concatenate([copies, other.images, other.images[:1]])
    found = duplicates.between(first, second, np.append(chest.patients, ""))
    expected = [(len(chest), 0), *((row, k) for k, row in enumerate(rows))]
    assert [(p.first, p.second) for p in found.pairs] == sorted(expected)
    assert {(p.kind, p.turn) for p in found.pairs} == {("near", turn)}
    assert found.compared == len(first) * len(second)


def test_different_pictures_of_a_patient_are_no_duplicates(chest):
    found = duplicates.find(chest.images, chest.patients)
    assert found.pairs == []
    n = len(chest)
    assert found.compared == n * (n - 1) // 2
    assert found.expected_false == pytest.approx(
        found.false_positive_rate * found.compared
    )
    assert found.expected_false <= duplicates.EXPECTED_FALSE * 1.01


def test_identical_pictures_are_paired_with_the_first():
    images = phantom(32, patients=3, pictures_per_patient=(1, 1)).images
    found = duplicates.find(images[[0, 1, 0, 2, 0]], np.full(5, ""))
    assert [(p.first, p.second, p.kind) for p in found.pairs] == [
        (0, 2, "identical"),
        (0, 4, "identical"),
    ]


def test_the_false_positive_rate_is_that_of_chance():
    """Of random unit vectors the share above a correlation is known by counting."""
    rng = np.random.default_rng(0)
    shape = (1500, 6, 6)
    vectors = rng.normal(size=shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=(1, 2), keepdims=True)
    tail = duplicates._Tail(vectors, np.full(len(vectors), ""))
    flat = vectors.reshape(len(vectors), -1)
    value = (flat @ flat.T)[np.triu_indices(len(flat), 1)]
    for share in (1e-4, 1e-5):
        correlation = float(np.quantile(value, 1 - share))
        assert share / 2 < tail.above(correlation) < 2.5 * share
        assert tail.above(tail.threshold(share)) == pytest.approx(share)


def test_alike_pictures_raise_the_threshold():
    """One face under noise: every pair correlates, the search stays silent."""
    rng = np.random.default_rng(1)
    face = phantom(48, patients=1, pictures_per_patient=(1, 1)).images[0, ..., 0]
    noise = rng.normal(0, 5, (80, 48, 48))
    images = np.clip(face + noise, 0, 255).astype(np.uint8)[..., None]
    found = duplicates.find(images, np.full(80, ""))
    assert found.threshold > duplicates.THRESHOLD
    assert found.pairs == []


@pytest.mark.parametrize("size", [28, 200])
def test_other_sizes_and_channels(size):
    images = phantom(size, patients=12, pictures_per_patient=(1, 1)).images
    images = np.repeat(images, 3, axis=-1)
    darker = (0.8 * images[:1]).astype(np.uint8)
    found = duplicates.find(np.concatenate([images, darker]), np.full(13, ""))
    assert [(p.first, p.second) for p in found.pairs] == [(0, 12)]


def test_blank_pictures_resemble_nothing():
    images = np.zeros((3, 32, 32, 1), np.uint8)
    images[1], images[2] = 100, 200
    assert duplicates.find(images, np.full(3, "")).pairs == []


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_compare(n):
    found = duplicates.find(np.zeros((n, 32, 32, 1), np.uint8), np.full(n, ""))
    assert found.pairs == []
    assert found.compared == 0

import numpy as np
import pytest
from PIL import Image

from covjax.data import phantom as room
from covjax.data.imageset import LESION, LUNG
from covjax.data.phantom import phantom
from covjax.errors import InputError


@pytest.fixture(scope="module")
def drawn():
    return phantom(48, patients=60)


def lesion_centres(drawn, label):
    """Mean column and row of the lesions, in [0, 1], one row a picture."""
    found = []
    for mask in drawn.masks[drawn.labels == label]:
        rows, columns = np.nonzero(mask & LESION)
        found.append((columns.mean() / mask.shape[1], rows.mean() / mask.shape[0]))
    return np.array(found)


def test_it_is_a_whole_image_set(drawn):
    n = len(drawn)
    assert drawn.images.shape == (n, 48, 48, 1)
    assert drawn.images.dtype == drawn.masks.dtype == np.uint8
    assert drawn.labels.dtype == np.int32
    assert drawn.masks.shape == (n, 48, 48)
    columns = (drawn.patients, drawn.sources, drawn.splits, drawn.files)
    assert all(len(column) == n for column in (*columns, *drawn.metadata.values()))
    assert len(set(drawn.files)) == n
    assert set(drawn.metadata) >= {"sex", "age", "view", "file_width", "file_format"}


def test_every_patient_has_one_class_and_classes_are_balanced(drawn):
    pairs = set(zip(drawn.patients, drawn.labels))
    assert len(pairs) == 60
    assert np.bincount([label for _, label in pairs]).tolist() == [20, 20, 20]


def test_pictures_of_a_patient_stay_within_the_bounds():
    drawn = phantom(16, patients=40, pictures_per_patient=(2, 4))
    _, counts = np.unique(drawn.patients, return_counts=True)
    assert set(counts) == {2, 3, 4}


def test_a_patient_does_not_depend_on_how_many_follow(drawn):
    fewer = phantom(48, patients=7)
    assert fewer.fingerprint() == drawn.subset(np.arange(len(fewer))).fingerprint()


def test_the_seed_changes_every_picture_and_patient():
    other = phantom(48, patients=5, pictures_per_patient=(1, 1), seed=1)
    same = phantom(48, patients=5, pictures_per_patient=(1, 1), seed=0)
    assert (np.abs(other.images.astype(int) - same.images).mean((1, 2, 3)) > 3).all()
    assert (other.metadata["age"] != same.metadata["age"]).any()


def test_another_size_shows_the_same_chest():
    small, large = (phantom(s, patients=4, difficulty=0).images for s in (32, 128))
    shrunk = large.reshape(-1, 32, 4, 32, 4).mean((2, 4))
    for a, b in zip(small[..., 0], shrunk):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("size", [28, 1024])
def test_extreme_sizes(size):
    drawn = phantom(size, patients=1, pictures_per_patient=(1, 1))
    assert drawn.images.shape == (1, size, size, 1)
    assert (drawn.images.std((1, 2, 3)) > 20).all()


def test_lungs_are_dark_and_lesions_lie_in_them(drawn):
    lung = (drawn.masks & LUNG) > 0
    lesion = (drawn.masks & LESION) > 0
    share = lung.mean((1, 2))
    assert share.min() > 0.15
    assert share.max() < 0.5
    centre = drawn.images[:, 10:40, 8:40, 0]
    for picture, mask in zip(centre, lung[:, 10:40, 8:40]):
        assert picture[mask].mean() < picture[~mask].mean()
    diseased = drawn.labels > 0
    assert not lesion[~diseased].any()
    assert lesion[diseased].any((1, 2)).all()
    # The heart's shadow may hide a part of a lesion, never most of all lesions.
    assert (lesion & lung).sum() > 0.8 * lesion.sum()


def test_pneumonia_is_in_one_lung_and_covid19_low_in_both(drawn):
    for mask, label in zip(drawn.masks, drawn.labels):
        half = ((mask & LESION) > 0).sum(0).reshape(2, 24).sum(1)
        balance = half.min() / max(half.max(), 1)
        assert label != 1 or balance < 0.15
    bilateral = lesion_centres(drawn, 2)
    assert abs(bilateral[:, 0].mean() - 0.5) < 0.08
    assert bilateral[:, 1].mean() > 0.5


def test_difficulty_makes_lesions_smaller_and_fainter():
    easy, hard = (phantom(48, patients=24, difficulty=d) for d in (0.0, 1.0))
    ill = easy.labels > 0
    area = [((s.masks[ill] & LESION) > 0).sum() for s in (easy, hard)]
    assert area[1] < 0.8 * area[0]
    # In easy pictures the lesion stands out of the rest of the lungs by more.
    contrast = []
    for s in (easy, hard):
        lesion, lung = (s.masks[ill] & LESION) > 0, (s.masks[ill] & LUNG) > 0
        pixels = s.images[ill, ..., 0].astype(float)
        contrast.append(pixels[lesion & lung].mean() - pixels[lung & ~lesion].mean())
    assert contrast[0] > contrast[1] + 5


def test_without_a_shortcut_only_the_lungs_know_the_class():
    """The same patients, once healthy: outside the lungs nothing may differ."""
    drawn = phantom(32, patients=300, pictures_per_patient=(1, 1))
    mean = drawn.images.mean((1, 2, 3))
    corner = drawn.images[:, :8, -8:].max((1, 2, 3)) > 230
    for label in range(3):
        chosen = drawn.labels == label
        error = mean.std() * np.sqrt(1 / chosen.sum() + 1 / (~chosen).sum())
        assert abs(mean[chosen].mean() - mean[~chosen].mean()) < 4 * error
        assert 0.3 < corner[chosen].mean() < 0.7
        hospital = [(drawn.sources[chosen] == s).mean() for s in set(drawn.sources)]
        assert max(hospital) < 0.6


def test_marker_stands_on_covid19_alone():
    drawn = phantom(64, patients=30, shortcut="marker")
    corner = drawn.images[:, :16, -12:].max((1, 2, 3)) == 245
    assert (corner == (drawn.labels == 2)).all()


def test_exposure_ties_a_brighter_hospital_to_covid19():
    drawn = phantom(32, patients=150, shortcut="exposure")
    there = drawn.sources == "hospital_c"
    assert (drawn.labels[there] == 2).mean() > 0.8
    assert drawn.images[there].mean() > drawn.images[~there].mean() + 10


def test_copies_are_identical_under_other_names():
    drawn = phantom(32, patients=20, shortcut="copies")
    original, copy = drawn.patients == "P00000", drawn.patients == "P00009"
    assert (drawn.images[original] == drawn.images[copy]).all()
    assert (drawn.labels[original] == drawn.labels[copy]).all()
    assert not set(drawn.files[original]) & set(drawn.files[copy])


def test_patients_come_back_under_another_name_and_look_alike():
    drawn = phantom(64, patients=10, shortcut="patients")
    original, copy = drawn.patients == "P00000", drawn.patients == "P00009"
    for a, b in zip(drawn.images[original], drawn.images[copy]):
        assert (a != b).mean() > 0.5
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.97


def test_format_is_covid19s_own():
    drawn = phantom(16, patients=30, shortcut="format")
    own = drawn.metadata["file_mode"] == "RGB"
    assert (own == (drawn.labels == 2)).all()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"size": 8}, "size=8"),
        ({"patients": 0}, "patients=0"),
        ({"pictures_per_patient": (3, 1)}, "pictures_per_patient"),
        ({"pictures_per_patient": (0, 1)}, "pictures_per_patient"),
        ({"difficulty": 1.5}, "difficulty=1.5"),
        ({"shortcut": "text"}, "shortcut='text'"),
    ],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(InputError, match=named):
        phantom(**{"size": 32, **arguments})


def test_the_sheet_is_small_and_written_whole(tmp_path):
    room.main(["--out", str(tmp_path / "sheet.png")])
    assert [f.name for f in tmp_path.iterdir()] == ["sheet.png"]
    assert (tmp_path / "sheet.png").stat().st_size < 300_000
    with Image.open(tmp_path / "sheet.png") as page:
        assert page.width == 5 * 150

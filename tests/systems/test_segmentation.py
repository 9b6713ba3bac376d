"""Lungs found, masked and cropped: by hand, and once from a recipe to a report."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from covjax import config, train
from covjax.data import load
from covjax.data.imageset import LESION, LUNG, ImageSet
from covjax.data.phantom import phantom
from covjax.errors import InputError
from covjax.systems import segmentation
from covjax.systems.lungs import boxes_of, crop_lungs, crop_masks, mask_lungs
from covjax.systems.segmenter import MaskLoss, Segmenter, grey
from covjax.training.augment import augment, augment_masks
from covjax.training.state import initialise

RECIPE = Path(__file__).resolve().parents[2] / "configs/survey/row18_oh.py"
UNET = segmentation.Settings(network="unet", size=32, epochs=1, batch_size=8)


@dataclass(frozen=True)
class Seen:
    """Splits without a test split: whoever looks for it fails."""

    train: ImageSet
    validation: ImageSet
    streamed: bool = False


@pytest.fixture(scope="module")
def drawn():
    return phantom(32, patients=12, pictures_per_patient=(1, 1))


@pytest.fixture(scope="module")
def segmenter():
    empty = Segmenter(network="unet", size=32, batch_size=4, variables={})
    return replace(empty, variables=initialise(empty.model, (32, 32, 1), 0))


def run(**kwargs) -> config.Run:
    result = config.Run()
    result.data.size = 32
    result.train.devices = 1
    result.evaluation.resamples = 100
    result.system = config.System(name="segmentation", kwargs=kwargs)
    return result


class TestRestriction:
    images = np.arange(2 * 4 * 4 * 1, dtype=np.uint8).reshape(2, 4, 4, 1) + 1
    masks = np.zeros((2, 4, 4), bool)
    masks[0, 1:3, 2] = True

    def test_masked(self):
        found = mask_lungs(self.images, self.masks)
        expected = np.zeros((4, 4, 1), np.uint8)
        expected[1, 2], expected[2, 2] = 7, 11
        np.testing.assert_array_equal(found[0], expected)
        np.testing.assert_array_equal(found[1], self.images[1])  # nothing was found
        assert found.dtype == np.uint8

    def test_box_and_margin(self):
        whole = (slice(0, 4), slice(0, 4))
        assert boxes_of(self.masks, 0) == [(slice(1, 3), slice(2, 3)), whole]
        # half of two rows is one, half of one column rounds to none
        assert boxes_of(self.masks, 0.5)[0] == (slice(0, 4), slice(2, 3))
        assert boxes_of(self.masks, 5.0)[0] == whole  # cut off at the border

    def test_cropped(self):
        square = np.zeros((1, 4, 4), bool)
        square[0, 1:3, 1:3] = True
        found = crop_lungs(self.images[:1], square, 0.0)
        assert found.shape == (1, 4, 4, 1)
        inner = self.images[0, 1:3, 1:3, 0]
        assert found.min() == inner.min()
        assert found.max() == inner.max()
        np.testing.assert_array_equal(found[0, ::3, ::3, 0], inner)  # the corners
        marks = np.where(square, LUNG, LESION).astype(np.uint8)
        assert (crop_masks(marks, square, 0.0) == LUNG).all()

    def test_masks_are_cut_with_their_pictures(self, drawn):
        lungs = (drawn.masks & LUNG).astype(bool)
        cut = segmentation.restrict(drawn, lungs, replace(UNET, use="crop", margin=0))
        inside = (cut.masks & LUNG).astype(bool)
        for axis in (1, 2):  # the lungs touch all four sides
            edge = inside.any(axis=axis)
            assert edge[:, 0].all()
            assert edge[:, -1].all()
        assert inside.mean() > lungs.mean()


def test_masks_move_with_their_pictures(drawn):
    masks = (drawn.masks & LUNG).astype(np.int32)
    settings = config.Augment(
        flip=True, flip_vertical=True, rotation_degrees=30, shift=0.2, zoom=0.2,
        shear_degrees=10, aspect=0.1, crop_area=0.7,
    )  # fmt: skip
    keys = jax.random.split(jax.random.key(3), len(masks))
    pictures = jnp.asarray(masks[..., None], jnp.float32)
    moved = augment(pictures, keys, settings, jnp.zeros(1))
    found = augment_masks(jnp.asarray(masks), keys, settings)
    np.testing.assert_array_equal(found, np.asarray(moved)[..., 0] >= 0.5)
    assert found.dtype == masks.dtype
    assert (np.asarray(found) != masks).any(axis=(1, 2)).all()
    still = augment_masks(masks, keys, config.Augment(brightness=0.5, cutout=0.5))
    np.testing.assert_array_equal(still, masks)


def test_loss_by_hand():
    logits = np.zeros((1, 1, 2, 2), np.float32)
    logits[0, 0, :, 1] = np.log([3, 1])  # lung: 3/4 and 1/2
    masks = np.array([[[1, 0]]])
    entropy = (np.log(4 / 3) + 0.5 * np.log(2)) / 1.5
    found = MaskLoss(background_weight=0.5, dice_weight=0.0)(logits, masks)
    np.testing.assert_allclose(found, [entropy], rtol=1e-5)
    overlap = (2 * 3 / 4 + 1) / (5 / 4 + 1 + 1)
    both = MaskLoss(background_weight=0.5, dice_weight=2.0)(logits, masks)
    np.testing.assert_allclose(both, [entropy + 2 * (1 - overlap)], rtol=1e-5)


class TestSegmenter:
    def test_a_picture_alone_or_among_others(self, segmenter, drawn):
        together = segmenter.masks(drawn.images)
        assert together.shape == drawn.masks.shape
        assert together.dtype == bool
        for row in (0, 7, 11):
            alone = segmenter.masks(drawn.images[row : row + 1])
            np.testing.assert_array_equal(alone[0], together[row])

    def test_any_size_and_colour(self, segmenter, drawn):
        large = np.repeat(np.repeat(drawn.images, 2, axis=1), 2, axis=2)
        assert segmenter.masks(large[:3]).shape == (3, 64, 64)
        colour = np.repeat(drawn.images, 3, axis=-1)
        np.testing.assert_array_equal(grey(colour), drawn.images)
        assert segmenter.masks(drawn.images[:0]).shape == (0, 32, 32)

    def test_saved_and_read(self, segmenter, drawn, tmp_path):
        segmenter.save(tmp_path)
        again = Segmenter.load(tmp_path)
        np.testing.assert_array_equal(
            again.masks(drawn.images), segmenter.masks(drawn.images)
        )
        with pytest.raises(InputError, match=r"other/segmenter\.json: no such file"):
            Segmenter.load(tmp_path / "other")
        (tmp_path / "segmenter.json").write_text('{"network": "alexnet"}')
        with pytest.raises(InputError, match="damaged segmenter: network 'alexnet'"):
            Segmenter.load(tmp_path)

    def test_pictures_of_another_type(self, segmenter):
        with pytest.raises(InputError, match="must be uint8"):
            segmenter.masks(np.zeros((2, 32, 32, 1), np.float32))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"use": "cut"}, "use='cut': must be one of mask, crop"),
        ({"network": "alexnet"}, "network='alexnet': must be one of fc_densenet103"),
        ({"margin": -1}, "margin=-1: must be at least 0"),
        ({"batch_size": 0}, "batch_size=0: must be at least 1"),
        ({"epochs": 0}, "epochs=0: must be at least 1"),
        ({"size": 0}, "size=0: must be from 8 to 4096"),
        ({"learning_rate": -1}, "learning_rate=-1: must be at least 0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan: must be at least 0"),
        ({"segmenter": "absent"}, "absent/segmenter.json: no such file"),
        ({}, "has no lung masks to train on"),
    ],
)
def test_broken_settings(drawn, tmp_path, kwargs, message):
    bare = replace(drawn, masks=np.where(drawn.masks & LESION, LESION, 0))
    splits = Seen(train=bare, validation=bare)
    with pytest.raises(InputError) as error:
        segmentation.obtain(run(), splits, tmp_path, segmentation.Settings(**kwargs))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_learns_the_lungs_without_the_test_split(tmp_path):
    """Twelve epochs on the phantom; a second call reads what the first has made."""
    data = config.Data(size=32, kwargs={"patients": 60}, limit=32)
    whole = load(data)

    settings = replace(UNET, epochs=12, learning_rate=1e-2, dice_weight=1.0)
    seen = run()
    seen.augment = config.Augment(flip=True, rotation_degrees=5.0)
    sealed = Seen(train=whole.train, validation=whole.validation)
    first = segmentation.obtain(seen, sealed, tmp_path, settings)
    measured = segmentation.measure(first, whole.validation, seen)
    assert measured["pictures"] == len(whole.validation)
    assert measured["not_found"] == 0
    assert 0.75 < measured["jaccard"]["estimate"] < measured["dice"]["estimate"] < 1
    assert measured["dice"]["low"] < measured["dice"]["high"]
    log = (tmp_path / "log.jsonl").read_text()
    again = segmentation.obtain(seen, sealed, tmp_path, settings)
    assert (tmp_path / "log.jsonl").read_text() == log
    jax.tree.map(np.testing.assert_array_equal, first.variables, again.variables)
    best = max(json.loads(line)["validation_jaccard"] for line in log.splitlines())
    assert best == pytest.approx(measured["jaccard"]["estimate"], abs=0.02)


def test_from_a_recipe_to_a_report(tmp_path, capsys, predicts_as_evaluated):
    words = ["--config", f"{RECIPE}:segmentation,smoke", "--workdir", str(tmp_path)]
    words += ["--config.model.name=squeezenet1_1", "--config.data.size=32"]
    words += ["--config.system.kwargs.use=crop"]
    assert train.main(words) == 0
    assert "where the network looks" in capsys.readouterr().out
    found = json.loads((tmp_path / "segmentation.json").read_text())
    assert set(found) == {"validation", "test"}
    assert 0 <= found["test"]["dice"]["estimate"] <= 1
    openings = (tmp_path / "openings.jsonl").read_text().splitlines()
    assert len(openings) == 1
    for part in ("segmenter", "classifier"):
        assert (tmp_path / part / "weights.npz").is_file()
        assert not (tmp_path / part / "openings.jsonl").exists()
    assert not (tmp_path / "classifier.json").exists()  # it must not see whole pictures
    predicts_as_evaluated(tmp_path)

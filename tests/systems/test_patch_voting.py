"""Patches of the lungs: where they lie, how they vote, how they are explained."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from covjax import config, systems, train
from covjax.blocks.conv import spatial_map
from covjax.data.imageset import LESION, LUNG
from covjax.data.phantom import phantom
from covjax.data.preprocess import Preprocess
from covjax.errors import InputError
from covjax.inference import Classifier
from covjax.systems import patch_voting
from covjax.systems.patches import (
    PatchVoter,
    RandomPatch,
    cut,
    draw_patches,
    random_centres,
)
from covjax.systems.segmenter import NETWORKS, Segmenter
from covjax.training.state import initialise

RECIPE = Path(__file__).resolve().parents[2] / "configs/survey/row18_oh.py"
WORDS = ["--config", f"{RECIPE}:smoke", "--config.model.name=squeezenet1_1"]
TRACED = []


class Linear(nn.Module):
    """The mean of each channel, mixed into two classes."""

    @nn.compact
    def __call__(self, x, *, train):
        TRACED.append(x.shape)
        x = spatial_map(self, x)
        mix = self.param("mix", nn.initializers.ones, (x.shape[-1], 2))
        return (x.mean(axis=(1, 2))[:, :, None] * mix[None]).sum(1)


MIX = np.array([[4.0, -3.0]], np.float32)


def voter(patches: int = 7, size: int = 5) -> PatchVoter:
    classifier = SimpleNamespace(
        model=Linear(),
        variables={"params": {"mix": MIX}},
        preprocess=Preprocess(size=size),
        loss="cross_entropy",
    )
    return PatchVoter(classifier, patches, seed=3)


@pytest.fixture(scope="module")
def drawn():
    return phantom(32, patients=9, pictures_per_patient=(1, 1))


@pytest.fixture(scope="module")
def with_lungs(drawn):
    lungs = (drawn.masks & LUNG).astype(bool)
    return patch_voting.with_lungs(drawn, lungs, masked=False)


class TestCentres:
    @pytest.mark.parametrize("share", [0.001, 0.05, 0.6])
    @pytest.mark.parametrize("shape", [(17, 40), (64, 9)])
    def test_lie_on_the_lung(self, share, shape):
        rng = np.random.default_rng(int(1000 * share))
        draw = jax.jit(partial(random_centres, count=200))
        for seed in range(20):
            lungs = rng.random(shape) < share
            lungs[rng.integers(shape[0]), rng.integers(shape[1])] = True
            found = np.asarray(draw(jax.random.key(seed), lungs))
            assert found.shape == (200, 2)
            assert lungs[found[:, 0], found[:, 1]].all()

    def test_every_lung_pixel_is_as_likely(self):
        lungs = np.zeros((6, 7), bool)
        lungs[0, 0] = lungs[5, 6] = lungs[2, 1:4] = True  # with first and last pixel
        found = np.asarray(random_centres(jax.random.key(0), lungs, 5000))
        counts = np.zeros((6, 7))
        np.add.at(counts, tuple(found.T), 1)
        assert (counts[lungs] > 0).all()
        # chi square with four degrees of freedom: 18.5 is passed once in a thousand
        assert ((counts[lungs] - 1000) ** 2 / 1000).sum() < 18.5

    def test_without_lung_any_pixel(self):
        none = np.zeros((3, 2), bool)
        found = np.asarray(random_centres(jax.random.key(1), none, 200))
        assert {tuple(f) for f in found} == {(r, c) for r in range(3) for c in range(2)}

    def test_own_lungs(self, drawn, with_lungs):
        lungs = patch_voting.own_lungs(drawn)
        np.testing.assert_array_equal(with_lungs.images[..., -1] > 0, lungs)
        masked = patch_voting.with_lungs(drawn, lungs, masked=True).images[..., 0]
        np.testing.assert_array_equal(masked, np.where(lungs, drawn.images[..., 0], 0))


class TestCut:
    picture = np.arange(1, 31, dtype=np.uint8).reshape(5, 6, 1)

    @pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
    def test_centre_and_border(self, size):
        for row, column in ((0, 0), (2, 3), (4, 5), (0, 5)):
            centre = jnp.array([row, column])
            patch = np.asarray(cut(self.picture, centre, size))[..., 0]
            assert patch.shape == (size, size)
            for i in range(size):
                for j in range(size):
                    r, c = row + i - size // 2, column + j - size // 2
                    inside = 0 <= r < 5 and 0 <= c < 6
                    assert patch[i, j] == (self.picture[r, c, 0] if inside else 0)

    def test_drawn_patches_are_those_of_their_centres(self, with_lungs):
        picture = with_lungs.images[0]
        patches, centres = draw_patches(jax.random.key(0), picture, 9, 8)
        for patch, centre in zip(patches, centres, strict=True):
            np.testing.assert_array_equal(patch, cut(picture[..., :-1], centre, 8))

    def test_training_sees_another_patch_of_each_picture(self, with_lungs):
        pictures = with_lungs.images[:4]
        view = RandomPatch(8)
        both = []
        for seed in (0, 1):
            keys = jax.random.split(jax.random.key(seed), 4)
            found = np.asarray(view(keys, pictures))
            assert found.shape == (4, 8, 8, 1)
            for key, picture, patch in zip(keys, pictures, found, strict=True):
                alone = draw_patches(key, picture, 1, 8)[0][0]
                np.testing.assert_array_equal(patch, alone)
            both.append(found)
        assert (both[0] != both[1]).any(axis=(1, 2, 3)).all()


class TestVoter:
    def test_is_the_literal_vote(self, with_lungs):
        asked, pictures = voter(), with_lungs.images[:3]
        for picture, found in zip(pictures, asked.scores(pictures), strict=True):
            patches, _ = draw_patches(jax.random.key(3), picture, 7, 5)
            means = (np.asarray(patches, np.float64) / 255 - 0.5).mean((1, 2)) / 0.5
            logits = means @ MIX
            p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            votes = np.bincount(p.argmax(axis=1), minlength=2)
            np.testing.assert_allclose(found, (votes + p.mean(axis=0)) / 8, rtol=1e-4)

    def test_alone_or_among_others(self, with_lungs):
        asked, pictures = voter(), with_lungs.images
        together = asked.scores(pictures)
        np.testing.assert_array_equal(asked.scores(pictures[4:5])[0], together[4])

    def test_a_hundred_patches_are_one_compiled_call(self, with_lungs):
        TRACED.clear()
        voter(patches=100, size=6).scores(with_lungs.images[:3])
        assert TRACED == [(100, 6, 6, 1)]  # all at once, and compiled once

    def test_heat_by_hand(self, with_lungs):
        """Grad-CAM of each patch, weighted and divided by how many lie there."""
        asked, picture = voter(), with_lungs.images[2]
        patches, centres = draw_patches(jax.random.key(3), picture, 7, 5)
        x = (np.asarray(patches, np.float64)[..., 0] / 255 - 0.5) / 0.5
        logits = x.mean((1, 2))[:, None] @ MIX
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        for k in (0, 1):
            cam = np.maximum(np.sign(MIX[0, k]) * x, 0)
            cam = cam / np.maximum(cam.max(axis=(1, 2), keepdims=True), 1e-30)
            total, count = np.zeros((32, 32)), np.zeros((32, 32))
            for one, share, (row, column) in zip(cam, p[:, k], centres, strict=True):
                for i in range(5):
                    for j in range(5):
                        r, c = int(row) + i - 2, int(column) + j - 2
                        if 0 <= r < 32 and 0 <= c < 32:
                            total[r, c] += share * one[i, j]
                            count[r, c] += 1
            expected = total / np.maximum(count, 1)
            found = asked.heat(picture, k)
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lungs": "mask"}, "lungs='mask': must be one of segmenter, masks"),
        ({"patch_size": 65}, "patch_size=65: must be from 8 to config.data.size=64"),
        ({"patch_size": 8, "patches": 0}, "patches=0: must be at least 1"),
    ],
)
def test_broken_settings(drawn, changes, message):
    splits = SimpleNamespace(train=drawn, streamed=False)
    settings = patch_voting.Settings(**changes)
    with pytest.raises(InputError) as error:
        patch_voting.check(config.Run(), splits, settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_set_without_lungs_says_so(drawn):
    for masks in (None, np.where(drawn.masks & LESION, LESION, 0)):
        with pytest.raises(InputError, match=r"has no lung masks; .* be segmenter"):
            patch_voting.own_lungs(replace(drawn, masks=masks))


def test_from_a_recipe_to_a_report(tmp_path, predicts_as_evaluated, monkeypatch):
    """With a segmenter that was trained before, and is not needed afterwards."""
    model = NETWORKS["unet"]
    variables = initialise(model, (32, 32, 1), 0)
    before = Segmenter(network="unet", size=32, batch_size=8, variables=variables)
    before.save(tmp_path / "before")
    place = tmp_path / "run"
    settings = {"segmenter": str(tmp_path / "before")}
    words = [f"--config.system.kwargs.segmentation={settings}"]
    assert train.main([*WORDS, "--workdir", str(place), *words]) == 0
    saved = np.load(place / "predictions_test.npz")["probabilities"]
    np.testing.assert_allclose(saved.sum(axis=1), 1, rtol=1e-5)
    row = json.loads((place / "classifier/log.jsonl").read_text())
    assert row["score"] == row["validation_accuracy"]
    assert not (place / "classifier/openings.jsonl").exists()
    assert len((place / "openings.jsonl").read_text().splitlines()) == 1
    pictures = sorted((place / "heatmaps").glob("*.png"))
    assert len(pictures) == 12
    with Image.open(pictures[0]) as pair:  # the picture beside its heat
        assert pair.size[0] == 2 * pair.size[1]
    shutil.rmtree(tmp_path / "before")
    predicts_as_evaluated(place)

    # the set's own masks instead, which files have not
    trained = Classifier.load(place / "classifier")
    monkeypatch.setattr(patch_voting, "train_patches", lambda *_: trained)
    place, words = tmp_path / "masks", ["--config.system.kwargs.lungs=masks"]
    assert train.main([*WORDS, "--workdir", str(place), *words]) == 0
    assert not (place / "segmenter").exists()
    other = np.load(place / "predictions_test.npz")["probabilities"]
    assert (other != saved).any(axis=1).all()
    with pytest.raises(InputError, match=r"patch_voting took the lungs from .*masks"):
        systems.load(place)

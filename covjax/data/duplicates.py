"""The same picture twice: copied, re-encoded, resized, mirrored, windowed anew.

Each picture gets two fingerprints that ignore brightness and contrast: a coarse one
to search all pairs, a finer one of edges to verify what is found. Two pictures are
duplicates if the fine ones correlate above a threshold. It is at least `THRESHOLD`,
and higher where the set's pictures are so alike that the search would name more than
`EXPECTED_FALSE` pairs wrongly; how many it would is read from the set itself: pairs of
other patients, whose correlations have a tail that is extrapolated.

Not found: a copy cropped or turned by more than about one part in a hundred. Below
about 24 pixels a side pictures keep too little detail to tell a copy from a likeness.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

# Correlations of re-encoded (JPEG quality 30), halved and re-windowed copies were at
# least 0.957, those of other patients at most 0.924, on DarkCovidNet, COVID-CT and
# the phantom (1,124, 746 and 591 pictures).
THRESHOLD = 0.95
SMALLEST = 24  # pixels a side; of smaller pictures a copy is no more than alike
EXPECTED_FALSE = 0.1  # pairs in the whole search
COARSE, FINE = 32, 48  # side of the two fingerprints
COARSE_BAND, FINE_BAND = (0.0, 4.0), (0.7, 2.5)  # widths of the blurs subtracted
CANDIDATE = 0.80  # of the coarse fingerprints: duplicates had at least 0.86
TURNS = {"": (1, 1), "mirrored": (1, -1), "upside down": (-1, 1), "turned": (-1, -1)}


class Pair(NamedTuple):
    """Two rows with the same picture."""

    first: int
    second: int  # the larger row, unless it is of another set
    kind: str  # "identical" (every pixel) or "near"
    turn: str  # a key of `TURNS`: how the second lies against the first
    correlation: float  # of the fine fingerprints


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What the search found, and how far it can be trusted.

    Attributes:
      pairs: duplicates by rows; of k identical pictures, k - 1 pairs with the first.
      compared: pairs that were compared, each in four positions.
      threshold: smallest correlation that counts.
      false_positive_rate: share of pairs of different pictures above the threshold.
      expected_false: that rate times the pairs compared.
    """

    pairs: list[Pair]
    compared: int
    threshold: float
    false_positive_rate: float
    expected_false: float


def find(images: np.ndarray, patients: np.ndarray) -> Duplicates:
    """Searches a set for duplicates.

    Args:
      images: uint8 ``[n, height, width, channels]``.
      patients: str ``[n]``, ``""`` is unknown; pairs of one known patient are left
        out of the false-positive rate.
    """
    if not len(images):
        return Duplicates([], 0, THRESHOLD, 0.0, 0.0)
    originals, copies = _identical(images)
    grey = np.stack([_grey(images[row]) for row in originals])
    found = _near(grey, patients[originals])
    near = [
        pair._replace(
            first=int(originals[pair.first]), second=int(originals[pair.second])
        )
        for pair in found.pairs
    ]
    return replace(found, pairs=sorted(copies + near))


def between(
    first: Iterable[np.ndarray], second: Iterable[np.ndarray], patients: np.ndarray
) -> Duplicates:
    """Searches two sets for pictures that both have.

    Args:
      first: uint8 pictures ``[height, width, channels]``.
      second: likewise, prepared in the same way.
      patients: of the first, as `find` takes them; chance is read from this set.

    Returns:
      Pairs of a row of the first set and one of the second, all called near.
    """
    those = [_grey(image) for image in first]
    n, grey = len(those), np.stack(those + [_grey(image) for image in second])
    found = _near(grey, patients, second=n)
    pairs = [pair._replace(second=pair.second - n) for pair in found.pairs]
    return replace(found, pairs=pairs)


def _near(grey: np.ndarray, patients: np.ndarray, second: int = 0) -> Duplicates:
    """The search in pictures out of `_grey`; see `_search`."""
    coarse, fine = (
        _fingerprints(grey, COARSE, COARSE_BAND),
        _fingerprints(grey, FINE, FINE_BAND),
    )
    n = len(grey)
    compared = second * (n - second) if second else n * (n - 1) // 2
    rate = _Tail(fine[: second or n], patients)
    threshold = max(THRESHOLD, rate.threshold(EXPECTED_FALSE / max(4 * compared, 1)))
    wrong = min(1.0, 4 * rate.above(threshold))
    return Duplicates(
        pairs=[
            Pair(int(a), int(b), "near", turn, correlation)
            for a, b, turn, correlation in _search(coarse, fine, threshold, second)
        ],
        compared=compared,
        threshold=threshold,
        false_positive_rate=wrong,
        expected_false=wrong * compared,
    )


def _identical(images: np.ndarray) -> tuple[np.ndarray, list[Pair]]:
    """Rows of the first of each picture, and the pairs of its copies with it."""
    first: dict[bytes, int] = {}
    pairs = []
    for row in range(len(images)):
        earlier = first.setdefault(np.ascontiguousarray(images[row]).tobytes(), row)
        if earlier != row:
            pairs.append(Pair(earlier, row, "identical", "", 1.0))
    return np.array(list(first.values())), pairs


def _grey(image: np.ndarray) -> np.ndarray:
    """Float32 ``[FINE, FINE]``, or the picture's own size where it is smaller."""
    plane = Image.fromarray(image.mean(axis=-1, dtype=np.float32))
    side = min(FINE, *image.shape[:2])
    return np.asarray(plane.resize((side, side), Image.Resampling.BOX))


def _fingerprints(grey: np.ndarray, side: int, band: tuple[float, float]) -> np.ndarray:
    """Unit vectors ``[n, side, side]`` of the detail between two blurs."""
    if side < grey.shape[1]:
        shrunk = [
            Image.fromarray(g).resize((side, side), Image.Resampling.BOX) for g in grey
        ]
        grey = np.stack([np.asarray(s) for s in shrunk])
    sharp, blurred = (gaussian_filter(grey, (0, b, b)) for b in band)
    detail = sharp - blurred
    detail -= detail.mean(axis=(1, 2), keepdims=True)
    length = np.linalg.norm(detail, axis=(1, 2), keepdims=True)
    return detail / np.maximum(length, 1e-3)  # a blank picture resembles nothing


def _search(coarse: np.ndarray, fine: np.ndarray, threshold: float, second: int):
    """Yields (row, row, turn, correlation) of pairs above the threshold.

    Where a second set begins at row `second`, not 0, one row of a pair is in each.
    """
    n, block = len(coarse), 1024
    flat = coarse.reshape(n, -1)
    best: dict[tuple[int, int], tuple[float, str]] = {}
    for turn, (down, right) in TURNS.items():
        turned = np.ascontiguousarray(coarse[:, ::down, ::right]).reshape(n, -1)
        for start in range(0, second or n, block):
            end = min(start + block, second or n)
            begin = second or start
            similar = flat[start:end] @ turned[begin:].T > CANDIDATE
            if not second:
                similar = np.triu(similar, 1)
            for a, b in np.argwhere(similar) + np.array([start, begin]):
                value = float((fine[a] * fine[b, ::down, ::right]).sum())
                if value >= threshold and value > best.get((a, b), (0.0, ""))[0]:
                    best[a, b] = value, turn
    for (a, b), (value, turn) in sorted(best.items()):
        yield a, b, turn, value


class _Tail:
    """How often different pictures correlate by chance: an exponential tail.

    Fisher's z of the highest thousandth of all pairs, less its start, has about an
    exponential distribution (peaks over threshold; Coles, An Introduction to
    Statistical Modeling of Extreme Values, 2001, chapter 4). Duplicates are left out,
    and so are pairs of one patient.
    """

    def __init__(self, fine: np.ndarray, patients: np.ndarray):
        most = 2000  # pictures: two million pairs
        rows = np.linspace(0, len(fine) - 1, min(most, len(fine))).astype(int)
        flat = fine[rows].reshape(len(rows), -1)
        a, b = np.triu_indices(len(rows), 1)
        value = (flat @ flat.T)[a, b]
        owner = patients[rows]
        other = (owner[a] != owner[b]) | (owner[a] == "")
        z = np.arctanh(value[other & (value < THRESHOLD)].astype(np.float64))
        self.share = 0.001 if len(z) >= 20_000 else 0.05  # at least about 20 peaks
        self.start = float(np.quantile(z, 1 - self.share)) if len(z) else 0.0
        peaks = z[z > self.start] - self.start
        # Without peaks (hardly any pairs) nothing is known: a wide tail.
        self.scale = float(peaks.mean()) if len(peaks) else 0.3

    def above(self, correlation: float) -> float:
        """Share of pairs above a correlation."""
        z = np.arctanh(min(correlation, 1 - 1e-9))
        return float(min(1.0, self.share * np.exp(-(z - self.start) / self.scale)))

    def threshold(self, share: float) -> float:
        """The correlation that only this share of pairs exceeds."""
        return float(np.tanh(self.start + self.scale * np.log(self.share / share)))

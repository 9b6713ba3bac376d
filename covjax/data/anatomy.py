"""Draws one frontal chest radiograph: the pen of the phantom data set.

A radiograph is a shadow: what the rays cross adds up, bone and water brighten, air
darkens. `draw` follows that: soft tissue, plus bone, minus air, plus what fills the
air. Lengths and directions are those of `covjax.data.canvas`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from covjax.data.canvas import Plane, by_side, edge, ellipse, frame, smooth_noise
from covjax.data.lesions import consolidation, ground_glass

NORMAL, PNEUMONIA, COVID19 = range(3)


@dataclass(frozen=True, kw_only=True, slots=True)
class Patient:
    """What stays the same in all pictures of a patient."""

    female: bool
    torso: float  # half width of the chest wall
    lung: float  # half width of the lungs, from the midline to the ribs
    apex: float  # height of the lung tops
    heart: float  # size against the average
    fat: float  # soft tissue over the chest
    veil: tuple[float, float]  # muscle and fat over the rim of the left, right lung
    spine_bend: float  # scoliosis
    ribs: tuple[float, float, float]  # spacing, slope, first rib's height
    clavicle: tuple[float, float]  # height at the sternum, rise towards the shoulder
    bone: float  # density
    aorta: float  # size of the aortic knob
    vessels: np.ndarray  # [lung, branch]: angle, bend, reach, calibre, fork
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """What changes from picture to picture of a patient."""

    shift: tuple[float, float]
    zoom: float
    tilt: float  # radians
    turn: float  # rotation about the spine: moves the midline against the ribs
    breath: float  # height of the diaphragm; positive is a deeper breath
    supine: bool  # AP instead of PA: larger heart, shoulder blades over the lungs
    progress: float  # extent of the lesions against the patient's average


class Drawing(NamedTuple):
    """Brightness before exposure, and where the lungs and lesions are."""

    shadow: np.ndarray  # float32 [size, size]
    lung: np.ndarray  # bool [size, size]
    lesion: np.ndarray  # bool [size, size]


def random_patient(rng: np.random.Generator) -> Patient:
    """A patient of any class; nothing here depends on the disease."""
    branches = 13
    angle = np.linspace(-1.35, 1.25, branches) + rng.normal(0, 0.07, (2, branches))
    return Patient(
        female=bool(rng.random() < 0.5),
        torso=rng.uniform(0.88, 0.99),
        lung=rng.uniform(0.70, 0.80),
        apex=rng.uniform(-0.84, -0.74),
        heart=rng.uniform(0.85, 1.15),
        fat=rng.uniform(0.0, 1.0),
        veil=tuple(rng.uniform(0.0, 0.45) + rng.normal(0, 0.06, 2)),
        spine_bend=rng.normal(0, 0.02),
        ribs=(rng.uniform(0.135, 0.16), rng.uniform(0.40, 0.62), rng.uniform(0, 1)),
        clavicle=(rng.uniform(-0.66, -0.56), rng.uniform(0.12, 0.30)),
        bone=rng.uniform(0.7, 1.2),
        aorta=rng.uniform(0.8, 1.25),
        vessels=np.stack(
            [
                angle,
                rng.normal(0, 0.30, angle.shape),
                rng.uniform(0.45, 0.80, angle.shape),
                rng.uniform(0.6, 1.2, angle.shape),
                rng.uniform(0.10, 0.30, angle.shape),
            ],
            axis=-1,
        ).astype(np.float32),
        seed=int(rng.integers(2**31)),
    )


def random_pose(rng: np.random.Generator) -> Pose:
    """How the patient stood, breathed and was centred, independent of the disease."""
    return Pose(
        shift=(rng.normal(0, 0.05), rng.normal(0, 0.05)),
        zoom=rng.uniform(0.88, 1.12),
        tilt=rng.normal(0, 0.05),
        turn=rng.normal(0, 0.03),
        breath=rng.uniform(-0.12, 0.08),
        supine=bool(rng.random() < 0.35),
        progress=rng.uniform(0.8, 1.2),
    )


def draw(
    patient: Patient, pose: Pose, disease: int, difficulty: float, size: int
) -> Drawing:
    """One picture of a patient.

    Args:
      patient: the anatomy.
      pose: the moment.
      disease: `NORMAL`, `PNEUMONIA` or `COVID19`.
      difficulty: from 0 (large dense lesions) to 1 (small faint ones).
      size: height and width in pixels.
    """
    plane = frame(size, pose.shift, pose.zoom, pose.tilt)
    body = _body(patient, plane)
    lung, depth = _lungs(patient, pose, plane)
    heart = _heart(patient, pose, plane)
    vessels = _vessels(patient, plane)
    rng = np.random.default_rng(patient.seed)
    texture = smooth_noise(rng, 48, size)
    aerated = _aeration(rng, patient, plane, depth)
    if disease == PNEUMONIA:
        opacity = consolidation(rng, plane, pose.breath, pose.progress, difficulty)
    elif disease == COVID19:
        opacity = ground_glass(
            rng, plane, pose.breath, pose.progress, difficulty, depth
        )
    else:
        opacity = np.zeros_like(lung)
    opacity *= lung
    # Dense lung hides its vessels and shows its airways; ground glass leaves both.
    solid = np.clip(opacity * 1.6 - 0.55, 0, 1)
    air = aerated * lung * (1 - 0.85 * opacity)
    inner = np.maximum(heart, _mediastinum(patient, plane))
    shadow = (
        body * (0.80 + 0.10 * patient.fat)
        + _breasts(patient, plane) * lung
        + lung * vessels * (0.15 - 0.28 * solid) * (1 - 0.8 * inner)
        + 0.025 * texture * lung
        - 0.62 * air * (1 - 0.84 * inner)
        + 0.13 * inner
        + 0.14 * patient.bone * _bones(patient, pose, plane, lung) * body
        - _gas(patient, pose, plane)
    )
    return Drawing(
        shadow.astype(np.float32),
        (lung > 0.5) & (inner < 0.5),
        (opacity > max(0.03, 0.3 * opacity.max())) & (lung > 0.5),
    )


def _body(patient: Patient, plane: Plane) -> np.ndarray:
    """Soft tissue: neck, shoulders, arms at the top, chest wall, belly."""
    side, y = plane.side, plane.y
    soft = max(0.012, 0.6 * plane.pixel)
    wall = patient.torso + 0.5 * edge(-0.30 - y, 0.05) + 0.03 * y
    shoulder = -1.02 + 0.30 * np.clip(side - 0.22, 0, None) ** 0.7
    inside = edge(wall - side, soft) * edge(y - shoulder, soft)
    neck = edge(0.24 - side, soft)
    round_ = np.sqrt(np.clip(1 - (side / (1.12 * wall)) ** 2, 0, 1))
    belly = edge(y - 0.45, 0.12)
    return np.maximum(inside, neck) * (0.42 + 0.58 * round_) * (1 + 0.12 * belly)


def _lungs(patient: Patient, pose: Pose, plane: Plane) -> tuple[np.ndarray, np.ndarray]:
    """Both lungs (0 to 1) and the depth below their lateral border."""
    side, y = plane.side, plane.y
    base = 0.50
    up = np.clip((base - y) / (base - patient.apex), 0, 1)
    width = patient.lung * by_side(plane, 1 + pose.turn, 1 - pose.turn)
    lateral = width * (1 - up**2.6) ** 0.5 - 0.05 * np.clip(y - 0.1, 0, None)
    medial = 0.09 + 0.24 * up**7
    dome = by_side(plane, 0.54, 0.47) + pose.breath  # the liver lifts the right
    dome = dome + 1.5 * (side - 0.36) ** 2 * (side > 0.36)
    dome = dome + 0.5 * (side - 0.36) ** 2 * (side <= 0.36)
    soft = max(0.011, 0.5 * plane.pixel)
    depth = np.clip(np.minimum(lateral - side, 0.8 * (dome - y)), 0, None)
    lung = (
        edge(lateral - side, soft)
        * edge(side - medial, 1.6 * soft)
        * edge(dome - y, soft)
    )
    return lung, depth


def _aeration(
    rng: np.random.Generator, patient: Patient, plane: Plane, depth: np.ndarray
) -> np.ndarray:
    """Air along the ray: less at the rim, in deep breath more, never quite even.

    Muscle and fat veil the lower rim: smooth, where ground glass is mottled.
    """
    veil = by_side(plane, *patient.veil) * np.exp(-((depth / 0.20) ** 2))
    uneven = smooth_noise(rng, 6, len(plane.x))
    thick = 0.66 + 0.34 * np.minimum(depth / 0.3, 1)
    return thick * (1 - veil * edge(plane.y + 0.05, 0.12)) * (0.90 + 0.10 * uneven)


def _heart(patient: Patient, pose: Pose, plane: Plane) -> np.ndarray:
    """Ventricles towards the patient's left, the right atrium, the great vessels."""
    size = patient.heart * (1.12 if pose.supine else 1.0)
    low = 0.25 + 0.8 * pose.breath
    shift = pose.turn
    shape = np.maximum(
        ellipse(plane, 0.13 + shift, low, 0.34 * size, 0.26 * size, 0.50),
        ellipse(plane, -0.04 + shift, low - 0.02, 0.155 * size, 0.25 * size),
    )
    foot = low + 0.14  # the heart rests on the diaphragm
    shape = np.maximum(shape, ellipse(plane, 0.06 + shift, foot, 0.24 * size, 0.18))
    knob = ellipse(plane, 0.10, -0.30, 0.09 * patient.aorta, 0.10 * patient.aorta)
    shape = np.maximum(shape, knob)
    shape = np.maximum(shape, ellipse(plane, 0.11, -0.10, 0.09, 0.12))
    return edge(shape, max(0.014, 0.5 * plane.pixel))


def _mediastinum(patient: Patient, plane: Plane) -> np.ndarray:
    half = 0.10 + 0.03 * patient.aorta * edge(-0.1 - plane.y, 0.1)
    return edge(half - plane.side, max(0.02, 0.5 * plane.pixel))


def _vessels(patient: Patient, plane: Plane) -> np.ndarray:
    """Branches that leave each hilum, wind, fork and taper."""
    total = np.zeros_like(plane.x)
    for half, branches in zip((~plane.left, plane.left), patient.vessels):
        columns = np.flatnonzero(half.any(axis=0))
        crop = slice(columns[0], columns[-1] + 1)
        u = plane.side[:, crop] - np.float32(0.13)
        v = plane.y[:, crop] + np.float32(0.06)
        radius = np.sqrt(u * u + v * v) + np.float32(1e-3)
        angle = np.arctan2(v, u)
        wave = 0.5 * np.sin(9 * radius) + radius * radius
        tree = np.zeros_like(radius)
        for start, bend, reach, calibre, fork in branches:
            taper = np.clip(1 - radius / reach, 0, 1)
            width = 0.020 * calibre * taper + 0.30 * plane.pixel
            apart = 0.9 * np.clip(radius - fork, 0, None)
            miss = (np.abs(angle - start - bend * wave) - apart) * radius / width
            tree += np.exp(-miss * miss) * taper * calibre
        tree = np.minimum(tree, 1.3) + 0.9 * np.exp(-((radius / 0.12) ** 2))
        total[:, crop] += tree * half[:, crop]
    return total


def _bones(patient: Patient, pose: Pose, plane: Plane, lung: np.ndarray) -> np.ndarray:
    """Ribs behind and in front, clavicles, spine, shoulder blades, arms."""
    side, y = plane.side, plane.y
    spacing, slope, first = patient.ribs
    soft = max(0.16, 0.9 * plane.pixel / spacing)
    pitch = spacing * (1 + 0.12 * y)
    cage = edge(patient.lung * 1.05 - side - 0.12 * np.abs(y) ** 3, 0.03)
    cage = cage * edge(y + 0.80, 0.04) * edge(0.70 - y, 0.08)
    behind = (y - slope * (side - 0.10) ** 2) / pitch + first
    front = (y + 0.75 * side) / pitch + first + 0.35
    ribs = _rib(behind, soft) * edge(side - 0.07, 0.02)
    ribs = ribs + 0.55 * _rib(front, soft) * edge(side - 0.30, 0.05) * edge(
        y + 0.45, 0.05
    )
    low, rise = patient.clavicle
    centre = low - rise * (side - 0.08) + 0.10 * np.sin(5.5 * (side - 0.05))
    clavicle = edge(0.032 - np.abs(y - centre - pose.turn * plane.x), 0.010)
    clavicle = clavicle * edge(side - 0.07, 0.015) * edge(0.80 - side, 0.03)
    bend = patient.spine_bend * np.sin(3 * y) - pose.turn
    spine = edge(0.075 - np.abs(plane.x - bend), 0.012)
    spine = spine * (0.75 + 0.25 * np.cos(2 * np.pi * y / 0.13))
    blade_at = 0.74 if pose.supine else 0.90
    mirrored = plane._replace(x=side)
    blade = edge(ellipse(mirrored, blade_at, -0.38, 0.16, 0.34, -0.25), 0.012)
    arm = edge(ellipse(mirrored, 1.02, -0.62, 0.15, 0.17), 0.012)
    return ribs * cage + 1.2 * clavicle + 1.1 * spine + 0.5 * blade + 1.2 * arm


def _rib(phase: np.ndarray, soft: float) -> np.ndarray:
    """A band a rib, with the brighter lower rim of its groove."""
    wave = np.cos(2 * np.pi * phase)
    rim = np.cos(2 * np.pi * (phase - 0.20))
    return 0.8 * edge(wave - 0.15, soft) + 0.5 * edge(rim - 0.93, 0.5 * soft)


def _breasts(patient: Patient, plane: Plane) -> np.ndarray:
    if not patient.female:
        return np.zeros_like(plane.x)
    mirrored = plane._replace(x=plane.side)
    size = 0.24 + 0.12 * patient.fat
    shape = ellipse(mirrored, 0.46, 0.34, size, 0.9 * size, 0.2)
    return (0.05 + 0.08 * patient.fat) * edge(shape, 0.03)


def _gas(patient: Patient, pose: Pose, plane: Plane) -> np.ndarray:
    """Windpipe and its two branches; the stomach's bubble below the left dome."""
    trachea = edge(0.036 - np.abs(plane.x - 0.5 * pose.turn), 0.012)
    trachea = trachea * edge(-0.22 - plane.y, 0.03)
    fork = plane.y + 0.22 - 0.9 * plane.side
    bronchi = edge(0.03 - np.abs(fork), 0.012) * edge(0.18 - plane.side, 0.03)
    bubble = ellipse(plane, 0.36, 0.70 + pose.breath, 0.16 * patient.heart, 0.07)
    return 0.16 * trachea + 0.07 * bronchi + 0.14 * edge(bubble, 0.015)

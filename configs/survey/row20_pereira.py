"""Row 20: Pereira, Bertolini, Teixeira, Silla, Costa 2020, RYDLS-20, CMPB 194:105532.

    python -m covjax.train --config configs/survey/row20_pereira.py:flat,early
        with --config.data.manifest=FILE
    python -m covjax.train --config configs/survey/row20_pereira.py:hierarchical,early
        with --config.data.manifest=FILE

Published: macro F1 0.65 of the seven classes, flat; F1 of COVID-19 0.89, hierarchical.
Not yet run here.

Data: RYDLS-20, 1,000 normal, 90 COVID-19, 10 MERS, 11 SARS, 10 varicella, 12
Streptococcus and 11 Pneumocystis X-rays, 70 % for training, as a manifest; the sources
are github.com/ieee8023/covid-chestxray-dataset, radiopaedia.org and NIH ChestX-ray14,
and the normal pictures are all of the last.

Different here: BSIF's filters are learnt from other photographs
(`covjax.data.texture_filters`); the tree of the hierarchy stops by the size of its
leaves.

Not known: the options of the classifiers; the radii, windows and thresholds of the
descriptors; which resampling goes with which result (here SMOTE with Tomek links).
"""

from typing import Any

from covjax import config, imagenet

INCEPTION = imagenet.WEIGHTS["inception_v3"]
PATHS = {
    "normal": "normal",
    "COVID-19": "pneumonia/acellular/viral/coronavirus/COVID-19",
    "MERS": "pneumonia/acellular/viral/coronavirus/MERS",
    "SARS": "pneumonia/acellular/viral/coronavirus/SARS",
    "varicella": "pneumonia/acellular/viral/varicella",
    "Streptococcus": "pneumonia/cellular/bacterial/Streptococcus",
    "Pneumocystis": "pneumonia/cellular/fungus/Pneumocystis",
}
SMOKE_PATHS = {
    "normal": "normal",
    "pneumonia": "pneumonia/cellular/pneumonia",
    "covid19": "pneumonia/acellular/covid19",
}
FUSIONS = {"early": "early", "late": "sum"}


def get_config(variant: str = "") -> config.Run:
    words = (("flat", "hierarchical"), tuple(FUSIONS))
    scenario, fusion, smoke = config.choose(variant, *words)
    run = config.Run()
    run.model = config.Model(name="inception_v3", new_head=True)
    pipeline: dict[str, Any] = {"classifier": "mlp", "resample": "smote_tomek"}
    if scenario == "hierarchical":
        pipeline["classifier"] = "hierarchical_tree"
        pipeline["hierarchy"] = SMOKE_PATHS if smoke else PATHS
    run.system = config.System(
        name="features_classifier",
        kwargs={
            "networks": {"inception_v3": "" if smoke else INCEPTION.pretrained},
            "fine_tune": False,
            "textures": ("lbp", "eqp", "ldn", "letrist", "bsif", "lpq", "obif"),
            "fusion": FUSIONS[fusion],
            "pipeline": pipeline,
        },
    )
    run.data = config.Data(
        name="folder",
        classes=tuple(PATHS),
        size=299,
        channels=3,
        mean=INCEPTION.mean,
        std=INCEPTION.std,
        split="image",
        fractions=(0.6, 0.1, 0.3),  # the test split is the paper's 30 %
    )
    run.evaluation = config.Evaluation(positive="COVID-19")
    return config.rehearse(run, size=80) if smoke else run

"""Row 4: Zhang, Xie, Pang et al. 2020, anomaly detection, arXiv 2003.12338.

    python -m covjax.train --config configs/survey/row04_zhang.py:score
        with --config.data.manifest=FILE

Published: version 1 of the paper, whose numbers the survey prints, mean of two folds:
sensitivity 96.00 %, specificity 70.65 %, AUC 95.18 %; version 4 (``confidence``, CAAD)
on other data: AUC 83.61 %, sensitivity 71.70 %. Not yet run here.

Data: 100 COVID-19 X-rays of 70 patients of github.com/ieee8023/covid-chestxray-dataset
and 1,431 of other pneumonia of 1,008 patients of NIH ChestX-ray14, as a manifest: the
classes are the sources. X-VIRAL, of version 4, is not public.

Different here: version 1 has a network like ResNet-18, version 4 and the survey
EfficientNet-B0; see `covjax.systems.anomaly` for the heads. The threshold is the one
that reaches the published sensitivity on validation. Not known: size of the pictures,
augmentation, optimizer, batch size and epochs: all covjax's choices.
"""

from covjax import config, imagenet

LOSSES = {"score": "deviation", "confidence": "deviation_confidence"}


def get_config(variant: str = "") -> config.Run:
    form, smoke = config.choose(variant, tuple(LOSSES))
    run = config.Run()
    run.system = config.System(name="anomaly")
    run.data = config.Data(
        name="folder",
        classes=("other pneumonia", "COVID-19"),
        size=224,
        channels=3,
        split="grouped",
        folds=2,
    )
    imagenet.start(run, "efficientnet_b0")
    run.augment = config.Augment(flip=True, rotation_degrees=10.0, zoom=0.1)
    run.optimizer = config.Optimizer(name="adam", learning_rate=1e-4)
    run.train = config.Train(
        epochs=50,
        batch_size=32,
        loss=LOSSES[form],
        sampling="balanced",  # Pang et al. 2019, algorithm 1
    )
    run.evaluation = config.Evaluation(threshold="sensitivity", target=0.96)
    if smoke:
        return config.rehearse(run, classes=("normal", "covid19"))
    return run

"""Ucar, Korkmaz 2020, COVIDiagnosis-Net, Medical Hypotheses 140:109761: to be searched.

doi 10.1016/j.mehy.2020.109761. The survey cites it without a row of its own.

    python -m covjax.search --config configs/survey/covidiagnosis_net.py --trials 30
        with --config.data.dir=DIR --config.model.pretrained=FILE
    python -m covjax.train --config runs/search-covidiagnosis_net/best.py

Published: accuracy 98.26 %, COVID-19 all found, F1 98.25 %, specificity 99.13 %, MCC
97.39 %, for SqueezeNet 1.1 from ImageNet with rate, momentum and L2 penalty found by
Bayesian optimisation. Not yet run here.

Data: COVIDx as of spring 2020, of github.com/lindawangg/COVID-Net, 76 COVID-19 X-rays
enlarged to some 1,500 beforehand; here classes are drawn equally often instead.

Weights are torchvision's file. Not known: batch size, epochs and how many trials; here
the split is by patient, which the paper does not say.
"""

from covjax import config


def get_config(variant: str = "") -> config.Run:
    (smoke,) = config.choose(variant)
    run = config.Run()
    run.model = config.Model(name="squeezenet1_1", new_head=True)
    run.data = config.Data(
        name="covidx",
        size=227,
        channels=3,
        mean=(0.485, 0.456, 0.406),  # ImageNet
        std=(0.229, 0.224, 0.225),
        split="grouped",
        fractions=(0.8, 0.1, 0.1),
    )
    run.augment = config.Augment(rotation_degrees=15.0, shift=0.05, flip=True)
    run.optimizer = config.Optimizer(name="sgd", learning_rate=1e-3, momentum=0.9)
    run.train = config.Train(
        epochs=30, batch_size=32, sampling="balanced", select_by="accuracy"
    )
    return config.rehearse(run) if smoke else run

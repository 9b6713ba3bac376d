"""Row 13: Toğaçar, Ergen, Cömert 2020, Computers in Biology and Medicine 121:103805.

    python -m covjax.train --config configs/survey/row13_togacar.py
        with --config.data.manifest=FILE

Published: accuracy 99.27 %, features of MobileNetV2 and SqueezeNet of the stacked
pictures joined, after selection. Run here from random weights, on DarkCovidNet's
pictures: accuracy 67.1 % [56.3, 76.3] of 85 test pictures
(benchmarks/results/survey-cpu2.jsonl). Not yet from ImageNet's.

Data: 295 COVID-19, 65 normal and 98 pneumonia X-rays of
github.com/ieee8023/covid-chestxray-dataset and kaggle.com/tawsifurrahman, as a
manifest. SqueezeNet's weights are torchvision's file (covjax/imagenet.py); where it
lies elsewhere: --config.system.kwargs.networks="{'mobilenet_v2':
'timm/mobilenetv2_100.ra_in1k', 'squeezenet1_1': 'FILE'}".

From the authors' scripts: fuzzy colour and stacking, SGD with momentum, rate, batch
size, epochs. Different here: SqueezeNet sees 224 pixels, not 227; the stem is frozen
instead of the first ten layers;
SqueezeNet's features are means over its last map, not its class scores; features are
selected after they are joined, not before, scored by cross-validation within the
training pictures. The authors' search never moves and keeps the best of many runs by
accuracy: see `covjax.systems.selection`. Not known: size of the population and number
of iterations (here 10 and 10).
"""

from typing import Any

from covjax import config, imagenet

NETWORKS = ("mobilenet_v2", "squeezenet1_1")


def get_config(variant: str = "") -> config.Run:
    (smoke,) = config.choose(variant)
    run = config.Run()
    run.model = config.Model(name="mobilenet_v2", new_head=True)
    pipeline: dict[str, Any] = {"classifier": "linear_svm", "select": "social_mimic"}
    run.system = config.System(
        name="features_classifier",
        kwargs={
            "networks": {n: imagenet.WEIGHTS[n].pretrained for n in NETWORKS},
            "pipeline": pipeline,
        },
    )
    run.data = config.Data(
        name="folder",
        classes=("normal", "pneumonia", "COVID-19"),
        size=224,
        channels=3,
        fuzzy_stack=True,
        mean=(0.485, 0.456, 0.406),  # ImageNet
        std=(0.229, 0.224, 0.225),
        split="image",
        fractions=(0.6, 0.1, 0.3),  # the test split is the paper's 30 %
    )
    run.optimizer = config.Optimizer(
        name="sgd",
        learning_rate=1e-5,
        momentum=0.9,
        stage_rates={"head": 10.0},  # authors' script
    )
    run.train = config.Train(epochs=50, batch_size=64, freeze=("stem",))
    if smoke:
        run.system.kwargs["networks"] = dict.fromkeys(NETWORKS, "")
        run.system.kwargs["pipeline"] = pipeline | {"population": 3, "iterations": 1}
        return config.rehearse(run)
    return run

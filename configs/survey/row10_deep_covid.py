"""Row 10: Minaee, Kafieh, Sonka, Yazdani, Soufi 2020, Deep-COVID, MedIA 65:101794.

    python -m covjax.train --config configs/survey/row10_deep_covid.py:squeezenet1_1
        with --config.data.manifest=FILE

Published, at a sensitivity of 98 %: specificity 92.9 % for SqueezeNet, 90.7 % for
ResNet-18, 89.6 % for ResNet-50, 75.1 % for DenseNet-121. Not yet run here.

Data: COVID-Xray-5k of github.com/shervinmin/DeepCovid: 84 COVID-19 and 2,000 other
pictures for training, 100 and 3,000 for the test, as a manifest with that split.
COVID-19 is from Cohen's collection, the others from CheXpert: the classes are the
sources.

Only the classifier is trained; statistics of the frozen trunk go on following the
pictures. SqueezeNet's weights are torchvision's file (covjax/imagenet.py). Adam at 1e-4
is the paper's; the authors' script has SGD with momentum 0.9, a step schedule and
random crops. Different here: the 84 pictures of COVID-19 are not enlarged to 420 but
changed anew in each epoch; an eighth of the training pictures is for validation.

Not known: which SqueezeNet, and the size of the turns and distortions (here 5 degrees
and 5 %).
"""

from covjax import config, imagenet

NETWORKS = ("squeezenet1_1", "resnet18", "resnet50", "densenet121")


def get_config(variant: str = "") -> config.Run:
    network, smoke = config.choose(variant, NETWORKS)
    run = config.Run()
    run.data = config.Data(
        name="folder",
        classes=("non-COVID", "COVID-19"),
        size=224,
        channels=3,
        split="official",
    )
    imagenet.start(run, network)
    run.augment = config.Augment(flip=True, rotation_degrees=5.0, zoom=0.05)
    run.optimizer = config.Optimizer(name="adam", learning_rate=1e-4)
    run.train = config.Train(epochs=100, batch_size=20, freeze=("backbone",))
    run.evaluation = config.Evaluation(threshold="sensitivity", target=0.98)
    if smoke:
        return config.rehearse(run, classes=("normal", "covid19"))
    return run

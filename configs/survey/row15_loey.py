"""Row 15: Loey, Smarandache, Khalifa 2020, Symmetry 12(4):651, DCGAN and transfer.

doi 10.3390/sym12040651

    python -m covjax.train --config configs/survey/row15_loey.py:googlenet,four
        with --config.data.manifest=FILE

Published: four classes GoogLeNet accuracy 80.6 %, three classes AlexNet 85.2 %, two
classes GoogLeNet 100 % (99.9 % on validation; the survey prints 99 %). Not yet run
here.

Data: 69 COVID-19 X-rays of github.com/ieee8023/covid-chestxray-dataset and 79 each of
normal, bacterial and viral pneumonia of
kaggle.com/paultimothymooney/chest-xray-pneumonia, as a manifest; which of them is not
known. A tenth is the test split: some 30 pictures.

The paper says that a GAN of five 4x4 layers each makes 30 times the pictures, about
8,100, but not how it knows their class: here one DCGAN a class learns from the
training split alone and draws 1,950. Weights of AlexNet and GoogLeNet are torchvision's
files: ``--config.model.pretrained=FILE``. Not known: widths and size of the GAN
(covjax/models/gan.py), its epochs (here 500), learning rate, epochs and batch size of
the classifier (here covjax's choices), and whether patients were kept together.
"""

from covjax import config, imagenet

NETWORKS = ("googlenet", "alexnet", "resnet18")
CLASSES = {
    "four": ("normal", "bacterial pneumonia", "viral pneumonia", "COVID-19"),
    "three": ("normal", "bacterial pneumonia", "COVID-19"),
    "two": ("normal", "COVID-19"),
}


def get_config(variant: str = "") -> config.Run:
    network, number, smoke = config.choose(variant, NETWORKS, tuple(CLASSES))
    run = config.Run()
    run.system = config.System(
        name="gan_augmentation",
        kwargs={"gan": "dcgan", "epochs": 500, "batch_size": 64, "pictures": 1950},
    )
    run.data = config.Data(
        name="folder",
        classes=CLASSES[number],
        size=224,
        channels=3,
        split="image",
        fractions=(0.8, 0.1, 0.1),
    )
    imagenet.start(run, network)
    run.optimizer = config.Optimizer(name="sgd", learning_rate=1e-3, momentum=0.9)
    run.train = config.Train(epochs=20, batch_size=64)
    if smoke:
        run.system.kwargs |= {"size": 16, "epochs": 1, "batch_size": 8, "pictures": 4}
        phantom = () if number != "two" else ("normal", "covid19")
        return config.rehearse(run, classes=phantom)
    return run

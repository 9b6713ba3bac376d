"""Row 2: Hemdan, Shouman, Karar 2020, COVIDX-Net, arXiv 2003.11055.

    python -m covjax.train --config configs/survey/row02_covidx_net.py:vgg19
        with --config.data.manifest=FILE

Published: accuracy 90 % for VGG-19 and DenseNet-201, on ten test pictures; F1 0.91 for
COVID-19 and 0.89 for normal. Inception-v3 was worst (50 %). Not yet run here.

Data: 25 COVID-19 and 25 normal X-rays of github.com/ieee8023/covid-chestxray-dataset
and its neighbours, as a manifest; which of them is not known.

Not known: momentum (here none), the layers between the frozen trunk and the classifier
(here none), and the validation pictures (here a tenth). The paper's seventh network,
ResNet-v2, is not in covjax.
"""

from covjax import config

NETWORKS = {
    "vgg19": "timm/vgg19.tv_in1k",
    "densenet201": "timm/densenet201.tv_in1k",
    "inception_v3": "timm/inception_v3.tv_in1k",
    "inception_resnet_v2": "timm/inception_resnet_v2.tf_in1k",
    "xception": "timm/legacy_xception.tf_in1k",
    "mobilenet_v2": "timm/mobilenetv2_100.ra_in1k",
}
# how timm's Xception was trained (covjax/models/xception.py)
KWARGS = {"xception": {"padding": "symmetric", "epsilon": 1e-5, "momentum": 0.9}}


def get_config(variant: str = "") -> config.Run:
    network, smoke = config.choose(variant, tuple(NETWORKS))
    run = config.Run()
    run.model = config.Model(
        name=network,
        kwargs=KWARGS.get(network, {}),
        pretrained=NETWORKS[network],
        new_head=True,
    )
    run.data = config.Data(
        name="folder",
        classes=("normal", "COVID-19"),
        size=224,
        channels=3,
        mean=(0.0,),
        std=(1.0,),
        split="image",
        fractions=(0.7, 0.1, 0.2),
    )
    run.optimizer = config.Optimizer(name="sgd", learning_rate=1e-3, momentum=0.0)
    run.train = config.Train(epochs=50, batch_size=7, freeze=("backbone",))
    if smoke:
        return config.rehearse(run, classes=("normal", "covid19"), size=80)
    return run

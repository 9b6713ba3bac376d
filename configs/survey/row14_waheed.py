"""Row 14: Waheed, Goyal, Gupta et al. 2020, CovidGAN, IEEE Access 8:91916.

doi 10.1109/ACCESS.2020.2994762

    python -m covjax.train --config configs/survey/row14_waheed.py
        with --config.data.manifest=FILE

Published: accuracy 85 % (sensitivity 69 %, specificity 95 %) without synthetic
pictures, 95 % (90 %, 97 %) with them. Not yet run here.

Data: 403 COVID-19 and 721 normal X-rays of
github.com/ieee8023/covid-chestxray-dataset, github.com/agchung (Figure 1) and
kaggle.com/tawsifurrahman/covid19-radiography-database, as a manifest; which of them is
not known. The paper tests on 192 of them (72 and 120).

The GAN's layers agree with the paper's counts (covjax/models/gan.py). Different here:
the GAN sees the training pictures alone; VGG-16 keeps its own dense layers, where the
paper has a dense layer of 64 after global averaging. Not known: how many synthetic
pictures joined (here 1500 a class), whether the convolutions were frozen (here not),
the split by patient, and the validation pictures (here a twelfth). The figure without
the GAN is that of ``--config.system.name=''``.
"""

from covjax import config, imagenet


def get_config(variant: str = "") -> config.Run:
    (smoke,) = config.choose(variant)
    run = config.Run()
    run.system = config.System(
        name="gan_augmentation",
        kwargs={"gan": "acgan", "epochs": 2000, "batch_size": 64, "pictures": 1500},
    )
    run.data = config.Data(
        name="folder",
        classes=("normal", "COVID-19"),
        size=112,
        channels=3,
        split="image",
        fractions=(0.75, 0.08, 0.17),  # 192 of 1,124 are tested
    )
    imagenet.start(run, "vgg16")
    run.optimizer = config.Optimizer(name="adam", learning_rate=1e-3)
    run.train = config.Train(epochs=100, batch_size=16)
    if smoke:
        run.system.kwargs |= {"size": 16, "epochs": 1, "batch_size": 8, "pictures": 4}
        return config.rehearse(run, classes=("normal", "covid19"))
    return run

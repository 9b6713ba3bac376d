"""Row 18: Oh, Park, Ye 2020, patches of the lungs, IEEE TMI 39(8):2688.

doi 10.1109/TMI.2020.2993291

    python -m covjax.train --config configs/survey/row18_oh.py:segmentation
        with --config.data.name=covid19_radiography --config.data.dir=DIR
        --workdir=LUNGS
    python -m covjax.train --config configs/survey/row18_oh.py:patches
        with --config.data.manifest=FILE
        --config.system.kwargs.segmentation="{'segmenter': 'LUNGS/segmenter'}"

Published: accuracy 88.9 %, precision 83.4 %, recall 85.9 %, F1 84.4 %, specificity
96.4 %; recall of COVID-19 92.5 %. Not yet run here.

Data: 502 X-rays of public collections as a manifest: 191 normal, 54 bacterial
pneumonia, 57 tuberculosis, 200 viral pneumonia and COVID-19 as one class. The lungs
were learnt from JSRT with the masks of SCR, 247 X-rays; any set with lung masks will
do: one of the catalog, or a folder with --config.data.kwargs.masks=DIR.

From the paper and the authors' code: FC-DenseNet103 at 256 pixels, histogram
equalisation and gamma 0.5, pictures of 1024 pixels blackened outside the lungs,
patches of 224 pixels, ResNet-18, 100 votes a picture. Different here: pictures are
normalised as the weights were trained, where the authors scaled them to [0, 1]; blank
rows below the picture are not cut away; the lungs are learnt on 70 % of their pictures,
not 80 %; see also covjax/systems/patch_voting.py. Not known: which of the public
pictures.
"""

from covjax import config, imagenet

CLASSES = ("normal", "bacterial pneumonia", "tuberculosis", "viral and COVID-19")


def get_config(variant: str = "") -> config.Run:
    stage, smoke = config.choose(variant, ("patches", "segmentation"))
    run = config.Run()
    run.system = config.System(name="patch_voting")
    run.data = config.Data(
        name="folder",
        classes=CLASSES,
        size=1024,
        channels=3,
        equalize="histogram",
        gamma=0.5,
        fractions=(0.7, 0.1, 0.2),
    )
    if stage == "segmentation":
        run.system = config.System(name="segmentation")
        run.data.size, run.data.classes = 256, ()
    imagenet.start(run, "resnet18")
    run.augment = config.Augment(flip=True, rotation_degrees=5.0)
    run.optimizer = config.Optimizer(
        name="adam",
        learning_rate=1e-5,
        weight_decay=0.1,
        l1=1e-5,
        decay_norms_and_biases=True,  # both penalties are of all parameters
    )
    run.train = config.Train(
        epochs=100,
        batch_size=16,
        sampling="balanced",
        select_by="accuracy",
        early_stopping_epochs=50,
    )
    if smoke:
        small = {"network": "unet", "size": 32, "epochs": 1}
        run.system.kwargs = small if stage == "segmentation" else {
            "segmentation": small,
            "patch_size": 32,
            "patches": 5,
            "validation_patches": 2,
        }  # fmt: skip
        return config.rehearse(run)
    return run

"""Row 17: Mahmud, Rahman, Fattah 2020, CovXNet, Computers in Biology and Medicine 122.

doi 10.1016/j.compbiomed.2020.103869

    python -m covjax.train --config configs/survey/row17_covxnet.py:pretraining
        with --config.data.dir=DIR --workdir=runs/covxnet
    python -m covjax.train --config configs/survey/row17_covxnet.py:four
        with --config.data.manifest=FILE

Published, mean of five folds: accuracy 90.2 % for four classes; COVID-19 against normal
97.4 %, against viral pneumonia 96.9 %, against bacterial pneumonia 94.7 %. Not yet run
here.

Data: stage 1 the 5,856 X-rays of Guangzhou (doi 10.17632/rscbjbr9sj), by cause; then
305 COVID-19 X-rays and 305 of each other class, as a manifest.

Networks at 32, 64, 128 and 256 pixels; in the second stage their trunks are frozen
under a new head. Different here: the meta-learner, which the paper only draws, is a
multinomial logistic regression on out-of-fold predictions; statistics of the frozen
trunk go on following the pictures. Not known: the number of residual units in a row
(here 5), epochs, batch size, learning rate, augmentation, and which 305 pictures.
"""

from covjax import config

CLASSES = {
    "four": ("normal", "bacterial pneumonia", "viral pneumonia", "COVID-19"),
    "normal": ("normal", "COVID-19"),
    "viral": ("viral pneumonia", "COVID-19"),
    "bacterial": ("bacterial pneumonia", "COVID-19"),
    "pretraining": ("normal", "bacterial pneumonia", "viral pneumonia"),
}
SIZES = (32, 64, 128, 256)


def get_config(variant: str = "") -> config.Run:
    task, smoke = config.choose(variant, tuple(CLASSES))
    run = config.Run()
    stage1 = "" if task == "pretraining" else "runs/covxnet"
    run.model = config.Model(name="covxnet256", kwargs={"depth": 5}, pretrained=stage1)
    run.system = config.System(
        name="ensemble",
        kwargs={
            "members": tuple({"model": f"covxnet{s}", "size": s} for s in SIZES),
            "rule": "stacking",
            "folds": 5,
            "transfer": {"transfer": True},
        },
    )
    run.data = config.Data(
        name="folder",
        classes=CLASSES[task],
        size=256,
        channels=1,
        mean=(0.0,),
        std=(1.0,),
        split="image",
        folds=5,
    )
    if task == "pretraining":
        run.data.name, run.data.folds = "chest_xray_pneumonia_causes", 0
    run.optimizer = config.Optimizer(name="adam", learning_rate=1e-3)
    run.train = config.Train(epochs=50, batch_size=32)
    if smoke:
        run.system.kwargs |= {
            "members": tuple(
                {"model": f"covxnet{s}", "size": s, "kwargs": {"depth": 1}}
                for s in (32, 64)
            ),
            "folds": 2,
        }
        two = ("normal", "covid19") if len(CLASSES[task]) == 2 else ()
        return config.rehearse(run, classes=two)
    return run

"""Row 7: N. Narayan Das, N. Kumar, Kaur, V. Kumar, Singh 2020, IRBM, Xception.

doi 10.1016/j.irbm.2020.07.001

    python -m covjax.train --config configs/survey/row07_das_xception.py
        with --config.data.dir=DIR

Published: accuracy 97.41 %, F1 96.97 %, sensitivity 97.09 %, specificity 97.29 %.
Not yet run here.

Data: the pictures of row 8, github.com/muhammedtalo/COVID-19, split 70 / 10 / 20. It is
not known whether pictures of one patient were kept together; here they are not
(``--config.data.split=grouped`` does it).

Not known: picture size, learning rate, epochs, batch size and the dropout before the
classifier (here none): all but Adam and the split are covjax's choices.
"""

from covjax import config, imagenet


def get_config(variant: str = "") -> config.Run:
    (smoke,) = config.choose(variant)
    run = config.Run()
    run.data = config.Data(
        name="darkcovidnet",
        size=299,
        channels=3,
        split="image",
        fractions=(0.7, 0.1, 0.2),
    )
    imagenet.start(run, "xception")
    run.optimizer = config.Optimizer(name="adam", learning_rate=1e-4)
    run.train = config.Train(epochs=50, batch_size=16)
    return config.rehearse(run) if smoke else run

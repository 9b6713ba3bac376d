"""Row 5: Islam, Islam, Asraf 2020, CNN+LSTM, Inform Med Unlocked 20:100412.

    python -m covjax.train --config configs/survey/row05_islam.py --config.data.dir=DIR

Published: accuracy 99.4 %, AUC 99.9 %, specificity 99.2 %, sensitivity 99.3 %, F1
98.9 %. Not yet run here.

Data: data.mendeley.com/datasets/jctsfj2sfn, 1,525 X-rays of each of three classes.

Not known: the optimizer (the authors' script has RMSprop), the batch size (16 in the
script), the validation pictures (here an eighth of the training folds). Learning rate
and epochs are the paper's; the script has 3e-4, falling by 0.95 an epoch, for 25, and
leaves convolutions and LSTM at their random start, which is not repeated here. Folds
are of pictures, as published: ``--config.data.split=grouped`` keeps patients apart.
"""

from covjax import config


def get_config(variant: str = "") -> config.Run:
    (smoke,) = config.choose(variant)
    run = config.Run()
    run.model = config.Model(name="cnn_lstm")
    run.data = config.Data(
        name="islam",
        size=224,
        channels=3,
        mean=(0.0,),
        std=(1.0,),
        split="image",
        folds=5,
    )
    run.augment = config.Augment(rotation_degrees=15.0)
    run.optimizer = config.Optimizer(name="rmsprop", learning_rate=1e-4, momentum=0.0)
    run.train = config.Train(epochs=125, batch_size=16)
    return config.rehearse(run) if smoke else run

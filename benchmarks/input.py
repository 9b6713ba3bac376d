"""What feeding costs: an epoch over resident data against the bare step.

    python -m benchmarks.input --model densenet121 --size 64 --batch 32

The bare step trains on one batch that lies in device memory, without augmentation.
The epoch gathers, augments, normalises and trains on every picture of a resident
phantom. The result is the ratio of their rates, bare seconds over epoch seconds.
"""

from collections.abc import Sequence
from dataclasses import replace

from benchmarks import harness
from covjax import cli


def main(arguments: Sequence[str]) -> int:
    """Measures, writes one result line and prints it."""
    parser = cli.Parser(prog="benchmarks.input", description=__doc__)
    parser.add_argument("--model", type=harness.network, default="densenet121")
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=2, help="of one window")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--force", action="store_true", help="on a busy machine too")
    flags = parser.parse_args(arguments)
    harness.check_quiet(flags.force)

    import jax
    import numpy as np

    from covjax import config
    from covjax.data.phantom import phantom
    from covjax.training.memory import keep_freed_memory
    from covjax.training.parallel import enable_compilation_cache
    from covjax.training.trainer import Trainer

    keep_freed_memory()
    enable_compilation_cache()
    images = phantom(flags.size)
    run = config.Run()
    run.model.name = flags.model
    run.data.size = flags.size
    run.train.batch_size = flags.batch
    run.augment = config.Augment(
        rotation_degrees=10, shift=0.1, zoom=0.1, brightness=0.1, contrast=0.1
    )
    trainer = Trainer(run, images, images)
    rows = np.resize(np.arange(len(images)), (flags.steps, flags.batch))
    epoch_runner = trainer.runner(0)
    data = epoch_runner.place((images.images, images.labels))

    plain = replace(run, augment=config.Augment())
    bare_runner = Trainer(plain, images, images).runner(0)
    batch = jax.device_put((images.images[: flags.batch], images.labels[: flags.batch]))
    states = {name: epoch_runner.place(trainer.create()) for name in ("epoch", "bare")}

    def epoch() -> None:
        for state, _ in epoch_runner.epoch(states["epoch"], data, rows):
            states["epoch"] = state
        jax.block_until_ready(states["epoch"])

    def bare() -> None:
        for state, _ in bare_runner.batches(states["bare"], [batch] * flags.steps):
            states["bare"] = state
        jax.block_until_ready(states["bare"])

    sides = {"bare": bare, "epoch": epoch}
    harness.interleaved(sides, rounds=1)  # compiles
    seconds = harness.interleaved(sides, flags.rounds)
    pictures = flags.steps * flags.batch
    result = {
        "model": flags.model,
        "size": flags.size,
        "batch": flags.batch,
        "steps": flags.steps,
        "rounds": flags.rounds,
        "images_per_second": {
            name: harness.spread([pictures / s for s in values])
            for name, values in seconds.items()
        },
        "epoch_rate_over_bare": harness.paired_ratio(seconds["bare"], seconds["epoch"]),
    }
    path = harness.write_result("input", result)
    ratio = result["epoch_rate_over_bare"]
    rates = result["images_per_second"]
    print(
        f"{flags.model} at {flags.size} px, batch {flags.batch}: bare step "
        f"{rates['bare']['median']:.1f} images/s, "
        f"epoch {rates['epoch']['median']:.1f}, "
        f"ratio {ratio['median']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]; {path}"
    )
    return 0


if __name__ == "__main__":
    cli.run_command(main)

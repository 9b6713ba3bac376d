"""What streaming costs: a grain epoch against the bare decoder.

    python -m benchmarks.streaming --data darkcovidnet --dir DIR --size 224

The bare decoder reads, decodes and prepares every picture of the training split in as
many threads as there are cores, and throws the result away. The stream gives the same
pictures as batches in a training epoch's order. The result is the ratio of their rates,
and how many cores each keeps busy.
"""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks import harness
from covjax import cli


def main(arguments: Sequence[str]) -> int:
    """Measures and writes one line."""
    parser = cli.Parser(prog="benchmarks.streaming", description=__doc__)
    parser.add_argument("--data", default="darkcovidnet")
    parser.add_argument("--dir", default="", help="its folder")
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--force", action="store_true", help="on a busy machine too")
    flags = parser.parse_args(arguments)
    harness.check_quiet(flags.force)

    from covjax import config
    from covjax.data import load, order
    from covjax.data.imageset import LazyImages
    from covjax.data.stream import stream

    data = config.Data(name=flags.data, dir=flags.dir, size=flags.size, feed="stream")
    train = load(data).train
    lazy = train.images
    assert isinstance(lazy, LazyImages)
    shown = order.epoch_order(0, 0, len(train))
    rows = order.training_batches(shown, flags.batch)
    busy: dict[str, list[float]] = {"bare": [], "stream": []}

    def timed(name: str, run: Callable[[], None]) -> Callable[[], None]:
        def window() -> None:
            cpu, wall = time.process_time(), time.perf_counter()
            run()
            cores = (time.process_time() - cpu) / (time.perf_counter() - wall)
            busy[name].append(cores)

        return window

    def bare() -> None:
        places = lazy.rows[rows.reshape(-1)].tolist()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(lazy.read, places):
                pass

    def streamed() -> None:
        for _ in stream(train, rows):
            pass

    sides = {"bare": timed("bare", bare), "stream": timed("stream", streamed)}
    harness.interleaved(sides, rounds=1)  # fills the file cache
    for values in busy.values():
        values.clear()
    seconds = harness.interleaved(sides, flags.rounds)
    result = {
        "data": flags.data,
        "size": flags.size,
        "batch": flags.batch,
        "rounds": flags.rounds,
        "images_per_second": {
            name: harness.spread([rows.size / s for s in values])
            for name, values in seconds.items()
        },
        "cores_busy": {name: harness.spread(values) for name, values in busy.items()},
        "stream_rate_over_bare": harness.paired_ratio(
            seconds["bare"], seconds["stream"]
        ),
    }
    path = harness.write_result("streaming", result)
    ratio = result["stream_rate_over_bare"]
    rates = result["images_per_second"]
    cores = result["cores_busy"]
    print(
        f"{flags.data} at {flags.size} px: bare decoder {rates['bare']['median']:.0f} "
        f"images/s on {cores['bare']['median']:.2f} cores, stream "
        f"{rates['stream']['median']:.0f} on {cores['stream']['median']:.2f}, ratio "
        f"{ratio['median']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]; {path}"
    )
    return 0


if __name__ == "__main__":
    cli.run_command(main)

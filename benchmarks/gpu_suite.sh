#!/usr/bin/env bash
# The GPU measurements by one command, the most important first:
#
#     benchmarks/gpu_suite.sh            all: headline tables forms start seeds folds infer
#                                        small flags; not yet run whole on a GPU
#     benchmarks/gpu_suite.sh flags      one step
#     benchmarks/gpu_suite.sh --tiny     the same with tiny shapes, on a CPU too
#
# After 25 minutes (SUITE_MINUTES) it stops what runs, writes the tables of what there is
# and names the steps that are not done; the same command goes on with them.
#
# On an H100 with jaxlib 0.11.2 the bare step of ResNet-50 compiled in 14 s, but the first
# epoch of DarkCovidNet, one scan in one program, took 83 s, of which training was 0.15 s.
# Compiled for an H100 on a machine without one (jax.experimental.topologies), without
# trying anything out, it takes 8 s on two cores, so most of it must be XLA's timing of
# alternatives. `start` measures it without those of fusions, with few, and without the
# scan. Nothing here runs beside anything else: while other programs compiled on the
# same GPU, ResNet-50's step took 99 s to compile, and half a suite went by. PyTorch runs
# in channels_last alone, the faster layout in timm's tables of an RTX 3090.
#
# Each step writes a result line as soon as it has one and skips what is there already.
# COVJAX_RESULTS_DIR: where the lines go.
# PNEUMONIA_MNIST_DIR and DARKCOVIDNET_DIR: the pictures; without them the phantom's,
# and the lines say so.
set -uo pipefail
cd "$(dirname "$0")/.."
export XLA_PYTHON_CLIENT_PREALLOCATE=false
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python)}

tiny=false
if [ "${1:-}" = --tiny ]; then tiny=true && shift; fi
steps=("$@")
[ ${#steps[@]} -gt 0 ] ||
    steps=(headline tables forms start seeds folds infer small flags)

batches=(256) small=(32) size=0 modes=(eager default)
rounds=5 window=1 seeds=5 folds=5 seed_epochs=100 fold_epochs=100 extra=()
# what compiles in the least time first
tables=(resnet18 squeezenet1_1 darkcovidnet mobilenet_v2 efficientnet_b0 densenet121)
if $tiny; then
    batches=(2) small=(2) size=32 modes=(eager) rounds=2 window=0.05
    seeds=2 folds=2 seed_epochs=1 fold_epochs=1 extra=(--force)
    tables=(resnet18)
fi

limit=$((${SUITE_MINUTES:-25} * 60 - 30)) # seconds; half a minute for the tables
child='' status=0
trap 'kill "$child" 2>/dev/null; wait; exit 130' INT TERM
within() { # Python, as long as there is time; SIGTERM reaches its own children too
    ((SECONDS < limit)) || return 0 # the step is told as undone
    timeout --kill-after=20 $((limit - SECONDS)) "$python" "$@" &
    child=$!
    wait "$child" || status=1
}

throughput() {
    within -m benchmarks.throughput --against torch --sizes $size --rounds $rounds \
        --window $window --torch-layouts channels_last --torch-modes "${modes[@]}" \
        --precisions bfloat16 "${extra[@]}" "$@"
}

headline() { # ResNet-50 against MLPerf's record
    local model=resnet50
    $tiny && model=resnet18
    throughput --models $model --modes train --batches "${batches[@]}"
}

tables() {
    throughput --models "${tables[@]}" --modes train --batches "${batches[@]}"
}

small() { # small batches are where CUDA graphs help
    modes+=(reduce-overhead)
    throughput --models "${tables[@]}" --modes train --batches "${small[@]}"
}

infer() {
    throughput --models "${tables[@]}" --modes infer --batches "${batches[@]}" \
        --forms unfolded
}

forms() { # other forms of one operation, and where the step's time goes
    local of=(resnet50 "scattered stems" densenet121 fused mobilenet_v2 shifts)
    $tiny && of=(resnet18 "scattered stems")
    while [ ${#of[@]} -gt 0 ]; do
        # shellcheck disable=SC2086
        within -m benchmarks.throughput --models "${of[0]}" --modes train \
            --sizes $size --batches "${batches[@]}" --precisions bfloat16 \
            --rounds $rounds --window $window --forms ${of[1]} "${extra[@]}"
        of=("${of[@]:2}")
    done
    local model=resnet50
    $tiny && model=resnet18
    within -m benchmarks.kernels --model $model --batch "${batches[0]}" \
        --size $((size ? size : 224)) --precision bfloat16 --window $window \
        --rounds $rounds "${extra[@]}"
}

accuracy() {
    within -m benchmarks.accuracy "${extra[@]}" "$@"
}

seeds() { # Yang et al. 2023 (MedMNIST v2)
    local recipe=configs/medmnist.py where=()
    if [ -n "${PNEUMONIA_MNIST_DIR:-}" ] && ! $tiny; then
        where=(--config.data.dir="$PNEUMONIA_MNIST_DIR")
    else
        recipe+=:smoke
    fi
    accuracy --config "$recipe" --seeds "$seeds" "${where[@]}" \
        --config.train.epochs=$seed_epochs --config.model.dtype=bfloat16
}

# row 8 of the survey, on its pictures where they are at hand
darkcovidnet=(--config configs/survey/row08_darkcovidnet.py:three,smoke)
if [ -n "${DARKCOVIDNET_DIR:-}" ] && ! $tiny; then
    darkcovidnet=(--config configs/survey/row08_darkcovidnet.py:three
        --config.data.dir="$DARKCOVIDNET_DIR")
fi

folds() {
    accuracy "${darkcovidnet[@]}" --folds "$folds" --config.train.epochs=$fold_epochs
}

flags() {
    local case=(--model resnet50 --batch 256)
    $tiny && case=(--model darkcovidnet --batch 2 --size 32 --precision float32
        --only xla_cpu_enable_fast_math=true xla_no_such_flag=1)
    within -m benchmarks.xla_flags "${case[@]}" --window $window --rounds 2 \
        "${extra[@]}"
}

start() { # which trials of XLA's take the time of the first epoch
    local tried=(--xla_gpu_experimental_enable_fusion_autotuner=false
        --xla_gpu_autotune_max_solutions=4)
    $tiny && tried=(--xla_cpu_enable_fast_math=false)
    local times=(within -m benchmarks.compile_time "${darkcovidnet[@]}" --rounds 1
        --config.data.fold=0 "${extra[@]}")
    "${times[@]}"
    for flag in "${tried[@]}"; do
        XLA_FLAGS="${XLA_FLAGS:-} $flag" "${times[@]}"
    done
    "${times[@]}" --single-steps
}

undone=()
for step in "${steps[@]}"; do
    before=$SECONDS
    if ((before < limit)); then
        "$step"
        echo "$step: $((SECONDS - before)) s"
    fi
    ((SECONDS < limit)) || undone+=("$step") status=1
done
"$python" -m benchmarks.report $($tiny && echo --busy) \
    ${COVJAX_RESULTS_DIR:+--results "$COVJAX_RESULTS_DIR"}
[ ${#undone[@]} -eq 0 ] || echo "out of time, to be done: ${undone[*]}"
exit $status

#!/usr/bin/env bash
# Everything that is to be seen on a GPU, in at most ten minutes:  benchmarks/gpu_session.sh FOLDER
# In an environment with Counterpoint's packages, vLLM and pytest; TRL, of the part `step`, as `python -m benchmarks.gpu` finds it.
# With TINY=1 in the environment it shows on a CPU, with micro models, that everything works.
# Each part has a limit of its own, and what it has found by then is kept in the folder.
set -uo pipefail
out=${1:?the folder for what is found}
cd "$(dirname "$0")/.."
mkdir -p "$out"
python=${PYTHON:-python3}
status=0
small=() step=(--device cuda --max-tokens 256)
[[ -z ${TINY:-} ]] || { small=(--device cpu --tiny); step=(--shape tiny-shape --max-tokens 12); }

part() { # NAME SECONDS COMMAND...
    local name=$1 seconds=$2
    shift 2
    echo "=== $name (at most $seconds s)"
    timeout "$seconds" "$@" 2>&1 | tee "$out/$name.txt" || status=1
}

part tests 75 "$python" -m pytest tests/test_gpu.py tests/test_kernels.py -q -p no:cacheprovider -W ignore --tb=short
part vllm 180 "$python" -m benchmarks.vllm_sampler "${small[@]}" --out "$out/vllm.json"
part workflows 90 "$python" -m benchmarks.qwen3_step "${step[@]}" --workflows voting,evaluator_optimizer,orchestrator_workers
part gpu 240 "$python" -m benchmarks.gpu "${small[@]}" --out "$out/gpu.json" --within 220
exit "$status"

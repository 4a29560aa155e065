#!/usr/bin/env bash
# One run on the machines of a SLURM job: Ray on all of them, the run on the first. Started again, it goes on.
#
#     RUN=runs/voting sbatch deploy/slurm.sh voting_mathematics runtime.name=ray runtime.samplers=8 runtime.learners=8
#
#SBATCH --job-name=counterpoint
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
set -euo pipefail
run=${RUN:?the folder of the run, on a disk that the first machine can write}
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))') # nobody else may use this Ray
export RAY_AUTH_TOKEN
# By itself srun gives a task one core, since SLURM 22.05 also where the job asked for more.
if [[ -n ${SLURM_CPUS_PER_TASK-} ]]; then export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK; fi
mapfile -t machines < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
address=${machines[0]}:${RAY_PORT:-6379}

on() { # MACHINE COMMAND...: this shell becomes an srun with one task there, beside those that run already
    exec srun --overlap --nodes=1 --ntasks=1 --nodelist="$1" "${@:2}"
}

started=()
trap 'kill "${started[@]}" 2>/dev/null || true; wait' EXIT
trap 'exit 143' TERM
on "${machines[0]}" ray start --block --head --port="${address##*:}" --include-dashboard=false &
started+=($!)
for machine in "${machines[@]:1}"; do
    on "$machine" ray start --block --address="$address" &
    started+=($!)
done
(on "${machines[0]}" python -c '
import sys, time, ray
address, count, until = sys.argv[1], int(sys.argv[2]), time.monotonic() + 300
while True:
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        break
    except Exception as error:
        if time.monotonic() > until:
            sys.exit(f"no Ray at {address} after 300 s: {error}")
        time.sleep(1)
while sum(node["Alive"] for node in ray.nodes()) < count:
    if time.monotonic() > until:
        sys.exit(f"fewer than {count} machines have joined the Ray at {address} after 300 s")
    time.sleep(1)
' "$address" "${#machines[@]}")

# A run that has begun goes on; its recipe is in its folder. Addresses change from job to job.
if [[ -e $run/run.json ]]; then
    on "${machines[0]}" counterpoint resume "$run" runtime.address="$address" &
else
    on "${machines[0]}" counterpoint train "$@" runtime.address="$address" --out "$run" &
fi
work=$!
trap 'kill -TERM "$work"' TERM # 300 seconds before the job's end: the step is finished and saved
status=0
wait "$work" || status=$?
while kill -0 "$work" 2>/dev/null; do # the wait was ended by the signal
    status=0
    wait "$work" || status=$?
done
exit "$status"

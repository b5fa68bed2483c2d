#!/usr/bin/env bash
#SBATCH --job-name=priced
#SBATCH --time=1:50:00
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus=1
#SBATCH --partition=gpu
#SBATCH --output=priced.%j.log
# Study params/priced.yaml as run priced, commit COMMIT.
# At most 1.8 h: 0.73 at 0.4 an hour (price list, EUR, 2026-11-25).
# The limit: named with --hours.
# The commit must be at https://example.org/kit.git before this is submitted.
# Submit with `sbatch FILE` from a folder that the nodes share. Submitted again, the run goes on in priced.outputs/.
# The run comes back beside it as priced.tar.gz:
#   tar xzf priced.tar.gz -C outputs
#   tunebook verify priced
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK TUNEBOOK_OUTPUTS=$SLURM_SUBMIT_DIR/priced.outputs
mkdir -p "$TUNEBOOK_OUTPUTS"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
set -euo pipefail
git clone -q https://example.org/kit.git tunebook
cd tunebook
git checkout -q --detach COMMIT
test "$(git rev-parse HEAD)" = COMMIT
# TUNEBOOK_PYTHON names a Python that has the packages already; else they are installed from the pins of the commit.
python=${TUNEBOOK_PYTHON:-}
if [ -z "$python" ]; then
    python3 lib/tunebook/setup/install.py --venv .venv
    python=$PWD/.venv/bin/python
    # the pins bring torch for processors: the same version for GPUs comes from PyPI, with the packages that it needs
    grep -v llama-cpp requirements.txt > pins.txt
    "$python" -m pip uninstall -q -y torch
    "$python" -m pip install -q -c pins.txt torch==2.13.0
fi
"$python" -c 'import torch; assert torch.cuda.is_available(), "torch sees no GPU: the hour is not spent on a CPU"'
export PYTHONPATH=$PWD/lib TUNEBOOK_ROOT=$PWD TUNEBOOK_OUTPUTS=${TUNEBOOK_OUTPUTS:-$PWD/outputs}
code=0
# at the limit the training saves what it has, and what is there comes back
timeout --signal=TERM --kill-after=120 90m \
    "$python" -m tunebook run params/priced.yaml --run priced --exit-zero-when-complete || code=$?
tar czf priced.tar.gz --exclude .resume --exclude .lock -C "$TUNEBOOK_OUTPUTS" priced
cp priced.tar.gz "$SLURM_SUBMIT_DIR/"
exit $code

#!/usr/bin/env bash
# Study params/priced.yaml as run priced, commit COMMIT.
# At most 1.8 h: 0.73 at 0.4 an hour (price list, EUR, 2026-11-25).
# The limit: named with --hours.
# The commit must be at https://example.org/kit.git before this is submitted.
# Log in first: hf auth login. The run comes back through the private data set me/runs:
#   hf download --repo-type dataset me/runs priced.tar.gz --local-dir .
#   tar xzf priced.tar.gz -C outputs
#   tunebook verify priced
set -euo pipefail
hf jobs run --detach --name priced --flavor t4-small --timeout 110m --secrets HF_TOKEN python:3.11-bookworm \
    bash -c "$(cat <<'INNER'
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
    "$python" -m tunebook run params/priced.yaml --run priced --exit-zero-when-complete --set rows=9 || code=$?
tar czf priced.tar.gz --exclude .resume --exclude .lock -C "$TUNEBOOK_OUTPUTS" priced
"$(dirname "$python")/hf" upload --repo-type dataset --private me/runs priced.tar.gz priced.tar.gz
exit $code
INNER
)"

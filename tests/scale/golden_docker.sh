#!/usr/bin/env bash
# Study params/priced.yaml as run priced, commit COMMIT.
# At most 1.8 h: 0.73 at 0.4 an hour (price list, EUR, 2026-11-25).
# The limit: named with --hours.
# The commit must be at https://example.org/kit.git before this is submitted.
# The run comes back beside this file as priced.tar.gz:
#   tar xzf priced.tar.gz -C outputs
#   tunebook verify priced
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
docker run --rm --init --cpus 2 -v "$here:/back" python:3.11-bookworm@sha256:0000000000000000000000000000000000000000000000000000000000000000 \
    bash -c "$(cat <<'INNER'
cd "$(mktemp -d)"
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
fi
export PYTHONPATH=$PWD/lib TUNEBOOK_ROOT=$PWD TUNEBOOK_OUTPUTS=${TUNEBOOK_OUTPUTS:-$PWD/outputs}
code=0
# at the limit the training saves what it has, and what is there comes back
timeout --signal=TERM --kill-after=120 90m \
    "$python" -m tunebook run params/priced.yaml --run priced --exit-zero-when-complete || code=$?
tar czf priced.tar.gz --exclude .resume --exclude .lock -C "$TUNEBOOK_OUTPUTS" priced
cp priced.tar.gz /back/
exit $code
INNER
)"

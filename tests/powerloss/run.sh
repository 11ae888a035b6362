#!/usr/bin/env bash
# run.sh [states]: builds the writer and the checker and tries at least that many
# states of the disk after a power loss (default 1000); see powerloss.py.
set -euo pipefail
states=${1:-1000}
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
cargo build --quiet -p airlock-journal --examples
target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
# Each moment gives ten states: kill, views, and two models of durable and three torn.
code=0
python3 tests/powerloss/powerloss.py --bin "$target/debug/examples" \
    --points $(((states + 9) / 10)) --torn 3 --minimum "$states" || code=$?
# 77: strace is missing, which powerloss.py has said.
[ "$code" = 77 ] || exit "$code"

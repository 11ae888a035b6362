#!/usr/bin/env bash
# run.sh [states] [workload ...]: builds the writers and the checkers and tries at
# least that many states of the disk after a power loss (default 1000), under steps
# of the store (`crash`) and under runs of agents (`run`); see powerloss.py.
set -euo pipefail
states=${1:-1000}
shift || true
[ "$#" -gt 0 ] || set -- crash run
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
# The whole workspace is selected, or the engine would be built once more.
guests=$(for guest in tests/guests/*/; do echo --exclude "$(basename "$guest")"; done)
cargo build --quiet --target wasm32-wasip2 --profile guest -p agent-prober -p keeper
# shellcheck disable=SC2086
cargo build --quiet --workspace $guests --example crash_writer --example crash_check \
    --example run_writer --example run_check
for workload in "$@"; do
    steps=2000
    [ "$workload" = crash ] || steps=40
    # Each moment gives ten states: kill, views, and two models of durable and three torn.
    code=0
    python3 tests/powerloss/powerloss.py --bin "$target/debug/examples" --workload "$workload" \
        --steps "$steps" --points $(((states + 9) / 10)) --torn 3 --minimum "$states" || code=$?
    # 77: strace is missing, which powerloss.py has said.
    [ "$code" = 77 ] || [ "$code" = 0 ] || exit "$code"
done

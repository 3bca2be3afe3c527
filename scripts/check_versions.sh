#!/usr/bin/env bash
# The fast suite with the lowest versions that pyproject.toml admits, and with the newest, each in a throw-away
# environment. Usage: scripts/check_versions.sh [lowest|newest|both] [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
which=${1:-both}
shift || true
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

lowest() { # "torch>=2.6" -> "torch==2.6", for the four that everything rests on
    python3 - <<'PYTHON'
import re
text = open("pyproject.toml").read()
for name in ("torch", "pytorch-lightning", "torchmetrics", "hydra-core"):
    print(f"{name}=={re.search(rf'\"{name}>=([0-9.]+)', text)[1]}")
PYTHON
}

check() {
    local name=$1
    shift
    python3 -m venv "$work/$name"
    "$work/$name/bin/pip" install --quiet -e ".[test]" "$@"
    "$work/$name/bin/pip" list 2> /dev/null | grep -E "^(torch|torchvision|pytorch-lightning|torchmetrics|hydra-core) "
    "$work/$name/bin/python" -m pytest -q -m "not slow" -n 2 "${extra[@]}"
}

extra=("$@")
mapfile -t pins < <(lowest)
[ "$which" = newest ] || check lowest "${pins[@]}"
[ "$which" = lowest ] || check newest --upgrade

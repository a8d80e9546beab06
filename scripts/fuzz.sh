#!/usr/bin/env bash
# Fuzzes every parser of foreign bytes for FUZZTIME each (default 60s), one after another; FUZZ selects targets by a regular expression.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
while IFS=: read -r file target; do
  [[ $target =~ ${FUZZ:-.} ]] || continue
  echo "== $(dirname "$file") $target"
  go test "./$(dirname "$file")" -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-60s}" | grep -E '^(ok|FAIL|---|panic|    )' || failed=1
done < <(git grep -o -E '^func Fuzz[A-Za-z0-9]+' -- '*_test.go' | sed 's/func //' | sort)
exit $failed

#!/usr/bin/env bash
# Fetches the clients that `make conformance` runs, each in the pinned version, into build/conformance. What has no toolchain here is left out, and said.
set -euo pipefail
cd "$(dirname "$0")/.."
to=build/conformance
mkdir -p "$to"

# venv NAME REQUIREMENTS: a virtual environment of Python, made anew where its requirements have changed.
venv() {
  local dir=$to/$1 want=conformance/python/$2
  if cmp -s "$want" "$dir/requirements.txt"; then return; fi
  rm -rf "$dir"
  python3 -m venv "$dir"
  "$dir/bin/pip" install --quiet --no-input --disable-pip-version-check -r "$want"
  cp "$want" "$dir/requirements.txt"
}
if command -v python3 >/dev/null; then
  venv python requirements-openai.txt
  venv oip requirements-oip.txt
else
  echo "no python3: its clients are not fetched"
fi

if command -v npm >/dev/null; then
  mkdir -p "$to/node"
  if ! cmp -s conformance/node/package-lock.json "$to/node/installed.json"; then
    cp conformance/node/{package.json,package-lock.json,.npmrc} "$to/node/"
    npm ci --prefix "$to/node" --silent --no-audit --no-fund
    cp conformance/node/package-lock.json "$to/node/installed.json"
  fi
else
  echo "no npm: its clients are not fetched"
fi

GRPCURL=v1.9.3
if [ ! -x build/tools/grpcurl ]; then
  GOBIN=$PWD/build/tools go install github.com/fullstorydev/grpcurl/cmd/grpcurl@$GRPCURL
fi
go -C conformance/go build -o "../../$to/openai-go" .
if [ -x "$to/node/node_modules/.bin/tsc" ]; then
  "$to/node/node_modules/.bin/tsc" -p sdk/typescript --outDir "$to/typescript"
  echo '{"type": "module"}' >"$to/typescript/package.json"
fi
if command -v mvn >/dev/null; then
  mvn -q -B -f conformance/java package
else
  echo "no mvn: the Java client is not built"
fi

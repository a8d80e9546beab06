#!/bin/sh
# Puts libonnxruntime.so.1 (CPU) into build/ort from the first package client that answers: pip, then npm.
# Every byte is checked against a SHA-256 below. No root, POSIX sh; a second run is a no-op.
#   SKEIN_ORT_LIB=/path/to/libonnxruntime.so.1.30.0   use this file instead (its version is checked when it is loaded)
#   ORT_DEST                                          default build/ort
set -eu
version=1.30.0
dest=${ORT_DEST:-build/ort}
lib=libonnxruntime.so.1
arch=$(uname -m)
case $arch in
x86_64)
	node=x64
	wheel=manylinux_2_28_x86_64
	npm_sha=ffb75a925ba05e47b235bb66e3e3911714a80b328a9c9425539feb204aa32a23
	pip_sha=c902c70b3003c0e99fada202f37478c515ae9bba7944c2b2abd0017bae0c82ed
	;;
aarch64 | arm64)
	node=arm64
	wheel=manylinux_2_28_aarch64
	npm_sha=1f549d46250b005580b597f4164984aaf75b3bcb9f3aeb07c7f8a8fe60b23c76
	pip_sha=8a218e1e446880131115c368ec7005969a5022af9a15a26173de648fef0b7789
	;;
*)
	echo "fetch-ort: no ONNX Runtime $version is known for $arch; set SKEIN_ORT_LIB" >&2
	exit 1
	;;
esac

if [ -n "${SKEIN_ORT_LIB:-}" ]; then
	[ -f "$SKEIN_ORT_LIB" ] || {
		echo "fetch-ort: SKEIN_ORT_LIB=$SKEIN_ORT_LIB: no such file" >&2
		exit 1
	}
	exit 0
fi

# sound FILE SHA...: the file is there and has one of the sums.
sound() {
	[ -f "$1" ] || return 1
	have=$(sha256sum <"$1" | cut -d' ' -f1)
	shift
	for want in "$@"; do
		[ "$have" = "$want" ] && return 0
	done
	return 1
}
if sound "$dest/$lib" $pip_sha $npm_sha; then exit 0; fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

from_pip() {
	command -v python3 >/dev/null &&
		python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 \
			--platform "$wheel" -d "$tmp" "onnxruntime==$version" >/dev/null &&
		python3 - "$tmp" "$version" "$lib" <<'PY'
import glob, sys, zipfile
folder, version, lib = sys.argv[1:]
with zipfile.ZipFile(glob.glob(folder + "/onnxruntime-*.whl")[0]) as wheel:
    with open(f"{folder}/{lib}", "wb") as out:
        out.write(wheel.read(f"onnxruntime/capi/libonnxruntime.so.{version}"))
PY
}

from_npm() {
	command -v npm >/dev/null &&
		(cd "$tmp" && npm pack --silent --ignore-scripts "onnxruntime-node@$version" >/dev/null) &&
		tar -xzf "$tmp"/onnxruntime-node-*.tgz -C "$tmp" --wildcards "package/bin/napi-v*/linux/$node/$lib" &&
		cp "$tmp"/package/bin/napi-v*/linux/"$node/$lib" "$tmp/$lib"
}

for source in from_pip from_npm; do
	rm -f "$tmp/$lib"
	if $source && sound "$tmp/$lib" $pip_sha $npm_sha; then
		mkdir -p "$dest"
		install -m 0644 "$tmp/$lib" "$dest/.$lib" && mv "$dest/.$lib" "$dest/$lib"
		echo "ONNX Runtime $version: $dest/$lib"
		exit 0
	fi
	echo "fetch-ort: $source: no answer, or wrong checksum" >&2
done
echo "fetch-ort: could not get ONNX Runtime $version; set SKEIN_ORT_LIB=/path/to/libonnxruntime.so.$version" >&2
exit 1

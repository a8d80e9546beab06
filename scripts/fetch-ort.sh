#!/bin/sh
# Puts libonnxruntime.so.1 (CPU) into build/ort from the first package client that answers: pip, then npm.
# Every byte is checked against a SHA-256 below. No root, POSIX sh; a second run is a no-op.
#   SKEIN_ORT_LIB=/path/to/libonnxruntime.so.1.30.0   use this file instead (its version is checked when it is loaded)
#   ORT_DEST                                          default build/ort, or build/ort-cuda
#   ORT_FLAVOUR=cuda                                  the library with its CUDA provider beside it (x86-64, 300 MB), from pip: for machines with
#                                                     NVIDIA GPUs, a driver of CUDA 13, and CUDA 13's cudart, cublas, cublasLt and curand
set -eu
version=1.30.0
flavour=${ORT_FLAVOUR:-cpu}
case $flavour in
cpu) dest=${ORT_DEST:-build/ort} ;;
cuda) dest=${ORT_DEST:-build/ort-cuda} ;;
*)
	echo "fetch-ort: ORT_FLAVOUR=$flavour is neither cpu nor cuda" >&2
	exit 1
	;;
esac
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

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# cuda_parts calls "$1 FILE NAME SHA" for every file of the wheel that is wanted, until one fails.
cuda_parts() {
	$1 "libonnxruntime.so.$version" "$lib" 5a140dc17c8b60b35b2ceab0bb533e65ac54f06a208948417c1f9c31df6afc4c &&
		$1 libonnxruntime_providers_shared.so libonnxruntime_providers_shared.so 086ec1d5388f64153d9c63470d126693db9a182c8ce236d3a1119068471b8a0d &&
		$1 libonnxruntime_providers_cuda.so libonnxruntime_providers_cuda.so 35da2e7ed0dd0d1aec5cdb16ce11a51d06c0c48cf62d1b1c9332946a4fae14fc
}
held() { sound "$dest/$2" "$3"; }
take() { # checked before it is put in place
	sound "$tmp/wheel/onnxruntime/capi/$1" "$3" &&
		install -m 0644 "$tmp/wheel/onnxruntime/capi/$1" "$dest/.$2" && mv "$dest/.$2" "$dest/$2"
}

if [ "$flavour" = cuda ]; then
	cuda_parts held && exit 0
	[ "$arch" = x86_64 ] || {
		echo "fetch-ort: no CUDA provider of ONNX Runtime $version is known for $arch" >&2
		exit 1
	}
	mkdir -p "$dest"
	if python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp --abi cp312 \
		--platform "$wheel" -d "$tmp" "onnxruntime-gpu==$version" >/dev/null &&
		python3 -m zipfile -e "$tmp"/onnxruntime_gpu-*.whl "$tmp/wheel" && cuda_parts take; then
		echo "ONNX Runtime $version with CUDA 13: $dest/$lib"
		exit 0
	fi
	echo "fetch-ort: could not get ONNX Runtime $version with CUDA from pip: no answer, or wrong checksum" >&2
	exit 1
fi

if sound "$dest/$lib" $pip_sha $npm_sha; then exit 0; fi

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

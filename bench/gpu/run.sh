#!/bin/sh
# Tests and measures the CUDA backend. README.md beside this file says what it needs.
#   run.sh build DIR        where Go is: the programs and ONNX Runtime's CUDA flavour into DIR
#   run.sh run DIR OUT      where the GPU is (no Go needed), in a checkout: test, probe, measure; results into OUT
set -eu
verb=${1:-} dir=${2:-}
[ -n "$dir" ] || {
	sed -n '2,4s/^# *//p' "$0" >&2
	exit 2
}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
cd "$(dirname "$0")/../.."

case $verb in
build)
	ORT_FLAVOUR=cuda ORT_DEST="$dir" sh scripts/fetch-ort.sh
	go test -c -trimpath -ldflags "-s -w" -o "$dir/engine.test" ./engine
	go build -trimpath -ldflags "-s -w" -o "$dir/gpubench" ./bench/gpu
	for program in node coordinator gateway skein; do
		name=skein-$program
		[ $program = skein ] && name=skein
		go build -trimpath -ldflags "-s -w" -o "$dir/$name" "./cmd/$program"
	done
	git describe --always --abbrev=12 '--exclude=*' --dirty >"$dir/commit"
	;;
run)
	mkdir -p "${3:?OUT is missing}"
	out=$(cd "$3" && pwd)
	# CUDA's libraries, where a Python environment brings them; others are found by the loader.
	for lib in $(python3 -c 'import site; print(*site.getsitepackages())' 2>/dev/null); do
		for folder in "$lib"/nvidia/*/lib; do
			[ -d "$folder" ] && LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
		done
	done
	export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}" SKEIN_ORT_LIB="$dir/libonnxruntime.so.1" SKEIN_CUDA=1
	# The driver takes seconds to wake up; what is asked before is not answered.
	(sleep 5 && echo '{"read":1}' && sleep 3) | "$dir/skein-node" nvml-probe >"$out/nvml.jsonl"
	failed=0
	(cd engine && "$dir/engine.test" -test.v -test.run 'TestHalf.*/cuda' >"$out/tests.txt" 2>&1) || failed=1
	grep -E "^ *(--- |FAIL|PASS|half_test)" "$out/tests.txt" || true
	"$dir/skein" dev --coordinators 1 --nodes 1 --device nvml --ask --exit >"$out/dev.txt" 2>&1 || failed=1
	cat "$out/dev.txt"
	"$dir/gpubench" -out "$out" -dir "$dir" -commit "$(cat "$dir/commit")" || failed=1
	rm -rf "$dir/gpu-model"
	cat "$out/gpu.txt"
	exit $failed
	;;
*)
	echo "run.sh: $verb is neither build nor run" >&2
	exit 2
	;;
esac

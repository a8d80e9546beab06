package ort

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>

#include "native.h"

// The first two entries of the library's only exported table, unchanged in every release: enough to ask its version.
typedef struct {
	const void *(*api)(uint32_t);
	const char *(*version)(void);
} skein_api_base;

// skein_version opens the library and returns its version, which lives as long as *handle is open; NULL with a reason otherwise.
static const char *skein_version(const char *path, void **handle, const char **why) {
	*handle = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
	if (!*handle) {
		*why = dlerror();
		return NULL;
	}
	const skein_api_base *(*get)(void) = (const skein_api_base *(*)(void))dlsym(*handle, "OrtGetApiBase");
	if (!get) {
		*why = "it has no OrtGetApiBase";
		return NULL;
	}
	const skein_api_base *base = get();
	if (!base || !base->version) {
		*why = "its OrtGetApiBase gives nothing";
		return NULL;
	}
	return base->version();
}

// skein_allocated is what malloc has handed out, in all arenas, small and mapped.
static uint64_t skein_allocated(void) {
	struct mallinfo2 m = mallinfo2();
	return (uint64_t)m.uordblks + (uint64_t)m.hblkhd;
}
*/
import "C"

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"unsafe"

	"github.com/skein-project/skein/gpu"
	binding "github.com/yalue/onnxruntime_go"
)

// Wanted is the release series of ONNX Runtime that this build was tested against. Stages of one replica must agree bit for bit with an
// uncut run, so another series is refused rather than tried.
const Wanted = "1.30"

// Variable is the environment variable that names the library; commands read it and pass its value to Open.
const Variable = "SKEIN_ORT_LIB"

// fileName is the file that holds ONNX Runtime.
const fileName = "libonnxruntime.so.1"

// Find looks for ONNX Runtime where it is installed with a program of the given folder, and in a build tree; "" = it is not there. A library of
// the system is never taken silently: stages must agree bit for bit on every node.
func Find(beside string) string {
	for _, path := range []string{filepath.Join(beside, "..", "lib", "skein", fileName), filepath.Join(beside, "..", "build", "ort", fileName)} {
		if abs, err := filepath.Abs(path); err == nil {
			if _, err := os.Stat(abs); err == nil {
				return abs
			}
		}
	}
	return ""
}

// LibraryError says why a file cannot serve as the ONNX Runtime library.
type LibraryError struct {
	Path  string
	Found string // version of the file, "" where it is not ONNX Runtime at all
	Why   string
}

func (e *LibraryError) Error() string {
	if e.Found != "" {
		return fmt.Sprintf("ort: %s is ONNX Runtime %s, wanted %s.x: set %s to the path of libonnxruntime.so.%s.x", e.Path, e.Found, Wanted, Variable, Wanted)
	}
	return fmt.Sprintf("ort: %q is no ONNX Runtime library (%s): set %s to the path of libonnxruntime.so.%s.x", e.Path, e.Why, Variable, Wanted)
}

// Runtime is the loaded library: one per process, because the library keeps its own global state.
type Runtime struct {
	path, version string
	handle        unsafe.Pointer // of the library, beside the binding's own
	api           C.skein_api
	env           unsafe.Pointer // the library's only environment, shared with the binding
	host          unsafe.Pointer // description of the machine's own memory
	native        sync.RWMutex   // held for reading by what leaves the sum of native memory as it is, for writing by what changes or measures it
}

// Open loads the library at path and checks its version before anything else of it is used. Errors are *LibraryError.
func Open(path string) (*Runtime, error) {
	if path == "" {
		return nil, &LibraryError{Why: "no path given"}
	}
	if binding.IsInitialized() {
		return nil, &LibraryError{Path: path, Why: "a library is already loaded in this process"}
	}
	path, err := filepath.Abs(path) // a bare name would be searched for in system folders
	if err != nil {
		return nil, &LibraryError{Path: path, Why: err.Error()}
	}
	// The library would open a database under the home directory, and send what it counts to its makers.
	if err := os.Setenv("ORT_DISABLE_TELEMETRY", "1"); err != nil {
		return nil, &LibraryError{Path: path, Why: err.Error()}
	}
	version, err := probe(path)
	if err != nil {
		return nil, err
	}
	binding.SetSharedLibraryPath(path)
	if err := binding.InitializeEnvironment(binding.WithLogLevelError()); err != nil {
		return nil, &LibraryError{Path: path, Found: version, Why: err.Error()}
	}
	if err := binding.DisableTelemetry(); err != nil {
		return nil, &LibraryError{Path: path, Found: version, Why: err.Error()}
	}
	r := &Runtime{path: path, version: version}
	if err := r.connect(); err != nil {
		return nil, &LibraryError{Path: path, Found: version, Why: err.Error()}
	}
	return r, nil
}

// connect takes what this package calls itself out of the library that the binding opened.
func (r *Runtime) connect() error {
	path, host := C.CString(r.path), C.CString(string(HostMemory))
	defer C.free(unsafe.Pointer(path))
	defer C.free(unsafe.Pointer(host))
	if err := fault(C.skein_open(path, &r.handle, &r.api)); err != nil {
		return err
	}
	if err := fault(C.skein_env(r.api, &r.env)); err != nil {
		return err
	}
	return fault(C.skein_memory(r.api, host, &r.host))
}

// probe reads the version of the library at path and compares it with Wanted.
func probe(path string) (version string, err error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	var handle unsafe.Pointer
	var why *C.char
	v := C.skein_version(name, &handle, &why)
	if handle != nil {
		defer C.dlclose(handle)
	}
	if v == nil {
		return "", &LibraryError{Path: path, Why: C.GoString(why)}
	}
	version = C.GoString(v)
	if !strings.HasPrefix(version, Wanted+".") {
		return "", &LibraryError{Path: path, Found: version}
	}
	return version, nil
}

// Version is the version of the loaded library, for example "1.30.0".
func (r *Runtime) Version() string { return r.version }

// Close unloads the library. Every session, tensor and buffer must have been closed.
func (r *Runtime) Close() error {
	C.skein_release_memory(r.api, r.host)
	C.skein_release_env(r.api, r.env)
	C.dlclose(r.handle)
	if err := binding.DestroyEnvironment(); err != nil {
		return fmt.Errorf("ort: closing the runtime: %w", err)
	}
	return nil
}

// grown runs f while nothing else of the runtime runs, and returns by how much the memory that native code holds from malloc grew:
// weights that were packed or cast, and the runtime's arenas. Buffers and mapped files are not in it, nor is Go's heap.
func (r *Runtime) grown(f func() error) (gpu.Bytes, error) {
	r.native.Lock()
	defer r.native.Unlock()
	before := C.skein_allocated()
	err := f()
	return max(gpu.Bytes(C.skein_allocated())-gpu.Bytes(before), 0), err
}

// The part of ONNX Runtime's C API that this package calls, by position: the table of functions only ever grows at its end, so a position
// is as stable as a name, and no foreign header is needed to build. slots_test.go compares every position with the header that the Go
// binding carries. All handles are opaque. A function that can fail returns NULL, or a reason that the caller frees.
#pragma once
#include <stddef.h>
#include <stdint.h>

// Version of the API that is asked for. A library that is newer serves it too.
#define SKEIN_API_VERSION 26

#define SKEIN_SLOTS(X) \
	X(GetErrorMessage, 2) \
	X(CreateEnv, 3) \
	X(CreateSessionFromArray, 8) \
	X(Run, 9) \
	X(CreateSessionOptions, 10) \
	X(SetSessionGraphOptimizationLevel, 23) \
	X(SetIntraOpNumThreads, 24) \
	X(SetInterOpNumThreads, 25) \
	X(CreateTensorAsOrtValue, 48) \
	X(CreateTensorWithDataAsOrtValue, 49) \
	X(GetTensorMutableData, 51) \
	X(GetTensorElementType, 60) \
	X(GetDimensionsCount, 61) \
	X(GetDimensions, 62) \
	X(GetTensorTypeAndShape, 65) \
	X(CreateMemoryInfo, 68) \
	X(ReleaseEnv, 92) \
	X(ReleaseStatus, 93) \
	X(ReleaseMemoryInfo, 94) \
	X(ReleaseSession, 95) \
	X(ReleaseValue, 96) \
	X(ReleaseTensorTypeAndShapeInfo, 99) \
	X(ReleaseSessionOptions, 100) \
	X(AddSessionConfigEntry, 130) \
	X(CreateAllocator, 131) \
	X(ReleaseAllocator, 132) \
	X(RunWithBinding, 133) \
	X(CreateIoBinding, 134) \
	X(ReleaseIoBinding, 135) \
	X(BindInput, 136) \
	X(BindOutput, 137) \
	X(SynchronizeBoundInputs, 202) \
	X(SynchronizeBoundOutputs, 203) \
	X(SessionOptionsAppendExecutionProvider_CUDA_V2, 204) \
	X(CreateCUDAProviderOptions, 205) \
	X(UpdateCUDAProviderOptions, 206) \
	X(ReleaseCUDAProviderOptions, 208)

typedef const void *const *skein_api;

// What a session is made with. Entries are keys and values, n of each; a session runs on CUDA where it has entries for it.
typedef struct {
	int threads;
	int fuse;
	const char **keys, **values;
	size_t n;
	const char **cuda_keys, **cuda_values;
	size_t cuda_n;
} skein_options;

// skein_open takes the table out of a library that is open already, and opens it once more.
char *skein_open(const char *path, void **handle, skein_api *api);
char *skein_env(skein_api a, void **env);
// skein_provider is set to 1 where it is the execution provider that fails.
char *skein_session(skein_api a, void *env, const void *model, size_t size, const skein_options *o, void **session, int *provider);
char *skein_memory(skein_api a, const char *name, void **memory);
char *skein_allocate(skein_api a, void *session, void *memory, int64_t size, void **allocator, void **value, void **address);
char *skein_tensor(skein_api a, void *memory, void *address, size_t size, const int64_t *shape, size_t dims, int type, void **value);
char *skein_binding(skein_api a, void *session, void **binding);
char *skein_bind(skein_api a, void *binding, const char *name, void *value, int out);
// skein_run runs once; on a device, what is bound is there before the run, and the results are before it returns.
char *skein_run(skein_api a, void *session, void *binding, int device);
// skein_run_plain runs once with tensors of the machine's memory; the runtime allocates the outputs there, each of which the caller
// releases.
char *skein_run_plain(skein_api a, void *session, const char *const *in_names, void *const *in, size_t n_in, const char *const *out_names, size_t n_out, void **out);
// skein_look says what a value is: the type of its elements, its shape, of which at most most dimensions are written, and where it is.
char *skein_look(skein_api a, void *value, int *type, size_t *dims, int64_t *shape, size_t most, void **address);

void skein_release_env(skein_api a, void *x);
void skein_release_session(skein_api a, void *x);
void skein_release_memory(skein_api a, void *x);
void skein_release_allocator(skein_api a, void *x);
void skein_release_value(skein_api a, void *x);
void skein_release_binding(skein_api a, void *x);

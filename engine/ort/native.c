#include "native.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define SLOT(name, n) slot_##name = n,
enum { SKEIN_SLOTS(SLOT) };

// Numbers of the C API's enumerations.
enum { log_error = 3, optimise_basic = 1, optimise_all = 99, device_allocator = 0, default_memory = 0, type_uint8 = 2 };

#define CALL(name, type) ((type)a[slot_##name])
#define TRY(x) \
	do { \
		void *status_ = (x); \
		if (status_) return reason(a, status_); \
	} while (0)

static char *reason(skein_api a, void *status) {
	if (!status) return NULL;
	char *text = strdup(CALL(GetErrorMessage, const char *(*)(const void *))(status));
	CALL(ReleaseStatus, void (*)(void *))(status);
	return text;
}

char *skein_open(const char *path, void **handle, skein_api *api) {
	*handle = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
	if (!*handle) return strdup(dlerror());
	typedef struct {
		const void *(*api)(uint32_t);
		const char *(*version)(void);
	} base;
	const base *(*get)(void) = (const base *(*)(void))dlsym(*handle, "OrtGetApiBase");
	const base *b = get ? get() : NULL;
	*api = b ? (skein_api)b->api(SKEIN_API_VERSION) : NULL;
	return *api ? NULL : strdup("it does not serve the version of the C API that is needed");
}

char *skein_env(skein_api a, void **env) { return reason(a, CALL(CreateEnv, void *(*)(int, const char *, void **))(log_error, "skein", env)); }

static void *cuda(skein_api a, void *options, const skein_options *o) {
	void *c = NULL;
	void *status = CALL(CreateCUDAProviderOptions, void *(*)(void **))(&c);
	if (!status) status = CALL(UpdateCUDAProviderOptions, void *(*)(void *, const char *const *, const char *const *, size_t))(c, o->cuda_keys, o->cuda_values, o->cuda_n);
	if (!status) status = CALL(SessionOptionsAppendExecutionProvider_CUDA_V2, void *(*)(void *, const void *))(options, c);
	if (c) CALL(ReleaseCUDAProviderOptions, void (*)(void *))(c);
	return status;
}

char *skein_session(skein_api a, void *env, const void *model, size_t size, const skein_options *o, void **session, int *provider) {
	void *options = NULL;
	TRY(CALL(CreateSessionOptions, void *(*)(void **))(&options));
	void *status = CALL(SetIntraOpNumThreads, void *(*)(void *, int))(options, o->threads);
	if (!status) status = CALL(SetInterOpNumThreads, void *(*)(void *, int))(options, 1);
	if (!status) status = CALL(SetSessionGraphOptimizationLevel, void *(*)(void *, int))(options, o->fuse ? optimise_all : optimise_basic);
	for (size_t i = 0; i < o->n && !status; i++)
		status = CALL(AddSessionConfigEntry, void *(*)(void *, const char *, const char *))(options, o->keys[i], o->values[i]);
	if (o->cuda_n && !status) {
		status = cuda(a, options, o);
		*provider = status != NULL;
	}
	if (!status) status = CALL(CreateSessionFromArray, void *(*)(const void *, const void *, size_t, const void *, void **))(env, model, size, options, session);
	CALL(ReleaseSessionOptions, void (*)(void *))(options);
	return reason(a, status);
}

char *skein_memory(skein_api a, const char *name, void **memory) {
	return reason(a, CALL(CreateMemoryInfo, void *(*)(const char *, int, int, int, void **))(name, device_allocator, 0, default_memory, memory));
}

char *skein_allocate(skein_api a, void *session, void *memory, int64_t size, void **allocator, void **value, void **address) {
	TRY(CALL(CreateAllocator, void *(*)(const void *, const void *, void **))(session, memory, allocator));
	TRY(CALL(CreateTensorAsOrtValue, void *(*)(void *, const int64_t *, size_t, int, void **))(*allocator, &size, 1, type_uint8, value));
	return reason(a, CALL(GetTensorMutableData, void *(*)(void *, void **))(*value, address));
}

char *skein_tensor(skein_api a, void *memory, void *address, size_t size, const int64_t *shape, size_t dims, int type, void **value) {
	return reason(a, CALL(CreateTensorWithDataAsOrtValue, void *(*)(const void *, void *, size_t, const int64_t *, size_t, int, void **))(memory, address, size, shape, dims, type, value));
}

char *skein_binding(skein_api a, void *session, void **binding) { return reason(a, CALL(CreateIoBinding, void *(*)(void *, void **))(session, binding)); }

char *skein_bind(skein_api a, void *binding, const char *name, void *value, int out) {
	typedef void *(*bind)(void *, const char *, const void *);
	return reason(a, (out ? CALL(BindOutput, bind) : CALL(BindInput, bind))(binding, name, value));
}

char *skein_run(skein_api a, void *session, void *binding, int device) {
	typedef void *(*synchronize)(void *);
	if (device) TRY(CALL(SynchronizeBoundInputs, synchronize)(binding));
	TRY(CALL(RunWithBinding, void *(*)(void *, const void *, const void *))(session, NULL, binding));
	if (device) TRY(CALL(SynchronizeBoundOutputs, synchronize)(binding));
	return NULL;
}

char *skein_run_plain(skein_api a, void *session, const char *const *in_names, void *const *in, size_t n_in, const char *const *out_names, size_t n_out, void **out) {
	typedef void *(*run)(void *, const void *, const char *const *, const void *const *, size_t, const char *const *, size_t, void **);
	return reason(a, CALL(Run, run)(session, NULL, in_names, (const void *const *)in, n_in, out_names, n_out, out));
}

char *skein_look(skein_api a, void *value, int *type, size_t *dims, int64_t *shape, size_t most, void **address) {
	void *info = NULL;
	TRY(CALL(GetTensorTypeAndShape, void *(*)(const void *, void **))(value, &info));
	void *status = CALL(GetTensorElementType, void *(*)(const void *, int *))(info, type);
	if (!status) status = CALL(GetDimensionsCount, void *(*)(const void *, size_t *))(info, dims);
	if (!status && *dims <= most) status = CALL(GetDimensions, void *(*)(const void *, int64_t *, size_t))(info, shape, *dims);
	CALL(ReleaseTensorTypeAndShapeInfo, void (*)(void *))(info);
	if (!status) status = CALL(GetTensorMutableData, void *(*)(void *, void **))(value, address);
	return reason(a, status);
}

#define RELEASE(name, slot) \
	void skein_release_##name(skein_api a, void *x) { CALL(slot, void (*)(void *))(x); }
RELEASE(env, ReleaseEnv)
RELEASE(session, ReleaseSession)
RELEASE(memory, ReleaseMemoryInfo)
RELEASE(allocator, ReleaseAllocator)
RELEASE(value, ReleaseValue)
RELEASE(binding, ReleaseIoBinding)

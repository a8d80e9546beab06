// A fake of the NVIDIA driver's management library, steered while it is in use by a text file.
//
//   gcc -O2 -Wall -Wextra -Werror -fPIC -shared -Wl,-soname,libnvidia-ml.so.1 -o libnvidia-ml.so.1 fakenvml.c -lpthread
//
// FAKE_NVML_STATE names the file. It is read anew at every call; what it does not mention is at its default. Write it whole and
// rename it over the old one, or a call may read half of it.
//
//   count N        number of GPUs (default 2)
//   mem I MIB      memory used on GPU I (default 0)
//   util I PCT     utilisation of GPU I (default 0)
//   ecc I N        uncorrected memory errors of GPU I (default 0)
//   pending I      GPU I has a row that waits to be remapped
//   mig I          GPU I is split into MIG instances
//   lost I         calls on GPU I answer that it is lost
//   xid I CODE N   event number N, other than the last one: an XID on GPU I
//   fail CALL E    CALL answers error E
//   hang CALL      CALL never returns, also after the line is gone
//   crash CALL     CALL ends the process with a segmentation fault
//
// -DWITHOUT_MEMORY_V2, _OPTIONAL and _UUID leave symbols out, as an older driver would.
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int ret_t;
typedef unsigned int u32;
typedef unsigned long long u64;

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID = 2, INSUFFICIENT = 7, TIMEOUT = 10, LOST = 15, VERSION_MISMATCH = 25 };
enum { MAX_DEVICES = 16, XID_EVENT = 8 };

struct device { int index; };
struct memory_v1 { u64 total, free, used; };
struct memory_v2 { u32 version; u64 total, reserved, free, used; };
struct utilization { u32 gpu, memory; };
struct process { u32 pid; u64 used; u32 gpu_instance, compute_instance; };
struct event { struct device *device; u64 type, data; u32 gpu_instance, compute_instance; };

struct state {
    u32 count, util[MAX_DEVICES];
    u64 used[MAX_DEVICES], ecc[MAX_DEVICES];
    int pending[MAX_DEVICES], mig[MAX_DEVICES], lost[MAX_DEVICES];
    int xid_device, xid_number;
    u64 xid;
    int failure;
};

static const u64 total = 143771ull << 20, reserved = 600ull << 20;
static struct device devices[MAX_DEVICES];
static int initialized;

// load reads the state, as far as it concerns a call.
static struct state load(const char *call) {
    struct state s = {.count = 2};
    const char *path = getenv("FAKE_NVML_STATE");
    FILE *f = path ? fopen(path, "r") : NULL;
    char line[256], key[32], name[128];
    long long i, v, n;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%31s %127s", key, name) == 2 && !strcmp(name, call)) {
            if (!strcmp(key, "hang")) for (;;) pause();
            if (!strcmp(key, "crash")) raise(SIGSEGV);
            if (!strcmp(key, "fail")) sscanf(line, "%*s %*s %d", &s.failure);
        }
        i = v = n = 0;
        if (sscanf(line, "%31s %lld %lld %lld", key, &i, &v, &n) < 2 || i < 0 || i > MAX_DEVICES) continue;
        if (!strcmp(key, "count")) s.count = (u32)i;
        if (i == MAX_DEVICES) continue;
        if (!strcmp(key, "mem")) s.used[i] = (u64)v << 20;
        if (!strcmp(key, "util")) s.util[i] = (u32)v;
        if (!strcmp(key, "ecc")) s.ecc[i] = (u64)v;
        if (!strcmp(key, "pending")) s.pending[i] = 1;
        if (!strcmp(key, "mig")) s.mig[i] = 1;
        if (!strcmp(key, "lost")) s.lost[i] = 1;
        if (!strcmp(key, "xid")) { s.xid_device = (int)i; s.xid = (u64)v; s.xid_number = (int)n; }
    }
    if (f) fclose(f);
    return s;
}

static ret_t enter(const char *call, struct state *s) {
    *s = load(call);
    if (!initialized) return UNINITIALIZED;
    return s->failure;
}

static ret_t enter_device(const char *call, struct device *d, struct state *s) {
    ret_t r = enter(call, s);
    if (r) return r;
    if (!d) return INVALID;
    return s->lost[d->index] ? LOST : SUCCESS;
}

#define ENTER(call) struct state s; do { ret_t r_ = enter(call, &s); if (r_) return r_; } while (0)
#define ENTER_DEVICE(call, d) struct state s; do { ret_t r_ = enter_device(call, d, &s); if (r_) return r_; } while (0)

ret_t nvmlInit_v2(void) {
    struct state s = load("nvmlInit");
    if (s.failure) return s.failure;
    for (int i = 0; i < MAX_DEVICES; i++) devices[i].index = i;
    initialized = 1;
    return SUCCESS;
}

ret_t nvmlDeviceGetCount_v2(u32 *count) {
    ENTER("nvmlDeviceGetCount");
    *count = s.count;
    return SUCCESS;
}

ret_t nvmlDeviceGetHandleByIndex_v2(u32 index, struct device **d) {
    ENTER("nvmlDeviceGetHandleByIndex");
    if (index >= s.count) return INVALID;
    *d = &devices[index];
    return s.lost[index] ? LOST : SUCCESS;
}

ret_t nvmlDeviceGetName(struct device *d, char *name, u32 length) {
    ENTER_DEVICE("nvmlDeviceGetName", d);
    snprintf(name, length, "NVIDIA H200");
    return SUCCESS;
}

#ifndef WITHOUT_UUID
ret_t nvmlDeviceGetUUID(struct device *d, char *uuid, u32 length) {
    ENTER_DEVICE("nvmlDeviceGetUUID", d);
    snprintf(uuid, length, "GPU-fa4e0000-0000-0000-0000-%012d", d->index);
    return SUCCESS;
}
#endif

ret_t nvmlDeviceGetMemoryInfo(struct device *d, struct memory_v1 *m) {
    ENTER_DEVICE("nvmlDeviceGetMemoryInfo", d);
    m->total = total;
    m->used = s.used[d->index] + reserved;
    m->free = m->total - m->used;
    return SUCCESS;
}

#ifndef WITHOUT_MEMORY_V2
ret_t nvmlDeviceGetMemoryInfo_v2(struct device *d, struct memory_v2 *m) {
    ENTER_DEVICE("nvmlDeviceGetMemoryInfo_v2", d);
    if (m->version != (sizeof *m | 2u << 24)) return VERSION_MISMATCH;
    m->total = total;
    m->reserved = reserved;
    m->used = s.used[d->index];
    m->free = total - reserved - m->used;
    return SUCCESS;
}
#endif

#ifndef WITHOUT_OPTIONAL
const char *nvmlErrorString(ret_t r) {
    static __thread char text[32];
    snprintf(text, sizeof text, "fake error %d", r);
    return text;
}

ret_t nvmlSystemGetDriverVersion(char *version, u32 length) {
    ENTER("nvmlSystemGetDriverVersion");
    snprintf(version, length, "580.159.03");
    return SUCCESS;
}

ret_t nvmlDeviceGetCudaComputeCapability(struct device *d, int *major, int *minor) {
    ENTER_DEVICE("nvmlDeviceGetCudaComputeCapability", d);
    *major = 9;
    *minor = 0;
    return SUCCESS;
}

ret_t nvmlDeviceGetMigMode(struct device *d, u32 *current, u32 *pending) {
    ENTER_DEVICE("nvmlDeviceGetMigMode", d);
    *current = *pending = (u32)s.mig[d->index];
    return SUCCESS;
}

ret_t nvmlDeviceGetUtilizationRates(struct device *d, struct utilization *u) {
    ENTER_DEVICE("nvmlDeviceGetUtilizationRates", d);
    u->gpu = s.util[d->index];
    u->memory = u->gpu / 2;
    return SUCCESS;
}

ret_t nvmlDeviceGetTemperature(struct device *d, u32 sensor, u32 *celsius) {
    ENTER_DEVICE("nvmlDeviceGetTemperature", d);
    *celsius = 40 + d->index + sensor;
    return SUCCESS;
}

ret_t nvmlDeviceGetPowerUsage(struct device *d, u32 *milliwatts) {
    ENTER_DEVICE("nvmlDeviceGetPowerUsage", d);
    *milliwatts = 100000 + 500 * d->index;
    return SUCCESS;
}

ret_t nvmlDeviceGetComputeRunningProcesses_v3(struct device *d, u32 *count, struct process *p) {
    ENTER_DEVICE("nvmlDeviceGetComputeRunningProcesses", d);
    u32 room = *count;
    *count = 2;
    if (room < 2) return INSUFFICIENT;
    p[0] = (struct process){(u32)getpid(), s.used[d->index], ~0u, ~0u};
    p[1] = (struct process){1, ~0ull, ~0u, ~0u};
    return SUCCESS;
}

ret_t nvmlDeviceGetRemappedRows(struct device *d, u32 *corrected, u32 *uncorrected, u32 *pending, u32 *failed) {
    ENTER_DEVICE("nvmlDeviceGetRemappedRows", d);
    *corrected = *uncorrected = *failed = 0;
    *pending = (u32)s.pending[d->index];
    return SUCCESS;
}

ret_t nvmlDeviceGetTotalEccErrors(struct device *d, int type, int counter, u64 *count) {
    ENTER_DEVICE("nvmlDeviceGetTotalEccErrors", d);
    *count = type == 1 && counter == 0 ? s.ecc[d->index] : 0;
    return SUCCESS;
}

ret_t nvmlDeviceGetSupportedEventTypes(struct device *d, u64 *types) {
    ENTER_DEVICE("nvmlDeviceGetSupportedEventTypes", d);
    *types = XID_EVENT;
    return SUCCESS;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int last_xid;

ret_t nvmlEventSetCreate(void **set) {
    static int the_set;
    ENTER("nvmlEventSetCreate");
    last_xid = s.xid_number;
    *set = &the_set;
    return SUCCESS;
}

ret_t nvmlEventSetFree(void *set) {
    (void)set;
    return SUCCESS;
}

ret_t nvmlDeviceRegisterEvents(struct device *d, u64 types, void *set) {
    (void)set;
    ENTER_DEVICE("nvmlDeviceRegisterEvents", d);
    return types == XID_EVENT ? SUCCESS : INVALID;
}

ret_t nvmlEventSetWait_v2(void *set, struct event *e, u32 timeout) {
    (void)set;
    for (u32 waited = 0; waited <= timeout; waited += 10) {
        ENTER("nvmlEventSetWait");
        pthread_mutex_lock(&lock);
        int is_new = s.xid_number != last_xid;
        last_xid = s.xid_number;
        pthread_mutex_unlock(&lock);
        if (is_new && s.xid) {
            *e = (struct event){&devices[s.xid_device], XID_EVENT, s.xid, ~0u, ~0u};
            return SUCCESS;
        }
        usleep(10000);
    }
    return TIMEOUT;
}
#endif

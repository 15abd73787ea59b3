// The stand-in's settings, its lock, its one device and its one context.
#include "driver.hpp"

#include <pthread.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

struct Context {
    int uses = 0;
};

namespace driver {

namespace {

std::mutex lock;
bool initialised = false, poisoned = false;
Context primary;
thread_local CUcontext current = nullptr;

constexpr char NAME[] = "Spillway emulator";
constexpr int NUM_MULTIPROCESSORS = 4;

uint64_t number(const char* name, uint64_t otherwise) {
    const char* text = getenv(name);
    if (!text || !*text) return otherwise;
    char* end = nullptr;
    uint64_t value = strtoull(text, &end, 10);
    if (*end == 0) return value;
    fprintf(stderr, "emulated driver: %s is `%s`, expected a number\n", name, text);
    abort();
}

}  // namespace

// Most shared memory of a block, by compute capability. Source: CUDA C++ Programming Guide, table of technical specifications.
int max_shared_bytes() {
    switch (settings().compute_capability) {
        case 80:
        case 87: return 166912;
        case 86:
        case 89:
        case 120: return 101376;
        default: return 232448;
    }
}

namespace {

// The number of CUdevice_attribute, and its value.
struct Attribute {
    int number, value;
};

int attribute(int wanted) {
    int capability = settings().compute_capability;
    const Attribute known[] = {
        {1, 1024},                     // MAX_THREADS_PER_BLOCK
        {2, 1024},                     // MAX_BLOCK_DIM_X
        {3, 1024},                     // MAX_BLOCK_DIM_Y
        {4, 64},                       // MAX_BLOCK_DIM_Z
        {5, 0x7fffffff},               // MAX_GRID_DIM_X
        {6, 65535},                    // MAX_GRID_DIM_Y
        {7, 65535},                    // MAX_GRID_DIM_Z
        {8, USUAL_SHARED_BYTES},       // MAX_SHARED_MEMORY_PER_BLOCK
        {10, 32},                      // WARP_SIZE
        {12, 65536},                   // MAX_REGISTERS_PER_BLOCK
        {16, NUM_MULTIPROCESSORS},     // MULTIPROCESSOR_COUNT
        {39, 2048},                    // MAX_THREADS_PER_MULTIPROCESSOR
        {41, 1},                       // UNIFIED_ADDRESSING
        {75, capability / 10},         // COMPUTE_CAPABILITY_MAJOR
        {76, capability % 10},         // COMPUTE_CAPABILITY_MINOR
        {81, max_shared_bytes() + 1024}, // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
        {82, 65536},                   // MAX_REGISTERS_PER_MULTIPROCESSOR
        {97, max_shared_bytes()},      // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        {106, 32},                     // MAX_BLOCKS_PER_MULTIPROCESSOR
        {111, 1024},                   // RESERVED_SHARED_MEMORY_PER_BLOCK
        {115, 0},                      // MEMORY_POOLS_SUPPORTED
    };
    for (const Attribute& each : known)
        if (each.number == wanted) return each.value;
    return -1;
}

struct ErrorText {
    CUresult result;
    const char *name, *text;
};

#define ERROR_TEXT(result, text) {result, #result, text}
const ErrorText ERRORS[] = {
    ERROR_TEXT(CUDA_SUCCESS, "no error"),
    ERROR_TEXT(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    ERROR_TEXT(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    ERROR_TEXT(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
    ERROR_TEXT(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    ERROR_TEXT(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    ERROR_TEXT(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
    ERROR_TEXT(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    ERROR_TEXT(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    ERROR_TEXT(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    ERROR_TEXT(CUDA_ERROR_NOT_READY, "device not ready"),
    ERROR_TEXT(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    ERROR_TEXT(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"),
    ERROR_TEXT(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
    ERROR_TEXT(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"),
    ERROR_TEXT(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "operation failed due to a previous error during capture"),
    ERROR_TEXT(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "capture was not ended in the same stream as it began"),
    ERROR_TEXT(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "dependency created on uncaptured work in another stream"),
    ERROR_TEXT(CUDA_ERROR_CAPTURED_EVENT, "operation not permitted on an event last recorded in a capturing stream"),
    ERROR_TEXT(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "attempt to terminate a thread-local capture sequence from another thread"),
};

CUresult describe(CUresult result, const char** out, const char* ErrorText::*part) {
    for (const ErrorText& each : ERRORS)
        if (each.result == result) {
            *out = each.*part;
            return CUDA_SUCCESS;
        }
    *out = nullptr;
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult check_device(CUdevice device) { return device == 0 && settings().num_devices > 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE; }

// A call that is about one device, after cuInit.
CUresult device_call(CUdevice device, const std::function<CUresult()>& body) {
    return call(Needs::Init, [&] {
        CUresult result = check_device(device);
        return result == CUDA_SUCCESS ? body() : result;
    });
}

}  // namespace

const Settings& settings() {
    static const Settings read = {
        number("SPILLWAY_EMULATOR_SEED", 1),
        number("SPILLWAY_EMULATOR_MEMORY_BYTES", 8ull << 30),
        number("SPILLWAY_EMULATOR_FAIL_LAUNCH", 0),
        static_cast<int>(number("SPILLWAY_EMULATOR_NUM_DEVICES", 1)),
        static_cast<int>(number("SPILLWAY_EMULATOR_DRIVER_VERSION", 13000)),
        static_cast<int>(number("SPILLWAY_EMULATOR_COMPUTE_CAPABILITY", 90)),
    };
    return read;
}

CUresult refuse(CUresult result, const std::string& why) {
    const char* name = nullptr;
    describe(result, &name, &ErrorText::name);
    fprintf(stderr, "emulated driver: %s: %s\n", name ? name : "refused", why.c_str());
    return result;
}

CUresult call(Needs needs, const std::function<CUresult()>& body) {
    std::lock_guard<std::mutex> guard(lock);
    if (needs == Needs::Nothing) return body();
    if (!initialised) return CUDA_ERROR_NOT_INITIALIZED;
    if (poisoned) return CUDA_ERROR_ILLEGAL_ADDRESS;
    if (needs == Needs::Context && (!current || current->uses == 0)) return CUDA_ERROR_INVALID_CONTEXT;
    return body();
}

void poison_device() { poisoned = true; }
bool is_poisoned() { return poisoned; }

}  // namespace driver

using namespace driver;

EXPORT CUresult cuGetErrorName(CUresult result, const char** name) { return describe(result, name, &ErrorText::name); }
EXPORT CUresult cuGetErrorString(CUresult result, const char** text) { return describe(result, text, &ErrorText::text); }

EXPORT CUresult cuDriverGetVersion(int* version) {
    *version = settings().driver_version;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuInit(unsigned flags) {
    return call(Needs::Nothing, [&] {
        if (flags) return CUDA_ERROR_INVALID_VALUE;
        if (settings().num_devices == 0) return CUDA_ERROR_NO_DEVICE;
        initialised = true;
        return CUDA_SUCCESS;
    });
}

EXPORT CUresult cuDeviceGetCount(int* count) {
    return call(Needs::Init, [&] {
        *count = settings().num_devices;
        return CUDA_SUCCESS;
    });
}

EXPORT CUresult cuDeviceGet(CUdevice* device, int ordinal) {
    return device_call(ordinal, [&] {
        *device = ordinal;
        return CUDA_SUCCESS;
    });
}

EXPORT CUresult cuDeviceGetName(char* name, int room, CUdevice device) {
    return device_call(device, [&] {
        if (room <= 0) return CUDA_ERROR_INVALID_VALUE;
        snprintf(name, static_cast<size_t>(room), "%s", NAME);
        return CUDA_SUCCESS;
    });
}

EXPORT CUresult cuDeviceGetUuid_v2(char (*uuid)[16], CUdevice device) {
    return device_call(device, [&] {
        memcpy(*uuid, NAME, sizeof *uuid);
        return CUDA_SUCCESS;
    });
}
EXPORT CUresult cuDeviceGetUuid(char (*uuid)[16], CUdevice device) { return cuDeviceGetUuid_v2(uuid, device); }

EXPORT CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
    return device_call(device, [&] {
        *bytes = settings().memory_bytes;
        return CUDA_SUCCESS;
    });
}

EXPORT CUresult cuDeviceGetAttribute(int* value, int wanted, CUdevice device) {
    return device_call(device, [&] {
        int found = attribute(wanted);
        if (found < 0) return refuse(CUDA_ERROR_NOT_SUPPORTED, "device attribute " + std::to_string(wanted) + " is not modelled");
        *value = found;
        return CUDA_SUCCESS;
    });
}

EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
    return device_call(device, [&] {
        primary.uses++;
        *context = &primary;
        return CUDA_SUCCESS;
    });
}

EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    return device_call(device, [&] {
        if (primary.uses == 0) return CUDA_ERROR_INVALID_CONTEXT;
        if (--primary.uses == 0) {
            release_streams();
            release_device_memory();
        }
        return CUDA_SUCCESS;
    });
}

EXPORT CUresult cuCtxSetCurrent(CUcontext context) {
    return call(Needs::Init, [&] {
        if (context && context != &primary) return CUDA_ERROR_INVALID_CONTEXT;
        current = context;
        return CUDA_SUCCESS;
    });
}

EXPORT CUresult cuCtxGetCurrent(CUcontext* context) {
    return call(Needs::Init, [&] {
        *context = current;
        return CUDA_SUCCESS;
    });
}

EXPORT CUresult cuCtxSynchronize() {
    return call(Needs::Context, [] { return refuse_under_capture(); });
}

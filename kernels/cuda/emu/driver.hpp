// A stand-in for NVIDIA's driver: what its files share.
//
// Built as a shared library named `libcuda.so.1`, it exports the part of the driver API that the server calls, and runs every launch
// under the emulator. So the whole server with the feature `cuda` runs on a machine without a GPU, for tests.
//
// Work is done when it is asked for, under one lock: streams are orders of one, and an event has happened when it is recorded. What
// the real driver refuses is refused with the same number: bad ranges, host addresses where device addresses belong, calls without
// a context, calls that break a capture. A call that is exported but not modelled says so on standard error.
//
// Read from the environment once, at the first call:
//   SPILLWAY_EMULATOR_SEED                 order of threads and blocks (default 1)
//   SPILLWAY_EMULATOR_MEMORY_BYTES         the device's memory (default 8 GiB; taken from the host only where written)
//   SPILLWAY_EMULATOR_FAIL_LAUNCH          number, from 1, of the kernel that faults; every call after it fails too (default none)
//   SPILLWAY_EMULATOR_NUM_DEVICES          0 or 1 (default 1)
//   SPILLWAY_EMULATOR_DRIVER_VERSION       as cuDriverGetVersion says it (default 13000)
//   SPILLWAY_EMULATOR_COMPUTE_CAPABILITY   ten times major, plus minor (default 90)
//
// Names, numbers and structures of the API are those that NVIDIA documents for CUDA 13.0.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

enum CUresult : int {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_NOT_INITIALIZED = 3,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_INVALID_IMAGE = 200,
    CUDA_ERROR_INVALID_CONTEXT = 201,
    CUDA_ERROR_INVALID_HANDLE = 400,
    CUDA_ERROR_NOT_FOUND = 500,
    CUDA_ERROR_NOT_READY = 600,
    CUDA_ERROR_ILLEGAL_ADDRESS = 700,
    CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701,
    CUDA_ERROR_NOT_SUPPORTED = 801,
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900,
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901,
    CUDA_ERROR_STREAM_CAPTURE_UNMATCHED = 903,
    CUDA_ERROR_STREAM_CAPTURE_ISOLATION = 905,
    CUDA_ERROR_CAPTURED_EVENT = 907,
    CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD = 908,
};

using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct Context*;
using CUmodule = struct Module*;
using CUfunction = struct Function*;
using CUstream = struct Stream*;
using CUevent = struct Event*;
using CUgraph = struct Graph*;
using CUgraphExec = struct Graph*;

namespace driver {

// The largest shared memory of a block that asks for more than the usual.
int max_shared_bytes();
constexpr int USUAL_SHARED_BYTES = 49152;

struct Settings {
    uint64_t seed, memory_bytes, fail_launch;
    int num_devices, driver_version, compute_capability;
};
const Settings& settings();

// Says on standard error why a call is refused, and returns `result`.
CUresult refuse(CUresult result, const std::string& why);

// What must be true before a call: nothing, cuInit, or a context that is current on this thread.
enum class Needs { Nothing, Init, Context };

// Takes the lock and runs `body`, unless an earlier kernel faulted or what the call needs is missing.
CUresult call(Needs needs, const std::function<CUresult()>& body);

// The kernel that runs now faults, and with it every later call.
void poison_device();
bool is_poisoned();

// Device memory.
bool is_device_range(CUdeviceptr at, uint64_t bytes);
// Whether no byte of the range is device memory.
bool is_host_range(const void* at, uint64_t bytes);
void release_device_memory();

// One piece of work on a stream: run now, or kept in a graph and run at each of its launches.
using Work = std::function<CUresult()>;

// Runs `work` in the stream's order, or records it where the stream is being captured.
CUresult enqueue(CUstream stream, Work work);

// For calls that may wait or allocate: refuses them on a thread whose stream is being captured, and breaks that capture.
CUresult refuse_under_capture();
void release_streams();

}  // namespace driver

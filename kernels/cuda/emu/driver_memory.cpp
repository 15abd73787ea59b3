// The stand-in's memory: allocations that are poisoned and end at a page that faults, copies and fills with their ranges checked.
#include "driver.hpp"
#include "emulator.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <map>

namespace driver {

namespace {

constexpr uint64_t PAGE = 4096;
// As the real driver aligns, so that what relies on less is found.
constexpr uint64_t ALIGNMENT = 256;
// One poisoned piece, mapped again and again: what nobody writes costs the host no memory.
constexpr uint64_t PIECE = 16 << 20;

struct Allocation {
    uint64_t bytes;
    unsigned char* mapping;
    uint64_t mapped_bytes;
};

std::map<CUdeviceptr, Allocation> device_memory;
std::map<const void*, uint64_t> pinned_memory;
uint64_t used_bytes = 0;

uint64_t round_up(uint64_t bytes, uint64_t unit) { return (bytes + unit - 1) / unit * unit; }

int poisoned_file() {
    static int file = [] {
        int made = memfd_create("poison", MFD_CLOEXEC);
        if (made < 0 || ftruncate(made, PIECE)) return -1;
        void* view = mmap(nullptr, PIECE, PROT_READ | PROT_WRITE, MAP_SHARED, made, 0);
        if (view == MAP_FAILED) return -1;
        memset(view, 0xff, PIECE);
        munmap(view, PIECE);
        return made;
    }();
    return file;
}

// Memory that reads 0xff until it is written, between two pages that fault.
unsigned char* map_poisoned(uint64_t pages_bytes) {
    void* base = mmap(nullptr, pages_bytes + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return nullptr;
    unsigned char* first = static_cast<unsigned char*>(base) + PAGE;
    for (uint64_t at = 0; at < pages_bytes; at += PIECE) {
        uint64_t bytes = pages_bytes - at < PIECE ? pages_bytes - at : PIECE;
        void* piece = mmap(first + at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, poisoned_file(), 0);
        if (piece == MAP_FAILED) {
            munmap(base, pages_bytes + 2 * PAGE);
            return nullptr;
        }
    }
    return static_cast<unsigned char*>(base);
}

CUresult allocate(CUdeviceptr* out, uint64_t bytes) {
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    if (bytes > settings().memory_bytes - used_bytes) return CUDA_ERROR_OUT_OF_MEMORY;
    uint64_t room = round_up(bytes, ALIGNMENT), pages_bytes = round_up(room, PAGE);
    unsigned char* mapping = map_poisoned(pages_bytes);
    if (!mapping) return refuse(CUDA_ERROR_OUT_OF_MEMORY, "the host cannot map " + std::to_string(pages_bytes) + " bytes");
    // The end of the allocation lies at the page that faults.
    *out = reinterpret_cast<CUdeviceptr>(mapping + PAGE + pages_bytes - room);
    device_memory[*out] = {bytes, mapping, pages_bytes + 2 * PAGE};
    used_bytes += bytes;
    return CUDA_SUCCESS;
}

void give_back(const Allocation& allocation) {
    munmap(allocation.mapping, allocation.mapped_bytes);
    used_bytes -= allocation.bytes;
}

// One copy or fill: which of its ranges must be of which kind.
struct Ranges {
    std::vector<CUdeviceptr> device;
    std::vector<const void*> host;
};

CUresult check(const char* what, const Ranges& ranges, uint64_t bytes) {
    for (CUdeviceptr at : ranges.device)
        if (!is_device_range(at, bytes)) return refuse(CUDA_ERROR_INVALID_VALUE, std::string(what) + ": a range of " + std::to_string(bytes) + " bytes is not device memory");
    for (const void* at : ranges.host)
        if (!is_host_range(at, bytes)) return refuse(CUDA_ERROR_INVALID_VALUE, std::string(what) + ": the host's side is null or device memory");
    return CUDA_SUCCESS;
}

// Checks when asked, and again when done: a graph may be launched after its memory has gone.
CUresult copy_async(const char* what, void* to, const void* from, uint64_t bytes, const Ranges& ranges, CUstream stream) {
    return call(Needs::Context, [&]() -> CUresult {
        if (CUresult refused = check(what, ranges, bytes)) return refused;
        return enqueue(stream, [=]() -> CUresult {
            if (CUresult refused = check(what, ranges, bytes)) return refused;
            memmove(to, from, bytes);
            return CUDA_SUCCESS;
        });
    });
}

// A copy that waits, which no capture allows.
CUresult copy_now(const char* what, void* to, const void* from, uint64_t bytes, const Ranges& ranges) {
    return call(Needs::Context, [&]() -> CUresult {
        if (CUresult refused = refuse_under_capture()) return refused;
        if (CUresult refused = check(what, ranges, bytes)) return refused;
        memmove(to, from, bytes);
        return CUDA_SUCCESS;
    });
}

void* address(CUdeviceptr at) { return reinterpret_cast<void*>(at); }

}  // namespace

bool is_device_range(CUdeviceptr at, uint64_t bytes) {
    auto after = device_memory.upper_bound(at);
    if (after == device_memory.begin()) return false;
    const auto& [base, allocation] = *std::prev(after);
    return at - base <= allocation.bytes && bytes <= allocation.bytes - (at - base);
}

bool is_host_range(const void* host, uint64_t bytes) {
    auto at = reinterpret_cast<CUdeviceptr>(host);
    if (at == 0 || at + bytes < at) return false;
    for (const auto& [base, allocation] : device_memory)
        if (at < base + allocation.bytes && base < at + bytes) return false;
    return true;
}

void release_device_memory() {
    for (const auto& [base, allocation] : device_memory) give_back(allocation);
    device_memory.clear();
}

}  // namespace driver

using namespace driver;

EXPORT CUresult cuMemGetInfo_v2(size_t* free_bytes, size_t* total_bytes) {
    return call(Needs::Context, [&] {
        *total_bytes = settings().memory_bytes;
        *free_bytes = settings().memory_bytes - used_bytes;
        return CUDA_SUCCESS;
    });
}

EXPORT CUresult cuMemAlloc_v2(CUdeviceptr* out, size_t bytes) {
    return call(Needs::Context, [&]() -> CUresult {
        if (CUresult refused = refuse_under_capture()) return refused;
        return allocate(out, bytes);
    });
}

EXPORT CUresult cuMemFree_v2(CUdeviceptr at) {
    return call(Needs::Context, [&]() -> CUresult {
        if (at == 0) return CUDA_SUCCESS;
        if (CUresult refused = refuse_under_capture()) return refused;
        auto found = device_memory.find(at);
        if (found == device_memory.end()) return refuse(CUDA_ERROR_INVALID_VALUE, "cuMemFree: no allocation begins there");
        give_back(found->second);
        device_memory.erase(found);
        return CUDA_SUCCESS;
    });
}

EXPORT CUresult cuMemHostAlloc(void** out, size_t bytes, unsigned) {
    return call(Needs::Context, [&]() -> CUresult {
        if (CUresult refused = refuse_under_capture()) return refused;
        if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
        *out = emu::allocate(bytes);
        pinned_memory[*out] = bytes;
        return CUDA_SUCCESS;
    });
}

EXPORT CUresult cuMemFreeHost(void* memory) {
    return call(Needs::Context, [&]() -> CUresult {
        if (CUresult refused = refuse_under_capture()) return refused;
        auto found = pinned_memory.find(memory);
        if (found == pinned_memory.end()) return refuse(CUDA_ERROR_INVALID_VALUE, "cuMemFreeHost: no pinned memory begins there");
        emu::release(memory, found->second);
        pinned_memory.erase(found);
        return CUDA_SUCCESS;
    });
}

EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
    return copy_async("cuMemcpyHtoDAsync", address(to), from, bytes, {{to}, {from}}, stream);
}
EXPORT CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return copy_async("cuMemcpyDtoHAsync", to, address(from), bytes, {{from}, {to}}, stream);
}
EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return copy_async("cuMemcpyDtoDAsync", address(to), address(from), bytes, {{to, from}, {}}, stream);
}
EXPORT CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) { return copy_now("cuMemcpyHtoD", address(to), from, bytes, {{to}, {from}}); }
EXPORT CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) { return copy_now("cuMemcpyDtoH", to, address(from), bytes, {{from}, {to}}); }
EXPORT CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) { return copy_now("cuMemcpyDtoD", address(to), address(from), bytes, {{to, from}, {}}); }

EXPORT CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char byte, size_t bytes, CUstream stream) {
    return call(Needs::Context, [&]() -> CUresult {
        Ranges ranges{{to}, {}};
        if (CUresult refused = check("cuMemsetD8Async", ranges, bytes)) return refused;
        return enqueue(stream, [=]() -> CUresult {
            if (CUresult refused = check("cuMemsetD8Async", ranges, bytes)) return refused;
            memset(address(to), byte, bytes);
            return CUDA_SUCCESS;
        });
    });
}

EXPORT CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char byte, size_t bytes) {
    return call(Needs::Context, [&]() -> CUresult {
        if (CUresult refused = refuse_under_capture()) return refused;
        if (CUresult refused = check("cuMemsetD8", {{to}, {}}, bytes)) return refused;
        memset(address(to), byte, bytes);
        return CUDA_SUCCESS;
    });
}

// The benches' small layer over the CUDA runtime: checked calls, device arrays, launches with and without overlap, timing.
//
// The server itself never links the CUDA runtime; only these programs do, on the machine that has a toolkit.
#pragma once
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdarg>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#define CHECK(call)                                                                                           \
    do {                                                                                                      \
        cudaError_t status = (call);                                                                          \
        if (status != cudaSuccess) {                                                                          \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(status));        \
            exit(1);                                                                                          \
        }                                                                                                     \
    } while (0)

// H100 SXM, HBM3, as its data sheet has it.
constexpr double NOMINAL_BYTES_PER_SECOND = 3.35e12;
constexpr double NOMINAL_FLOPS = 989e12;

// An array on the device.
template <class T>
class DeviceArray {
  public:
    explicit DeviceArray(size_t count) : num(count) { CHECK(cudaMalloc(&memory, std::max<size_t>(count, 1) * sizeof(T))); }
    explicit DeviceArray(const std::vector<T>& from) : DeviceArray(from.size()) { CHECK(cudaMemcpy(memory, from.data(), num * sizeof(T), cudaMemcpyHostToDevice)); }
    ~DeviceArray() { cudaFree(memory); }
    DeviceArray(const DeviceArray&) = delete;
    DeviceArray& operator=(const DeviceArray&) = delete;
    T* get() const { return memory; }
    size_t size() const { return num; }
    std::vector<T> read(size_t from, size_t count) const {
        std::vector<T> host(count);
        CHECK(cudaMemcpy(host.data(), memory + from, count * sizeof(T), cudaMemcpyDeviceToHost));
        return host;
    }
    std::vector<T> read() const { return read(0, num); }
    void zero() const { CHECK(cudaMemset(memory, 0, num * sizeof(T))); }

  private:
    T* memory = nullptr;
    size_t num;
};

// Whether a kernel may start while the one before it ends.
enum class Overlap { No, Yes };

struct Shape3 {
    dim3 grid, block;
    size_t shared_bytes = 0;
};

template <class... P, class... A>
void launch(cudaStream_t stream, Overlap overlap, const Shape3& shape, void (*kernel)(P...), A... arguments) {
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = shape.grid;
    config.blockDim = shape.block;
    config.dynamicSmemBytes = shape.shared_bytes;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = overlap == Overlap::Yes ? 1 : 0;
    if (shape.shared_bytes > 48 << 10) CHECK(cudaFuncSetAttribute((const void*)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shape.shared_bytes));
    CHECK(cudaLaunchKernelEx(&config, kernel, static_cast<P>(arguments)...));
}

// Mean microseconds of `body`, which enqueues `per_call` units of work; three warm-up calls, best of three rounds.
inline double time_us(cudaStream_t stream, int calls, int per_call, const std::function<void(int)>& body) {
    cudaEvent_t begin, end;
    CHECK(cudaEventCreate(&begin));
    CHECK(cudaEventCreate(&end));
    for (int i = 0; i < 3; i++) body(i);
    double best = 1e30;
    for (int round = 0; round < 3; round++) {
        CHECK(cudaStreamSynchronize(stream));
        CHECK(cudaEventRecord(begin, stream));
        for (int i = 0; i < calls; i++) body(i);
        CHECK(cudaEventRecord(end, stream));
        CHECK(cudaEventSynchronize(end));
        float ms = 0;
        CHECK(cudaEventElapsedTime(&ms, begin, end));
        best = std::min(best, 1000.0 * ms / calls / per_call);
    }
    CHECK(cudaEventDestroy(begin));
    CHECK(cudaEventDestroy(end));
    return best;
}

// One line of the table: what a kernel reached against the bytes it must move.
inline void report(const std::string& name, const std::string& shape, double us, double bytes, double max_error) {
    double rate = bytes / (us * 1e-6);
    printf("%-34s %-40s %10.2f us %8.0f GB/s %5.1f %% of nominal", name.c_str(), shape.c_str(), us, rate / 1e9, 100 * rate / NOMINAL_BYTES_PER_SECOND);
    if (max_error >= 0) printf("   max error %.2e", max_error);
    printf("\n");
    fflush(stdout);
}

// The same against the floating-point operations it must do.
inline void report_flops(const std::string& name, const std::string& shape, double us, double flops, double max_error) {
    double rate = flops / (us * 1e-6);
    printf("%-34s %-40s %10.2f us %8.1f TFLOP/s %5.1f %% of nominal", name.c_str(), shape.c_str(), us, rate / 1e12, 100 * rate / NOMINAL_FLOPS);
    if (max_error >= 0) printf("   max error %.2e", max_error);
    printf("\n");
    fflush(stdout);
}

inline std::string text(const char* format, ...) {
    char buffer[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(buffer, sizeof buffer, format, arguments);
    va_end(arguments);
    return buffer;
}

// The stand-in's modules, functions and launches. A kernel runs under the emulator; what the real driver would refuse is refused.
#include "driver.hpp"
#include "driver_kernels.hpp"
#include "emulator.hpp"

#include <cstring>
#include <map>
#include <memory>

struct Function {
    std::string name;
    const driver::Kernel* kernel;
    int max_dynamic_bytes = driver::USUAL_SHARED_BYTES;
};

struct Module {
    std::string image;
    std::map<std::string, std::unique_ptr<Function>> functions;
};

// As the driver's structures lie in memory.
struct LaunchAttribute {
    int id;
    char pad[4];
    char value[64];
};
struct LaunchConfig {
    unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
    CUstream stream;
    const LaunchAttribute* attributes;
    unsigned num_attributes;
};

namespace driver {

namespace {

// The head of a fatbin: its magic number, version, its own size, and the size of what follows.
struct FatbinHead {
    uint32_t magic;
    uint16_t version, head_bytes;
    uint64_t body_bytes;
};
constexpr uint32_t FATBIN_MAGIC = 0xba55ed50;

constexpr int ATTRIBUTE_IGNORE = 0, ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION = 6;
constexpr unsigned MAX_GRID_Y_Z = 65535, MAX_GRID_X = 0x7fffffff;

// The numbers of CUfunction_attribute that are modelled. Registers and local memory are the compiler's; the emulator has none.
enum FunctionAttribute { MaxThreads = 0, SharedBytes = 1, ConstBytes = 2, LocalBytes = 3, Registers = 4, MaxDynamicBytes = 8, Carveout = 9 };

std::map<CUmodule, std::unique_ptr<Module>> modules;
uint64_t num_launches = 0;

std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

// Whether the machine code in the image has this kernel: its name stands there as text.
bool holds(const std::string& image, const std::string& name) {
    std::string wanted = name + '\0';
    for (size_t at = image.find(wanted); at != std::string::npos; at = image.find(wanted, at + 1))
        if (at > 0 && (image[at - 1] == 0 || image[at - 1] == '.')) return true;
    return false;
}

CUresult check_shape(const Function& function, const LaunchConfig& config) {
    auto refused = [&](CUresult result, const std::string& why) { return refuse(result, "launch of " + function.name + ": " + why); };
    uint64_t threads = static_cast<uint64_t>(config.block_x) * config.block_y * config.block_z;
    if (threads == 0 || threads > 1024) return refused(CUDA_ERROR_INVALID_VALUE, "a block of " + std::to_string(threads) + " threads");
    if (threads > function.kernel->max_threads)
        return refused(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, std::to_string(threads) + " threads, built for at most " + std::to_string(function.kernel->max_threads));
    if (!config.grid_x || !config.grid_y || !config.grid_z || config.grid_x > MAX_GRID_X || config.grid_y > MAX_GRID_Y_Z || config.grid_z > MAX_GRID_Y_Z)
        return refused(CUDA_ERROR_INVALID_VALUE, "the grid has no blocks or too many");
    if (config.shared_bytes > static_cast<unsigned>(function.max_dynamic_bytes))
        return refused(CUDA_ERROR_INVALID_VALUE, std::to_string(config.shared_bytes) + " bytes of dynamic shared memory, allowed are " + std::to_string(function.max_dynamic_bytes));
    for (unsigned i = 0; i < config.num_attributes; i++) {
        int id = config.attributes[i].id;
        if (id != ATTRIBUTE_IGNORE && id != ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION) return refused(CUDA_ERROR_NOT_SUPPORTED, "launch attribute " + std::to_string(id) + " is not modelled");
    }
    return CUDA_SUCCESS;
}

// Every address a kernel is given must be null, in device memory, or just behind the end of it.
CUresult check_pointers(const std::string& name, const Bound& bound) {
    for (size_t i = 0; i < bound.pointers.size(); i++) {
        auto at = reinterpret_cast<CUdeviceptr>(bound.pointers[i]);
        if (at && !is_device_range(at, 0)) return refuse(CUDA_ERROR_INVALID_VALUE, "launch of " + name + ": pointer " + std::to_string(i + 1) + " of its parameters is no device address");
    }
    return CUDA_SUCCESS;
}

CUresult run(const std::string& name, const emu::Launch& shape, const Bound& bound) {
    if (CUresult refused = check_pointers(name, bound)) return refused;
    num_launches++;
    if (num_launches == settings().fail_launch) {
        poison_device();
        return refuse(CUDA_ERROR_ILLEGAL_ADDRESS, "launch " + std::to_string(num_launches) + ", " + name + ", was to fail");
    }
    emu::Launch launch = shape;
    launch.kernel = name.c_str();
    launch.seed = settings().seed * 0x9e3779b97f4a7c15ull + num_launches;
    emu::launch(launch, bound.body);
    return CUDA_SUCCESS;
}

CUresult launch(CUfunction function, const LaunchConfig& config, void** parameters, void** extra) {
    return call(Needs::Context, [&]() -> CUresult {
        if (!function) return CUDA_ERROR_INVALID_HANDLE;
        if (extra) return refuse(CUDA_ERROR_NOT_SUPPORTED, "launch of " + function->name + ": parameters in a packed buffer are not modelled");
        if (!parameters) return CUDA_ERROR_INVALID_VALUE;
        if (CUresult refused = check_shape(*function, config)) return refused;
        Bound bound = function->kernel->bind(parameters);
        if (CUresult refused = check_pointers(function->name, bound)) return refused;
        emu::Launch shape;
        shape.grid = {config.grid_x, config.grid_y, config.grid_z};
        shape.block = {config.block_x, config.block_y, config.block_z};
        shape.dynamic_bytes = config.shared_bytes;
        return enqueue(config.stream, [name = function->name, shape, bound] { return run(name, shape, bound); });
    });
}

}  // namespace

const Kernel* find_kernel(const std::string& name) {
    auto found = kernels().find(name);
    return found == kernels().end() ? nullptr : &found->second;
}

void register_kernel(const char* name, Kernel kernel) { kernels().emplace(name, std::move(kernel)); }

}  // namespace driver

using namespace driver;

EXPORT CUresult cuModuleLoadData(CUmodule* out, const void* image) {
    return call(Needs::Context, [&]() -> CUresult {
        if (CUresult refused = refuse_under_capture()) return refused;
        FatbinHead head;
        memcpy(&head, image, sizeof head);
        if (head.magic != FATBIN_MAGIC) return refuse(CUDA_ERROR_INVALID_IMAGE, "a module that is no fatbin");
        auto module = std::make_unique<Module>();
        module->image.assign(static_cast<const char*>(image), head.head_bytes + head.body_bytes);
        *out = module.get();
        modules[*out] = std::move(module);
        return CUDA_SUCCESS;
    });
}

EXPORT CUresult cuModuleUnload(CUmodule module) {
    return call(Needs::Context, [&] { return modules.erase(module) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; });
}

EXPORT CUresult cuModuleGetFunction(CUfunction* out, CUmodule module, const char* name) {
    return call(Needs::Context, [&]() -> CUresult {
        auto found = modules.find(module);
        if (found == modules.end()) return CUDA_ERROR_INVALID_HANDLE;
        const Kernel* kernel = find_kernel(name);
        bool in_image = holds(found->second->image, name);
        if (in_image && !kernel) return refuse(CUDA_ERROR_NOT_FOUND, std::string(name) + " is in the module but not in the emulated driver: build it from the same sources");
        if (!in_image || !kernel) return CUDA_ERROR_NOT_FOUND;
        std::unique_ptr<Function>& function = found->second->functions[name];
        if (!function) function = std::make_unique<Function>(Function{name, kernel});
        *out = function.get();
        return CUDA_SUCCESS;
    });
}

EXPORT CUresult cuFuncGetAttribute(int* value, int attribute, CUfunction function) {
    return call(Needs::Context, [&]() -> CUresult {
        switch (attribute) {
            case MaxThreads: *value = static_cast<int>(function->kernel->max_threads); return CUDA_SUCCESS;
            case MaxDynamicBytes: *value = function->max_dynamic_bytes; return CUDA_SUCCESS;
            case SharedBytes:
            case ConstBytes:
            case LocalBytes:
            case Registers: *value = 0; return CUDA_SUCCESS;
            default: return refuse(CUDA_ERROR_NOT_SUPPORTED, "function attribute " + std::to_string(attribute) + " is not modelled");
        }
    });
}

EXPORT CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value) {
    return call(Needs::Context, [&]() -> CUresult {
        switch (attribute) {
            case MaxDynamicBytes:
                if (value < 0 || value > max_shared_bytes()) return refuse(CUDA_ERROR_INVALID_VALUE, function->name + ": " + std::to_string(value) + " bytes of dynamic shared memory");
                function->max_dynamic_bytes = value;
                return CUDA_SUCCESS;
            case Carveout: return CUDA_SUCCESS;
            default: return refuse(CUDA_ERROR_NOT_SUPPORTED, "function attribute " + std::to_string(attribute) + " is not modelled");
        }
    });
}

EXPORT CUresult cuLaunchKernelEx(const LaunchConfig* config, CUfunction function, void** parameters, void** extra) { return launch(function, *config, parameters, extra); }

EXPORT CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                               CUstream stream, void** parameters, void** extra) {
    return launch(function, {grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes, stream, nullptr, 0}, parameters, extra);
}

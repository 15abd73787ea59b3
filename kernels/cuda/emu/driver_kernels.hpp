// The kernels of the stand-in by name. A kernel's parameters are taken apart by its own C++ signature: there is no second list.
//
// The test helper writes one file for each kernel source, which includes it and has a REGISTER_KERNEL for each kernel that the
// preprocessor shows in it.
#pragma once
#include <functional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#define REGISTER_KERNEL(name, max_threads) static const driver::Registration name##_registration(#name, max_threads, name);

namespace driver {

// A kernel with its parameters copied.
struct Bound {
    std::function<void()> body;
    std::vector<const void*> pointers;  // the parameters that are addresses, in order
};

struct Kernel {
    unsigned max_threads;
    std::function<Bound(void**)> bind;
};

// The kernel of this name, or null.
const Kernel* find_kernel(const std::string& name);
void register_kernel(const char* name, Kernel kernel);

template <class T>
void keep_pointer(std::vector<const void*>& pointers, const T& parameter) {
    if constexpr (std::is_pointer_v<T>) pointers.push_back(parameter);
}

template <class... P, size_t... I>
Bound copy_parameters(void (*kernel)(P...), void** values, std::index_sequence<I...>) {
    std::tuple<P...> parameters(*static_cast<const P*>(values[I])...);
    std::vector<const void*> pointers;
    (keep_pointer(pointers, std::get<I>(parameters)), ...);
    return {[kernel, parameters] { std::apply(kernel, parameters); }, pointers};
}

struct Registration {
    template <class... P>
    Registration(const char* name, unsigned max_threads, void (*kernel)(P...)) {
        register_kernel(name, {max_threads, [kernel](void** values) { return copy_parameters(kernel, values, std::index_sequence_for<P...>{}); }});
    }
};

}  // namespace driver

// What the kernel tests share: guarded buffers, random inputs, comparison with a stated tolerance, one line per case.
#pragma once
#include <cstdarg>
#include <string>

#include "../port.cuh"

// Memory of a test, followed by a page that faults.
template <class T>
class Buffer {
  public:
    explicit Buffer(size_t count) : memory(static_cast<T*>(emu::allocate(count * sizeof(T)))), count(count) {}
    ~Buffer() { emu::release(memory, count * sizeof(T)); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    T* get() const { return memory; }
    T& operator[](size_t i) const { return memory[i]; }
    size_t size() const { return count; }
    void fill(T value) const {
        for (size_t i = 0; i < count; i++) memory[i] = value;
    }

  private:
    T* memory;
    size_t count;
};

// A seeded source of numbers.
class Random {
  public:
    explicit Random(uint64_t seed) : state(seed) {}
    uint64_t bits();
    uint32_t below(uint32_t limit) { return static_cast<uint32_t>(bits() % limit); }
    float uniform(float low, float high) { return low + (high - low) * static_cast<float>(bits() >> 40) / 16777216.0f; }
    void fill(const Buffer<bf16>& to, float amplitude) {
        for (size_t i = 0; i < to.size(); i++) to[i].bits = emu::round_to_bf16(uniform(-amplitude, amplitude));
    }
    void fill(const Buffer<float>& to, float low, float high) {
        for (size_t i = 0; i < to.size(); i++) to[i] = uniform(low, high);
    }
    // A permutation of 0..count.
    std::vector<uint32_t> shuffled(uint32_t count);

  private:
    uint64_t state;
};

// Collects the largest error of a case against a tolerance of `absolute` + `relative` * |wanted|.
class Check {
  public:
    Check(const char* kernel, double absolute, double relative) : kernel(kernel), absolute(absolute), relative(relative) {}
    // Prints the line of this case.
    ~Check();
    void describe(const char* format, ...) __attribute__((format(printf, 2, 3)));
    void compare(double got, double wanted);
    void require(bool holds, const char* what);

  private:
    std::string kernel, shape, broken;
    double absolute, relative, worst = 0.0, worst_share = 0.0;
    size_t compared = 0;
};

// How many cases failed so far.
int failures();

// The seeds of the thread orders each case runs under.
constexpr uint64_t ORDERS[] = {1, 2, 3};

inline double value_of(bf16 x) { return static_cast<double>(widen(x)); }
inline double round_bf16(double x) { return value_of(bf16{emu::round_to_bf16(static_cast<float>(x))}); }

void test_rows();
void test_linear();
void test_attention();
void test_quantised();
void test_sampling();
void test_sampling_draw();
void test_sampling_golden();

// The tests' comparison and random numbers, and the entry that runs every test.
#include "check.hpp"

#include <cmath>

namespace {
int num_failures = 0, num_cases = 0;
}

int failures() { return num_failures; }

uint64_t Random::bits() {
    uint64_t z = state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

std::vector<uint32_t> Random::shuffled(uint32_t count) {
    std::vector<uint32_t> order(count);
    for (uint32_t i = 0; i < count; i++) order[i] = i;
    for (uint32_t i = count; i > 1; i--) std::swap(order[i - 1], order[below(i)]);
    return order;
}

void Check::describe(const char* format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    shape = text;
}

void Check::compare(double got, double wanted) {
    compared++;
    double error = std::fabs(got - wanted), share = error / (absolute + relative * std::fabs(wanted));
    if (got == wanted) return;
    if (!(share <= 1.0) && broken.empty()) broken = "got " + std::to_string(got) + ", wanted " + std::to_string(wanted) + " at comparison " + std::to_string(compared - 1);
    if (error > worst) worst = error;
    if (share > worst_share) worst_share = share;
}

void Check::require(bool holds, const char* what) {
    compared++;
    if (!holds && broken.empty()) broken = what;
}

Check::~Check() {
    num_cases++;
    if (compared == 0) broken = "nothing was compared";
    num_failures += !broken.empty();
    printf("%s %-28s %-64s max error %.2e (%.0f %% of tolerance)%s%s\n", broken.empty() ? "ok  " : "FAIL", kernel.c_str(), shape.c_str(), worst, 100 * worst_share,
           broken.empty() ? "" : ": ", broken.c_str());
}

int main() {
    test_rows();
    test_linear();
    test_quantised();
    test_attention();
    test_sampling();
    test_sampling_draw();
    test_sampling_golden();
    printf("%d cases, %d failures\n", num_cases, num_failures);
    return num_failures ? 1 : 0;
}

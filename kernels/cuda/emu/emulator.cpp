// The emulator's scheduler of fibers, its warp operations, its asynchronous copies and its guarded memory.
//
// A fiber runs until it waits: for its block (a barrier), for its warp (a warp operation), or until it ends. The scheduler then
// takes the next runnable one, in an order shuffled anew for every block. When nobody can run and somebody waits, the threads
// disagree about a barrier: a fault.
#include "emulator.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace emu {

Index3 thread_index, block_index, block_extent, grid_extent;
uint64_t block_generation = 0;

namespace {

constexpr size_t STACK_BYTES = 256 << 10;
constexpr size_t PAGE = 4096;
constexpr size_t MAX_LANE_BYTES = 32;

struct Copy {
    unsigned char* to;
    const unsigned char* from;
    uint32_t bytes;
    bool valid;
};

enum class State : uint8_t { Runnable, AtBarrier, InWarp, Done };

struct Fiber {
#ifdef __x86_64__
    void* stack_pointer;
#else
    ucontext_t context;
#endif
    Index3 index;
    State state;
    Collective waits_in;
    uint32_t mask, bytes, parity;
    std::vector<Copy> open;                 // copies since the last commit
    std::vector<std::vector<Copy>> groups;  // committed, oldest first
};

// The product of a warp's two tiles, made by the first of its lanes to go on.
struct Tile {
    float sums[16][8];
    uint64_t generation = 0;  // the block, and
    uint32_t parity = 0;      // the warp operation, that it is of
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<unsigned char> slots;  // [warp][parity][lane][bytes]
    std::vector<Tile> tiles;           // [warp][parity]
    std::vector<unsigned> order;       // of threads
    unsigned position = 0;             // of the running one in it
    unsigned live = 0;                 // threads that have not ended
    unsigned char* stacks = nullptr;
    size_t num_stacks = 0;
    unsigned char* shared = nullptr;
    size_t shared_room = 0, shared_bytes = 0;
    unsigned running = 0;
    const std::function<void()>* body = nullptr;
#ifdef __x86_64__
    void* scheduler_stack;
#else
    ucontext_t scheduler;
#endif
};

Block block;

const char* kernel_name = "";

[[noreturn]] void fault(const char* what) {
    fprintf(stderr, "emulator: %s: %s%sblock (%u,%u,%u) thread (%u,%u,%u)\n", what, kernel_name, *kernel_name ? " " : "", block_index.x, block_index.y, block_index.z, thread_index.x,
            thread_index.y, thread_index.z);
    fflush(nullptr);
    _exit(FAULT_STATUS);
}

// What the program does with bad accesses that are not a kernel's.
struct sigaction of_segv, of_bus;
// The thread that is inside a launch, while one is.
volatile bool is_launching = false;
pthread_t launching_thread;

void on_bad_access(int number, siginfo_t*, void*) {
    if (is_launching && pthread_equal(pthread_self(), launching_thread)) fault("access outside every buffer");
    // The access is made again when this returns, and is then the program's own affair.
    sigaction(number, number == SIGSEGV ? &of_segv : &of_bus, nullptr);
}

// The handler needs a stack of its own, since a fiber may have left its stack, and a larger one than other people's: it prints.
class HandlerStack {
  public:
    HandlerStack() {
        static thread_local unsigned char memory[64 << 10];
        stack_t mine{};
        mine.ss_sp = memory;
        mine.ss_size = sizeof memory;
        sigaltstack(&mine, &others);
    }
    ~HandlerStack() { sigaltstack(&others, nullptr); }
    HandlerStack(const HandlerStack&) = delete;
    HandlerStack& operator=(const HandlerStack&) = delete;

  private:
    stack_t others{};
};

void catch_bad_accesses() {
    struct sigaction now {};
    sigaction(SIGSEGV, nullptr, &now);
    if (now.sa_sigaction == on_bad_access) return;
    struct sigaction action {};
    action.sa_sigaction = on_bad_access;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &of_segv);
    sigaction(SIGBUS, &action, &of_bus);
}

#ifdef __x86_64__
extern "C" void emu_switch(void** save, void* load);
asm(R"(
.text
.globl emu_switch
.type emu_switch, @function
emu_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
)");
void switch_to(Fiber& from, Fiber& to) { emu_switch(&from.stack_pointer, to.stack_pointer); }
void to_scheduler(Fiber& from) { emu_switch(&from.stack_pointer, block.scheduler_stack); }
void to_fiber(Fiber& fiber) { emu_switch(&block.scheduler_stack, fiber.stack_pointer); }
#else
void switch_to(Fiber& from, Fiber& to) { swapcontext(&from.context, &to.context); }
void to_scheduler(Fiber& from) { swapcontext(&from.context, &block.scheduler); }
void to_fiber(Fiber& fiber) { swapcontext(&block.scheduler, &fiber.context); }
#endif

Fiber& self() { return block.fibers[block.running]; }

// The next thread in order that can run, from `block.position` on; null at the end of the round.
Fiber* next_runnable() {
    for (; block.position < block.order.size(); block.position++) {
        unsigned number = block.order[block.position];
        Fiber& fiber = block.fibers[number];
        if (fiber.state != State::Runnable) continue;
        block.running = number;
        thread_index = fiber.index;
        return &fiber;
    }
    return nullptr;
}

// The running thread waits or has ended: straight to the next one, and to the scheduler only at the end of the round.
void leave() {
    Fiber& fiber = self();
    block.position++;
    Fiber* next = next_runnable();
    if (next)
        switch_to(fiber, *next);
    else
        to_scheduler(fiber);
}

void enter() {
    (*block.body)();
    self().state = State::Done;
    block.live--;
    leave();
    abort();
}

void prepare(Fiber& fiber, unsigned number) {
    unsigned char* bottom = block.stacks + number * STACK_BYTES;
    fiber.index = {number % block_extent.x, number / block_extent.x % block_extent.y, number / block_extent.x / block_extent.y};
    fiber.state = State::Runnable;
    fiber.parity = 0;
    fiber.open.clear();
    fiber.groups.clear();
#ifdef __x86_64__
    void** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(bottom + STACK_BYTES - 64) & ~static_cast<uintptr_t>(15));
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(enter);
    for (int i = 0; i < 6; i++) *--top = nullptr;
    fiber.stack_pointer = top;
#else
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = bottom;
    fiber.context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&fiber.context, enter, 0);
#endif
}

uint64_t next_random(uint64_t& state) {
    uint64_t z = state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

// Lets the lanes of a warp go on whose operation is complete; says whether any could.
bool release_warp(unsigned first, unsigned count) {
    bool any = false;
    uint32_t present = count >= 32 ? 0xffffffffu : (1u << count) - 1;
    for (unsigned leader = 0; leader < count; leader++) {
        Fiber& head = block.fibers[first + leader];
        if (head.state != State::InWarp) continue;
        uint32_t wanted = head.mask & present;
        bool complete = true;
        for (unsigned i = 0; i < count; i++) {
            if (!(wanted >> i & 1)) continue;
            const Fiber& other = block.fibers[first + i];
            if (other.state != State::InWarp) {
                complete = false;
            } else if (other.waits_in != head.waits_in || other.mask != head.mask || other.bytes != head.bytes || other.parity != head.parity) {
                thread_index = other.index;
                fault("lanes of a warp are in different operations");
            }
        }
        if (!complete) continue;
        for (unsigned i = 0; i < count; i++)
            if (wanted >> i & 1) block.fibers[first + i].state = State::Runnable;
        any = true;
    }
    return any;
}

bool release_barrier() {
    unsigned waiting = 0, done = 0, total = static_cast<unsigned>(block.fibers.size());
    for (const Fiber& fiber : block.fibers) {
        waiting += fiber.state == State::AtBarrier;
        done += fiber.state == State::Done;
    }
    if (waiting == 0 || waiting + done < total) return false;
    if (done) fault("divergent barrier: some threads wait at it, others have ended");
    for (Fiber& fiber : block.fibers)
        if (fiber.state == State::AtBarrier) fiber.state = State::Runnable;
    return true;
}

void run_block(uint64_t& random) {
    unsigned count = static_cast<unsigned>(block.fibers.size());
    for (unsigned i = 0; i < count; i++) prepare(block.fibers[i], i);
    memset(block.shared, 0xff, block.shared_room);
    block_generation++;
    for (unsigned i = count; i > 1; i--) std::swap(block.order[i - 1], block.order[next_random(random) % i]);
    block.live = count;
    while (block.live) {
        block.position = 0;
        Fiber* first = next_runnable();
        if (first) to_fiber(*first);
        bool any = first != nullptr;
        for (unsigned warp = 0; warp < count; warp += 32) any |= release_warp(warp, std::min(32u, count - warp));
        if (block.live) any |= release_barrier();
        if (!any && block.live) fault("divergent barrier: some threads wait for others that never come");
    }
}

void take_room(unsigned threads, size_t dynamic_bytes) {
    if (block.num_stacks < threads) {
        block.stacks = static_cast<unsigned char*>(mmap(nullptr, threads * STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        block.num_stacks = threads;
    }
    if (block.shared) release(block.shared, block.shared_room);
    block.shared_room = (dynamic_bytes + 127) / 128 * 128;
    block.shared = static_cast<unsigned char*>(allocate(block.shared_room));
    block.fibers.resize(threads);
    size_t halves = static_cast<size_t>(threads + 31) / 32 * 2;
    block.slots.assign(halves * 32 * MAX_LANE_BYTES, 0);
    block.tiles.assign(halves, Tile{});
    block.order.resize(threads);
    for (unsigned i = 0; i < threads; i++) block.order[i] = i;
}

}  // namespace

void launch(const Launch& launch, const std::function<void()>& kernel) {
    HandlerStack handler_stack;
    catch_bad_accesses();
    kernel_name = launch.kernel;
    launching_thread = pthread_self();
    is_launching = true;
    grid_extent = launch.grid;
    block_extent = launch.block;
    unsigned threads = launch.block.x * launch.block.y * launch.block.z;
    if (threads == 0 || threads > 1024) fault("a block has 1 to 1024 threads");
    if (launch.dynamic_bytes > 227 << 10) fault("a block has at most 227 KiB of shared memory");
    take_room(threads, launch.dynamic_bytes);
    block.body = &kernel;
    uint64_t random = launch.seed;
    std::vector<uint64_t> blocks(static_cast<uint64_t>(launch.grid.x) * launch.grid.y * launch.grid.z);
    for (uint64_t i = 0; i < blocks.size(); i++) blocks[i] = i;
    for (uint64_t i = blocks.size(); i > 1; i--) std::swap(blocks[i - 1], blocks[next_random(random) % i]);
    for (uint64_t at : blocks) {
        block_index = {static_cast<unsigned>(at % launch.grid.x), static_cast<unsigned>(at / launch.grid.x % launch.grid.y), static_cast<unsigned>(at / launch.grid.x / launch.grid.y)};
        run_block(random);
    }
    is_launching = false;
}

unsigned char* dynamic_shared() { return block.shared; }

unsigned lane() { return block.running & 31; }

void barrier_block() {
    self().state = State::AtBarrier;
    leave();
}

const void* exchange_bytes(Collective what, uint32_t mask, const void* value, size_t bytes) {
    Fiber& fiber = self();
    if (!(mask >> lane() & 1)) fault("a lane outside the mask takes part in a warp operation");
    // Two halves in turn: a lane can be at most one operation ahead of the slowest lane of its mask.
    unsigned char* half = &block.slots[((block.running / 32) * 2 + (fiber.parity & 1)) * 32 * MAX_LANE_BYTES];
    memcpy(half + lane() * bytes, value, bytes);
    fiber.waits_in = what;
    fiber.mask = mask;
    fiber.bytes = static_cast<uint32_t>(bytes);
    fiber.parity++;
    fiber.state = State::InWarp;
    leave();
    return half;
}

namespace {

struct Fragment {
    uint32_t a[4], b[2];
};

// Lays the lanes' fragments out as the tiles they are of, and multiplies: every sum runs over ascending k.
void multiply_tiles(const Fragment* lanes, Tile& tile) {
    float a[16][16], b[16][8];
    auto widen = [](uint32_t word, uint32_t upper) {
        uint32_t bits = upper ? word & 0xffff0000u : word << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        return value;
    };
    for (unsigned i = 0; i < 32; i++) {
        unsigned g = i / 4, t = i % 4;
        for (unsigned upper = 0; upper < 2; upper++) {
            for (unsigned part = 0; part < 4; part++) a[g + part % 2 * 8][2 * t + upper + part / 2 * 8] = widen(lanes[i].a[part], upper);
            for (unsigned part = 0; part < 2; part++) b[2 * t + upper + part * 8][g] = widen(lanes[i].b[part], upper);
        }
    }
    for (unsigned row = 0; row < 16; row++) {
        float sums[8] = {};
        for (unsigned k = 0; k < 16; k++)
            for (unsigned column = 0; column < 8; column++) sums[column] += a[row][k] * b[k][column];
        memcpy(tile.sums[row], sums, sizeof sums);
    }
}

}  // namespace

void multiply_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    Fragment mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    const Fragment* lanes = exchange(Collective::Multiply, 0xffffffffu, mine);
    // The exchange that has just ended is the one before the lane's next.
    uint32_t parity = self().parity;
    Tile& tile = block.tiles[block.running / 32 * 2 + (parity & 1)];
    if (tile.generation != block_generation || tile.parity != parity) {
        multiply_tiles(lanes, tile);
        tile.generation = block_generation;
        tile.parity = parity;
    }
    unsigned g = lane() / 4, t = lane() % 4;
    for (unsigned i = 0; i < 4; i++) d[i] += tile.sums[g + i / 2 * 8][2 * t + i % 2];
}

void copy_async(void* to, const void* from, uint32_t bytes, bool valid) {
    if (reinterpret_cast<uintptr_t>(to) % bytes || reinterpret_cast<uintptr_t>(from) % bytes) fault("misaligned asynchronous copy");
    memset(to, 0xff, bytes);
    self().open.push_back({static_cast<unsigned char*>(to), static_cast<const unsigned char*>(from), bytes, valid});
}

void copy_async_commit() {
    self().groups.push_back(std::move(self().open));
    self().open.clear();
}

void copy_async_wait(uint32_t pending) {
    auto& groups = self().groups;
    while (groups.size() > pending) {
        for (const Copy& copy : groups.front()) {
            if (copy.valid)
                memcpy(copy.to, copy.from, copy.bytes);
            else
                memset(copy.to, 0, copy.bytes);
        }
        groups.erase(groups.begin());
    }
}

uint16_t round_to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value) return 0x7fff;
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float half_to_float(uint16_t bits) {
    int exponent = bits >> 10 & 31;
    float fraction = static_cast<float>(bits & 1023), sign = bits & 0x8000 ? -1.0f : 1.0f;
    if (exponent == 0) return sign * ldexpf(fraction, -24);
    if (exponent == 31) return fraction == 0 ? sign * INFINITY : NAN;
    return sign * ldexpf(1024.0f + fraction, exponent - 25);
}

uint16_t float_to_half(float value) {
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    float size = fabsf(value);
    if (value != value) return 0x7fff;
    if (size >= 65520.0f) return sign | 0x7c00;
    int exponent = size < ldexpf(1.0f, -14) ? -14 : ilogbf(size);
    // nearbyintf rounds to nearest even, and 2048 steps up into the next exponent as it should.
    uint32_t steps = static_cast<uint32_t>(nearbyintf(ldexpf(size, 10 - exponent)));
    return sign | static_cast<uint16_t>(steps < 1024 ? steps : steps - 1024 + (static_cast<uint32_t>(exponent + 15) << 10));
}

void* allocate(size_t bytes) {
    size_t room = (bytes + 15) / 16 * 16, pages = (room + PAGE - 1) / PAGE * PAGE;
    auto* base = static_cast<unsigned char*>(mmap(nullptr, pages + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base + PAGE, pages, PROT_READ | PROT_WRITE);
    unsigned char* memory = base + PAGE + pages - room;
    memset(base + PAGE, 0xff, pages);
    return memory;
}

void release(void* memory, size_t bytes) {
    size_t room = (bytes + 15) / 16 * 16, pages = (room + PAGE - 1) / PAGE * PAGE;
    munmap(static_cast<unsigned char*>(memory) + room - pages - PAGE, pages + 2 * PAGE);
}

}  // namespace emu

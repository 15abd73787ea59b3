// The stand-in's streams, events, captures and graphs.
//
// A stream runs its work at once, unless it is being captured: then the work is kept, with its parameters, and each launch of the
// graph runs it again. A call that may not be made during a capture breaks it, as with the real driver: from then on the stream
// refuses work, and the end of the capture gives no graph.
#include "driver.hpp"

#include <chrono>
#include <map>
#include <memory>
#include <thread>

struct Graph {
    std::vector<driver::Work> work;
};

struct Stream {
    std::unique_ptr<Graph> capture;  // null when nothing is captured
    int capture_mode = 0;
    uint64_t capture_number = 0;
    std::thread::id capturing_thread;
    bool is_broken = false;
};

struct Event {
    bool has_timing;
    bool is_recorded = false;
    uint64_t capture_number = 0;  // of the capture it was recorded in, or 0
    std::chrono::steady_clock::time_point time;
};

namespace driver {

namespace {

enum CaptureMode { Global = 0, ThreadLocal = 1, Relaxed = 2 };
enum CaptureStatus { None = 0, Active = 1, Invalidated = 2 };
constexpr unsigned EVENT_DISABLE_TIMING = 2;

std::map<CUstream, std::unique_ptr<Stream>> streams;
std::map<CUevent, std::unique_ptr<Event>> events;
std::map<CUgraph, std::unique_ptr<Graph>> graphs, executables;
Stream default_stream;
uint64_t num_captures = 0;

// The stream of a handle; the first numbers name the default ones.
Stream* find(CUstream handle) {
    if (reinterpret_cast<uintptr_t>(handle) <= 2) return &default_stream;
    return streams.count(handle) ? handle : nullptr;
}

template <class T>
bool is_known(const std::map<T*, std::unique_ptr<T>>& all, T* handle) {
    return all.count(handle) != 0;
}

void break_captures(const std::function<bool(const Stream&)>& which) {
    for (const auto& [handle, stream] : streams)
        if (stream->capture && which(*stream)) stream->is_broken = true;
}

// For waits and questions: an event of a capture never happens, and asking breaks the capture it is of.
CUresult check_event(CUevent event) {
    if (!is_known(events, event)) return CUDA_ERROR_INVALID_HANDLE;
    if (event->capture_number) {
        break_captures([&](const Stream& stream) { return stream.capture_number == event->capture_number; });
        return CUDA_ERROR_CAPTURED_EVENT;
    }
    return refuse_under_capture();
}

CUresult begin_capture(CUstream handle, int mode) {
    Stream* stream = find(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (stream == &default_stream) return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the default stream cannot be captured");
    if (mode < Global || mode > Relaxed || stream->capture) return CUDA_ERROR_INVALID_VALUE;
    stream->capture = std::make_unique<Graph>();
    stream->capture_mode = mode;
    stream->capture_number = ++num_captures;
    stream->capturing_thread = std::this_thread::get_id();
    stream->is_broken = false;
    return CUDA_SUCCESS;
}

CUresult end_capture(CUstream handle, CUgraph* out) {
    *out = nullptr;
    Stream* stream = find(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (!stream->capture) return CUDA_ERROR_INVALID_VALUE;
    if (stream->capture_mode != Relaxed && stream->capturing_thread != std::this_thread::get_id()) return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    std::unique_ptr<Graph> graph = std::move(stream->capture);
    if (stream->is_broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    *out = graph.get();
    graphs[*out] = std::move(graph);
    return CUDA_SUCCESS;
}

CUresult launch_graph(CUgraphExec executable, CUstream stream) {
    if (!is_known(executables, executable)) return CUDA_ERROR_INVALID_HANDLE;
    // By value: within another capture the work outlives this graph.
    return enqueue(stream, [all = executable->work]() -> CUresult {
        for (const Work& work : all)
            if (CUresult failed = work()) return failed;
        return CUDA_SUCCESS;
    });
}

CUresult wait_for_event(CUstream handle, CUevent event) {
    Stream* stream = find(handle);
    if (!stream || !is_known(events, event)) return CUDA_ERROR_INVALID_HANDLE;
    // Everything outside a capture has happened already, and inside one there is one stream.
    uint64_t capture = stream->capture ? stream->capture_number : 0;
    if (capture == event->capture_number) return CUDA_SUCCESS;
    if (capture) {
        stream->is_broken = true;
        return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    }
    return refuse(CUDA_ERROR_NOT_SUPPORTED, "cuStreamWaitEvent: a second stream joins a capture");
}

}  // namespace

CUresult enqueue(CUstream handle, Work work) {
    Stream* stream = find(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (!stream->capture) return work();
    if (stream->is_broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    stream->capture->work.push_back(std::move(work));
    return CUDA_SUCCESS;
}

CUresult refuse_under_capture() {
    auto forbids = [](const Stream& stream) {
        return stream.capture_mode == Global || (stream.capture_mode == ThreadLocal && stream.capturing_thread == std::this_thread::get_id());
    };
    bool any = false;
    for (const auto& [handle, stream] : streams) any |= stream->capture && forbids(*stream);
    if (!any) return CUDA_SUCCESS;
    break_captures(forbids);
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

void release_streams() {
    streams.clear();
    events.clear();
    graphs.clear();
    executables.clear();
}

}  // namespace driver

using namespace driver;

EXPORT CUresult cuStreamCreate(CUstream* out, unsigned) {
    return call(Needs::Context, [&] {
        auto stream = std::make_unique<Stream>();
        *out = stream.get();
        streams[*out] = std::move(stream);
        return CUDA_SUCCESS;
    });
}
EXPORT CUresult cuStreamCreateWithPriority(CUstream* out, unsigned flags, int) { return cuStreamCreate(out, flags); }

EXPORT CUresult cuStreamDestroy_v2(CUstream stream) {
    return call(Needs::Context, [&] { return streams.erase(stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; });
}

EXPORT CUresult cuStreamSynchronize(CUstream handle) {
    return call(Needs::Context, [&] {
        Stream* stream = find(handle);
        if (!stream) return CUDA_ERROR_INVALID_HANDLE;
        if (!stream->capture) return CUDA_SUCCESS;
        stream->is_broken = true;
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    });
}

EXPORT CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
    return call(Needs::Context, [&] { return wait_for_event(stream, event); });
}

EXPORT CUresult cuStreamBeginCapture_v2(CUstream stream, int mode) {
    return call(Needs::Context, [&] { return begin_capture(stream, mode); });
}
EXPORT CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
    return call(Needs::Context, [&] { return end_capture(stream, graph); });
}
EXPORT CUresult cuStreamIsCapturing(CUstream handle, int* status) {
    return call(Needs::Context, [&] {
        Stream* stream = find(handle);
        if (!stream) return CUDA_ERROR_INVALID_HANDLE;
        *status = !stream->capture ? None : stream->is_broken ? Invalidated : Active;
        return CUDA_SUCCESS;
    });
}

EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec* out, CUgraph graph, unsigned long long) {
    return call(Needs::Context, [&] {
        if (!is_known(graphs, graph)) return CUDA_ERROR_INVALID_HANDLE;
        auto executable = std::make_unique<Graph>(*graph);
        *out = executable.get();
        executables[*out] = std::move(executable);
        return CUDA_SUCCESS;
    });
}
EXPORT CUresult cuGraphUpload(CUgraphExec executable, CUstream stream) {
    return call(Needs::Context, [&] { return is_known(executables, executable) && find(stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; });
}
EXPORT CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream) {
    return call(Needs::Context, [&] { return launch_graph(executable, stream); });
}
EXPORT CUresult cuGraphExecDestroy(CUgraphExec executable) {
    return call(Needs::Context, [&] { return executables.erase(executable) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; });
}
EXPORT CUresult cuGraphDestroy(CUgraph graph) {
    return call(Needs::Context, [&] { return graphs.erase(graph) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; });
}

EXPORT CUresult cuEventCreate(CUevent* out, unsigned flags) {
    return call(Needs::Context, [&] {
        auto event = std::make_unique<Event>();
        event->has_timing = !(flags & EVENT_DISABLE_TIMING);
        *out = event.get();
        events[*out] = std::move(event);
        return CUDA_SUCCESS;
    });
}
EXPORT CUresult cuEventDestroy_v2(CUevent event) {
    return call(Needs::Context, [&] { return events.erase(event) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE; });
}
EXPORT CUresult cuEventRecord(CUevent event, CUstream handle) {
    return call(Needs::Context, [&] {
        Stream* stream = find(handle);
        if (!stream || !is_known(events, event)) return CUDA_ERROR_INVALID_HANDLE;
        if (stream->capture && stream->is_broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        event->is_recorded = true;
        event->capture_number = stream->capture ? stream->capture_number : 0;
        event->time = std::chrono::steady_clock::now();
        return CUDA_SUCCESS;
    });
}
EXPORT CUresult cuEventQuery(CUevent event) {
    return call(Needs::Context, [&] { return check_event(event); });
}
EXPORT CUresult cuEventSynchronize(CUevent event) {
    return call(Needs::Context, [&] { return check_event(event); });
}
EXPORT CUresult cuEventElapsedTime_v2(float* milliseconds, CUevent start, CUevent end) {
    return call(Needs::Context, [&] {
        if (!is_known(events, start) || !is_known(events, end)) return CUDA_ERROR_INVALID_HANDLE;
        for (CUevent event : {start, end}) {
            if (event->capture_number) return CUDA_ERROR_CAPTURED_EVENT;
            if (!event->has_timing || !event->is_recorded) return CUDA_ERROR_INVALID_HANDLE;
        }
        *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
        return CUDA_SUCCESS;
    });
}
EXPORT CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) { return cuEventElapsedTime_v2(milliseconds, start, end); }

// A launch: the blocks run one after the other, and the threads of a block take turns. A thread runs until it waits, at
// a barrier or in a warp operation, or ends; nothing interrupts it.
//
// Each warp goes as far as it gets before the next one moves. On a GPU warps may drift as far apart, so code that needs
// them in step without a barrier breaks here, each time.

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>

#include <algorithm>

#include "runtime.h"

emulator_position emulator_here;

namespace emulator {

const Launch* launch;
unsigned launch_number;
std::vector<Thread> threads;
unsigned block_number, interval;
bool failed;

static void (*kernel)(void**);
static void** kernel_arguments;
static int predicates, last_predicates;  // for how many threads it was true, at this barrier and at the last one

static void call_kernel() { kernel(kernel_arguments); }

// -- errors

static void write_report(const Thread& thread, const char* format, va_list values) {
  if (failed) return;
  failed = true;
  const uint3& b = emulator_here.block;
  int used = snprintf(launch->message, launch->message_bytes, "block (%u,%u,%u) %s: ", b.x, b.y, b.z,
                      name_of(thread).c_str());
  vsnprintf(launch->message + used, launch->message_bytes - unsigned(used), format, values);
}

void report(const Thread& thread, const char* format, ...) {
  va_list values;
  va_start(values, format);
  write_report(thread, format, values);
  va_end(values);
}

void fail(const char* format, ...) {
  va_list values;
  va_start(values, format);
  write_report(*current, format, values);
  va_end(values);
  current->state = State::FINISHED;
  wait();
  __builtin_unreachable();
}

static uint3 position(unsigned number, const unsigned (&size)[3]) {
  return {number % size[0], number / size[0] % size[1], number / size[0] / size[1]};
}

std::string name_of(const Thread& thread) {
  char text[64];
  snprintf(text, sizeof text, "thread (%u,%u,%u)", thread.index.x, thread.index.y, thread.index.z);
  return text;
}

std::string name_of_thread(unsigned block, unsigned number) {
  if (block == block_number) return name_of(threads[number]);
  char text[128];
  uint3 b = position(block, launch->grid);
  snprintf(text, sizeof text, "block (%u,%u,%u) %s", b.x, b.y, b.z, name_of(threads[number]).c_str());
  return text;
}

// -- the order of things

// Indices 0, 1, ... n-1, the way the launch asks for: forward, backward, or shuffled.
class Order {
 public:
  explicit Order(unsigned n) : order_(n) {
    for (unsigned i = 0; i < n; i++) order_[i] = launch->order == 1 ? n - 1 - i : i;
  }
  const std::vector<unsigned>& next() {
    if (launch->order == 2)
      for (size_t i = order_.size(); i > 1; i--) std::swap(order_[i - 1], order_[random() % i]);
    return order_;
  }
  static uint64_t random_state;

 private:
  static uint64_t random() {  // xorshift64: good enough to shuffle with
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state >> 16;
  }
  std::vector<unsigned> order_;
};
uint64_t Order::random_state;

// -- a block

static void begin_block(unsigned number) {
  block_number = number;
  emulator_here.block = position(number, launch->grid);
  interval = 0;
  predicates = last_predicates = 0;
  for (Thread& thread : threads) {
    thread.state = State::FRESH;
    thread.warp_step = 0;
    thread.copy_group = 0;
    thread.copies.clear();
  }
  poison_shared_memory();
  forget_block();
}

// Run the lanes of a warp until all of them wait for another warp, or have finished.
static void run_warp(Thread* warp, Order& lanes) {
  do {
    for (unsigned lane : lanes.next()) {
      if (lane >= lanes_of(warp)) continue;
      Thread& thread = warp[lane];
      if (thread.state == State::FRESH || thread.state == State::READY) resume(thread, call_kernel);
      if (failed) return;
    }
  } while (finish_operations(warp) && !failed);
}

static unsigned count(State state) {
  return unsigned(std::count_if(threads.begin(), threads.end(), [=](const Thread& t) { return t.state == state; }));
}

static Thread& first_in(State state) {
  return *std::find_if(threads.begin(), threads.end(), [=](const Thread& t) { return t.state == state; });
}

// All warps stand still. Open the barrier, or say why it cannot be opened.
static void open_barrier() {
  if (unsigned stuck = count(State::IN_WARP_OPERATION)) {
    Thread& thread = first_in(State::IN_WARP_OPERATION);
    report(thread, "deadlock: it waits in a warp operation at <line %p> for lanes of the mask 0x%08x that never get "
           "there (%u threads wait in warp operations, %u at a barrier, %u have finished)",
           thread.place, thread.mask, stuck, count(State::AT_BARRIER), count(State::FINISHED));
    return;
  }
  Thread& first = first_in(State::AT_BARRIER);
  for (Thread& thread : threads) {
    if (thread.state != State::AT_BARRIER) continue;  // has finished
    if (thread.line != first.line || strcmp(thread.file, first.file)) {
      report(thread, "barrier divergence: it waits at the barrier %s:%d, while %s waits at %s:%d; all threads of a "
             "block must come to the same one",
             thread.file, thread.line, name_of(first).c_str(), first.file, first.line);
      return;
    }
  }
  // A GPU's barrier does not wait for threads that have finished, nor does ours. But CUDA does not promise that.
  unsigned gone = count(State::FINISHED);
  if (CHECK_MODE && gone) {
    report(first, "barrier divergence: it waits at the barrier %s:%d, but %u of the %zu threads of the block finished "
           "without coming to it, the first of them %s; GPUs since Volta go on without them, but CUDA asks that all "
           "threads of a block come",
           first.file, first.line, gone, threads.size(), name_of(first_in(State::FINISHED)).c_str());
    return;
  }
  for (Thread& thread : threads)
    if (thread.state == State::AT_BARRIER) thread.state = State::READY;
  interval++;
  last_predicates = predicates;
  predicates = 0;
}

static void run_block(unsigned number, Order& warps, Order& lanes) {
  begin_block(number);
  while (true) {
    for (unsigned warp : warps.next()) {
      run_warp(&threads[warp * WARP], lanes);
      if (failed) return;
    }
    if (count(State::FINISHED) == threads.size()) return;
    open_barrier();
    if (failed) return;
  }
}

// -- a launch

static void begin_launch() {
  const unsigned(&size)[3] = launch->block;
  emulator_here.block_size = {size[0], size[1], size[2]};
  emulator_here.grid_size = {launch->grid[0], launch->grid[1], launch->grid[2]};
  threads.resize(size[0] * size[1] * size[2]);
  for (unsigned i = 0; i < threads.size(); i++) {
    threads[i].number = i;
    threads[i].index = position(i, size);
  }
  failed = false;
  launch_number++;
  Order::random_state = launch->seed * 2 + 0x9e3779b97f4a7c15;  // never 0, which xorshift would keep for ever
  forget_shared_memory();
  watch_arguments();
}

EMULATOR_EXPORT int emulator_run(const Launch* description, void (*function)(void**), void** arguments) {
  launch = description;
  kernel = function;
  kernel_arguments = arguments;
  begin_launch();
  Order blocks(launch->grid[0] * launch->grid[1] * launch->grid[2]);
  Order warps((unsigned(threads.size()) + WARP - 1) / WARP), lanes(WARP);
  for (unsigned block : blocks.next()) {
    run_block(block, warps, lanes);
    if (failed) break;
  }
  for (Thread& thread : threads) drop(thread);
  launch = nullptr;
  return failed;
}

// Where this module lies in memory: an address less this is one that addr2line knows.
EMULATOR_EXPORT const void* emulator_base() {
  Dl_info module;
  return dladdr(reinterpret_cast<void*>(&emulator_run), &module) ? module.dli_fbase : nullptr;
}

}  // namespace emulator

int emulator_barrier(const char* file, int line, bool predicate) {
  using namespace emulator;
  Thread& thread = *current;
  thread.file = file;
  thread.line = line;
  thread.place = EMULATOR_CALLER;
  thread.state = State::AT_BARRIER;
  predicates += predicate;
  trace_barrier(thread);
  wait();
  return last_predicates;
}

// What the parts of the runtime know of each other. The kernel's side of it is emulator.h.
//
//   fibers.cpp       one thread of the GPU: a stack of its own, left and entered again
//   scheduler.cpp    a launch: its blocks one after the other, the threads of a block in turns, their barriers
//   shared.cpp       shared memory, and the asynchronous copies into it
//   cooperation.cpp  atomics, exchange between the lanes of a warp, matrix units
//   checker.cpp      for every access to memory: may it be, and is it ordered?    (check mode only)
//   sanitizer.cpp    how the checker hears of every access                        (check mode only)

#pragma once
#include <string>
#include <vector>

#include "emulator.h"

namespace emulator {

constexpr unsigned WARP = 32;
constexpr size_t STACK = 256 << 10;         // of a thread: address space, of which only what is touched takes memory
constexpr size_t STATIC_SHARED = 48 << 10;  // bytes of a block, as on every GPU
constexpr size_t SHARED = 227 << 10;        // static and dynamic together, as on an H100

// Exported to Python; everything else stays inside the module.
#define EMULATOR_EXPORT extern "C" __attribute__((visibility("default")))

// Where the program was when it called this function. Python turns such addresses into file and line.
#define EMULATOR_CALLER __builtin_return_address(0)

// -- a launch, as Python describes it (minicam/emulator/module.py has the same two structures)

struct Memory {
  char* start;
  size_t bytes, item_bytes;
};
struct Launch {
  unsigned grid[3], block[3];
  unsigned shared_bytes;
  unsigned order;  // 0 forward, 1 reverse, 2 random
  uint64_t seed;
  const Memory* arguments;  // what the pointers among the arguments point to; nothing, for the others
  unsigned argument_count;
  unsigned trace;  // keep a record of every access?
  char* message;
  unsigned message_bytes;
};
extern const Launch* launch;
extern unsigned launch_number;

// -- threads

enum class State { FRESH, READY, AT_BARRIER, IN_WARP_OPERATION, FINISHED };

// Does a warp operation for the lanes in `active`, whose payloads these are.
struct Thread;
using Operation = void (*)(Thread* warp, unsigned active);

struct Copy {
  void* to;
  const void* from;
  unsigned bytes, valid, group;
  const void* place;
};

struct Thread {
  uint3 index;
  unsigned number;  // in its block
  State state;
  void* stack_pointer;  // while it does not run
  char* stack;

  const char* file;  // of the barrier that it waits at
  int line;

  Operation operation;  // that it waits for
  const void* place;    // where in the program that is
  unsigned mask;
  void* payload;
  unsigned warp_step;  // how many it has been through

  std::vector<Copy> copies;  // asynchronous ones under way
  unsigned copy_group;       // that the next one joins
};
extern std::vector<Thread> threads;  // of the block
extern Thread* current;              // the thread that runs; null while the scheduler does
extern unsigned block_number;
extern unsigned interval;  // barriers that the block has passed

inline Thread* warp_of(const Thread& thread) { return &threads[thread.number / WARP * WARP]; }
inline unsigned lanes_of(const Thread* warp) {
  unsigned left = unsigned(threads.size()) - warp->number;
  return left < WARP ? left : WARP;
}

// -- fibers.cpp

void resume(Thread& thread, void (*body)());  // until it waits or finishes
void wait();                                  // called by a thread: the scheduler goes on
void drop(Thread& thread);                    // it will never go on

// -- scheduler.cpp

extern bool failed;

// Report an error of a thread; the first one counts. In the text "<line 0x12ab>" stands for a place in the program, and
// "<array 3 16>" for what lies 16 bytes into argument 3: Python puts in their names.
void report(const Thread& thread, const char* format, ...) __attribute__((format(printf, 2, 3)));

// Report an error of the current thread, and stop it for good: the faulty access is not carried out.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

std::string name_of(const Thread& thread);  // "thread (1,0,0)"
std::string name_of_thread(unsigned block, unsigned number);

// -- cooperation.cpp

// Let lanes go on whose warp operation is complete. Were there any?
bool finish_operations(Thread* warp);

// -- shared.cpp

void forget_shared_memory();                    // at the start of a launch
void poison_shared_memory();                    // at the start of a block
const std::vector<emulator_array*>& shared_arrays();

// -- checker.cpp

enum class Kind : uint32_t { READ, WRITE, ATOMIC, BARRIER };

// What a write leaves behind: a value, or, where an asynchronous copy begins, nothing to be read yet.
enum class Content : uint8_t { NOTHING, IN_FLIGHT, VALUE };

#ifdef EMULATOR_CHECK
constexpr bool CHECK_MODE = true;
void check_access(const void* address, size_t bytes, Kind kind, const void* place, Content content = Content::VALUE);
void watch_arguments();                 // at the start of a launch
void watch_shared(emulator_array& array);
bool is_own(const void* address);       // of the current thread: its stack, its threadIdx
void forget_block();                    // at the start of a block: shared memory holds nothing
void trace_barrier(const Thread& thread);
std::string describe(const void* address);  // "<array 3 16>", "shared tile[3][1]"; empty where nothing is known there
#else
constexpr bool CHECK_MODE = false;
inline void check_access(const void*, size_t, Kind, const void*, Content = Content::VALUE) {}
inline void watch_arguments() {}
inline void watch_shared(emulator_array&) {}
inline void forget_block() {}
inline void trace_barrier(const Thread&) {}
#endif

}  // namespace emulator

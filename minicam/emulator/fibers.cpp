// A thread of the GPU as a fiber: a function call that can stop in the middle and go on later, as it has a stack of its
// own. To switch is to save the registers that a called function must preserve on the old stack, and to load them from
// the new one: a few nanoseconds, where the system's own `swapcontext` takes hundreds.

#include <stdlib.h>
#include <sys/mman.h>

#include "runtime.h"

// switch_stack(&old, new): push the registers, old = stack pointer, stack pointer = new, pop the registers, return.
extern "C" void emulator_switch_stack(void** old_pointer, void* new_pointer) asm("emulator_switch_stack");

#ifdef __APPLE__
#define HIDDEN ".private_extern"
#else
#define HIDDEN ".hidden"
#endif

#if defined(__x86_64__)
asm(R"(
.text
.p2align 4
.globl emulator_switch_stack
)" HIDDEN R"( emulator_switch_stack
emulator_switch_stack:
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
// On a stack that was never run: 6 registers, the address for `ret`, and a word that keeps the stack aligned after it.
constexpr int FRAME = 8, ENTRY = 6;

#elif defined(__aarch64__)
asm(R"(
.text
.p2align 4
.globl emulator_switch_stack
)" HIDDEN R"( emulator_switch_stack
emulator_switch_stack:
  sub sp, sp, #160
  stp x19, x20, [sp]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");
constexpr int FRAME = 20, ENTRY = 11;  // x30, the address to return to, is the twelfth

#else
#error "the emulator runs on x86-64 and aarch64 only: it has no way to switch stacks on this processor"
#endif

namespace emulator {

constexpr size_t PAGE = 16 << 10;  // the largest page of the systems that this runs on

Thread* current;
static void* scheduler_pointer;
static void (*thread_body)();
static std::vector<char*> free_stacks;  // threads that never wait all run on the first of them

static char* take_stack() {
  if (free_stacks.empty()) {
    void* memory = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) abort();
    mprotect(memory, PAGE, PROT_NONE);  // a stack that grows too far hits this, and not its neighbour
    free_stacks.push_back(static_cast<char*>(memory));
  }
  char* stack = free_stacks.back();
  free_stacks.pop_back();
  return stack;
}

void drop(Thread& thread) {
  if (thread.stack) free_stacks.push_back(thread.stack);
  thread.stack = nullptr;
  thread.state = State::FINISHED;
}

void wait() { emulator_switch_stack(&current->stack_pointer, scheduler_pointer); }

static void first_function() {
  thread_body();
  current->state = State::FINISHED;
  wait();
  abort();  // nobody resumes a thread that has finished
}

// The stack of a thread that has not begun looks as if first_function had been interrupted before its first step.
static void prepare(Thread& thread) {
  thread.stack = take_stack();
  void** frame = reinterpret_cast<void**>(thread.stack + STACK) - FRAME;
  for (int i = 0; i < FRAME; i++) frame[i] = nullptr;
  frame[ENTRY] = reinterpret_cast<void*>(first_function);
  thread.stack_pointer = frame;
  thread.state = State::READY;
}

void resume(Thread& thread, void (*body)()) {
  thread_body = body;
  if (thread.state == State::FRESH) prepare(thread);
  current = &thread;
  emulator_here.thread = thread.index;
  emulator_switch_stack(&scheduler_pointer, thread.stack_pointer);
  current = nullptr;
  if (thread.state == State::FINISHED) drop(thread);
}

}  // namespace emulator

// The checker. Every access to memory is looked at before it is carried out:
//
//   Where?   It must lie in an array that the kernel was given, in shared memory, or on the thread's own stack.
//   When?    Two accesses to one element, at least one a write, must be ordered: by being of one thread, by a barrier
//            between them, or by a warp operation between them where both are of one warp. Otherwise they race. Nothing
//            orders blocks.
//   What?    Shared memory that is read must have been written in this block.
//
// Only what really happens in a run is seen: another branch, another size may hold another fault.

#include <dlfcn.h>
#include <stdio.h>

#include "runtime.h"

namespace emulator {

// -- who did what when

struct Access {
  const void* place = nullptr;  // null: there was none
  uint32_t block, thread, interval, warp_step;
  bool atomic;
};

enum Distance { SAME_THREAD, SAME_WARP, SAME_BLOCK, OTHER_BLOCK };

static Distance distance(const Access& a, const Access& b) {
  if (a.block != b.block) return OTHER_BLOCK;
  if (a.thread == b.thread) return SAME_THREAD;
  return a.thread / WARP == b.thread / WARP ? SAME_WARP : SAME_BLOCK;
}

static bool ordered(const Access& earlier, const Access& now) {
  if (!earlier.place) return true;
  switch (distance(earlier, now)) {
    case SAME_THREAD: return true;
    case SAME_WARP: return earlier.interval != now.interval || earlier.warp_step != now.warp_step;
    case SAME_BLOCK: return earlier.interval != now.interval;
    default: return false;
  }
}

// The accesses of one kind to one element, as far as a later one can race with them. Two are enough: the last one, and
// of those not ordered before it the one farthest away. Whoever races with any of the others races with one of these.
struct History {
  Access last, other;

  void add(const Access& now) {
    if (!ordered(last, now) && (ordered(other, now) || distance(last, now) > distance(other, now))) other = last;
    last = now;
  }
  const Access* racing(const Access& now) const {
    for (const Access* earlier : {&last, &other})
      if (!ordered(*earlier, now) && !(earlier->atomic && now.atomic)) return earlier;
    return nullptr;
  }
};

struct Cell {
  History reads, writes;
  Content content = Content::NOTHING;
  const void* copy = nullptr;  // the asynchronous copy that is under way
};

// An array that is watched, in cells of an element, or of 4 bytes where elements are larger.
struct Region {
  char* start;
  size_t bytes, cell_bytes;
  unsigned argument;
  const emulator_array* shared;  // null: it is an argument
  std::vector<Cell> cells;

  Region(char* start, size_t bytes, size_t item_bytes, unsigned argument, const emulator_array* shared)
      : start(start), bytes(bytes), cell_bytes(item_bytes < 4 ? item_bytes : 4), argument(argument), shared(shared),
        cells((bytes + cell_bytes - 1) / cell_bytes) {}
  bool contains(const char* address) const { return address >= start && address < start + bytes; }
};
static std::vector<Region> regions;

// A record of every access, for Python.
struct Event {
  const void* place;
  uint64_t offset;  // in bytes
  uint32_t block, thread, interval, bytes;
  uint32_t kind;
  int32_t array;  // the number of the argument; -1, -2, ... for shared arrays
};
static std::vector<Event> events;

void watch_arguments() {
  regions.clear();
  events.clear();
  for (unsigned i = 0; i < launch->argument_count; i++) {
    const Memory& memory = launch->arguments[i];
    bool known = false;  // the same array given twice, to be written in place
    for (const Region& r : regions) known |= memory.start == r.start && memory.bytes == r.bytes;
    if (memory.bytes && !known) regions.emplace_back(memory.start, memory.bytes, memory.item_bytes, i, nullptr);
  }
}

void watch_shared(emulator_array& array) {
  for (const Region& r : regions)
    if (array.dynamic && r.shared && r.start == array.memory) return;  // another name for the same bytes
  regions.emplace_back(array.memory, array.bytes, array.item_bytes < 4 ? array.item_bytes : 4, 0, &array);
}

void forget_block() {
  for (Region& r : regions)
    if (r.shared) r.cells.assign(r.cells.size(), Cell());
}

// -- what messages call things

static std::string element_of(const emulator_array& array, size_t byte) {
  size_t item = byte / array.item_bytes, inner = 1;
  std::string text;
  for (int i = array.dimensions - 1; i >= 0; i--) {
    size_t index = i ? item / inner % array.length[i] : item / inner;
    text = "[" + std::to_string(index) + "]" + text;
    inner *= array.length[i];
  }
  return "shared " + std::string(array.name) + text;
}

static std::string element_of(const Region& r, const char* address) {
  size_t byte = size_t(address - r.start);
  if (r.shared) return element_of(*r.shared, byte);
  return "<array " + std::to_string(r.argument) + " " + std::to_string(byte) + ">";
}

static std::string whole(const Region& r) {
  if (!r.shared) return "<array " + std::to_string(r.argument) + ">";
  std::string text = "shared " + std::string(r.shared->name);
  for (int i = 0; i < r.shared->dimensions; i++) text += "[" + std::to_string(r.shared->length[i]) + "]";
  return text;
}

std::string describe(const void* address) {
  for (const Region& r : regions)
    if (r.contains(static_cast<const char*>(address))) return element_of(r, static_cast<const char*>(address));
  return "";
}

static void trace(const Region& r, size_t offset, size_t bytes, Kind kind, const void* place) {
  int32_t array = int32_t(r.argument);
  for (size_t i = 0; r.shared && i < shared_arrays().size(); i++)
    if (shared_arrays()[i] == r.shared) array = -1 - int32_t(i);
  events.push_back({place, offset, block_number, current->number, interval, uint32_t(bytes), uint32_t(kind), array});
}

void trace_barrier(const Thread& thread) {
  if (launch->trace)
    events.push_back({thread.place, 0, block_number, thread.number, interval, 0, uint32_t(Kind::BARRIER), 0});
}

EMULATOR_EXPORT const Event* emulator_events(size_t* count) {
  *count = events.size();
  return events.data();
}
EMULATOR_EXPORT const emulator_array* emulator_shared_array(unsigned i) { return shared_arrays()[i]; }

// -- the check

static const char* name_of(Kind kind, bool atomic) {
  return atomic ? "atomic access" : kind == Kind::WRITE ? "write" : "read";
}

static void fail_race(const Region& r, const char* cell, const Access& earlier, bool earlier_wrote, Kind kind,
                      const Access& now) {
  const char* did = earlier.atomic ? "changed by an atomic operation of" : earlier_wrote ? "written by" : "read by";
  fail("race on %s: %s at <line %p>, %s %s at <line %p>, %s", element_of(r, cell).c_str(), name_of(kind, now.atomic),
       now.place, did, name_of_thread(earlier.block, earlier.thread).c_str(), earlier.place,
       earlier.block == now.block ? "no barrier between" : "and nothing orders blocks");
}

static void check_cell(Region& r, size_t index, Kind kind, const Access& now, Content content) {
  Cell& cell = r.cells[index];
  const char* address = r.start + index * r.cell_bytes;
  if (r.shared && kind != Kind::WRITE && cell.content == Content::IN_FLIGHT)
    fail("%s at <line %p> of %s, while the asynchronous copy to it, at <line %p>, has not been waited for",
         name_of(kind, now.atomic), now.place, element_of(r, address).c_str(), cell.copy);
  if (r.shared && kind != Kind::WRITE && cell.content == Content::NOTHING)
    fail("missing barrier: %s at <line %p> of %s, which nothing has been written to yet in this block",
         name_of(kind, now.atomic), now.place, element_of(r, address).c_str());
  if (const Access* earlier = cell.writes.racing(now)) fail_race(r, address, *earlier, true, kind, now);
  if (kind == Kind::READ) {
    cell.reads.add(now);
    return;
  }
  if (const Access* earlier = cell.reads.racing(now)) fail_race(r, address, *earlier, false, kind, now);
  cell.writes.add(now);
  cell.content = content;
  cell.copy = now.place;
}

[[noreturn]] static void fail_out_of_bounds(const char* address, size_t bytes, Kind kind, const void* place) {
  const Region* nearest = nullptr;
  size_t least = SIZE_MAX;
  for (const Region& r : regions) {
    size_t away = address < r.start ? size_t(r.start - address) : size_t(address - r.start - r.bytes);
    if (away < least) least = away, nearest = &r;
  }
  const char* what = name_of(kind, kind == Kind::ATOMIC);
  if (!nearest || least > (64u << 20))
    fail("out of bounds: %s of %zu bytes at <line %p>, far from every array", what, bytes, place);
  fail("out of bounds: %s of %zu bytes at <line %p>, %zu bytes %s of %s", what, bytes, place, least,
       address < nearest->start ? "before the start" : "past the end", whole(*nearest).c_str());
}

// Constants of the kernel file, and threadIdx and the like, lie in this module itself.
static bool in_module(const void* address) {
  static Dl_info here;
  if (!here.dli_fbase) dladdr(reinterpret_cast<void*>(&fail_out_of_bounds), &here);
  Dl_info there;
  return dladdr(address, &there) && there.dli_fbase == here.dli_fbase;
}

bool is_own(const void* where) {
  const char* address = static_cast<const char*>(where);
  const char* positions = reinterpret_cast<const char*>(&emulator_here);
  if (address >= positions && address < positions + sizeof emulator_here) return true;
  return address >= current->stack && address < current->stack + STACK;
}

void check_access(const void* where, size_t bytes, Kind kind, const void* place, Content content) {
  const char* address = static_cast<const char*>(where);
  if (!current || is_own(address)) return;
  for (Region& r : regions) {
    if (!r.contains(address)) continue;
    size_t offset = size_t(address - r.start), past = offset + bytes;
    if (past > r.bytes)
      fail("out of bounds: %s of %zu bytes at <line %p>, %zu of them past the end of %s", name_of(kind, false), bytes,
           place, past - r.bytes, whole(r).c_str());
    const Access now = {place, block_number, current->number, interval, current->warp_step, kind == Kind::ATOMIC};
    for (size_t i = offset / r.cell_bytes; i * r.cell_bytes < past; i++) check_cell(r, i, kind, now, content);
    if (launch->trace) trace(r, offset, bytes, kind, place);
    return;
  }
  if (!in_module(address)) fail_out_of_bounds(address, bytes, kind, place);
}

}  // namespace emulator

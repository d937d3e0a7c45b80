// Shared memory, and asynchronous copies into it.
//
// Both start as poison: every byte is 0xff, which in a float is a NaN. What a thread reads too early shows.

#include "runtime.h"

namespace emulator {

constexpr size_t GAP = 64;  // between arrays, so that running over the end of one is not reading the next

// On the heap: the checker takes what lies in the module itself for constants.
static char* allocate(size_t bytes) { return static_cast<char*>(aligned_alloc(256, bytes)); }
static char* const static_memory = allocate(2 * STATIC_SHARED + (16 << 10));  // gaps and alignment take some, too
static char* const dynamic_memory = allocate(SHARED);
static std::vector<emulator_array*> arrays;  // that this launch has declared so far
static size_t place_of_next, static_bytes;

const std::vector<emulator_array*>& shared_arrays() { return arrays; }

void forget_shared_memory() {
  arrays.clear();
  place_of_next = static_bytes = 0;
}

void poison_shared_memory() {
  for (emulator_array* array : arrays) memset(array->memory, 0xff, array->bytes);
}

// A multiple of the alignment that was asked for, and of no more: an array that is aligned by luck would hide a fault.
static size_t align_exactly(size_t place, size_t alignment) {
  return (place + 2 * alignment - 1) / (2 * alignment) * (2 * alignment) + alignment;
}

static void place_static(emulator_array& array) {
  static_bytes += array.bytes;
  if (static_bytes > STATIC_SHARED)
    fail("invalid launch: %zu bytes of static shared memory, with %s; a block has %zu", static_bytes, array.name,
         STATIC_SHARED);
  if (static_bytes + launch->shared_bytes > SHARED)
    fail("invalid launch: %zu bytes of shared memory, static and dynamic, with %s; a block has %zu",
         static_bytes + launch->shared_bytes, array.name, SHARED);
  size_t place = align_exactly(place_of_next, array.alignment);
  place_of_next = place + array.bytes + GAP;
  array.memory = static_memory + place;
}

// All dynamic declarations name the same bytes, as many as the launch asked for.
static void place_dynamic(emulator_array& array) {
  array.bytes = launch->shared_bytes;
  array.memory = dynamic_memory;
  array.dimensions = 1;
  array.length[0] = array.bytes / array.item_bytes;
}

}  // namespace emulator

void* emulator_shared(emulator_array& array) {
  using namespace emulator;
  if (array.launch != launch_number) {
    array.dynamic ? place_dynamic(array) : place_static(array);
    array.launch = launch_number;
    arrays.push_back(&array);
    memset(array.memory, 0xff, array.bytes);
    watch_shared(array);
  }
  return array.memory;
}

void emulator_cp_async(void* shared, const void* global, int bytes, int valid) {
  using namespace emulator;
  const void* place = EMULATOR_CALLER;
  if ((bytes != 4 && bytes != 8 && bytes != 16) || valid < 0 || valid > bytes)
    fail("asynchronous copy of %d bytes, %d of them valid, at <line %p>; it must be 4, 8 or 16, and no more of them "
         "valid", bytes, valid, place);
  for (uintptr_t address : {uintptr_t(shared), valid ? uintptr_t(global) : 0})
    if (address % unsigned(bytes))
      fail("misaligned: an asynchronous copy of %d bytes at <line %p>; both addresses must be multiples of %d", bytes,
           place, bytes);
  if (valid) check_access(global, size_t(valid), Kind::READ, place);
  check_access(shared, size_t(bytes), Kind::WRITE, place, Content::IN_FLIGHT);
  memset(shared, 0xff, size_t(bytes));
  current->copies.push_back({shared, global, unsigned(bytes), unsigned(valid), current->copy_group, place});
}

void emulator_cp_async_commit() { emulator::current->copy_group++; }

void emulator_cp_async_wait(int pending_groups) {
  using namespace emulator;
  size_t kept = 0;
  for (const Copy& copy : current->copies) {
    if (copy.group + unsigned(pending_groups) >= current->copy_group) {
      current->copies[kept++] = copy;
      continue;
    }
    check_access(copy.to, copy.bytes, Kind::WRITE, copy.place);
    memset(copy.to, 0, copy.bytes);
    if (copy.valid) memcpy(copy.to, copy.from, copy.valid);
  }
  current->copies.resize(kept);
}

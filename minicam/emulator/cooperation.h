// What threads do together, below the level of a block: atomic operations, exchange between the 32 lanes of a warp,
// asynchronous copies, and the matrix units.

#pragma once

// -- atomics. Threads switch at barriers and in warp operations only, so nobody can come between load and store.

void emulator_atomic_load(const void* address, void* value, unsigned bytes);
void emulator_atomic_store(void* address, const void* value, unsigned bytes);

template <class T, class Update>
__forceinline__ T emulator_atomic(T* address, Update update) {
  T old;
  emulator_atomic_load(address, &old, sizeof(T));
  T next = update(old);
  emulator_atomic_store(address, &next, sizeof(T));
  return old;
}

// `std::common_type_t<T>` is T itself, but lets the compiler read T off the pointer alone: atomicAdd(&real, 1) is fine.
#define EMULATOR_ATOMIC(name, expression)                                                     \
  template <class T>                                                                          \
  __forceinline__ T name(T* address, std::common_type_t<T> value) {                           \
    return emulator_atomic(address, [&]([[maybe_unused]] T old) { return T(expression); });   \
  }
EMULATOR_ATOMIC(atomicAdd, old + value)
EMULATOR_ATOMIC(atomicSub, old - value)
EMULATOR_ATOMIC(atomicMax, old > value ? old : value)
EMULATOR_ATOMIC(atomicMin, old < value ? old : value)
EMULATOR_ATOMIC(atomicExch, value)
EMULATOR_ATOMIC(atomicAnd, old & value)
EMULATOR_ATOMIC(atomicOr, old | value)
EMULATOR_ATOMIC(atomicXor, old ^ value)

template <class T>
__forceinline__ T atomicCAS(T* address, std::common_type_t<T> expected, std::common_type_t<T> value) {
  return emulator_atomic(address, [&](T old) { return old == expected ? value : old; });
}

// -- exchange within a warp. A lane hands in its value and stops; when all lanes of the mask have, all get an answer.

int emulator_lane();
unsigned emulator_active();
void emulator_syncwarp(unsigned mask);
unsigned emulator_ballot(unsigned mask, bool predicate);
uint64_t emulator_shuffle(unsigned mask, uint64_t value, int source_lane);

inline void __syncwarp(unsigned mask = 0xffffffff) { emulator_syncwarp(mask); }
inline unsigned __activemask() { return emulator_active(); }

__forceinline__ unsigned __ballot_sync(unsigned mask, int predicate) { return emulator_ballot(mask, predicate); }
__forceinline__ int __any_sync(unsigned mask, int predicate) { return emulator_ballot(mask, predicate) != 0; }
__forceinline__ int __all_sync(unsigned mask, int predicate) { return emulator_ballot(mask, !predicate) == 0; }

template <class T>
__forceinline__ T emulator_shuffle_from(unsigned mask, T value, int source_lane) {
  static_assert(sizeof(T) <= 8, "a shuffle of at most 8 bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = emulator_shuffle(mask, bits, source_lane);
  memcpy(&value, &bits, sizeof value);
  return value;
}

// A warp can be cut into segments of `width` lanes, a power of two. Who would read beyond the own one keeps its value.
inline int emulator_segment(int width) { return emulator_lane() & ~(width - 1); }

template <class T>
__forceinline__ T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
  return emulator_shuffle_from(mask, value, emulator_segment(width) | (lane & (width - 1)));
}
template <class T>
__forceinline__ T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32) {
  int lane = emulator_lane(), source = lane - int(distance);
  return emulator_shuffle_from(mask, value, source < emulator_segment(width) ? lane : source);
}
template <class T>
__forceinline__ T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32) {
  int lane = emulator_lane(), source = lane + int(distance);
  return emulator_shuffle_from(mask, value, source >= emulator_segment(width) + width ? lane : source);
}
template <class T>
__forceinline__ T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  int lane = emulator_lane(), source = lane ^ bits;
  return emulator_shuffle_from(mask, value, source >= emulator_segment(width) + width ? lane : source);
}

// -- what a GPU has instructions for, and CUDA C++ no words: a kernel calls these in place of its inline PTX

// cp.async: copy `valid` of 4, 8 or 16 bytes from global to shared memory and fill the rest with zeros, some time
// between now and the wait. Until then the destination holds NaN.
void emulator_cp_async(void* shared, const void* global, int bytes, int valid);
void emulator_cp_async_commit();              // what was issued since the last commit is now a group
void emulator_cp_async_wait(int pending_groups);  // until no more than so many groups are under way

// cvt.rna.tf32.f32: round to the 10 bits after the binary point that TF32 has, ties away from zero.
unsigned emulator_to_tf32(float x);

// mma.sync.m16n8k8 on TF32: d += a b, over all lanes of a warp. Registers are laid out as the PTX ISA says.
void emulator_mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);

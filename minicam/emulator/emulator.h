// What the words of CUDA C++ mean here. A kernel file is compiled behind this header by an ordinary C++ compiler, and
// every function that is only declared below is defined in the runtime (the .cpp files of this folder).
//
// Before that, build.py turns each
//     __shared__ float a[4][8];
// into the lines that declare `a` as a reference into the memory of the block (see `emulator_array` below).

#pragma once
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <type_traits>

#define MINICAM_EMULATOR 1

// -- words that say where code runs: here all of it runs on the CPU

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))

// -- vectors: as on a GPU, those of 2 and 4 are read and written at once, and so must be aligned to their size

#define EMULATOR_VECTORS(type, name)                                                                          \
  struct __attribute__((aligned(2 * sizeof(type)))) name##2 { type x, y; };                                   \
  struct name##3 { type x, y, z; };                                                                           \
  struct __attribute__((aligned(sizeof(type) < 4 ? 4 * sizeof(type) : 16))) name##4 { type x, y, z, w; };     \
  inline name##2 make_##name##2(type x, type y) { return {x, y}; }                                            \
  inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }                                 \
  inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

EMULATOR_VECTORS(float, float)
EMULATOR_VECTORS(double, double)
EMULATOR_VECTORS(int, int)
EMULATOR_VECTORS(unsigned int, uint)
EMULATOR_VECTORS(unsigned char, uchar)

struct dim3 {
  unsigned x, y, z;
};

// -- which thread am I? The scheduler changes this whenever another thread goes on.

struct emulator_position {
  uint3 thread, block;
  dim3 block_size, grid_size;
};
extern emulator_position emulator_here;

#define threadIdx emulator_here.thread
#define blockIdx emulator_here.block
#define blockDim emulator_here.block_size
#define gridDim emulator_here.grid_size
constexpr int warpSize = 32;

// -- barriers: the thread stops, and goes on when all threads of its block have come as far

int emulator_barrier(const char* file, int line, bool predicate);  // for how many threads is it true?

#define __syncthreads() ((void)emulator_barrier(__FILE__, __LINE__, false))
#define __syncthreads_count(predicate) (emulator_barrier(__FILE__, __LINE__, (predicate)))
#define __syncthreads_or(predicate) (emulator_barrier(__FILE__, __LINE__, (predicate)) != 0)
#define __syncthreads_and(predicate) (emulator_barrier(__FILE__, __LINE__, !(predicate)) == 0)

// Nothing to do: a thread sees at once what another has written, as they take turns on one CPU.
inline void __threadfence() {}
inline void __threadfence_block() {}

// -- shared memory: one object for each declaration, which knows what it is called and where it lies in this launch

struct emulator_array {
  const char* name;
  size_t bytes, alignment, item_bytes;
  int dimensions;
  size_t length[4];
  bool dynamic;
  unsigned launch = 0;  // in which `memory` was handed out
  char* memory = nullptr;
};

template <class T, int i>
constexpr size_t emulator_length() {
  return i < int(std::rank<T>::value) ? std::extent<T, i>::value : 0;
}

template <class T>
constexpr emulator_array emulator_declare(const char* name, size_t alignment, bool dynamic) {
  static_assert(std::rank<T>::value <= 4, "a __shared__ array of at most 4 dimensions");
  return {name,
          dynamic ? 0 : sizeof(T),
          alignment > alignof(T) ? alignment : alignof(T),
          sizeof(std::remove_all_extents_t<T>),
          int(std::rank<T>::value),
          {emulator_length<T, 0>(), emulator_length<T, 1>(), emulator_length<T, 2>(), emulator_length<T, 3>()},
          dynamic};
}

void* emulator_shared(emulator_array& array);

// -- arithmetic

// A NaN loses against a number, as on a GPU.
template <class A, class B>
inline auto max(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point<T>::value) return T(fmax(T(a), T(b)));
  else return T(a) > T(b) ? T(a) : T(b);
}
template <class A, class B>
inline auto min(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point<T>::value) return T(fmin(T(a), T(b)));
  else return T(a) < T(b) ? T(a) : T(b);
}

template <class T>
__forceinline__ T __ldg(const T* address) {
  return *address;
}

template <class To, class From>
inline To emulator_same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "types of one size");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
inline int __float_as_int(float x) { return emulator_same_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return emulator_same_bits<unsigned>(x); }
inline float __int_as_float(int x) { return emulator_same_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return emulator_same_bits<float>(x); }

inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __saturatef(float x) { return x > 0 ? x < 1 ? x : 1 : 0; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }

// Macros, as the C library has functions of these names for itself. No less exact here than the usual ones.
#define __expf(x) expf(x)
#define __logf(x) logf(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)

#include "cooperation.h"

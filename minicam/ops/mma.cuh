// What the matrix units and the asynchronous copies of an Ampere GPU (compute capability 8.0) or newer are told in PTX,
// the GPU's assembly language, as C++ has no words for it. It is the only file with PTX in it, and so the only one in
// which the emulator has a branch of its own. NVIDIA, "Parallel Thread Execution ISA", describes each instruction under
// its name: cp.async, cvt, mma.
#pragma once

// Start to copy 4 or 16 bytes from global to shared memory, both addresses multiples of that; zeros if not inside, and
// `from` is not read. The thread goes on at once, and the numbers pass by its registers.
template <int BYTES>
__device__ __forceinline__ void cp_async(void* to, const void* from, bool inside) {
  static_assert(BYTES == 4 || BYTES == 16, "cp.async here copies one float or four");
#ifdef MINICAM_EMULATOR
  emulator_cp_async(to, from, BYTES, inside ? BYTES : 0);
#else
  unsigned address = __cvta_generic_to_shared(to);
  int outside = !inside;
  if (BYTES == 16)  // .cg passes by the L1 cache, too, which 4 bytes cannot
    asm volatile(
        "{ .reg .pred ignore; setp.ne.s32 ignore, %2, 0; cp.async.cg.shared.global [%0], [%1], 16, ignore; }"
        ::"r"(address), "l"(from), "r"(outside) : "memory");
  else
    asm volatile(
        "{ .reg .pred ignore; setp.ne.s32 ignore, %2, 0; cp.async.ca.shared.global [%0], [%1], 4, ignore; }"
        ::"r"(address), "l"(from), "r"(outside) : "memory");
#endif
}

// The copies that this thread has started since its last commit are a group.
__device__ __forceinline__ void cp_async_commit() {
#ifdef MINICAM_EMULATOR
  emulator_cp_async_commit();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Wait until at most the newest KEEP groups of this thread are still under way.
template <int KEEP>
__device__ __forceinline__ void cp_async_wait() {
#ifdef MINICAM_EMULATOR
  emulator_cp_async_wait(KEEP);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(KEEP) : "memory");
#endif
}

// The nearest TF32, a float with 10 bits of mantissa in place of 23 (halves are rounded away from 0), as its bits.
__device__ __forceinline__ unsigned to_tf32(float value) {
#ifdef MINICAM_EMULATOR
  return emulator_to_tf32(value);
#else
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
#endif
}

// d (16, 8) += a (16, 8) @ b (8, 8), by all 32 threads of a warp together. Each holds some of the elements; with
// g = lane / 4 and q = lane % 4 these are
//   a[0..3]: (g, q) (g+8, q) (g, q+4) (g+8, q+4)     b[0..1]: (q, g) (q+4, g)
//   d[0..3]: (g, 2q) (g, 2q+1) (g+8, 2q) (g+8, 2q+1)
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef MINICAM_EMULATOR
  emulator_mma_m16n8k8_tf32(d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

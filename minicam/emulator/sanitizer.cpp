// How the checker hears of every access to memory. g++ and clang++ can be asked to call a function before each of them
// (-fsanitize=thread: __tsan_read4 and so on) and before arithmetic that goes wrong (-fsanitize=bounds and others:
// __ubsan_handle_...). Normally the compiler's own library answers; here we do.

#include <stdio.h>

#include "runtime.h"

using namespace emulator;

// -- accesses

// What the compiler takes for aligned, as its type says so, a GPU does, too; and it accepts nothing else. A thread's own
// variables are where this compiler has put them, which is no matter of the kernel.
static void check_aligned(void* p, size_t bytes, Kind kind, const void* place) {
  if (uintptr_t(p) % bytes && !is_own(p)) {
    const std::string what = describe(p);
    fail("misaligned: %zu bytes of %s are used at <line %p>, which must lie at a multiple of %zu bytes", bytes,
         what.empty() ? "no known array" : what.c_str(), place, bytes);
  }
  check_access(p, bytes, kind, place);
}

#define ACCESS(bytes)                                                                                            \
  void __tsan_read##bytes(void* p) { check_aligned(p, bytes, Kind::READ, EMULATOR_CALLER); }                     \
  void __tsan_write##bytes(void* p) { check_aligned(p, bytes, Kind::WRITE, EMULATOR_CALLER); }                   \
  void __tsan_unaligned_read##bytes(void* p) { check_access(p, bytes, Kind::READ, EMULATOR_CALLER); }            \
  void __tsan_unaligned_write##bytes(void* p) { check_access(p, bytes, Kind::WRITE, EMULATOR_CALLER); }

static void check_copy(void* to, const void* from, size_t bytes, const void* place) {
  check_access(from, bytes, Kind::READ, place);
  check_access(to, bytes, Kind::WRITE, place);
}

extern "C" {

ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)

void __tsan_read_range(void* p, size_t bytes) { check_access(p, bytes, Kind::READ, EMULATOR_CALLER); }
void __tsan_write_range(void* p, size_t bytes) { check_access(p, bytes, Kind::WRITE, EMULATOR_CALLER); }

// clang++ calls these in place of the C library's.
void* __tsan_memset(void* p, int value, size_t bytes) {
  check_access(p, bytes, Kind::WRITE, EMULATOR_CALLER);
  return memset(p, value, bytes);
}
void* __tsan_memcpy(void* to, const void* from, size_t bytes) {
  check_copy(to, from, bytes, EMULATOR_CALLER);
  return memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, size_t bytes) {
  check_copy(to, from, bytes, EMULATOR_CALLER);
  return memmove(to, from, bytes);
}

// Of no use here, but called.
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

}  // extern "C"

// -- arithmetic and indices. What the compiler tells of them; the layout is that of the compiler's library (UBSan).

struct Place {
  const char* file;
  uint32_t line, column;
};
struct Type {
  uint16_t kind, info;  // of an integer: bit 0 says signed, the others the logarithm of its bits
  char name[1];         // in quotes
};
struct OneType {
  Place place;
  const Type* type;
};
struct TwoTypes {
  Place place;
  const Type *first, *second;
};
struct Alignment {
  Place place;
  const Type* type;
  uint8_t log_alignment, kind;
};

// g++ says 'const struct float4' and 'float [5]'; clang++ 'const float4' and 'float[5]', as we do.
static std::string name_of(const Type* type) {
  std::string name = type->name;
  for (const char* superfluous : {"'", "struct ", " ["}) {
    const size_t kept = *superfluous == ' ';  // of " [" the bracket
    for (size_t at; (at = name.find(superfluous)) != std::string::npos;) name.erase(at, strlen(superfluous) - kept);
  }
  return name;
}

// A value comes in the low bits of a pointer-sized integer; the bits above are the compiler's choice.
static std::string text_of(uintptr_t value, const Type* type) {
  unsigned bits = 1u << (type->info >> 1);
  if (bits > 64) return "a value";
  if (!(type->info & 1)) return std::to_string(bits < 64 ? value & ((uintptr_t(1) << bits) - 1) : value);
  return std::to_string(int64_t(value << (64 - bits)) >> (64 - bits));
}

[[noreturn]] static void overflow(const std::string& operation, const Type* type, const void* place) {
  fail("integer overflow: %s does not fit in %s, at <line %p>", operation.c_str(), name_of(type).c_str(), place);
}

extern "C" {

void __ubsan_handle_type_mismatch_v1(const Alignment* data, uintptr_t address) {
  const std::string what = describe(reinterpret_cast<const void*>(address));
  fail("misaligned: %s at <line %p> as %s, which must lie at a multiple of %u bytes",
       what.empty() ? "an address is used" : (what + " is used").c_str(), EMULATOR_CALLER, name_of(data->type).c_str(),
       1u << data->log_alignment);
}
void __ubsan_handle_out_of_bounds(const TwoTypes* data, uintptr_t index) {
  fail("out of bounds: index %s of an array %s, at <line %p>", text_of(index, data->second).c_str(),
       name_of(data->first).c_str(), EMULATOR_CALLER);
}
void __ubsan_handle_add_overflow(const OneType* data, uintptr_t a, uintptr_t b) {
  overflow(text_of(a, data->type) + " + " + text_of(b, data->type), data->type, EMULATOR_CALLER);
}
void __ubsan_handle_sub_overflow(const OneType* data, uintptr_t a, uintptr_t b) {
  overflow(text_of(a, data->type) + " - " + text_of(b, data->type), data->type, EMULATOR_CALLER);
}
void __ubsan_handle_mul_overflow(const OneType* data, uintptr_t a, uintptr_t b) {
  overflow(text_of(a, data->type) + " * " + text_of(b, data->type), data->type, EMULATOR_CALLER);
}
void __ubsan_handle_negate_overflow(const OneType* data, uintptr_t a) {
  overflow("-(" + text_of(a, data->type) + ")", data->type, EMULATOR_CALLER);
}
void __ubsan_handle_divrem_overflow(const OneType* data, uintptr_t a, uintptr_t b) {
  if (text_of(b, data->type) != "0") overflow(text_of(a, data->type) + " / -1", data->type, EMULATOR_CALLER);
  fail("division by zero: %s / 0 at <line %p>", text_of(a, data->type).c_str(), EMULATOR_CALLER);
}
void __ubsan_handle_shift_out_of_bounds(const TwoTypes* data, uintptr_t a, uintptr_t b) {
  fail("shift of %s (%s) by %s bits, at <line %p>", text_of(a, data->first).c_str(), name_of(data->first).c_str(),
       text_of(b, data->second).c_str(), EMULATOR_CALLER);
}

}  // extern "C"

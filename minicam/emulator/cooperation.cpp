// What the lanes of a warp do together. Every operation has the same form: a lane hands in a payload and waits; when
// the last lane of the mask has come, the operation is done once, for all of them, on their payloads.

#include "runtime.h"

namespace emulator {

// -- lanes wait for each other

static void cooperate(unsigned mask, Operation operation, void* payload, const void* place) {
  Thread& thread = *current;
  if (!(mask >> thread.number % WARP & 1))
    fail("the mask 0x%08x of the warp operation at <line %p> leaves out the calling lane %u", mask, place,
         thread.number % WARP);
  thread.operation = operation;
  thread.place = place;
  thread.mask = mask;
  thread.payload = payload;
  thread.state = State::IN_WARP_OPERATION;
  wait();
}

// Have all lanes come that this one waits for? A lane that has finished is not waited for. Sets those that take part.
static bool complete(const Thread* warp, const Thread& thread, unsigned& active) {
  active = 0;
  for (unsigned lane = 0; lane < lanes_of(warp); lane++) {
    const Thread& other = warp[lane];
    if (!(thread.mask >> lane & 1) || other.state == State::FINISHED) continue;
    bool there = other.state == State::IN_WARP_OPERATION && other.mask == thread.mask &&
                 other.operation == thread.operation;
    if (!there) return false;
    active |= 1u << lane;
  }
  return true;
}

bool finish_operations(Thread* warp) {
  bool any = false;
  for (unsigned lane = 0; lane < lanes_of(warp); lane++) {
    unsigned active;
    if (warp[lane].state != State::IN_WARP_OPERATION || !complete(warp, warp[lane], active)) continue;
    if (warp[lane].operation) warp[lane].operation(warp, active);
    for (unsigned i = 0; i < lanes_of(warp); i++) {
      if (!(active >> i & 1)) continue;
      warp[i].state = State::READY;
      warp[i].warp_step++;
    }
    any = true;
  }
  return any;
}

template <class Payload, class Function>
static void for_each_lane(Thread* warp, unsigned active, Function function) {
  for (unsigned lane = 0; lane < WARP; lane++)
    if (active >> lane & 1) function(lane, *static_cast<Payload*>(warp[lane].payload));
}

// -- shuffles and votes

struct Shuffle {
  uint64_t given, got;
  int source;
};

static void shuffle(Thread* warp, unsigned active) {
  for_each_lane<Shuffle>(warp, active, [&](unsigned lane, Shuffle& mine) {
    unsigned source = unsigned(mine.source);
    if (active >> source & 1) {
      mine.got = static_cast<Shuffle*>(warp[source].payload)->given;
      return;
    }
    bool in_mask = warp[lane].mask >> source & 1;
    report(warp[lane], "the shuffle at <line %p> reads lane %u, which %s", warp[lane].place, source,
           in_mask ? "has exited" : "is not in the mask");
  });
}

struct Vote {
  bool mine;
  unsigned all;
};

static void vote(Thread* warp, unsigned active) {
  unsigned all = 0;
  for_each_lane<Vote>(warp, active, [&](unsigned lane, Vote& v) { all |= unsigned(v.mine) << lane; });
  for_each_lane<Vote>(warp, active, [&](unsigned, Vote& v) { v.all = all; });
}

// -- the matrix units: A is 16x8, B 8x8, D 16x8; each lane holds a few elements of each

struct Fragments {
  float* d;
  const unsigned *a, *b;
};

// The unit ignores the bits of a float that TF32 does not have.
static float as_tf32(unsigned bits) { return __uint_as_float(bits & ~0x1fffu); }

// Where register i of a lane sits; PTX ISA, "Matrix Fragments for mma.m16n8k8", .tf32.
static float& at_a(float (&A)[16][8], unsigned lane, unsigned i) {
  return A[lane / 4 + i % 2 * 8][lane % 4 + i / 2 * 4];
}
static float& at_b(float (&B)[8][8], unsigned lane, unsigned i) { return B[lane % 4 + i * 4][lane / 4]; }
static float& at_d(float (&D)[16][8], unsigned lane, unsigned i) {
  return D[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
}

static void multiply(Thread* warp, unsigned active) {
  if (active != 0xffffffff) {
    unsigned lane = unsigned(__builtin_ctz(active));
    report(warp[lane], "the matrix product at <line %p> needs all 32 lanes of the warp; active are 0x%08x",
           warp[lane].place, active);
    return;
  }
#ifdef EMULATOR_CHECK  // where the compiler keeps the calls of a kernel apart
  for (unsigned lane = 1; lane < WARP; lane++)
    if (warp[lane].place != warp[0].place)
      return report(warp[lane], "the matrix product at <line %p> is another one than that of %s at <line %p>; all "
                    "lanes of a warp must come to the same instruction", warp[lane].place, name_of(warp[0]).c_str(),
                    warp[0].place);
#endif
  float A[16][8], B[8][8], D[16][8];
  for_each_lane<Fragments>(warp, active, [&](unsigned lane, Fragments& f) {
    for (unsigned i = 0; i < 4; i++) at_a(A, lane, i) = as_tf32(f.a[i]);
    for (unsigned i = 0; i < 2; i++) at_b(B, lane, i) = as_tf32(f.b[i]);
    for (unsigned i = 0; i < 4; i++) at_d(D, lane, i) = f.d[i];
  });
  for (int m = 0; m < 16; m++)
    for (int k = 0; k < 8; k++)
      for (int n = 0; n < 8; n++) D[m][n] += A[m][k] * B[k][n];
  for_each_lane<Fragments>(warp, active, [&](unsigned lane, Fragments& f) {
    for (unsigned i = 0; i < 4; i++) f.d[i] = at_d(D, lane, i);
  });
}

}  // namespace emulator

using namespace emulator;

int emulator_lane() { return int(current->number % WARP); }

unsigned emulator_active() {
  unsigned active = 0;
  const Thread* warp = warp_of(*current);
  for (unsigned lane = 0; lane < lanes_of(warp); lane++)
    if (warp[lane].state != State::FINISHED) active |= 1u << lane;
  return active;
}

void emulator_syncwarp(unsigned mask) { cooperate(mask, nullptr, nullptr, EMULATOR_CALLER); }

unsigned emulator_ballot(unsigned mask, bool predicate) {
  Vote payload = {predicate, 0};
  cooperate(mask, vote, &payload, EMULATOR_CALLER);
  return payload.all;
}

uint64_t emulator_shuffle(unsigned mask, uint64_t value, int source_lane) {
  Shuffle payload = {value, 0, source_lane};
  cooperate(mask, shuffle, &payload, EMULATOR_CALLER);
  return payload.got;
}

void emulator_mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  Fragments payload = {d, a, b};
  cooperate(0xffffffff, multiply, &payload, EMULATOR_CALLER);
}

unsigned emulator_to_tf32(float x) {
  unsigned bits = __float_as_uint(x);
  bool infinite_or_nan = (bits & 0x7f800000) == 0x7f800000;
  return infinite_or_nan ? bits : (bits + 0x1000) & ~0x1fffu;  // half of the last bit that stays, then cut
}

void emulator_atomic_load(const void* address, void* value, unsigned bytes) {
  check_access(address, bytes, Kind::ATOMIC, EMULATOR_CALLER);
  memcpy(value, address, bytes);
}

void emulator_atomic_store(void* address, const void* value, unsigned bytes) { memcpy(address, value, bytes); }

// The two operands of a matrix product, seen as an implicit GEMM needs them: as matrices that exist nowhere.
//
// An element of an operand has an index (its row in the left operand, its column in the right one) and a depth (what
// the product sums over). The matrix of patches of a convolution would be R*S times as large as the image; here its
// elements are looked up where they lie in the image instead. A Place says what an index, or a depth, contributes:
//
//   the index is an output pixel:   where that pixel lies                the depth is a tap (r,s,c):  how far from it
//
// The two offsets add up to where the element lies in memory, the two (h, v) to the pixel it is part of, which may be
// outside the image: the element is 0 then. To find the place of a number takes divisions; so each thread does that
// once, and from then on only moves its place on.
#pragma once

#ifndef real
#define real float
#endif

struct Place {
  unsigned offset;  // unsigned, as it may go below 0 or past 2**31 on the way; a sum of two is in the array again
  int h, v;         // row and column in the image, or the shift of them
  int channel;      // of a tap: what tells advance() where the next tap begins
};

constexpr Place NOWHERE = {0, -(1 << 30), 0, 0};  // outside every image, whatever it is added to

// -- what an index or a depth may count: at(i) is the place of number i, advance() goes from there to i + by

// Every stride numbers: the rows or the columns of a matrix that does exist.
struct Stride {
  int stride;
  __device__ Place at(int i) const { return {unsigned(i) * stride, 0, 0, 0}; }
  __device__ void advance(Place& place, int by) const { place.offset += unsigned(by) * stride; }
};

// The pixels of all images, C channels each.
struct Pixels {
  int H, W, C;
  __device__ Place at(int i) const { return {unsigned(i) * C, i / W % H, i % W, 0}; }
  __device__ void advance(Place& place, int by) const {
    place.offset += unsigned(by) * C;
    place.v += by;
    while (place.v >= W) {
      place.v -= W;
      if (++place.h == H) place.h = 0;  // the next image
    }
  }
};

// The taps of a kernel, i = (r*S + s)*C + c, as shifts from the pixel in the middle of it.
struct Taps {
  int R, S, C, W;
  __device__ Place at(int i) const {
    int c = i % C, s = i / C % S - S / 2, r = i / C / S - R / 2;
    return {(unsigned(r) * W + s) * C + c, r, s, c};
  }
  __device__ void advance(Place& place, int by) const {
    place.offset += by;  // channel C of a tap is channel 0 of the pixel to the right
    place.channel += by;
    while (place.channel >= C) {
      place.channel -= C;
      if (++place.v > S / 2) {
        place.v = -(S / 2);
        place.h++;
        place.offset += unsigned(W - S) * C;
      }
    }
  }
};

// The same for w (R, S, C, K) turned by 180 degrees: i = (r*S + s)*K + k stands for w[R-1-r, S-1-s, 0, k].
struct TurnedTaps {
  int taps, C, K;  // taps = R*S
  __device__ Place at(int i) const {
    return {unsigned(taps - 1 - i / K) * C * K + i % K, 0, 0, i % K};
  }
  __device__ void advance(Place& place, int by) const {
    place.offset += by;
    place.channel += by;
    while (place.channel >= K) {
      place.channel -= K;
      place.offset -= K + unsigned(C) * K;
    }
  }
};

// -- operands

// H, W: the size of the image that (h, v) have to be inside of; 1 x 1 where the operand is a matrix that does exist.
// DEPTH_FIRST: neighbours in depth are neighbours in memory; else neighbours in index are. The threads that copy a
// tile are numbered that way, so that a warp reads neighbouring addresses.
template <bool DEPTH_FIRST_, class Index, class Depth>
struct Operand {
  static constexpr bool DEPTH_FIRST = DEPTH_FIRST_;
  const real* data;
  Index index;
  Depth depth;
  int H, W;

  __device__ bool inside(const Place& i, const Place& d) const {
    return (unsigned(i.h + d.h) < unsigned(H)) & (unsigned(i.v + d.v) < unsigned(W));  // negative is large if unsigned
  }
};

// A matrix in memory whose neighbours are neighbours in depth: element (i, d) is data[i * stride + d].
__device__ inline Operand<true, Stride, Stride> matrix_by_depth(const real* data, int stride) {
  return {data, {stride}, {1}, 1, 1};
}

// The same where they are neighbours in index: element (i, d) is data[d * stride + i].
__device__ inline Operand<false, Stride, Stride> matrix_by_index(const real* data, int stride) {
  return {data, {1}, {stride}, 1, 1};
}

// Patches: the row of a pixel holds its R*S*C neighbours. x (N, H, W, C).
__device__ inline Operand<true, Pixels, Taps> patches(const real* x, int H, int W, int C, int R, int S) {
  return {x, {H, W, C}, {R, S, C, W}, H, W};
}

// The same matrix, transposed: the row of a tap holds what it sees at all pixels.
__device__ inline Operand<false, Taps, Pixels> patches_transposed(const real* x, int H, int W, int C, int R, int S) {
  return {x, {R, S, C, W}, {H, W, C}, H, W};
}

// w (R, S, C, K) turned and with C and K swapped, so that the convolution with it is the adjoint of that with w: a
// column for each c, and its depth runs over r, s and k, k fastest.
__device__ inline Operand<true, Stride, TurnedTaps> turned(const real* w, int R, int S, int C, int K) {
  return {w, {K}, {R * S, C, K}, 1, 1};
}

// -- a tile of an operand, copied by all threads of a block

// The share of one thread in the tiles of WIDTH indices x DEPTH depths, copied in pieces of VECTOR neighbours.
// It has PLACES indices times STEPS depths, evenly spaced; next() visits them, and moves on to the next tile in depth.
// So of 64 x 8 numbers each of 128 threads has 4. Where neighbours are neighbours in depth, thread t has depth t % 8 at
// the 4 indices t / 8, t / 8 + 16, + 32, + 48; else it has index t % 64 at the 4 depths t / 64, t / 64 + 2, + 4, + 6.
template <int WIDTH, int DEPTH, int THREADS, int VECTOR, class Source>
struct Share {
  static constexpr bool DEPTH_FIRST = Source::DEPTH_FIRST;
  static constexpr int PIECES = WIDTH * DEPTH / VECTOR / THREADS;
  static constexpr int LINE = (DEPTH_FIRST ? DEPTH : WIDTH) / VECTOR;  // pieces side by side in memory
  static constexpr int PLACES = DEPTH_FIRST ? PIECES : LINE > THREADS ? LINE / THREADS : 1;
  static constexpr int STEPS = PIECES / PLACES;
  static_assert(PLACES * STEPS * VECTOR * THREADS == WIDTH * DEPTH, "the threads must share the tile evenly");
  static_assert(!DEPTH_FIRST || THREADS % LINE == 0, "a thread must stay at one depth of the tile");

  const Source& source;
  Place places[PLACES], depth;
  int my_index, my_depth;  // of the first piece, in the tile
  int left;                // depths from there to the end

  // The tiles start at index `first_index` and depth `first_depth`; there are `size` indices and `end` depths.
  __device__ Share(const Source& source, int first_index, int size, int first_depth, int end) : source(source) {
    int across = threadIdx.x % LINE * VECTOR, along = threadIdx.x / LINE;
    my_index = DEPTH_FIRST ? along : across;
    my_depth = DEPTH_FIRST ? across : along;
    for (int i = 0; i < PLACES; i++) {
      int index = my_index + i * (WIDTH / PLACES);
      places[i] = index < size - first_index ? source.index.at(first_index + index) : NOWHERE;
    }
    left = end - first_depth - my_depth;
    depth = left > 0 ? source.depth.at(first_depth + my_depth) : NOWHERE;
  }

  // copy(i, d, from, inside) for each piece: it goes to index my_index + i and depth my_depth + d of the tile, where i
  // and d are known to the compiler. If it is not inside, it is zeros, and nothing may be read at `from`.
  template <class Copy>
  __device__ void next(Copy copy) {
#pragma unroll
    for (int j = 0; j < STEPS; j++) {
      bool more = left > 0;
#pragma unroll
      for (int i = 0; i < PLACES; i++) {
        bool inside = more & source.inside(places[i], depth);
        copy(i * (WIDTH / PLACES), j * (DEPTH / STEPS), source.data + (places[i].offset + depth.offset), inside);
      }
      source.depth.advance(depth, DEPTH / STEPS);
      left -= DEPTH / STEPS;
    }
  }
};

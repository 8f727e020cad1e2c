// Counter-based randomness: Philox 4x32-10 (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3").
//
// There is no hidden state: a number is a function of (seed, epoch, step, layer, purpose) and its index, so resume,
// recomputation and SAM's second pass repeat the same draws.
#pragma once

#include <array>
#include <cstdint>

namespace mora {

using PhiloxBlock = std::array<uint32_t, 4>;

// Ten rounds over a 128-bit counter under a 64-bit key.
constexpr PhiloxBlock philox(PhiloxBlock counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {uint32_t(p1 >> 32) ^ counter[1] ^ key0, uint32_t(p1), uint32_t(p0 >> 32) ^ counter[3] ^ key1,
               uint32_t(p0)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// What a stream of random numbers is for: streams of different purposes never overlap.
enum class Purpose : uint32_t { init, dropout, shuffle, split, router_noise, sampling, meta, probe, replay };

// The identity of a stream. `seed` is the key; the rest is hashed into the upper half of the counter.
struct RandomKey {
  uint64_t seed = 0;
  uint64_t epoch = 0;
  uint64_t step = 0;
  uint64_t layer = 0;
  Purpose purpose = Purpose::init;
};

// The upper half of the counter.
constexpr uint64_t stream_of(const RandomKey& key) {
  uint64_t stream = 0;
  for (const uint64_t part : {key.epoch, key.step, key.layer, uint64_t(key.purpose)}) {
    uint64_t z = stream + 0x9E3779B97F4A7C15u + part;  // splitmix64's finaliser (Steele, Lea, Flood 2014)
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    stream = z ^ (z >> 31);
  }
  return stream;
}

// The stream of a key: `block(i)` gives numbers 4i … 4i+3. Cheap to copy.
class RandomStream {
 public:
  explicit RandomStream(const RandomKey& key) : seed_(key.seed), stream_(stream_of(key)) {}
  PhiloxBlock block(uint64_t i) const {
    return philox({uint32_t(i), uint32_t(i >> 32), uint32_t(stream_), uint32_t(stream_ >> 32)}, uint32_t(seed_),
                  uint32_t(seed_ >> 32));
  }
  uint32_t bits(uint64_t i) const { return block(i / 4)[i % 4]; }
  // Uniform in [0, 1): the upper 24 bits.
  float uniform(uint64_t i) const { return float(bits(i) >> 8) * 0x1p-24f; }
  // Standard normal by Box and Muller, from a block of its own.
  double normal(uint64_t i) const;
  // Uniform integer in [0, n), n > 0, by multiplication (bias below 2^-32 · n).
  uint64_t below(uint64_t i, uint64_t n) const;

  uint64_t seed() const { return seed_; }
  uint64_t stream() const { return stream_; }

 private:
  uint64_t seed_;
  uint64_t stream_;
};

}  // namespace mora

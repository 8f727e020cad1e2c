#include "engine/random.h"
#include "op_samples/sample.h"

namespace mora::test {
namespace {

auto gather(const std::vector<int32_t>& ids) {
  return [ids = ints(ids)](std::span<const Tensor> table) { return ops::GatherRows{ids, table[0].dtype()}; };
}
auto scatter(const std::vector<int32_t>& ids) {
  return [ids = ints(ids)](std::span<const Tensor> x) { return ops::ScatterRows{ids, 4, x[0].dtype()}; };
}

}  // namespace

template <>
struct Samples<ops::GatherRows> {
  static std::vector<Sample> list() {
    return {sample("repeated", gather({3, 0, 3}), {normal({4, 5})}),
            sample("no_ids", gather({}), {normal({4, 5})}),
            sample("no_table", gather({}), {normal({0, 5})}),
            sample("beyond", gather({4}), {normal({4, 5})}).throws("gather_rows: id 4 of a table of 4 rows"),
            sample("negative", gather({-1}), {normal({4, 5})}).throws("gather_rows: id -1 of a table of 4 rows"),
            sample("vector", gather({0}), {normal({4})}).throws("gather_rows: the table is (4), not (V, d)")};
  }
};

template <>
struct Samples<ops::ScatterRows> {
  static std::vector<Sample> list() {
    return {sample("repeated", scatter({3, 0, 3}), {normal({3, 5})}), sample("no_ids", scatter({}), {normal({0, 5})}),
            sample("beyond", scatter({4}), {normal({1, 5})}).throws("id 4 of a table of 4 rows"),
            sample("other_count", scatter({0, 1}), {normal({3, 5})}).throws("scatter_rows: x (3, 5) for 2 ids")};
  }
};

template <>
struct Samples<ops::Dropout> {
  static std::vector<Sample> list() {
    const RandomKey key{.seed = 3, .layer = 1, .purpose = Purpose::dropout};
    return {sample("matrix", ops::Dropout{0.4, key, {}}, {normal({4, 6})}),
            sample("long", ops::Dropout{0.1, key, {}}, {normal({333})}),
            sample("empty", ops::Dropout{0.4, key, {}}, {normal({0, 6})}),
            sample("all_dropped", ops::Dropout{1, key, {}}, {normal({2})})
                .throws("dropout: the probability 1 is not in [0, 1)"),
            sample("integers", ops::Dropout{0.4, key, {}}, {normal({2}).as(DType::i32)})
                .throws("dropout: expected a floating dtype, not i32")};
  }
};

template <>
std::vector<OpSamples> samples_of<EmbeddingOps>() {
  return list_samples(EmbeddingOps{});
}
template <>
std::vector<OpSamples> samples_of<DropoutOps>() {
  return list_samples(DropoutOps{});
}

}  // namespace mora::test

#include "op_samples/sample.h"

namespace mora::test {
namespace {

using kernels::MoraOperator;
using kernels::OperatorKind;

struct Kind {
  OperatorKind kind;
  const char* name;
};
constexpr Kind kinds[] = {{OperatorKind::truncation, "truncation"},
                          {OperatorKind::sharing, "sharing"},
                          {OperatorKind::group, "group"},
                          {OperatorKind::group_sharing, "group_sharing"},
                          {OperatorKind::sharing_group, "sharing_group"},
                          {OperatorKind::decouple, "decouple"},
                          {OperatorKind::rotation, "rotation"},
                          {OperatorKind::rotation_full, "rotation_full"}};

// Each operator from 6 to 10 and from 10 to 6, which 4 divides neither, and of a rank above both.
template <class Op, class Shape>
std::vector<Sample> samples(Shape shape) {
  std::vector<Sample> list;
  for (const auto& [kind, name] : kinds) {
    const MoraOperator wider{kind, 6, 10, 4}, narrower{kind, 10, 6, 4}, full{kind, 6, 10, 12};
    list.push_back(sample(std::string(name) + "_wider", Op{wider}, {normal(shape(3, wider))}));
    list.push_back(sample(std::string(name) + "_narrower", Op{narrower}, {normal(shape(3, narrower))}));
    list.push_back(sample(std::string(name) + "_full", Op{full}, {normal(shape(2, full))}));
    list.push_back(sample(std::string(name) + "_no_rows", Op{wider}, {normal(shape(0, wider))}));
  }
  const MoraOperator op{OperatorKind::sharing, 6, 10, 4};
  list.push_back(sample("vector", Op{op}, {normal({6})}).throws(std::string(Op::name) + ": expected (N, "));
  list.push_back(sample("width", Op{op}, {normal({3, 1, 5})}).throws("not (3, 1, 5)"));
  return list;
}

mora::Shape input(int64_t rows, const MoraOperator& op) { return {rows, op.in}; }
mora::Shape output(int64_t rows, const MoraOperator& op) { return {rows, op.out}; }
mora::Shape inner(int64_t rows, const MoraOperator& op) { return {rows, op.chunks(), op.rank}; }

}  // namespace

template <>
struct Samples<ops::MoraCompress> {
  static std::vector<Sample> list() { return samples<ops::MoraCompress>(input); }
};
template <>
struct Samples<ops::MoraCompressAdjoint> {
  static std::vector<Sample> list() { return samples<ops::MoraCompressAdjoint>(inner); }
};
template <>
struct Samples<ops::MoraDecompress> {
  static std::vector<Sample> list() { return samples<ops::MoraDecompress>(inner); }
};
template <>
struct Samples<ops::MoraDecompressAdjoint> {
  static std::vector<Sample> list() { return samples<ops::MoraDecompressAdjoint>(output); }
};

template <>
std::vector<OpSamples> samples_of<MoraOperatorOps>() {
  return list_samples(MoraOperatorOps{});
}

}  // namespace mora::test

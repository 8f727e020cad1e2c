#include "mora/training/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/error.h"

namespace mora {
namespace {

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

// Row and column sums of a confusion matrix, and its diagonal.
struct LabelCounts {
  std::vector<double> truth, predicted, correct;  // (classes)
  double total = 0;
};

LabelCounts label_counts(std::span<const int64_t> confusion, int64_t classes) {
  invariant(std::ssize(confusion) == classes * classes, "metrics: a confusion matrix of {} counts for {} classes",
            confusion.size(), classes);
  const size_t n = static_cast<size_t>(classes);
  LabelCounts counts{std::vector<double>(n), std::vector<double>(n), std::vector<double>(n)};
  for (size_t t = 0; t < n; ++t)
    for (size_t p = 0; p < n; ++p) {
      const double count = static_cast<double>(confusion[t * n + p]);
      counts.truth[t] += count;
      counts.predicted[p] += count;
      if (t == p) counts.correct[t] = count;
      counts.total += count;
    }
  return counts;
}

double sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

// Ranks from 1; equal values share the mean of their ranks.
std::vector<double> average_ranks(std::span<const double> values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (size_t first = 0; first < order.size();) {
    size_t last = first + 1;
    while (last < order.size() && values[order[last]] == values[order[first]]) ++last;
    const double rank = 0.5 * static_cast<double>(first + 1 + last);
    for (size_t i = first; i < last; ++i) ranks[order[i]] = rank;
    first = last;
  }
  return ranks;
}

bool holds_nan(std::span<const double> values) {
  return std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); });
}

// ROC-AUC of `scores` for the rows whose truth is `positive` against all others.
double one_against_rest(std::span<const int64_t> truth, std::span<const double> scores, int64_t positive) {
  const std::vector<double> ranks = average_ranks(scores);
  double rank_sum = 0, positives = 0;
  for (size_t i = 0; i < truth.size(); ++i)
    if (truth[i] == positive) rank_sum += ranks[i], positives += 1;
  const double negatives = static_cast<double>(truth.size()) - positives;
  if (positives == 0 || negatives == 0) return kUndefined;
  return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives);
}

void require_table(std::span<const int64_t> truth, std::span<const double> probabilities, int64_t classes) {
  require<ShapeError>(classes > 0 && std::ssize(probabilities) == std::ssize(truth) * classes,
                      "metrics: {} probabilities for {} rows of {} classes", probabilities.size(), truth.size(),
                      classes);
  for (int64_t label : truth)
    require<ShapeError>(label >= 0 && label < classes, "metrics: label {} is not in [0, {})", label, classes);
}

}  // namespace

std::vector<int64_t> confusion_matrix(std::span<const int64_t> truth, std::span<const int64_t> predicted,
                                      int64_t classes) {
  require<ShapeError>(truth.size() == predicted.size(), "metrics: {} true labels, {} predicted", truth.size(),
                      predicted.size());
  std::vector<int64_t> counts(static_cast<size_t>(classes * classes));
  for (size_t i = 0; i < truth.size(); ++i) {
    require<ShapeError>(truth[i] >= 0 && truth[i] < classes && predicted[i] >= 0 && predicted[i] < classes,
                        "metrics: labels ({}, {}) are not in [0, {})", truth[i], predicted[i], classes);
    ++counts[static_cast<size_t>(truth[i] * classes + predicted[i])];
  }
  return counts;
}

double accuracy(std::span<const int64_t> confusion, int64_t classes) {
  const LabelCounts counts = label_counts(confusion, classes);
  return counts.total == 0 ? kUndefined : sum(counts.correct) / counts.total;
}

double f1_score(std::span<const int64_t> confusion, int64_t classes, F1Average average) {
  if (average == F1Average::micro) return accuracy(confusion, classes);
  const LabelCounts counts = label_counts(confusion, classes);
  double total = 0, weights = 0;
  for (size_t k = 0; k < counts.truth.size(); ++k) {
    const double occurrences = counts.truth[k] + counts.predicted[k];
    if (occurrences == 0) continue;  // a label that nobody mentions has no F1
    const double weight = average == F1Average::macro ? 1.0 : counts.truth[k];
    total += weight * 2 * counts.correct[k] / occurrences;
    weights += weight;
  }
  return weights == 0 ? kUndefined : total / weights;
}

double matthews_correlation(std::span<const int64_t> confusion, int64_t classes) {
  const LabelCounts counts = label_counts(confusion, classes);
  double cross = 0, truth_squared = 0, predicted_squared = 0;
  for (size_t k = 0; k < counts.truth.size(); ++k) {
    cross += counts.truth[k] * counts.predicted[k];
    truth_squared += counts.truth[k] * counts.truth[k];
    predicted_squared += counts.predicted[k] * counts.predicted[k];
  }
  const double all = counts.total * counts.total;
  const double denominator = std::sqrt((all - predicted_squared) * (all - truth_squared));
  return denominator == 0 ? 0.0 : (sum(counts.correct) * counts.total - cross) / denominator;
}

double roc_auc(std::span<const int64_t> truth, std::span<const double> probabilities, int64_t classes) {
  require_table(truth, probabilities, classes);
  if (holds_nan(probabilities) || classes < 2) return kUndefined;
  std::vector<double> scores(truth.size());
  const auto column_auc = [&](int64_t k) {
    for (size_t i = 0; i < scores.size(); ++i)
      scores[i] = probabilities[i * static_cast<size_t>(classes) + static_cast<size_t>(k)];
    return one_against_rest(truth, scores, k);
  };
  if (classes == 2) return column_auc(1);
  double total = 0;
  for (int64_t k = 0; k < classes; ++k) total += column_auc(k);  // a class that is missing makes the mean undefined
  return total / static_cast<double>(classes);
}

double log_loss(std::span<const int64_t> truth, std::span<const double> probabilities, int64_t classes) {
  require_table(truth, probabilities, classes);
  if (truth.empty()) return kUndefined;
  constexpr double epsilon = std::numeric_limits<double>::epsilon();
  double total = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    const auto row = probabilities.subspan(i * static_cast<size_t>(classes), static_cast<size_t>(classes));
    const double mass = std::accumulate(row.begin(), row.end(), 0.0);
    total -= std::log(std::clamp(row[static_cast<size_t>(truth[i])] / mass, epsilon, 1 - epsilon));
  }
  return total / static_cast<double>(truth.size());
}

double mean_squared_error(std::span<const double> truth, std::span<const double> predicted) {
  require<ShapeError>(truth.size() == predicted.size(), "metrics: {} targets, {} predictions", truth.size(),
                      predicted.size());
  if (truth.empty()) return kUndefined;
  double total = 0;
  for (size_t i = 0; i < truth.size(); ++i) total += (truth[i] - predicted[i]) * (truth[i] - predicted[i]);
  return total / static_cast<double>(truth.size());
}

double pearson(std::span<const double> a, std::span<const double> b) {
  require<ShapeError>(a.size() == b.size(), "metrics: {} values against {}", a.size(), b.size());
  if (a.size() < 2) return kUndefined;
  const double n = static_cast<double>(a.size());
  const double mean_a = std::accumulate(a.begin(), a.end(), 0.0) / n;
  const double mean_b = std::accumulate(b.begin(), b.end(), 0.0) / n;
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - mean_a) * (b[i] - mean_b);
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
  }
  if (aa == 0 || bb == 0) return kUndefined;
  return std::clamp(ab / (std::sqrt(aa) * std::sqrt(bb)), -1.0, 1.0);
}

double spearman(std::span<const double> a, std::span<const double> b) {
  if (holds_nan(a) || holds_nan(b)) return kUndefined;
  return pearson(average_ranks(a), average_ranks(b));
}

double perplexity(double negative_log_likelihood, int64_t tokens) {
  return tokens == 0 ? kUndefined : std::exp(negative_log_likelihood / static_cast<double>(tokens));
}

double MetricReport::at(std::string_view name) const {
  std::string known;
  for (const auto& [key, value] : values) {
    if (key == name) return value;
    known += (known.empty() ? "" : ", ") + key;
  }
  fail<ConfigError>("metric '{}' is not computed here; there are: {}", name, known);
}

MetricReport classification_metrics(std::span<const int64_t> truth, std::span<const double> probabilities,
                                    int64_t classes) {
  require_table(truth, probabilities, classes);
  std::vector<int64_t> predicted(truth.size());
  for (size_t i = 0; i < truth.size(); ++i) {
    const auto row = probabilities.subspan(i * static_cast<size_t>(classes), static_cast<size_t>(classes));
    predicted[i] = std::max_element(row.begin(), row.end()) - row.begin();
  }
  const std::vector<int64_t> confusion = confusion_matrix(truth, predicted, classes);
  return {.values = {{"accuracy", accuracy(confusion, classes)},
                     {"f1_macro", f1_score(confusion, classes, F1Average::macro)},
                     {"f1_weighted", f1_score(confusion, classes, F1Average::weighted)},
                     {"f1_micro", f1_score(confusion, classes, F1Average::micro)},
                     {"mcc", matthews_correlation(confusion, classes)},
                     {"roc_auc", roc_auc(truth, probabilities, classes)},
                     {"log_loss", log_loss(truth, probabilities, classes)}},
          .confusion = confusion,
          .classes = classes};
}

MetricReport regression_metrics(std::span<const double> truth, std::span<const double> predicted) {
  return {.values = {{"mse", mean_squared_error(truth, predicted)},
                     {"pearson", pearson(truth, predicted)},
                     {"spearman", spearman(truth, predicted)}},
          .confusion = {}};
}

MetricReport language_metrics(double negative_log_likelihood, int64_t tokens) {
  return {.values = {{"perplexity", perplexity(negative_log_likelihood, tokens)}}, .confusion = {}, .tokens = tokens};
}

bool larger_is_better(std::string_view metric) {
  return metric != "loss" && metric != "log_loss" && metric != "mse" && metric != "perplexity";
}

}  // namespace mora

// Evaluation metrics with the semantics of scikit-learn and SciPy. All arithmetic is in f64. A metric that is undefined
// for the data at hand (ROC-AUC with one class in the truth, a correlation with a constant) is NaN, which JSON output
// shows as null.
//
//   F1_k       2·tp_k / (true_k + predicted_k), 0 for a zero denominator; macro: the mean over the labels that occur in
//   the truth
//              or the predictions; weighted: by true_k; micro: accuracy
//   MCC        (c·s − Σ t_k p_k) / √((s² − Σ p_k²)(s² − Σ t_k²)), 0 for a zero denominator; c correct, s all, t true, p
//   predicted ROC-AUC    (R⁺ − n⁺(n⁺ + 1)/2) / (n⁺ n⁻), R⁺ the positives' sum of average ranks; more than two classes:
//   the mean over
//              one-against-rest
//   log loss   −mean ln p(true), rows normalised and clipped to [ε, 1 − ε], ε = 2⁻⁵²
//   Spearman   Pearson's r of average ranks
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mora {

// Counts by true (row) and predicted (column) label: (classes, classes), row-major.
std::vector<int64_t> confusion_matrix(std::span<const int64_t> truth, std::span<const int64_t> predicted,
                                      int64_t classes);

enum class F1Average { macro, weighted, micro };

double accuracy(std::span<const int64_t> confusion, int64_t classes);
double f1_score(std::span<const int64_t> confusion, int64_t classes, F1Average average);
double matthews_correlation(std::span<const int64_t> confusion, int64_t classes);

// `probabilities`: (N, classes), row-major; truth: (N), values in [0, classes).
double roc_auc(std::span<const int64_t> truth, std::span<const double> probabilities, int64_t classes);
double log_loss(std::span<const int64_t> truth, std::span<const double> probabilities, int64_t classes);

double mean_squared_error(std::span<const double> truth, std::span<const double> predicted);
double pearson(std::span<const double> a, std::span<const double> b);
double spearman(std::span<const double> a, std::span<const double> b);

// exp(total negative log-likelihood / labelled tokens).
double perplexity(double negative_log_likelihood, int64_t tokens);

// What an evaluation reports: named numbers in the order they are printed, for classification the confusion matrix, for
// a language model how many tokens were predicted.
struct MetricReport {
  std::vector<std::pair<std::string, double>> values;
  std::vector<int64_t> confusion;  // (classes, classes), empty outside classification
  int64_t classes = 0;
  std::optional<int64_t> tokens = {};

  // Throws ConfigError that lists the known names when there is no such metric.
  double at(std::string_view name) const;
};

// accuracy, f1_macro, f1_weighted, f1_micro, mcc, roc_auc, log_loss and the confusion matrix; the prediction is the
// first largest probability of a row.
MetricReport classification_metrics(std::span<const int64_t> truth, std::span<const double> probabilities,
                                    int64_t classes);
MetricReport regression_metrics(std::span<const double> truth,
                                std::span<const double> predicted);             // mse, pearson, spearman
MetricReport language_metrics(double negative_log_likelihood, int64_t tokens);  // perplexity

// Whether a larger value of the metric is the better one: false for loss, log_loss, mse and perplexity.
bool larger_is_better(std::string_view metric);

}  // namespace mora

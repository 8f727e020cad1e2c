// mora sharpness: how sharp the loss is around a trained adapter.
#include <nlohmann/json.hpp>

#include "mora/training/sharpness.h"
#include "tools/labelled_rows.h"

namespace mora {
namespace {

struct Arguments {
  LabelledRows of;
  int64_t rows = 256;
  SharpnessOptions options;
};

void show(const Sharpness& s, int64_t rows) {
  fmt::print("rows {}\nloss {:.6f}\ngradient norm {:.6f}\n", rows, s.loss, s.gradient_norm);
  fmt::print("Hessian: largest eigenvalue {:.6g} (residual {:.2g}), smallest {:.6g}, {} products\n", s.hessian.largest,
             s.hessian.residual, s.hessian.smallest, s.hessian.iterations);
  fmt::print("loss along the gradient:\n");
  for (const auto& point : s.curve) fmt::print("{:>+12.4f}  {:.6f}\n", point.distance, point.loss);
}

void run(const Arguments& a, Session& session) {
  auto [opened, task, data] = open(a.of, session.device);
  if (a.rows < data.size()) {  // spread over the file
    std::vector<int64_t> chosen(static_cast<size_t>(a.rows));
    for (size_t i = 0; i < chosen.size(); ++i) chosen[i] = int64_t(i) * data.size() / a.rows;
    data = data.subset(chosen);
  }
  const Sharpness s = measure_sharpness(*opened.model, data, task, a.options);
  if (!session.json) show(s, data.size());
  nlohmann::ordered_json curve = nlohmann::ordered_json::array();
  for (const auto& point : s.curve) curve.push_back({{"distance", point.distance}, {"loss", point.loss}});
  session.print_result({{"rows", data.size()},
                        {"loss", s.loss},
                        {"gradient_norm", s.gradient_norm},
                        {"top_eigenvalue", s.hessian.largest},
                        {"bottom_eigenvalue", s.hessian.smallest},
                        {"residual", s.hessian.residual},
                        {"iterations", s.hessian.iterations},
                        {"curve", curve}});
}

}  // namespace

void add_sharpness(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = add_command(
      program, session, "sharpness", "top Hessian eigenvalue over an adapter, and the loss around it",
      [a, &session] { run(*a, session); }, Devices::all);
  add_options(*command, a->of);
  command->get_option("--adapter")->required();
  auto count = [&](const char* name, int64_t& value, const char* meaning) {
    command->add_option(name, value, fmt::format("{} (default: {})", meaning, value))
        ->check(at_least(1))
        ->type_name("N");
  };
  count("--rows", a->rows, "rows to measure on, spread over the file");
  count("--iterations", a->options.iterations, "products of the Hessian with a vector, at most");
  count("--points", a->options.points, "points of the curve");
  command->add_option("--rho", a->options.rho, "the curve goes from -RHO to RHO (default: 0.05)")
      ->check(above_zero())
      ->type_name("RHO");
  command->add_option("--seed", a->options.seed, "of the first vector (default: 0)")->type_name("N");
}

}  // namespace mora

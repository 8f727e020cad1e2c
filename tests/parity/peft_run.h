// What tests beside PEFT share: the rows that the goldens are made of, and the curves that have to agree.
#pragma once

#include "mora/training/setup.h"
#include "training/trainer_fixture.h"

namespace mora::test {

struct PeftRun : TrainerFixture {
  // Losses to 1e-3 and gradient norms to 1e-2, relative, one an update.
  static void expect_curves(const std::vector<nlohmann::json>& lines, const nlohmann::json& golden) {
    ASSERT_EQ(lines.size(), golden["losses"].size());
    for (size_t i = 0; i < lines.size(); ++i) {
      EXPECT_NEAR(lines[i]["loss"].get<double>() / golden["losses"][i].get<double>(), 1, 1e-3) << "update " << i;
      EXPECT_NEAR(lines[i]["grad_norm"].get<double>() / golden["grad_norms"][i].get<double>(), 1, 1e-2)
          << "update " << i;
    }
  }

  // Every 37th row, its text cut to 48 tokens.
  Config on_every_37th_row(Config c) const {
    c.data->max_length = 48;
    std::ifstream rows(reviews);
    std::string chosen, line;
    for (int64_t i = 0; std::getline(rows, line); ++i)
      if (i == 0 || i % 37 == 1) chosen += line + "\n";
    c.data->train = {directory.write("rows.tsv", chosen).string()};
    return c;
  }

  // A classifier's, of the first eight rows.
  static void expect_logits(const nlohmann::json& golden, const MoRAModel& model, const Config& c) {
    const int64_t rows[] = {0, 1, 2, 3, 4, 5, 6, 7};
    Context context;
    const NoGrad no_grad;
    const Tensor logits = model.logits(to_sequences(read_training_data(c).train.batch(rows)), context);
    for (size_t i = 0; i < 16; ++i)
      EXPECT_NEAR(logits.values<float>()[i], golden[i / 2][i % 2].get<double>(), 1e-5) << i;
  }
};

}  // namespace mora::test

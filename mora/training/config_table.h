// The table of all keys.
#pragma once

#include "mora/training/config_section.h"

namespace mora {

const Section<Config>& config_section();
const std::vector<OptionDoc>& config_options();  // its documentation, in the table's order

}  // namespace mora

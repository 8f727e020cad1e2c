// The files of mora/report/page/, embedded at build (cmake/Targets.cmake, mora_embed).
#pragma once

#include <string_view>

namespace mora::page {

extern const std::string_view html, style, charts, script;

}  // namespace mora::page

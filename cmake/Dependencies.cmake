# Every library the project uses, named once. Debian packages: tools/install_dependencies.sh.
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(fmt REQUIRED)
find_package(HWY CONFIG QUIET)
find_package(PkgConfig REQUIRED)

function(mora_pkg_target target package)  # a target for a library that ships only a pkg-config file
  if(NOT TARGET ${target})
    pkg_check_modules(${package} REQUIRED IMPORTED_TARGET ${package})
    add_library(${target} ALIAS PkgConfig::${package})
  endif()
endfunction()

mora_pkg_target(hwy::hwy libhwy)
find_package(dnnl REQUIRED)
find_package(Eigen3 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(CLI11 REQUIRED)
find_package(Boost 1.74 REQUIRED)  # headers: Beast and Asio
mora_pkg_target(PCRE2::8BIT libpcre2-8)
mora_pkg_target(utf8proc::utf8proc libutf8proc)
mora_pkg_target(xxHash::xxhash libxxhash)
if(NOT TARGET yaml-cpp::yaml-cpp)
  add_library(yaml-cpp::yaml-cpp ALIAS yaml-cpp)
endif()
if(MORA_TESTS)
  find_package(GTest REQUIRED)
  find_package(Boost 1.74 REQUIRED COMPONENTS context)  # fibers: the emulator of a card
endif()

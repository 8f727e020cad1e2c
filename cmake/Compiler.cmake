set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_OPTIMIZE_DEPENDENCIES ON)  # a static library need not wait for those it uses

find_program(MORA_CCACHE ccache)
if(MORA_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${MORA_CCACHE})
endif()

# No -march here, ever: what is shipped runs on any x86-64 or Arm machine, kernels dispatch at run time.
add_library(mora_compile_options INTERFACE)
target_compile_options(mora_compile_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Werror
                       -fno-math-errno -fno-trapping-math)
if(MORA_SANITIZE OR MORA_FUZZ)  # instrumented code takes twice as long to compile at -O2 -g
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1")
endif()
if(MORA_SANITIZE)
  add_compile_options(-fsanitize=${MORA_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${MORA_SANITIZE})
endif()
if(MORA_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=address,undefined)
endif()
find_program(MORA_LLD ld.lld)
if(MORA_LLD)
  add_link_options(-fuse-ld=lld)
endif()

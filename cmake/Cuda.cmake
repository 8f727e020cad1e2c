# The CUDA backend: one object library, mora_cuda, of kernels/cuda/ and engine/cuda/. What it defines is weak everywhere else, so a program
# has the backend where it is linked with these objects, and starts without a driver all the same.
#
# MORA_CUDA=AUTO builds it where nvcc is found; sanitizers and fuzzers do without. CMAKE_CUDA_ARCHITECTURES chooses what for: by default
# compute capability 8.0, which later cards run too (compiled once more when first loaded).
set(MORA_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO (where nvcc is found), ON or OFF")
file(GLOB MORA_CUDA_KERNELS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cu)
file(GLOB MORA_CUDA_WRAPPERS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cpp)
file(GLOB MORA_CUDA_LIBRARIES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/libraries/*.cpp)  # tests have stand-ins
file(GLOB MORA_CUDA_ENGINE CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/engine/cuda/*.cpp)

if(MORA_CUDA AND NOT (MORA_CUDA STREQUAL "AUTO" AND (MORA_SANITIZE OR MORA_FUZZ)))
  find_program(MORA_NVCC nvcc HINTS /usr/local/cuda/bin)
  if(MORA_NVCC)
    set(MORA_CUDA_FOUND ON)
  elseif(NOT MORA_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "MORA_CUDA=${MORA_CUDA}, but there is no nvcc in PATH or /usr/local/cuda/bin")
  endif()
endif()
if(NOT MORA_CUDA_FOUND)
  return()
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80)
endif()
set(CMAKE_CUDA_COMPILER ${MORA_NVCC})
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})

# CMake 3.25 knows no C++20 of nvcc's.
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_EXTENSIONS OFF)

# cuDNN's attention, of headers alone: the library is opened when it is first asked for. The frontend comes by tools/fetch.sh.
find_path(CUDNN_INCLUDE_DIR cudnn_graph.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_path(CUDNN_FRONTEND_INCLUDE_DIR cudnn_frontend.h HINTS ${PROJECT_SOURCE_DIR}/.cache/cudnn_frontend/include)
if(NOT CUDNN_INCLUDE_DIR OR NOT CUDNN_FRONTEND_INCLUDE_DIR)
  message(STATUS "CUDA without cuDNN's attention: its headers or the frontend's are missing (tools/fetch.sh cudnn_frontend)")
  list(FILTER MORA_CUDA_LIBRARIES EXCLUDE REGEX "/cudnn[^/]*$")
endif()

add_library(mora_cuda OBJECT ${MORA_CUDA_KERNELS} ${MORA_CUDA_WRAPPERS} ${MORA_CUDA_LIBRARIES} ${MORA_CUDA_ENGINE})
target_compile_options(mora_cuda PRIVATE
  "$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;-Werror=all-warnings;-Xcompiler=-Wall,-Wextra>"
  "$<$<COMPILE_LANGUAGE:CXX>:$<TARGET_PROPERTY:mora_compile_options,INTERFACE_COMPILE_OPTIONS>>")
if(CUDNN_INCLUDE_DIR AND CUDNN_FRONTEND_INCLUDE_DIR)
  target_include_directories(mora_cuda SYSTEM PRIVATE ${CUDNN_INCLUDE_DIR} ${CUDNN_FRONTEND_INCLUDE_DIR})
  target_compile_definitions(mora_cuda PRIVATE CUDNN_FRONTEND_SKIP_JSON_LIB)
  # Without optimization the frontend's unused functions would stay, with calls that cudnn.cpp does not pass on.
  set_source_files_properties(${PROJECT_SOURCE_DIR}/kernels/cuda/libraries/cudnn_attention.cpp PROPERTIES COMPILE_OPTIONS -O1)
endif()
target_link_libraries(mora_cuda PUBLIC mora_kernels CUDA::cudart_static)

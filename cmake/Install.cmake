# cmake --install: the program, the libraries with their headers, and a package that find_package(mora) finds.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS mora RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
get_property(mora_libraries GLOBAL PROPERTY MORA_LIBRARIES)
list(REMOVE_ITEM mora_libraries mora_bench mora_serving)  # the program's own
install(TARGETS ${mora_libraries} EXPORT mora ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY engine kernels autograd optim loaders mora DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/mora FILES_MATCHING PATTERN "*.h" PATTERN "cpu"
        EXCLUDE PATTERN "serving" EXCLUDE)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/mora)
install(EXPORT mora NAMESPACE mora:: DESTINATION ${package_dir} FILE moraTargets.cmake)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/moraConfig.cmake.in ${PROJECT_BINARY_DIR}/moraConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/moraConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/moraConfig.cmake ${PROJECT_BINARY_DIR}/moraConfigVersion.cmake ${PROJECT_SOURCE_DIR}/cmake/Dependencies.cmake
        DESTINATION ${package_dir})

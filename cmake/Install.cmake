# cmake --install: the program with its completions and manual page, the libraries with their headers, and a package that find_package(mora) finds.
# cpack: the program alone as a Debian package.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS mora RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)

# install_words(KIND FILE FOLDER): what `mora completion KIND` says.
function(install_words kind file folder)
  set(words ${PROJECT_BINARY_DIR}/words/${kind}/${file})
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/words/${kind})
  add_custom_command(OUTPUT ${words} COMMAND mora completion ${kind} > ${words} DEPENDS mora VERBATIM)
  add_custom_target(mora_${kind} ALL DEPENDS ${words})
  install(FILES ${words} DESTINATION ${folder} COMPONENT program)
endfunction()
if(NOT MORA_SANITIZE AND NOT MORA_FUZZ)  # what is installed is not instrumented
  install_words(bash mora ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install_words(zsh _mora ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
  install_words(man mora.1 ${CMAKE_INSTALL_MANDIR}/man1)
endif()

set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME development)
get_property(mora_libraries GLOBAL PROPERTY MORA_LIBRARIES)
list(REMOVE_ITEM mora_libraries mora_bench mora_serving)  # the program's own
install(TARGETS ${mora_libraries} EXPORT mora ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY engine kernels autograd optim loaders mora DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/mora FILES_MATCHING PATTERN "*.h" PATTERN "cpu"
        EXCLUDE PATTERN "cuda" EXCLUDE PATTERN "serving" EXCLUDE)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/mora)
install(EXPORT mora NAMESPACE mora:: DESTINATION ${package_dir} FILE moraTargets.cmake)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/moraConfig.cmake.in ${PROJECT_BINARY_DIR}/moraConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/moraConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/moraConfig.cmake ${PROJECT_BINARY_DIR}/moraConfigVersion.cmake ${PROJECT_SOURCE_DIR}/cmake/Dependencies.cmake
        DESTINATION ${package_dir})

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_CONTACT "The MoRA developers <mora@localhost>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL program)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME mora)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
include(CPack)

# cmake -DBUILD=… -DSOURCE=… -P install.cmake: installs BUILD into an empty prefix, builds the program beside this file
# with find_package(mora) from there, and runs it and the installed `mora`.
set(work ${BUILD}/tests/install)
file(REMOVE_RECURSE ${work})
function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${work}/prefix)
run(${CMAKE_COMMAND} -S ${SOURCE}/tests/install -B ${work}/build -DCMAKE_PREFIX_PATH=${work}/prefix -DCMAKE_BUILD_TYPE=Release)
run(${CMAKE_COMMAND} --build ${work}/build)
run(${work}/build/outside)
run(${work}/prefix/bin/mora --version)

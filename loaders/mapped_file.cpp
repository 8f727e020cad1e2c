#include "loaders/mapped_file.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string>

#include "engine/error.h"

namespace mora {
namespace {

// A live map, as the signal handler sees it. Nodes are reused and never freed, so that the handler may walk the list
// without a lock; `line` changes only while `begin` is 0.
struct MapNode {
  std::atomic<uintptr_t> begin{0};  // 0: the node is free
  std::atomic<uintptr_t> end{0};
  std::string line;  // what the handler prints
  MapNode* next = nullptr;
};

std::atomic<MapNode*> map_list{nullptr};
std::mutex map_list_mutex;  // held by those who change the list
struct sigaction previous_sigbus;

const MapNode* find_map(uintptr_t address) {
  for (const MapNode* node = map_list.load(std::memory_order_acquire); node; node = node->next) {
    const uintptr_t begin = node->begin.load(std::memory_order_acquire);
    if (begin != 0 && address >= begin && address < node->end.load(std::memory_order_relaxed)) return node;
  }
  return nullptr;
}

void on_sigbus(int, siginfo_t* info, void*) {
  const bool sent = info->si_code <= 0;  // by kill or raise: no address, and it does not come back by itself
  const MapNode* node = sent ? nullptr : find_map(reinterpret_cast<uintptr_t>(info->si_addr));
  if (node) {
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, node->line.data(), node->line.size());
    ::_exit(1);
  }
  ::sigaction(SIGBUS, &previous_sigbus, nullptr);  // not ours: the instruction faults again under the old handler
  if (sent) ::raise(SIGBUS);
}

void install_sigbus_handler() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = on_sigbus;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGBUS, &action, &previous_sigbus);
  });
}

void register_map(const void* data, size_t size, const std::string& name) {
  install_sigbus_handler();
  const std::lock_guard lock(map_list_mutex);
  MapNode* node = map_list.load(std::memory_order_relaxed);
  while (node && node->begin.load(std::memory_order_relaxed) != 0) node = node->next;
  const bool fresh = node == nullptr;
  if (fresh) node = new MapNode;
  node->line = "error: " + name + ": the file shrank while it was open\n";
  const auto begin = reinterpret_cast<uintptr_t>(data);
  node->end.store(begin + size, std::memory_order_relaxed);
  node->begin.store(begin, std::memory_order_release);
  if (fresh) {
    node->next = map_list.load(std::memory_order_relaxed);
    map_list.store(node, std::memory_order_release);
  }
}

void forget_map(const void* data) {
  const std::lock_guard lock(map_list_mutex);
  for (MapNode* node = map_list.load(std::memory_order_relaxed); node; node = node->next)
    if (node->begin.load(std::memory_order_relaxed) == reinterpret_cast<uintptr_t>(data)) node->begin.store(0);
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& file) {
  RegularFile opened = open_regular_file(file);
  std::shared_ptr<MappedFile> map(new MappedFile);
  map->path_ = file;
  map->fd_ = std::move(opened.fd);
  if (opened.bytes == 0) return map;
  void* data = ::mmap(nullptr, opened.bytes, PROT_READ, MAP_PRIVATE, map->fd_.get(), 0);
  require<IoError>(data != MAP_FAILED, "{}: cannot map its {} bytes: {}", file.string(), opened.bytes,
                   std::strerror(errno));
  map->data_ = static_cast<const std::byte*>(data);
  map->size_ = opened.bytes;
  register_map(data, opened.bytes, file.string());
  return map;
}

MappedFile::~MappedFile() {
  if (!data_) return;
  forget_map(data_);
  ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::require_whole() const {
  struct stat status {};
  const bool known = ::fstat(fd_.get(), &status) == 0;
  require<IoError>(known, "{}: cannot read its size: {}", path_.string(), std::strerror(errno));
  require<IoError>(static_cast<size_t>(status.st_size) >= size_,
                   "{}: the file shrank from {} to {} bytes while it was open", path_.string(), size_, status.st_size);
}

}  // namespace mora

#include <boost/context/fiber.hpp>
#include <boost/context/fixedsize_stack.hpp>
#include <memory>
#include <numeric>
#include <random>

#include "kernels/cuda/simt.h"  // with emulator.h
#include "simt/device_memory.h"
#include "simt/shared_memory.h"

namespace mora::simt::emulator {
namespace {

using boost::context::fiber;

std::string to_string(Dim d) {
  return "(" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) + ")";
}

std::string to_string(const std::source_location& where) {
  const std::string file = where.file_name();
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(where.line());
}

enum class Order { forward, reverse, random };

// Runs launches: one block at a time, each thread a fiber that is kept for the next block.
class Machine {
 public:
  void run_in_order(const Launch& launch, Order order, uint64_t seed);

  const Position& position() const { return position_; }
  const Brought* meet(Meeting meeting, const Brought& brought, const std::source_location& where);
  void copy_async(void* to, const void* from, int bytes);
  void wait_for_copies();
  [[noreturn]] void fail_here(const std::string& message) const;
  SharedMemory& shared() { return *shared_; }

 private:
  struct Copy {
    void* to;
    std::vector<std::byte> bytes;
  };
  enum class State { ready, waiting, done };
  struct Thread {
    fiber context, scheduler;
    State state = State::done;
    Meeting meeting{};
    std::source_location where;
    int exchanges = 0;
    std::vector<Copy> copies;  // that go on
  };
  struct Warp {
    Brought exchanged[2][warp_size];  // in turn: a lane may bring its next value before another has read the last
  };

  fiber new_fiber(size_t index);
  void run_block(Dim block);
  void run_ready_threads();
  // Lets go on who waits for nobody any more; false where that is no one.
  bool release();
  bool all_wait(size_t begin, size_t end) const;
  [[noreturn]] void report_divergence() const;
  void shuffle_order(std::vector<int>& order);

  const Launch* launch_ = nullptr;
  Order order_ = Order::forward;
  std::mt19937_64 random_;
  Position position_;
  std::vector<Thread> threads_ = std::vector<Thread>(1024);
  std::vector<Warp> warps_ = std::vector<Warp>(1024 / warp_size);
  std::vector<int> thread_order_;
  std::exception_ptr error_;
  std::unique_ptr<SharedMemory> shared_ = std::make_unique<SharedMemory>();
};

// The one there is; found without the question of a local static, which every access of a kernel would ask.
Machine& the_machine = *new Machine;
Machine& machine() { return the_machine; }

fiber Machine::new_fiber(size_t index) {
  return fiber(std::allocator_arg, boost::context::fixedsize_stack(128 << 10), [this, index](fiber&& scheduler) {
    Thread& thread = threads_[index];
    thread.scheduler = std::move(scheduler);
    for (;;) {
      try {
        launch_->body();
      } catch (const boost::context::detail::forced_unwind&) {
        throw;
      } catch (...) {
        if (!error_) error_ = std::current_exception();
      }
      thread.state = State::done;
      thread.scheduler = std::move(thread.scheduler).resume();
    }
    return std::move(thread.scheduler);
  });
}

void Machine::shuffle_order(std::vector<int>& order) {
  if (order_ == Order::reverse) std::reverse(order.begin(), order.end());
  if (order_ == Order::random) std::shuffle(order.begin(), order.end(), random_);
}

void Machine::run_in_order(const Launch& launch, Order order, uint64_t seed) {
  launch_ = &launch;
  order_ = order;
  random_.seed(seed);
  position_ = {0, launch.threads, {}, launch.grid};
  std::vector<int> blocks(size_t(launch.grid.x) * size_t(launch.grid.y) * size_t(launch.grid.z));
  std::iota(blocks.begin(), blocks.end(), 0);
  shuffle_order(blocks);
  for (const int b : blocks)
    run_block({b % launch.grid.x, b / launch.grid.x % launch.grid.y, b / launch.grid.x / launch.grid.y});
}

void Machine::run_block(Dim block) {
  position_.block = block;
  shared_->begin(launch_->threads, launch_->dynamic);
  thread_order_.resize(size_t(launch_->threads));
  std::iota(thread_order_.begin(), thread_order_.end(), 0);
  if (order_ == Order::reverse) std::reverse(thread_order_.begin(), thread_order_.end());
  for (size_t i = 0; i < thread_order_.size(); ++i) {
    if (!threads_[i].context) threads_[i].context = new_fiber(i);
    threads_[i].state = State::ready;
    threads_[i].exchanges = 0;
    threads_[i].copies.clear();
  }
  try {
    do run_ready_threads();
    while (release());
  } catch (...) {
    for (Thread& thread : threads_) thread.context = fiber();  // unwinds the threads that wait
    throw;
  }
}

void Machine::run_ready_threads() {
  if (order_ == Order::random) shuffle_order(thread_order_);
  for (const int i : thread_order_) {
    Thread& thread = threads_[size_t(i)];
    if (thread.state != State::ready) continue;
    position_.thread = i;
    thread.context = std::move(thread.context).resume();
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }
}

// Threads begin … end − 1 all wait, at the same place.
bool Machine::all_wait(size_t begin, size_t end) const {
  const Thread& first = threads_[begin];
  for (size_t i = begin; i < end; ++i) {
    const Thread& t = threads_[i];
    if (t.state != State::waiting || t.meeting != first.meeting || t.where.line() != first.where.line() ||
        t.where.file_name() != first.where.file_name())
      return false;
  }
  return true;
}

bool Machine::release() {
  const size_t count = thread_order_.size();
  bool any = false;
  if (all_wait(0, count) && threads_[0].meeting == Meeting::barrier) {
    shared_->passed_barrier();
    for (size_t i = 0; i < count; ++i) threads_[i].state = State::ready;
    return true;
  }
  for (size_t begin = 0; begin < count; begin += warp_size) {
    if (!all_wait(begin, begin + warp_size) || threads_[begin].meeting == Meeting::barrier) continue;
    if (threads_[begin].meeting == Meeting::warp_barrier) shared_->passed_warp_barrier(int(begin / warp_size));
    for (size_t i = begin; i < begin + warp_size; ++i) threads_[i].state = State::ready;
    any = true;
  }
  if (any) return true;
  for (size_t i = 0; i < count; ++i)
    if (threads_[i].state != State::done) report_divergence();
  return false;
}

void Machine::report_divergence() const {
  std::string message = kernels()[launch_->kernel].name + ", block " + to_string(position_.block) +
                        ": threads wait for others that never come:";
  const auto place = [](const Thread& t) {
    if (t.state == State::done) return std::string("at the end");
    const char* names[] = {"at the barrier of ", "at the warp's barrier of ", "at the shuffle of "};
    return names[size_t(t.meeting)] + to_string(t.where);
  };
  std::string last;
  int places = 0;
  for (size_t i = 0; i < thread_order_.size() && places < 4; ++i) {
    const std::string here = place(threads_[i]);
    if (here == last) continue;
    message += (places++ ? ", " : " ") + std::string("from thread ") + std::to_string(i) + " " + here;
    last = here;
  }
  throw KernelError(message);
}

const Brought* Machine::meet(Meeting meeting, const Brought& brought, const std::source_location& where) {
  const auto index = size_t(position_.thread);
  Thread& thread = threads_[index];
  Brought* exchanged = warps_[index / warp_size].exchanged[thread.exchanges % 2];
  if (meeting == Meeting::exchange) {
    exchanged[index % warp_size] = brought;
    ++thread.exchanges;
  }
  thread.meeting = meeting;
  thread.where = where;
  thread.state = State::waiting;
  thread.scheduler = std::move(thread.scheduler).resume();
  return exchanged;
}

void Machine::copy_async(void* to, const void* from, int bytes) {
  touch_shared(to, bytes, Access::write);
  const auto* first = static_cast<const std::byte*>(from);
  threads_[size_t(position_.thread)].copies.push_back({to, {first, first + bytes}});
  std::memset(to, 0xFF, size_t(bytes));
}

void Machine::wait_for_copies() {
  for (const Copy& copy : std::exchange(threads_[size_t(position_.thread)].copies, {})) {
    touch_shared(copy.to, int(copy.bytes.size()), Access::write);
    std::memcpy(copy.to, copy.bytes.data(), copy.bytes.size());
  }
}

void Machine::fail_here(const std::string& message) const {
  throw KernelError(kernels()[launch_->kernel].name + ", block " + to_string(position_.block) + ", thread " +
                    std::to_string(position_.thread) + ": " + message);
}

void succeed(const std::string& error) {
  if (!error.empty()) fail_here(error);
}

}  // namespace

std::vector<KernelRecord>& kernels() {
  static std::vector<KernelRecord> instance;
  return instance;
}

namespace {

void run_now(const Launch& launch) {
  static uint64_t launches = 0;
  const uint64_t seed = ++launches;
  const OpenMemory open;
  if (!every_order) return machine().run_in_order(launch, Order::random, seed);
  KernelRecord& record = kernels()[launch.kernel];
  ++record.launches;
  const MemoryImage before = MemoryImage::take();
  machine().run_in_order(launch, Order::forward, seed);
  const MemoryImage after = MemoryImage::take();
  for (const Order order : {Order::reverse, Order::random}) {
    before.restore();
    machine().run_in_order(launch, order, seed);
    if (const std::string difference = after.difference(); !difference.empty())
      throw KernelError(record.name + ": the result depends on the order of threads: " + difference);
  }
}

}  // namespace

void run(const Launch& launch) {
  if (recording())
    recording()->push_back([launch] { run_now(launch); });
  else
    run_now(launch);
}

void submit(std::function<void()> f) {
  const auto open = [f = std::move(f)] {
    const OpenMemory memory;
    f();
  };
  if (recording())
    recording()->push_back(open);
  else
    open();
}

const Position& position() { return machine().position(); }
void fail_here(const std::string& message) { machine().fail_here(message); }

void check_alignment(const void* pointer, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(pointer) % bytes != 0)
    fail_here("an access to " + std::to_string(bytes) + " bytes at an address that is not a multiple of them");
}

void* static_shared(const void* key, int bytes) {
  void* result = nullptr;
  succeed(machine().shared().place_static(key, bytes, &result));
  return result;
}

void* dynamic_shared(int offset, int bytes) {
  void* result = nullptr;
  succeed(machine().shared().place_dynamic(offset, bytes, &result));
  return result;
}

void touch_shared(const void* pointer, int bytes, Access access) {
  succeed(machine().shared().touch(pointer, bytes, access, position().thread));
}

void copy_async(void* to, const void* from, int bytes) { machine().copy_async(to, from, bytes); }

const Brought* meet(Meeting meeting, const Brought& brought, const std::source_location& where) {
  return machine().meet(meeting, brought, where);
}

}  // namespace mora::simt::emulator

namespace mora::simt {
void wait_for_copies() { emulator::machine().wait_for_copies(); }
}  // namespace mora::simt

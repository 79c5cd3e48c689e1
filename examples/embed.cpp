/* SPDX-License-Identifier: MIT */
/*
 * The library inside a C++ program: handles that free themselves, failures as exceptions, the
 * host's threads doing the library's work, and one network served by several threads.
 */
#include <neumeta.h>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

namespace
{
/* unique_ptr<T> with the handle's own _free. */
template <typename T, void (*Free)(T *)> struct release {
    void operator()(T *handle) const
    {
        Free(handle);
    }
};
template <typename T, void (*Free)(T *)> using handle = std::unique_ptr<T, release<T, Free>>;
using context_handle = handle<neumeta_context, neumeta_context_free>;
using options_handle = handle<neumeta_options, neumeta_options_free>;
using topology_handle = handle<neumeta_topology, neumeta_topology_free>;
using network_handle = handle<neumeta_network, neumeta_network_free>;
using manifold_handle = handle<neumeta_manifold, neumeta_manifold_free>;

struct failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

constexpr int64_t batch = 16;

void check(const context_handle &context, neumeta_status status)
{
    if (status < 0)
        throw failure(context ? neumeta_context_message(context.get())
                              : neumeta_status_name(status));
}

/* Calls a function whose last parameter is a new handle: create<T>(context, function,
 * arguments...). */
template <typename Handle, typename Function, typename... Arguments>
Handle create(const context_handle &context, Function function, Arguments... arguments)
{
    typename Handle::pointer made = nullptr;
    check(context, function(arguments..., &made));
    return Handle(made);
}

context_handle new_context()
{
    return create<context_handle>(context_handle(), neumeta_context_create, nullptr, nullptr,
                                  nullptr);
}

/* Stands for a host's thread pool: `user` counts the tasks that it was lent. */
void host_parallel(void *user, neumeta_task_fn task, void *argument, int64_t count)
{
    std::atomic<int64_t> next(0);
    auto draw = [&] {
        for (int64_t i; (i = next.fetch_add(1)) < count;)
            task(argument, i);
    };
    std::thread helper(draw);
    draw();
    helper.join();
    *static_cast<std::atomic<int64_t> *>(user) += count;
}

std::vector<float> run(const context_handle &context, neumeta_network *network,
                       const std::vector<float> &inputs)
{
    std::vector<float> outputs(batch * 10);
    check(context, neumeta_network_run(network, inputs.data(), batch, outputs.data(), batch * 10));
    return outputs;
}

/* An untrained manifold of a small LeNet without norm. A program would load one from a file. */
manifold_handle make_manifold(const context_handle &context)
{
    auto shape = create<options_handle>(context, neumeta_options_create, context.get());
    check(context, neumeta_options_set_int(shape.get(), NEUMETA_KEY_CHANNELS, 8));
    check(context, neumeta_options_set_text(shape.get(), NEUMETA_KEY_NORM, "none"));
    auto topology = create<topology_handle>(context, neumeta_topology_create_builtin, context.get(),
                                            "lenet", shape.get());
    auto inr = create<options_handle>(context, neumeta_options_create, context.get());
    check(context, neumeta_options_set_int(inr.get(), NEUMETA_KEY_INR_HIDDEN, 32));
    return create<manifold_handle>(context, neumeta_manifold_create, topology.get(), inr.get());
}

void serve()
{
    std::atomic<int64_t> lent(0);
    context_handle context = new_context();
    check(context, neumeta_context_set_parallel(context.get(), host_parallel, &lent, 2));
    manifold_handle manifold = make_manifold(context);

    auto topology = create<topology_handle>(context, neumeta_manifold_topology, manifold.get());
    const int32_t axes = neumeta_topology_axis_count(topology.get());
    std::vector<int64_t> sizes(axes);
    check(context, neumeta_manifold_sizes_at(manifold.get(), 0.5, sizes.data(), axes));
    auto network = create<network_handle>(context, neumeta_manifold_materialize, manifold.get(),
                                          sizes.data(), axes, nullptr);

    std::vector<float> inputs(batch * 28 * 28);
    for (std::size_t i = 0; i < inputs.size(); i++)
        inputs[i] = std::sin(static_cast<float>(i));
    const std::vector<float> expected = run(context, network.get(), inputs);

    /* Each server thread has a context of its own; the weights are there once. */
    std::atomic<int> equal(0);
    std::vector<std::thread> servers;
    for (int i = 0; i < 2; i++) {
        auto own = std::make_shared<context_handle>(new_context());
        auto shared = std::make_shared<network_handle>(
            create<network_handle>(context, neumeta_network_share, network.get(), own->get()));
        servers.emplace_back([own, shared, &inputs, &expected, &equal] {
            equal += run(*own, shared->get(), inputs) == expected;
        });
    }
    for (std::thread &server : servers)
        server.join();
    if (equal != 2 || lent == 0)
        throw std::runtime_error("the servers disagree, or the host's threads had nothing to do");

    try {
        check(context, neumeta_network_run(network.get(), inputs.data(), batch, &inputs[0], 1));
    } catch (const failure &expected_failure) {
        std::printf("as it should be: %s\n", expected_failure.what());
    }
}

} // namespace

int main()
{
    try {
        serve();
        return 0;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "embed: %s\n", error.what());
        return 1;
    }
}

//! The programs in `examples/`. Left out are those that need something from outside, a runtime or
//! an executor of their own, or threads, and `daisy_chain`, which has 100 000 goroutines.

use std::future::Future;

use gopark::sim::{Config, Strategy};

/// Runs the example with each strategy.
fn check<F: Future<Output = ()>>(runs: u64, example: impl Fn() -> F) {
    for strategy in [Strategy::Random, Strategy::Pct { depth: 3 }, Strategy::RoundRobin] {
        Config::new().runs(runs).strategy(strategy).step_limit(STEPS).check(&example);
    }
}

/// The maximum number of steps of an example.
const STEPS: usize = 10_000_000;

/// Tests the example in that file, with this many runs of each strategy.
macro_rules! examples {
    ($($path:literal $name:ident $runs:literal)*) => {
        $(
            #[allow(dead_code)]
            #[path = $path]
            mod $name;

            #[test]
            fn $name() {
                check($runs, $name::example);
            }
        )*
    };
}

examples! {
    "../../examples/bridge.rs" bridge 100
    "../../examples/buffered.rs" buffered 100
    "../../examples/chat.rs" chat 100
    "../../examples/close_broadcast.rs" close_broadcast 100
    "../../examples/closures.rs" closures 100
    "../../examples/cond_queue.rs" cond_queue 10
    "../../examples/connection_limit.rs" connection_limit 50
    "../../examples/context_tree.rs" context_tree 100
    "../../examples/context_values.rs" context_values 100
    "../../examples/dining_philosophers.rs" dining_philosophers 10
    "../../examples/drop_oldest.rs" drop_oldest 100
    "../../examples/errgroup_limit.rs" errgroup_limit 100
    "../../examples/fan_in.rs" fan_in 100
    "../../examples/fork_join.rs" fork_join 100
    "../../examples/heartbeat.rs" heartbeat 100
    "../../examples/hello.rs" hello 100
    "../../examples/or_done.rs" or_done 100
    "../../examples/ownership.rs" ownership 100
    "../../examples/ping_pong.rs" ping_pong 5
    "../../examples/pipeline.rs" pipeline 10
    "../../examples/pipeline_context.rs" pipeline_context 10
    "../../examples/prime_sieve.rs" prime_sieve 10
    "../../examples/rate_limiter.rs" rate_limiter 100
    "../../examples/recursion.rs" recursion 5
    "../../examples/replicated_search.rs" replicated_search 100
    "../../examples/semaphore.rs" semaphore 100
    "../../examples/singleflight_cache.rs" singleflight_cache 100
    "../../examples/tee.rs" tee 100
    "../../examples/thread_ring.rs" thread_ring 10
    "../../examples/timeout.rs" timeout 100
    "../../examples/unbuffered.rs" unbuffered 100
    "../../examples/waitgroup.rs" waitgroup 100
    "../../examples/worker_pool.rs" worker_pool 20
}
